// `npm run demo`: trains on handwritten digits in two phases, is interrupted in the middle of an epoch, goes on until early stopping ends it, and shows that nothing was lost: the
// result has the same bits as a run that was never interrupted. Then a copy of a checkpoint comes to harm, is judged and saved (rescue.mjs), and the best one is exported and run in
// Node and in Python (give-away.mjs). Ctrl-C saves and exits with 130.
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { monitorEventLoopDelay } from 'node:perf_hooks'
import { interruptSignal, load, manualSeed, ProgressiveTrainer, ProgressReporter, Tensor } from 'torchkeep'
import { describeRun } from './describe-run.mjs'
import { DigitNet, digitLoaders } from './digits.mjs'
import { giveAway } from './give-away.mjs'
import { rescue } from './rescue.mjs'

const modelConfig = { channels: 16, dropout: 0.25 }
const trainingConfig = {
  loss: 'cross_entropy',
  metrics: ['accuracy'],
  monitor: 'val_accuracy',
  phases: [
    { name: 'head', epochs: 2, lr: 2e-3, freeze: ['features.*'] },
    {
      name: 'everything',
      epochs: 20,
      lr: 3e-3,
      scheduler: { name: 'StepLR', stepSize: 2, gamma: 0.3 },
      // Ends the phase at the first epoch that is no better, and puts the best weights back.
      earlyStopping: { patience: 1 },
    },
  ],
}
/** The two best checkpoints by either measure, and the last two; whatever else there was is deleted once the next one is safe. */
const checkpoint = {
  best: [
    { monitor: 'val_accuracy', count: 2 },
    { monitor: 'val_loss', count: 2 },
  ],
  keepLast: 2,
}

/** A run from the same seed every time. */
function prepareRun(checkpointDir) {
  manualSeed(7)
  const model = new DigitNet(modelConfig)
  const options = { checkpointDir, checkpoint, logs: { tensorboard: true } }
  return { ...digitLoaders(), trainer: new ProgressiveTrainer(model, modelConfig, trainingConfig, options) }
}

/** How late timers of this thread fire while the training thread works. */
const eventLoopDelay = monitorEventLoopDelay({ resolution: 1 })

/** Trains with live progress. */
async function train({ trainer, trainLoader, valLoader }, options) {
  const reporter = new ProgressReporter(trainer, process.stdout)
  eventLoopDelay.enable()
  try {
    return await trainer.train(trainLoader, valLoader, options)
  } finally {
    eventLoopDelay.disable()
    reporter.stop()
  }
}

/** Trains until a step in the middle of the fourth epoch, as if someone had pressed Ctrl-C there. */
async function trainAndStop(run, signal) {
  const stop = new AbortController()
  run.trainer.on('step', ({ epoch, batch, batches }) => {
    if (epoch === 4 && batch > batches / 3) stop.abort()
  })
  const stopped = train(run, { signal: AbortSignal.any([stop.signal, signal]) })
  return stopped.then(
    () => Promise.reject(new Error('the run was to be stopped in epoch 4, but went through')),
    (error) => (stop.signal.aborted && error.code === 'ERR_ABORTED' ? error.message : Promise.reject(error)),
  )
}

/** All tensors below a value, by path. */
function* tensors(value, path = '') {
  if (value instanceof Tensor) yield [path, value]
  else if (value instanceof Map) for (const [key, item] of value) yield* tensors(item, `${path}.${key}`)
}

/** Compares weights, optimizer and random state of two checkpoints bit by bit; returns how many tensors there were. */
async function compareBits(left, right) {
  const [a, b] = await Promise.all([load(left), load(right)])
  const others = new Map(tensors(b))
  let count = 0
  for (const [path, tensor] of tensors(a)) {
    const same = Buffer.from(tensor.data().buffer).equals(Buffer.from(others.get(path).data().buffer))
    if (!same) throw new Error(`${path} differs between ${left} and ${right}`)
    count++
  }
  return count
}

async function demo(signal) {
  const interrupted = prepareRun('checkpoints')
  console.log(
    `training on ${interrupted.trainLoader.dataset.length} digits, validating on ${interrupted.valLoader.dataset.length}\n`,
  )
  console.log(`\n${await trainAndStop(interrupted, signal)}\n`)

  console.log('resuming in a new trainer with new random weights:')
  const summary = await train(prepareRun('checkpoints'), { resumeFrom: 'latest', signal })

  console.log('\nthe same run without an interruption, to compare:')
  const folder = mkdtempSync(join(tmpdir(), 'torchkeep-demo-'))
  const uninterrupted = await train(prepareRun(folder), { signal })
  const count = await compareBits(summary.latestCheckpointPath, uninterrupted.latestCheckpointPath)
  console.log(
    `\nsame bits: all ${count} tensors (weights, optimizer, random state) of the resumed run equal the uninterrupted run's`,
  )
  console.log(`best epoch ${summary.best.epoch}: accuracy ${summary.best.score}`)
  await describeRun('checkpoints')
  console.log(`event loop delay while training: p99 ${(eventLoopDelay.percentile(99) / 1e6).toFixed(1)} ms`)

  console.log(
    '\nwhat if a checkpoint comes to harm? (the commands do the same: torchkeep validate, recover, compare, cleanup)',
  )
  const harmed = join(folder, 'harmed')
  mkdirSync(harmed)
  await rescue(summary.latestCheckpointPath, harmed)
  rmSync(folder, { recursive: true })

  console.log('\ngive the best checkpoint away (the command does the same: torchkeep export best inference digits)')
  await giveAway(summary.bestCheckpointPath, 'exports')

  console.log(`\nopen the best checkpoint in Python:\n`)
  console.log(
    `  python -c "import torch; c = torch.load('${summary.bestCheckpointPath}'); print(c['epoch'], c['validation_loss'], list(c['model_state_dict']))"`,
  )
}

const interrupt = interruptSignal()
demo(interrupt.signal).catch(interrupt.exitIfAborted).finally(interrupt.release)
