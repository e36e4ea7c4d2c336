/** What may go wrong around a run: stops at odd moments, odd sizes, handlers that write, files that come to harm or are left behind, full disks, metrics that fail. */
import assert from 'node:assert/strict'
import {
  copyFileSync,
  cpSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DataLoader, manualSeed, nn, randn, type Tensor, TensorDataset } from '../../lib/index.js'
import { latestBestPath, latestPath, phasePath } from '../../src/checkpoint/layout.js'
import { nodeFiles } from '../../src/checkpoint/store.js'
import type { Phase, TrainingConfig } from '../../src/checkpoint/training-config.js'
import type { TorchkeepError } from '../../src/format/errors.js'
import { readTorchFile } from '../../src/format/read.js'
import { load } from '../../src/serialization.js'
import { LoaderFeed } from '../../src/training/loader-feed.js'
import { ProgressiveTrainer, type TrainOptions, type TrainingSummary } from '../../src/training/trainer.js'
import { assertSameBits } from './fixture.js'
import { smallRun, type SmallRun, stopClocks } from './small-run.js'

describe('runs under hostile conditions', function () {
  this.timeout(60_000)
  let folder: string
  let startClocks: () => void
  before(() => (startClocks = stopClocks()))
  after(() => startClocks())
  beforeEach(() => (folder = mkdtempSync(join(tmpdir(), 'torchkeep-hostile-'))))
  afterEach(() => rmSync(folder, { recursive: true }))

  const at = (...names: string[]): string => join(folder, ...names)
  const config = (phases: Phase[], rest: Partial<TrainingConfig> = {}): TrainingConfig => ({
    loss: 'mse',
    phases,
    ...rest,
  })
  const phase: Phase = { name: 'p', epochs: 2, lr: 0.01 }
  /** Its second epoch is the best by far. */
  const wild: Phase = { name: 'wild', epochs: 5, lr: 3, optimizer: { name: 'Adam' } }
  const warningsOf = ({ trainer }: SmallRun): string[] => {
    const ids: string[] = []
    trainer.on('warning', ({ id }) => ids.push(id))
    return ids
  }
  const weightsIn = async (path: string): Promise<unknown> =>
    [...((await load(path)) as Map<string, Map<string, Tensor>>).get('model_state_dict')!.values()].map((tensor) =>
      Buffer.from((tensor.data() as Float32Array).buffer).toString('hex'),
    )
  const flip = async (path: string): Promise<void> => {
    const { storages } = await readTorchFile(path)
    const bytes = readFileSync(path)
    const offset = storages[0]?.source.offsetBytes as number
    bytes[offset] = (bytes[offset] as number) ^ 1
    writeFileSync(path, bytes)
  }
  /** A run that is ended by the signal. */
  async function stopped(run: SmallRun, stop: AbortController, options: TrainOptions = {}): Promise<void> {
    await assert.rejects(run.train({ ...options, signal: stop.signal }), { code: 'ERR_ABORTED' })
  }
  const stoppedAfter = async (name: string, epoch: number, given: TrainingConfig, options = {}): Promise<SmallRun> => {
    const stop = new AbortController()
    const run = smallRun(at(name), { config: given, seed: 'resumeFrom' in options ? 70 + epoch : 1 })
    run.trainer.on('epoch', (event) => event.epoch === epoch && stop.abort())
    await stopped(run, stop, options)
    return run
  }

  it('stop at any moment and go on with the same bits: before the first step, between phases, in a save, in a validation', async () => {
    await smallRun(at('whole')).train()
    type Hook = (trainer: ProgressiveTrainer, abort: () => void) => unknown
    const moments: Hook[] = [
      (trainer, abort) => trainer.once('phase', abort),
      (trainer, abort) => trainer.on('phase', (event) => event.phase === 2 && abort()),
      (trainer, abort) => trainer.on('stop', ({ of }) => of === 'phase' && abort()),
      (trainer, abort) => trainer.once('checkpoint', abort),
      (trainer, abort) => trainer.on('epoch', ({ epoch }) => epoch === 3 && abort()),
      (trainer, abort) => trainer.on('epoch', ({ epoch }) => epoch === 3 && process.nextTick(abort)),
      (trainer, abort) => trainer.on('epoch', ({ epoch }) => epoch === 3 && setImmediate(abort)),
      (trainer, abort) => trainer.on('step', ({ batch, batches }) => batch === batches && setImmediate(abort)),
      (_trainer, abort) => process.nextTick(abort),
      (_trainer, abort) => setImmediate(abort),
    ]
    for (const [index, hook] of moments.entries()) {
      const run = smallRun(at('stopped'))
      const stop = new AbortController()
      hook(run.trainer, () => stop.abort())
      await stopped(run, stop)
      await smallRun(at('stopped'), { seed: 30 + index }).train({ resumeFrom: 'latest' })
      await assertSameBits(latestPath(at('stopped')), latestPath(at('whole')))
      rmSync(at('stopped'), { recursive: true })
    }
  })

  it('have phases of one step, groups larger than the epoch and batches larger than the data', async () => {
    const steps = async (given: Phase[]): Promise<number[]> => {
      const { metricsHistory } = await smallRun(at(`run-${readdirSync(folder).length}`), {
        config: config(given),
      }).train()
      return metricsHistory.map(({ step }) => step as number)
    }
    const one: Phase = { name: 'one', steps: 1, lr: 0.01 }
    assert.deepEqual(await steps([one, { ...one, name: 'two', keepOptimizer: true, accumulateGradBatches: 9 }]), [1, 2])
    // The group is the four batches of the epoch: the mean of their gradients, and not a fraction of it.
    assert.deepEqual(await steps([{ ...phase, accumulateGradBatches: 100 }]), [1, 2])
    assert.deepEqual(await steps([{ ...phase, accumulateGradBatches: 4 }]), [1, 2])
    await assertSameBits(latestPath(at('run-1')), latestPath(at('run-2')), ['.training_config'])
    assert.deepEqual(await steps([{ ...phase, batchSize: 100 }]), [1, 2])
    assert.deepEqual(await steps([{ ...phase, batchSize: 11 }]), [1, 2])
    await assertSameBits(latestPath(at('run-3')), latestPath(at('run-4')), ['.training_config'])
  })

  it('have one sample to train on and one to validate with, of which most metrics are undefined', async () => {
    manualSeed(0)
    const loader = (): DataLoader => new DataLoader(new TensorDataset(randn([1, 4]), randn([1, 1])), { batchSize: 3 })
    const given = config([{ ...phase, earlyStopping: { patience: 1, monitor: 'val_pearson', checkFinite: false } }], {
      metrics: ['mse', 'r2', 'pearson'],
      monitor: 'val_pearson',
    })
    const trainer = new ProgressiveTrainer(new nn.Linear(4, 1), null, given, {
      checkpointDir: at('run'),
      threads: 1,
      logs: false,
    })
    const { metricsHistory, best, bestCheckpointPath, stopReason } = await trainer.train(loader(), loader())
    const { mse, ...undefinedOnes } = metricsHistory[0]?.valMetrics ?? {}
    assert.ok(Number.isFinite(mse))
    assert.deepEqual(undefinedOnes, { r2: NaN, pearson: NaN })
    assert.deepEqual([best, bestCheckpointPath, stopReason], [null, null, 'patience'])
    assert.deepEqual(readdirSync(at('run', 'best')), [])
    assert.ok(!existsSync(phasePath(at('run'), 1, 'best')))
  })

  it('are not changed by handlers that write into their events', async () => {
    await smallRun(at('quiet')).train()
    const { trainer, train } = smallRun(at('loud'))
    trainer.on('phase', ({ frozen, trained }) => [frozen, trained].forEach((names) => (names as string[]).splice(0)))
    trainer.on('step', ({ losses }) => losses.fill(0))
    trainer.on('epoch', (event) => {
      Object.assign(event, { epoch: 99, valLoss: -5 })
      Object.assign(event.valMetrics, { mae: -1 })
    })
    await train()
    await assertSameBits(latestPath(at('loud')), latestPath(at('quiet')))
  })

  it('put the best weights back from another file where phase_P_best.pth came to harm', async () => {
    const given = config([{ ...wild, restoreBest: true }])
    const whole = smallRun(at('whole'), { config: given })
    await whole.train()
    // A damaged file in its place: harm to the blocks of a file is harm under all its names.
    const replaced = async (path: string): Promise<void> => {
      copyFileSync(path, at('damaged'))
      await flip(at('damaged'))
      renameSync(at('damaged'), path)
    }
    const harms = [replaced, (path: string): unknown => rmSync(path)]
    for (const harm of harms) {
      await stoppedAfter('run', 4, given)
      await harm(phasePath(at('run'), 1, 'best'))
      const run = smallRun(at('run'), { config: given, seed: 9 })
      const warnings = warningsOf(run)
      await run.train({ resumeFrom: 'latest' })
      assert.deepEqual(run.model.head.weight.tolist(), whole.model.head.weight.tolist())
      assert.deepEqual(warnings, [])
      rmSync(at('run'), { recursive: true })
    }
    // While it runs, too.
    const run = smallRun(at('run'), { config: given })
    run.trainer.on('epoch', ({ epoch }) => epoch === 5 && rmSync(phasePath(at('run'), 1, 'best')))
    await run.train()
    assert.deepEqual(run.model.head.weight.tolist(), whole.model.head.weight.tolist())
  })

  it('have the best weights under latest_best.pth also after a resume in another folder, or where it came to harm', async () => {
    const given = config([wild])
    await stoppedAfter('run', 4, given)
    const best = await weightsIn(latestBestPath(at('run')))
    const resumed = async (name: string, resumeFrom: string): Promise<{ run: TrainingSummary; warnings: string[] }> => {
      const run = smallRun(at(name), { config: given, seed: 9 })
      const warnings = warningsOf(run)
      return { run: await run.train({ resumeFrom }), warnings }
    }
    cpSync(at('run'), at('harmed'), { recursive: true })
    await flip(latestBestPath(at('harmed')))
    for (const [name, path] of [
      ['elsewhere', latestPath(at('run'))],
      ['harmed', 'latest'],
    ] as const) {
      const { run, warnings } = await resumed(name, path)
      assert.equal(run.best?.epoch, 2)
      assert.equal(run.bestCheckpointPath, latestBestPath(at(name)))
      assert.deepEqual(await weightsIn(latestBestPath(at(name))), best)
      assert.deepEqual(warnings, [])
    }
    // Nothing holds them any more: no other weights get the name.
    renameSync(latestPath(at('run')), at('alone.pth'))
    const { run, warnings } = await resumed('alone', at('alone.pth'))
    assert.deepEqual([run.best?.epoch, run.bestCheckpointPath, warnings], [2, null, ['best_missing']])
    assert.ok(!existsSync(latestBestPath(at('alone'))))
  })

  it('resume in folders that move in between, and leave what the uninterrupted run leaves', async () => {
    const given = config([{ ...wild, earlyStopping: { patience: 5 } }])
    await smallRun(at('whole'), { config: given }).train()
    await stoppedAfter('first', 2, given)
    renameSync(at('first'), at('second'))
    await stoppedAfter('second', 4, given, { resumeFrom: 'latest' })
    renameSync(at('second'), at('third'))
    await smallRun(at('third'), { config: given, seed: 8 }).train({ resumeFrom: 'latest' })
    await assertSameBits(latestPath(at('third')), latestPath(at('whole')))
    for (const place of ['best', 'regular', 'phases'])
      assert.deepEqual(readdirSync(at('third', place)), readdirSync(at('whole', place)))
  })

  it('lose no epoch to a validation that fails, and go on with the same bits', async () => {
    const given = config([{ ...phase, epochs: 3 }], { metrics: ['own'], monitor: 'val_own', mode: 'min' })
    const own = (fails: boolean) => {
      let calls = 0
      return () => {
        if (fails && ++calls === 2) throw new Error('no such thing')
        return 1
      }
    }
    await smallRun(at('whole'), { config: given, metrics: { own: own(false) } }).train()
    const run = smallRun(at('run'), { config: given, metrics: { own: own(true) } })
    await assert.rejects(run.train(), (error: TorchkeepError) => {
      assert.match(
        error.message,
        /own metric 'own' failed: no such thing; the last checkpoint is .*epoch_2_.*_step_8\.pth/,
      )
      return true
    })
    const again = smallRun(at('run'), { config: given, seed: 9, metrics: { own: own(false) } })
    let steps = 0
    again.trainer.on('step', ({ losses }) => (steps += losses.length))
    await again.train({ resumeFrom: 'latest' })
    assert.equal(steps, 4, 'the second epoch is not trained again')
    await assertSameBits(latestPath(at('run')), latestPath(at('whole')))
  })

  it('say so where the best begins anew because validation data came or went', async () => {
    await smallRun(at('run'), { config: config([phase]), withoutValidation: true }).train()
    const run = smallRun(at('run'), { config: config([{ ...phase, epochs: 3 }]), seed: 2 })
    const warnings = warningsOf(run)
    const { best } = await run.train({ resumeFrom: 'latest', accept: ['phases'] })
    assert.deepEqual(warnings, ['monitor'])
    assert.deepEqual([best?.monitor, best?.epoch], ['val_loss', 3])
  })

  it('take another accumulation up at a whole step, and refuse it inside a group', async () => {
    const given = (accumulateGradBatches: number): TrainingConfig =>
      config([{ ...phase, batchSize: 2, accumulateGradBatches }])
    await smallRun(at('run'), { config: given(2), checkpoint: { everySteps: 1, keepLast: null } }).train()
    const step = (name: string): string =>
      readdirSync(at('run', 'regular')).find((file) => file.endsWith(name)) as string
    const { metricsHistory } = await smallRun(at('resumed'), { config: given(3), seed: 3 }).train({
      resumeFrom: at('run', 'regular', step('_step_1.pth')),
      accept: ['accumulateGradBatches'],
    })
    // Six batches: two are done in one step, four are left.
    assert.deepEqual(
      metricsHistory.map((row) => row.step),
      [3, 5],
    )
    // One batch of the group of six.
    const { train } = LoaderFeed.prototype
    LoaderFeed.prototype.train = function (session, position, _count, maxDurationMs, options) {
      return train.call(this, session, position, 1, maxDurationMs, options)
    }
    try {
      const run = smallRun(at('stopped'), { config: given(6) })
      const stop = new AbortController()
      run.trainer.once('step', () => stop.abort())
      await stopped(run, stop)
    } finally {
      LoaderFeed.prototype.train = train
    }
    await assert.rejects(
      smallRun(at('stopped'), { config: given(3) }).train({ resumeFrom: 'latest', accept: ['phases'] }),
      { code: 'ERR_CHECKPOINT_INCOMPATIBLE', message: /stops inside an accumulation of gradients/ },
    )
  })

  it('on a full disk end with the file named, keep what there was, and go on from it', async () => {
    const given = config([phase])
    await smallRun(at('whole'), { config: given }).train()
    const { syncFile, link } = nodeFiles
    let failing = 1
    for (let isDone = false; !isDone; failing++) {
      let calls = 0
      const full = <Args extends string[]>(act: (...args: Args) => Promise<void>) => {
        return (...args: Args): Promise<void> => {
          if (++calls !== failing) return act(...args)
          return Promise.reject(Object.assign(new Error('ENOSPC: no space left on device'), { code: 'ENOSPC' }))
        }
      }
      Object.assign(nodeFiles, { syncFile: full(syncFile), link: full(link) })
      const run = smallRun(at('run'), { config: given })
      const warnings = warningsOf(run)
      try {
        const failure = await run.train().then(
          () => null,
          (error: TorchkeepError) => error,
        )
        isDone = calls < failing
        if (failure === null) assert.deepEqual(warnings, isDone ? [] : ['sidecar'])
        else {
          assert.match(failure.message, /ENOSPC.*(the last checkpoint is|no checkpoint had been written)/s)
          assert.equal(failure.code, 'ERR_DISK_FULL')
        }
      } finally {
        Object.assign(nodeFiles, { syncFile, link })
      }
      if (failing > 2) {
        const again = smallRun(at('run'), { config: given, seed: 40 + failing })
        const passedOver = warningsOf(again)
        await again.train({ resumeFrom: 'latest' })
        await assertSameBits(latestPath(at('run')), latestPath(at('whole')))
        assert.ok(passedOver.every((id) => id === 'fallback'))
      }
      rmSync(at('run'), { recursive: true })
    }
    assert.ok(failing > 10, `${failing} files`)
  })

  it('go on inside an epoch under autocast, with tied weights that were put back', async () => {
    class Tied extends nn.Module {
      readonly first = new nn.Linear(4, 4)
      readonly second = new nn.Linear(4, 4)
      readonly head = new nn.Linear(4, 1)
      constructor() {
        super()
        this.second.weight = this.first.weight
      }
      override forward(x: Tensor): Tensor {
        return this.head.call((this.second.call((this.first.call(x) as Tensor).relu()) as Tensor).relu()) as Tensor
      }
    }
    const given = config([
      { ...wild, epochs: 2, lr: 0.5, restoreBest: true, autocast: 'bfloat16', accumulateGradBatches: 2 },
      { name: 'q', epochs: 1, lr: 0.01, keepOptimizer: true, optimizer: { name: 'Adam' }, clipGradNorm: 0.1 },
    ])
    const train = async (name: string, seed: number, options: TrainOptions = {}): Promise<void> => {
      manualSeed(7)
      const data = new TensorDataset(randn([11, 4]), randn([11, 1]))
      manualSeed(seed)
      const trainer = new ProgressiveTrainer(new Tied(), null, given, {
        checkpointDir: at(name),
        checkpoint: { everySteps: 1, keepLast: null },
        threads: 1,
        logs: false,
      })
      const loader = new DataLoader(data, { batchSize: 3, shuffle: true })
      await trainer.train(loader, new DataLoader(data, { batchSize: 4 }), options)
    }
    await train('whole', 1)
    const files = readdirSync(at('whole', 'regular')).filter((name) => name.includes('_step_'))
    assert.ok(files.length >= 4)
    for (const [index, name] of files.entries()) {
      await train('resumed', 50 + index, { resumeFrom: at('whole', 'regular', name) })
      await assertSameBits(latestPath(at('resumed')), latestPath(at('whole')))
      rmSync(at('resumed'), { recursive: true })
    }
  })
})
