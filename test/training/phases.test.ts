/** What phases do: their ends, the best weights put back, groups, kept optimizers, batches passed over, events. */
import assert from 'node:assert/strict'
import { cpSync, mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DataLoader, manualSeed, nn, randn, type Tensor, tensor, TensorDataset } from '../../lib/index.js'
import { latestBestPath, latestPath, phasePath } from '../../src/checkpoint/layout.js'
import { type Checkpoint, decodeCheckpoint } from '../../src/checkpoint/schema.js'
import type { Phase, TrainingConfig } from '../../src/checkpoint/training-config.js'
import type { TorchkeepError } from '../../src/format/errors.js'
import { load } from '../../src/serialization.js'
import type { StopEvent, WarningEvent } from '../../src/training/events.js'
import { ProgressiveTrainer } from '../../src/training/trainer.js'
import { SmallNet, smallRun, type SmallRun } from './small-run.js'

describe('phases', function () {
  this.timeout(60_000)
  let folder: string
  beforeEach(() => (folder = mkdtempSync(join(tmpdir(), 'torchkeep-phases-'))))
  afterEach(() => rmSync(folder, { recursive: true }))

  const read = async (path: string): Promise<Checkpoint<Tensor>> => decodeCheckpoint(await load(path), path)
  const config = (phases: Phase[], rest: Partial<TrainingConfig> = {}): TrainingConfig => ({
    loss: 'mse',
    phases,
    ...rest,
  })
  const bytesOf = (weights: ReadonlyMap<unknown, unknown>): string =>
    [...weights]
      .map(([name, tensor]) => `${String(name)} ${Buffer.from((tensor as Tensor).data().buffer).toString('hex')}`)
      .join()
  const weightsIn = async (path: string): Promise<string> => bytesOf((await read(path)).modelStateDict)
  const weightsOf = ({ model }: SmallRun): string => bytesOf(model.stateDict())
  function recorded({ trainer }: SmallRun): { stops: StopEvent[]; warnings: WarningEvent[] } {
    const events = { stops: [] as StopEvent[], warnings: [] as WarningEvent[] }
    trainer.on('stop', (event) => events.stops.push(event))
    trainer.on('warning', (event) => events.warnings.push(event))
    return events
  }
  /** A rate that makes the validation loss worse from the second epoch on. */
  const tooHigh: Phase = { name: 'wild', epochs: 5, lr: 3, optimizer: { name: 'Adam' } }

  it('end where their steps do, in the middle of an epoch that is validated and booked', async () => {
    const run = smallRun(folder, { config: config([{ name: 'a', steps: 6, lr: 0.01 }]) })
    const summary = await run.train()
    assert.deepEqual([summary.totalSteps, summary.totalEpochs, summary.stopReason], [6, 2, 'steps'])
    assert.deepEqual(
      summary.metricsHistory.map(({ step }) => step),
      [4, 6],
    )
    assert.ok(summary.metricsHistory.every(({ valLoss }) => Number.isFinite(valLoss)))
    const { trainingState, dataPosition } = await read(latestPath(folder))
    assert.deepEqual([trainingState.phaseStepsDone, trainingState.phaseStopReason, dataPosition], [6, 'steps', null])
  })

  it('put their best weights back at the end, while latest.pth has the last ones', async () => {
    const run = smallRun(folder, { config: config([{ ...tooHigh, restoreBest: true }]) })
    const { stops } = recorded(run)
    const summary = await run.train()
    assert.ok((summary.best?.epoch ?? 9) < 5, 'an earlier epoch is the best')
    assert.equal(weightsOf(run), await weightsIn(phasePath(folder, 1, 'best')))
    assert.equal(weightsOf(run), await weightsIn(latestBestPath(folder)))
    assert.notEqual(weightsOf(run), await weightsIn(latestPath(folder)))
    assert.deepEqual(
      stops.map(({ of, reason, restoredEpoch }) => [of, reason, restoredEpoch]),
      [
        ['phase', 'epochs', summary.best?.epoch],
        ['run', 'finished', null],
      ],
    )
    const again = smallRun(folder, { config: config([{ ...tooHigh, restoreBest: true }]), seed: 5 })
    await again.train({ resumeFrom: 'latest' })
    assert.equal(weightsOf(again), weightsOf(run), 'a resume of the finished run has them too')
  })

  it('put them back after an abort and after an error, which stays what is thrown', async () => {
    const aborted = smallRun(join(folder, 'a'), { config: config([{ ...tooHigh, restoreBest: true }]) })
    const stop = new AbortController()
    aborted.trainer.on('epoch', ({ epoch }) => epoch === 4 && stop.abort())
    const { stops } = recorded(aborted)
    await assert.rejects(aborted.train({ signal: stop.signal }), { code: 'ERR_ABORTED' })
    const { epoch } = await read(phasePath(join(folder, 'a'), 1, 'best'))
    assert.equal(weightsOf(aborted), await weightsIn(phasePath(join(folder, 'a'), 1, 'best')))
    assert.deepEqual([stops[0]?.of, stops[0]?.reason, stops[0]?.restoredEpoch], ['run', 'aborted', epoch])

    const failing = smallRun(join(folder, 'b'), {
      config: config([{ ...tooHigh, lr: 1e25, restoreBest: true, optimizer: { name: 'SGD' } }], {
        monitor: 'train_loss',
      }),
    })
    const events = recorded(failing)
    await assert.rejects(failing.train(), { code: 'ERR_NON_FINITE' })
    assert.equal(events.stops.at(-1)?.reason, 'ERR_NON_FINITE')
  })

  it('say so when the best weights are gone, and still throw the error itself', async () => {
    const run = smallRun(folder, { config: config([{ ...tooHigh, restoreBest: true }]) })
    const stop = new AbortController()
    run.trainer.on('epoch', ({ epoch }) => {
      if (epoch !== 4) return
      for (const place of ['phases', 'best', 'regular'])
        for (const name of readdirSync(join(folder, place))) rmSync(join(folder, place, name))
      stop.abort()
    })
    const { warnings, stops } = recorded(run)
    await assert.rejects(run.train({ signal: stop.signal }), { code: 'ERR_ABORTED' })
    assert.deepEqual(
      warnings.map(({ id }) => id),
      ['best_not_restored'],
    )
    assert.equal(stops[0]?.restoredEpoch, null)
  })

  it('end early without ending the run; a longer patience lets a stopped phase go on', async () => {
    const phases = (patience: number): Phase[] => [
      { ...tooHigh, earlyStopping: { patience } },
      { name: 'calm', epochs: 1, lr: 0.001 },
    ]
    const run = smallRun(folder, { config: config(phases(1)), checkpoint: { keepLast: null } })
    const { stops } = recorded(run)
    const summary = await run.train()
    const ofFirst = summary.metricsHistory.filter(({ phase }) => phase === 1)
    assert.ok(ofFirst.length < 5)
    assert.equal(ofFirst.at(-1)?.stopReason, 'patience')
    assert.equal(summary.finalPhase, 2)
    assert.deepEqual(
      stops.map(({ of, reason }) => `${of} ${reason}`),
      ['phase patience', 'phase epochs', 'run finished'],
    )
    assert.match(stops[0]?.message ?? '', /val_loss/)

    const end = phasePath(folder, 1, 'end')
    const refused = smallRun(folder, { config: config(phases(50)), seed: 2 })
    await assert.rejects(refused.train({ resumeFrom: end }), {
      message: /differ: phases\[0\]\.earlyStopping\.patience$/,
    })
    const longer = smallRun(join(folder, 'longer'), { config: config(phases(50)), seed: 3 })
    const resumed = await longer.train({ resumeFrom: end, accept: ['earlyStopping'] })
    const through = smallRun(join(folder, 'through'), { config: config(phases(50)) })
    const straight = await through.train()
    assert.equal(resumed.metricsHistory.filter(({ phase }) => phase === 1).length, 5)
    assert.deepEqual(
      resumed.metricsHistory.map(({ valLoss, stopReason }) => [valLoss, stopReason]),
      straight.metricsHistory.map(({ valLoss, stopReason }) => [valLoss, stopReason]),
    )
  })

  it('find the best weights in a folder that has moved, and do not take those of a run that was given up', async () => {
    const phase: Phase = { ...tooHigh, restoreBest: true }
    const run = smallRun(join(folder, 'run'), { config: config([phase]), checkpoint: { keepLast: null } })
    const files: string[] = []
    run.trainer.on('checkpoint', ({ path }) => files.push(path))
    await run.train()
    cpSync(join(folder, 'run'), join(folder, 'moved'), { recursive: true })
    const later = (files[3] as string).replace(join(folder, 'run'), join(folder, 'moved'))
    const elsewhere = smallRun(join(folder, 'elsewhere'), { config: config([phase]), seed: 4 })
    await elsewhere.train({ resumeFrom: later })
    assert.equal(weightsOf(elsewhere), weightsOf(run))

    // From the first epoch on with a rate that only makes it worse: the best is that first epoch, not what the run had found later.
    const other = smallRun(join(folder, 'run'), { config: config([{ ...phase, lr: 1e4 }]), seed: 6 })
    const first = await weightsIn(files[0] as string)
    await other.train({ resumeFrom: files[0] as string, accept: ['lr'] })
    assert.equal(weightsOf(other), first)
  })

  it('have a rate and hyperparameters for each group, and refuse groups that do not fit by name', async () => {
    const run = smallRun(folder)
    const rates: (readonly number[] | undefined)[] = []
    run.trainer.on('epoch', ({ learningRates }) => rates.push(learningRates))
    await run.train()
    assert.deepEqual(rates.at(-1), [0.02 / 8, 0.05 / 8])
    const { optimizerStateDict, phaseState } = await read(phasePath(folder, 1, 'end'))
    assert.deepEqual(phaseState.groups, [['head.bias'], ['body.0.weight', 'body.0.bias', 'head.weight']])
    const groups = optimizerStateDict.get('param_groups') as Map<string, unknown>[]
    assert.deepEqual(
      groups.map((group) => group.get('weight_decay')),
      [0, 0.1],
    )
    const wrong = (phases: Phase[]) => () => smallRun(folder, { config: config(phases) })
    const phase: Phase = { name: 'p', epochs: 1, lr: 1 }
    assert.throws(
      wrong([{ ...phase, groups: [{ params: ['head.*'] }, { params: ['*.bias'] }] }]),
      /'head.bias' is in groups\[0\] and groups\[1\] of phase 'p'/,
    )
    assert.throws(
      wrong([{ ...phase, groups: [{ params: ['tail.*'] }] }]),
      /pattern 'tail\.\*' of groups\[0\] of phase 'p' matches no parameter; there are body/,
    )
    assert.throws(
      wrong([{ ...phase, freeze: ['head.*'], groups: [{ params: ['head.*'] }] }]),
      /nothing to train: the phase freezes head\.weight/,
    )
    assert.throws(wrong([{ ...phase, groups: [{ params: ['head.*'], momentum: 1 }] }]), /AdamW has no option momentum/)
    assert.throws(wrong([{ ...phase, keepOptimizer: true }]), /is the first/)
    assert.throws(
      wrong([phase, { ...phase, keepOptimizer: true, optimizer: { name: 'SGD' } }]),
      /its optimizer is SGD and that of phase 'p' AdamW/,
    )
    assert.throws(
      wrong([phase, { ...phase, keepOptimizer: true, optimizer: { name: 'AdamW', amsgrad: true } }]),
      /was begun without/,
    )
  })

  it('keep the state of parameters that stand still for a later phase', async () => {
    const phase: Phase = { name: 'p', epochs: 1, lr: 0.01 }
    const kept: Phase = { ...phase, keepOptimizer: true }
    const three = config([phase, { ...kept, freeze: ['head.*'] }, kept])
    const run = smallRun(folder, { config: three })
    await run.train()
    const second = await read(phasePath(folder, 2, 'end'))
    assert.deepEqual([...(second.phaseState.keptOptimizerState ?? new Map()).keys()], ['head.weight', 'head.bias'])
    const steps = (await read(latestPath(folder))).optimizerStateDict.get('state') as Map<number, Map<string, Tensor>>
    assert.deepEqual(
      [...steps.values()].map((own) => Number(own.get('step')?.item())),
      [12, 12, 8, 8],
    )
    // Resumed at the end of the second phase, the third has the same.
    const resumed = smallRun(join(folder, 'resumed'), { config: three, seed: 9 })
    await resumed.train({ resumeFrom: phasePath(folder, 2, 'end') })
    assert.equal(weightsOf(resumed), weightsOf(run))
    const fresh = smallRun(join(folder, 'fresh'), { config: config([phase, { ...phase, freeze: ['head.*'] }, kept]) })
    await fresh.train()
    const begun = (await read(latestPath(join(folder, 'fresh')))).optimizerStateDict.get('state') as Map<
      number,
      Map<string, Tensor>
    >
    assert.deepEqual(
      [...begun.values()].map((own) => Number(own.get('step')?.item())),
      [8, 8, 4, 4],
      'a fresh phase between forgets',
    )
  })

  it('pass over batches that are not finite, and never take an epoch of nothing for the best', async () => {
    const x = randn([12, 4])
    const y = randn([12, 1])
    const inputs = x.data() as Float32Array
    const data = (bad: (row: number) => boolean): DataLoader => {
      const values = Float32Array.from(inputs, (value, index) => (bad(Math.floor(index / 4)) ? NaN : value))
      return new DataLoader(new TensorDataset(tensor(values).reshape([12, 4]), y), { batchSize: 3 })
    }
    const train = (name: string, bad: (row: number) => boolean, phase: Phase) => {
      const trainer = new ProgressiveTrainer(new SmallNet(), null, config([phase], { onNonFinite: 'skip' }), {
        checkpointDir: join(folder, name),
        threads: 1,
        logs: false,
      })
      const warnings: WarningEvent[] = []
      trainer.on('warning', (event) => warnings.push(event))
      return { warnings, done: trainer.train(data(bad), new DataLoader(new TensorDataset(x, y), { batchSize: 4 })) }
    }
    const some = train('some', (row) => row === 4, { name: 'p', epochs: 2, lr: 0.01 })
    const summary = await some.done
    assert.deepEqual(
      summary.metricsHistory.map(({ skippedBatches }) => skippedBatches),
      [1, 1],
    )
    assert.ok(summary.metricsHistory.every(({ trainLoss }) => trainLoss > 0))
    assert.equal(summary.totalSteps, 6)
    assert.deepEqual(
      some.warnings.map(({ id }) => id),
      ['skipped', 'skipped'],
    )
    assert.equal(summary.notes.length, 2)

    const all = await train('all', () => true, { name: 'p', epochs: 2, lr: 0.01 }).done
    assert.deepEqual(
      all.metricsHistory.map(({ trainLoss }) => trainLoss),
      [NaN, NaN],
    )
    assert.equal(all.best, null)
    assert.equal(all.bestCheckpointPath, null)
    await assert.rejects(train('steps', () => true, { name: 'p', steps: 2, lr: 0.01 }).done, {
      code: 'ERR_NON_FINITE',
      message: /should make 2 steps, but epoch 1 made none/,
    })
  })

  it('are not harmed by handlers that throw, which are reported once each', async () => {
    const quiet = smallRun(join(folder, 'quiet'))
    const expected = await quiet.train()
    const run = smallRun(join(folder, 'loud'))
    const { warnings } = recorded(run)
    let later = 0
    for (const name of ['phase', 'step', 'epoch', 'checkpoint', 'stop'] as const) {
      run.trainer.on(name, () => {
        throw new Error(`in ${name}`)
      })
      run.trainer.on(name, () => later++)
    }
    run.trainer.on('epoch', () => Promise.reject(new Error('asynchronously')) as unknown as undefined)
    const summary = await run.train()
    assert.equal(weightsOf(run), weightsOf(quiet))
    assert.equal(summary.totalSteps, expected.totalSteps)
    await new Promise(setImmediate)
    assert.equal(warnings.length, 6)
    for (const { id, message } of warnings) {
      assert.equal(id, 'handler')
      assert.match(message, /a handler of '\w+' threw/)
    }
    assert.ok(later > 10, 'the handlers after them are called')
  })

  it('have batches of their own size, and are checked for a last one that batch norm cannot train on', async () => {
    const run = smallRun(folder, {
      config: config([
        { name: 'a', epochs: 1, lr: 0.01 },
        { name: 'b', epochs: 1, lr: 0.01, batchSize: 2 },
      ]),
    })
    const batches = new Set<number | null>()
    run.trainer.on('step', (event) => batches.add(event.batches))
    await run.train()
    assert.deepEqual([...batches], [4, 6])
    const model = new nn.Sequential(new nn.BatchNorm2d(4), new nn.Flatten(), new nn.Linear(4, 1))
    const trainer = new ProgressiveTrainer(
      model,
      null,
      config([
        { name: 'a', epochs: 1, lr: 0.01 },
        { name: 'b', epochs: 1, lr: 0.01, batchSize: 5 },
      ]),
      { checkpointDir: folder },
    )
    manualSeed(0)
    const loader = new DataLoader(new TensorDataset(randn([11, 4, 1, 1]), randn([11, 1])), { batchSize: 3 })
    await assert.rejects(trainer.train(loader), { code: 'ERR_DATA', message: /batch size 5/ })
  })

  it('warn of another number of threads, and take no default that is spelt out for a change', async () => {
    const phase: Phase = { name: 'p', epochs: 1, lr: 0.01, scheduler: { name: 'StepLR', stepSize: 1 } }
    await smallRun(folder, { config: config([phase]) }).train()
    const spelt = config(
      [
        {
          ...phase,
          scheduler: { name: 'StepLR', stepSize: 1, gamma: 0.1, interval: 'epoch' },
          freeze: [],
          keepOptimizer: false,
          accumulateGradBatches: 1,
        },
      ],
      {
        optimizer: { name: 'AdamW', betas: [0.9, 0.999], weightDecay: 0.01 },
        monitor: 'val_loss',
        mode: 'min',
        metrics: [],
        onNonFinite: 'stop',
        clipGradNorm: null,
      },
    )
    const run = smallRun(folder, { config: spelt, threads: 2 })
    const { warnings } = recorded(run)
    const summary = await run.train({ resumeFrom: 'latest' })
    assert.deepEqual(
      warnings.map(({ id }) => id),
      ['threads'],
    )
    assert.match(summary.notes[0] ?? '', /with 1 threads, and this run has 2/)
    const changed = smallRun(folder, { config: { ...spelt, clipGradNorm: 1, onNonFinite: 'skip' } })
    await assert.rejects(changed.train({ resumeFrom: 'latest' }), (error: TorchkeepError) => {
      assert.match(error.message, /these differ: phases\[0\]\.clipGradNorm, onNonFinite$/)
      return true
    })
  })
})
