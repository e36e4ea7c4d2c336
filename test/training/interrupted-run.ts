/**
 * Child process of the interrupt tests: trains for long and says when it has begun. With `save` it saves at every step and says so after each save; with `resume` it goes on
 * from the latest checkpoint. Usage: node interrupted-run.js FOLDER [save] [resume]
 */
import { interruptSignal } from '../../src/training/interrupt.js'
import { prepare, trainingConfig } from './fixture.js'

const [folder, ...options] = process.argv.slice(2) as [string, ...string[]]
const saves = options.includes('save')
const interrupt = interruptSignal()
const phases = trainingConfig.phases.map((phase) => ({ ...phase, epochs: 100_000 }))
const { trainer, trainLoader, valLoader } = prepare(folder, {
  config: { ...trainingConfig, phases },
  checkpoint: saves ? { everySteps: 1 } : { everyEpochs: 100_000, saveBest: false },
})
trainer.on(saves ? 'checkpoint' : 'step', () => console.log('here'))
const resumeFrom = options.includes('resume') ? { resumeFrom: 'latest' } : {}
trainer.train(trainLoader, valLoader, { ...resumeFrom, signal: interrupt.signal }).catch(interrupt.exitIfAborted)
