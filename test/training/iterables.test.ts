/** (Async) iterables of batches as data, and data sets that make their samples. */
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { monitorEventLoopDelay } from 'node:perf_hooks'
import { setTimeout as wait } from 'node:timers/promises'
import {
  DataLoader,
  Dataset,
  liveTensors,
  manualSeed,
  nn,
  randn,
  scope,
  type Tensor,
  tensor,
  TensorDataset,
} from '../../lib/index.js'
import type { TrainingConfig } from '../../src/checkpoint/training-config.js'
import type { TorchkeepError } from '../../src/format/errors.js'
import type { BatchIterable, TrainingData } from '../../src/training/feed.js'
import { ProgressiveTrainer, type TrainerOptions, type TrainOptions } from '../../src/training/trainer.js'
import { assertSameBits } from './fixture.js'

const config: TrainingConfig = {
  loss: 'mse',
  metrics: ['rmse'],
  accumulateGradBatches: 2,
  phases: [{ name: 'all', epochs: 2, lr: 0.01 }],
}

class Model extends nn.Module {
  readonly body = new nn.Sequential(new nn.Linear(3, 8), new nn.Dropout(0.3), new nn.Linear(8, 1))
  override forward(x: Tensor): Tensor {
    return this.body.call(x) as Tensor
  }
}

/** Seven batches of 4, 4, 4, 4, 4, 4 and 1 rows. */
const rowsOfBatches = [0, 4, 8, 12, 16, 20, 24]

