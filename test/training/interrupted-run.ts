/** Child process of the interrupt test: trains for long and says when it has begun. Usage: node interrupted-run.js FOLDER */
import { interruptSignal } from '../../src/training/interrupt.js'
import { prepare, trainingConfig } from './fixture.js'

const interrupt = interruptSignal()
const phases = trainingConfig.phases.map((phase) => ({ ...phase, epochs: 100_000 }))
const { trainer, trainLoader, valLoader } = prepare(process.argv[2] as string, {
  config: { ...trainingConfig, phases },
  checkpoint: { everyEpochs: 100_000, saveBest: false },
})
trainer.once('step', () => console.log('training'))
trainer.train(trainLoader, valLoader, { signal: interrupt.signal }).catch(interrupt.exitIfAborted)