describe('iterables as data', function () {
  this.timeout(60_000)
  let folder: string
  let data: TensorDataset
  before(() => {
    folder = mkdtempSync(join(tmpdir(), 'torchkeep-iterables-'))
    manualSeed(1)
    data = new TensorDataset(randn([25, 3]), randn([25, 1]))
  })
  after(() => rmSync(folder, { recursive: true }))

  const batchAt = (first: number): Tensor[] =>
    scope(() => data.tensors.map((whole) => whole.narrow(0, first, Math.min(4, 25 - first)).clone()))

  /** The batches of a loader that does not shuffle; with `state` and `restore`, goes on in the middle. */
  function batches(
    options: { resumable?: boolean; wait?: boolean; read?: (batch: number) => void } = {},
  ): BatchIterable {
    let next = 0
    const iterable = {
      async *[Symbol.asyncIterator]() {
        for (; next < rowsOfBatches.length; next++) {
          if (options.wait === true) await wait(1)
          options.read?.(next)
          const batch = batchAt(rowsOfBatches[next] as number)
          next++
          yield batch
          next--
          // They are its own: the trainer has references.
          for (const tensor of batch) tensor.dispose()
        }
        next = 0
      },
    }
    if (options.resumable !== true) {
      const begin = iterable[Symbol.asyncIterator].bind(iterable)
      return { [Symbol.asyncIterator]: () => ((next = 0), begin()) }
    }
    return {
      ...iterable,
      state: () => ({ next }),
      restore: (state) => {
        next = (state as { next: number }).next
      },
    }
  }

  function trainer(name: string, options: TrainerOptions & { config?: TrainingConfig } = {}): ProgressiveTrainer {
    const { config: own = config, ...rest } = options
    manualSeed(2)
    return new ProgressiveTrainer(new Model(), null, own, {
      checkpointDir: join(folder, name),
      threads: 1,
      logs: false,
      ...rest,
    })
  }

  async function train(
    name: string,
    training: TrainingData,
    validation: TrainingData | null = null,
    options: TrainOptions = {},
  ) {
    return (await trainer(name).train(training, validation, options)).latestCheckpointPath
  }

  const refused = (run: Promise<unknown>, code: string, message: RegExp): Promise<void> =>
    assert.rejects(run, (error: TorchkeepError) => {
      assert.equal(error.code, code, error.stack)
      assert.match(error.message, message)
      return true
    })

  it('trains and validates to the same bits as the loader that gives these batches, a smaller last group included', async () => {
    const loader = new DataLoader(data, { batchSize: 4 })
    // Making a loader's order draws a seed, also without shuffling, which Python's does too and an iterable does not: dropout would differ.
    const epoch = async (training: TrainingData, validation: TrainingData, name: string): Promise<string> => {
      const own = trainer(name, { config: { ...config, phases: [{ name: 'all', epochs: 1, lr: 0.01 }] } })
      manualSeed(3)
      if (training !== loader) loader.epochOrder()
      const { latestCheckpointPath } = await own.train(training, validation)
      return latestCheckpointPath
    }
    const expected = await epoch(loader, loader, 'loader')
    const before = liveTensors()
    await assertSameBits(await epoch(batches(), batches(), 'async'), expected, ['.rng_state'])
    await assertSameBits(await epoch(batches({ wait: true }), batches({ wait: true }), 'waiting'), expected, [
      '.rng_state',
    ])
    const array = rowsOfBatches.map(batchAt)
    await assertSameBits(await epoch(array, array, 'array'), expected, ['.rng_state'])
    assert.ok(
      array.flat().every((tensor) => !tensor.disposed),
      'the tensors of an array stay its own',
    )
    assert.ok(liveTensors() - before < 200, `${liveTensors() - before} tensors are left`)
  })

  it('goes on at every step of a run with the same bits where the iterable offers state and restore', async () => {
    const saved: string[] = []
    const whole = trainer('whole', { checkpoint: { everySteps: 1, keepLast: null } })
    whole.on('checkpoint', ({ path }) => saved.push(path))
    const { latestCheckpointPath: expected } = await whole.train(batches({ resumable: true }))
    assert.ok(saved.length >= 8, String(saved.length))
    for (const [index, path] of saved.entries())
      await assertSameBits(
        await train(`resumed-${index}`, batches({ resumable: true }), null, { resumeFrom: path }),
        expected,
      )
  })

  it('refuses to go on inside an epoch of an iterable that cannot say where it is, and goes on between epochs', async () => {
    const saved: { path: string; step: number }[] = []
    const whole = trainer('no-state', { checkpoint: { everySteps: 1, keepLast: null } })
    whole.on('checkpoint', ({ path, step }) => saved.push({ path, step }))
    const { latestCheckpointPath: expected } = await whole.train(batches())
    const inside = saved.find(({ step }) => step === 2)?.path as string
    await refused(
      train('no-state-2', batches(), null, { resumeFrom: inside }),
      'ERR_CHECKPOINT_INCOMPATIBLE',
      /stops inside an epoch, after 4 batches, and the iterable of the training data offers no state\(\) and restore\(\)/,
    )
    await refused(
      train('no-state-3', batches({ resumable: true }), null, { resumeFrom: inside }),
      'ERR_CHECKPOINT_INCOMPATIBLE',
      /offered no state\(\) when it was saved/,
    )
    const between = saved.filter(({ step }) => step === 4).at(-1)?.path as string
    await assertSameBits(await train('no-state-4', batches(), null, { resumeFrom: between }), expected)
  })

  it('names the batch of an iterable that throws or gives something else', async () => {
    const giving = (make: (index: number) => unknown): BatchIterable =>
      ({
        *[Symbol.iterator]() {
          for (let index = 0; index < 4; index++) yield make(index)
        },
      }) as BatchIterable
    const third = (wrong: () => unknown): BatchIterable => giving((index) => (index === 2 ? wrong() : batchAt(0)))
    const fail = (): never => {
      throw new Error('connection lost')
    }
    const [x, wide, short] = [randn([4, 3]), randn([4, 2]), randn([3, 1])]
    const bad = (name: string, training: TrainingData, message: RegExp): Promise<void> =>
      refused(train(name, training), 'ERR_DATA', message)
    await bad(
      'throws',
      third(fail),
      /batch 3 of an epoch of the training data could not be read: connection lost; no checkpoint/,
    )
    await bad(
      'number',
      third(() => 7),
      /batch 3 .* should be an array of tensors, inputs and then the target, but is number/,
    )
    await bad(
      'kind',
      third(() => [x, wide]),
      /should be float32 \[n, 3\], float32 \[n, 1\] like the first batch, but is float32 \[n, 3\], float32 \[n, 2\]/,
    )
    await bad(
      'rows',
      third(() => [x, short]),
      /same first size, at least 1, but have shapes \[4, 3\], \[3, 1\]/,
    )
    await bad('empty', [], /the training data have no batch/)
    await bad(
      'draws',
      giving(() => [randn([4, 3]), randn([4, 1])]),
      /batch 1 .* it was drawn from the default generator/,
    )
    await bad(
      'draws-later',
      third(() => [randn([4, 3]), randn([4, 1])]),
      /batch 3 .* could not be read: .*(drawn from the default generator|default generator is in use)/,
    )
    await refused(
      train('validation', batches(), third(fail)),
      'ERR_DATA',
      /batch 3 of an epoch of the validation data could not be read/,
    )
  })

  it('refuses iterables that can be gone through once, or that offer half of what a resume needs', async () => {
    async function* generate(): AsyncGenerator<Tensor[]> {
      yield await Promise.resolve(batchAt(0))
    }
    await refused(train('once', generate()), 'ERR_INVALID_ARGUMENT', /can be gone through once/)
    const once = generate()
    await refused(
      train('once-2', { [Symbol.asyncIterator]: () => once }),
      'ERR_DATA',
      /a further epoch has none: each epoch asks for a new iterator/,
    )
    const half = { ...batches(), state: () => null } as BatchIterable
    await refused(train('half', half), 'ERR_INVALID_ARGUMENT', /offers state\(\) but no restore\(\)/)
    const sized = trainer('sized', { config: { ...config, batchSize: 5 } })
    await refused(
      sized.train(batches()),
      'ERR_INVALID_ARGUMENT',
      /batches of 5 are wanted, but the training data are an iterable/,
    )
  })

  it('reads a bounded number of batches ahead, and closes the iterator when the run is interrupted', async () => {
    let [read, trained, most, isClosed] = [0, 0, 0, false]
    const endless: BatchIterable = {
      *[Symbol.iterator]() {
        try {
          for (;;) {
            read++
            most = Math.max(most, read - trained)
            yield batchAt(0)
          }
        } finally {
          isClosed = true
        }
      },
    }
    const stop = new AbortController()
    const own = trainer('endless', { config: { ...config, accumulateGradBatches: 1 } })
    own.on('step', ({ batch, batches: total }) => {
      trained = batch
      assert.equal(total, null)
      if (batch > 500) stop.abort()
    })
    await refused(own.train(endless, null, { signal: stop.signal }), 'ERR_ABORTED', /interrupted in epoch 1/)
    assert.ok(isClosed)
    // 64 that wait, and 64 that are being trained on, which the event tells of afterwards.
    assert.ok(most > 1 && most <= 130, `${most} batches ahead`)
  })

  it('stops waiting for a batch that does not come when the signal fires', async () => {
    const hanging: BatchIterable = {
      async *[Symbol.asyncIterator]() {
        yield batchAt(0)
        yield batchAt(0)
        await new Promise<void>((resolve) => stop.signal.addEventListener('abort', () => setImmediate(resolve)))
      },
    }
    const stop = new AbortController()
    const own = trainer('hanging')
    own.on('step', () => stop.abort())
    await refused(own.train(hanging, null, { signal: stop.signal }), 'ERR_ABORTED', /after step 1/)
  })

  it('keeps the event loop free while samples that take long are made, and goes on exactly where they are drawn', async () => {
    class Noisy extends Dataset {
      readonly length = 64
      constructor(readonly busyMs: number) {
        super()
      }
      override get(index: number): Tensor[] {
        const end = performance.now() + this.busyMs
        while (performance.now() < end);
        const noise = this.busyMs > 0 ? 0 : 0.1
        return data
          .get(index % 25)
          .map((tensor) => (noise === 0 ? tensor.clone() : tensor.add(randn(tensor.shape).mul(noise))))
      }
    }
    const delay = monitorEventLoopDelay({ resolution: 1 })
    const slow = trainer('slow', { config: { ...config, phases: [{ name: 'all', epochs: 1, lr: 0.01 }] } })
    delay.enable()
    await slow.train(new DataLoader(new Noisy(1), { batchSize: 32 }))
    delay.disable()
    assert.ok(delay.percentile(90) < 20e6, `p90 ${delay.percentile(90) / 1e6} ms`)
    // Samples that draw: those of a batch just before its step, so that a resume draws the same.
    const saved: string[] = []
    const whole = trainer('noisy', { checkpoint: { everySteps: 1, keepLast: null } })
    whole.on('checkpoint', ({ path }) => saved.push(path))
    const loader = new DataLoader(new Noisy(0), { batchSize: 16, shuffle: true })
    const { latestCheckpointPath: expected } = await whole.train(loader)
    for (const index of [0, 2])
      await assertSameBits(
        await train(`noisy-${index}`, loader, null, { resumeFrom: saved[index] as string }),
        expected,
      )
  })

  it('checks the targets of every loss before the first step', async () => {
    const x = randn([5, 3])
    const bad = (
      loss: 'mse' | 'l1' | 'bce_with_logits' | 'cross_entropy',
      target: Tensor,
      message: RegExp,
      classes = 1,
    ): Promise<void> => {
      const own = new ProgressiveTrainer(
        new nn.Sequential(new nn.Linear(3, classes)),
        null,
        { loss, phases: [{ name: 'all', epochs: 1, lr: 0.1 }] },
        { checkpointDir: join(folder, 'targets') },
      )
      return refused(own.train(new DataLoader(new TensorDataset(x, target), { batchSize: 2 })), 'ERR_DATA', message)
    }
    const column = (...values: number[]): Tensor => tensor(Float32Array.from(values)).reshape([5, 1])
    await bad('l1', randn([5]), /values of shape \[2, 1\] like the model's output for 'l1', but are of shape \[2\]/)
    await bad('l1', randn([5, 1]).to('float64'), /float32 like the model's output for 'l1', but are float64/)
    await bad('mse', column(1, 2, 3, 4, NaN), /should be finite, but are NaN at position 4/)
    await bad(
      'bce_with_logits',
      column(0, 1, 0.5, 1.5, 0),
      /should be from 0 to 1 for 'bce_with_logits', but are 1.5 at position 3/,
    )
    await bad('bce_with_logits', column(0, 1, 0, 1, -0.1), /but are -0\.1\d* at position 4/)
    await bad(
      'cross_entropy',
      tensor(BigInt64Array.of(0n, 1n, 0n, 1n, 2n)),
      /class numbers from 0 to 1 .* but are 2 at position 4/,
      2,
    )
  })

  it('checks the last batch with the batch size of each phase', async () => {
    const model = (): nn.Module =>
      new nn.Sequential(new nn.Conv2d(3, 4, 1), new nn.BatchNorm2d(4), new nn.Flatten(), new nn.Linear(4, 1))
    const images = new TensorDataset(randn([25, 3, 1, 1]), randn([25, 1]))
    const loader = new DataLoader(images, { batchSize: 5 })
    const run = (batchSize: number): ProgressiveTrainer =>
      new ProgressiveTrainer(
        model(),
        null,
        {
          loss: 'mse',
          phases: [
            { name: 'a', epochs: 1, lr: 0.1 },
            { name: 'b', epochs: 1, lr: 0.1, batchSize },
          ],
        },
        { checkpointDir: join(folder, 'last-batch'), logs: false },
      )
    await refused(
      run(8).train(loader),
      'ERR_DATA',
      /last batch of the training data has 1 sample \(25 samples, batch size 8\)/,
    )
    assert.equal((await run(7).train(loader)).totalSteps, 5 + 4)
  })
})
