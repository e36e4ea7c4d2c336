/** What a caller gets wrong in options, data sets of their own, models and losses is named before anything is written. */
import assert from 'node:assert/strict'
import { existsSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DataLoader, Dataset, manualSeed, nn, randn, type Tensor, tensor, TensorDataset } from '../../lib/index.js'
import { latestPath } from '../../src/checkpoint/layout.js'
import type { OptimizerConfig, TrainingConfig } from '../../src/checkpoint/training-config.js'
import type { TorchkeepError } from '../../src/format/errors.js'
import { load, save } from '../../src/serialization.js'
import { ProgressiveTrainer, type TrainerOptions, type TrainOptions } from '../../src/training/trainer.js'

class FunctionNet extends nn.Module {
  readonly linear = new nn.Linear(4, 2)
  readonly #fn: (x: Tensor, linear: nn.Linear) => unknown

  constructor(fn: (x: Tensor, linear: nn.Linear) => unknown) {
    super()
    this.#fn = fn
  }

  override forward(x: Tensor): Tensor {
    return this.#fn(x, this.linear) as Tensor
  }
}

class FunctionDataset extends Dataset {
  constructor(
    readonly length: number,
    private readonly sample: (row: number) => unknown,
  ) {
    super()
  }

  override get(row: number): Tensor[] {
    return this.sample(row) as Tensor[]
  }
}

describe('mistakes', function () {
  this.timeout(60_000)
  let folder: string
  beforeEach(() => {
    folder = join(mkdtempSync(join(tmpdir(), 'torchkeep-mistakes-')), 'run')
    manualSeed(0)
  })
  afterEach(() => rmSync(join(folder, '..'), { recursive: true }))

  const phases = [{ name: 'all', epochs: 2, lr: 0.1 }]
  const linear = (): nn.Module => new nn.Sequential(new nn.Linear(4, 2))
  const trainer = (config: unknown = {}, model = linear(), options: unknown = {}): ProgressiveTrainer =>
    new ProgressiveTrainer(model, null, { loss: 'mse', phases, ...(config as object) } as TrainingConfig, {
      checkpointDir: folder,
      threads: 1,
      ...(options as TrainerOptions),
    })
  const loader = (dataset: Dataset = new TensorDataset(randn([10, 4]), randn([10, 2]))): DataLoader =>
    new DataLoader(dataset, { batchSize: 4 })

  async function refused(run: () => unknown, code: string, message: RegExp): Promise<void> {
    await assert.rejects(
      async () => await run(),
      (error: TorchkeepError) => {
        assert.equal(error.code, code, error.stack)
        assert.match(error.message, message)
        return true
      },
    )
    assert.ok(!existsSync(folder), 'nothing was written')
  }

  it('names options that do not exist or have a wrong kind', async () => {
    const invalid = (options: unknown, message: RegExp): Promise<void> =>
      refused(() => trainer({}, linear(), options), 'ERR_INVALID_ARGUMENT', message)
    await invalid({ checkpointdir: 'a' }, /options\.checkpointdir is not known here/)
    await invalid({ checkpointDir: 7 }, /options\.checkpointDir should be a path, but is number 7/)
    await invalid({ checkpoint: { everyStep: 1 } }, /options\.checkpoint\.everyStep is not known here/)
    await invalid({ threads: -1 }, /options\.threads should be an integer of at least 0/)
    const train = (options: unknown, message: RegExp): Promise<void> =>
      refused(() => trainer().train(loader(), null, options as TrainOptions), 'ERR_INVALID_ARGUMENT', message)
    await train({ resume: 'latest' }, /options\.resume is not known here \(known: resumeFrom/)
    await train({ resumeFrom: null }, /options\.resumeFrom should be a path, but is null/)
    await train({ accept: 'phases' }, /options\.accept should be an array/)
    await train({ signal: {} }, /options\.signal should be an AbortSignal/)
    await refused(
      () => trainer().train(7 as unknown as DataLoader),
      'ERR_INVALID_ARGUMENT',
      /training data should be a DataLoader or an \(async\) iterable of batches, but are number/,
    )
    await refused(
      () => trainer({}, (() => 1) as unknown as nn.Module),
      'ERR_INVALID_ARGUMENT',
      /model should be a Module/,
    )
    await refused(
      () => trainer({}, new nn.Sequential(new nn.ReLU())),
      'ERR_INVALID_ARGUMENT',
      /the model has no parameters/,
    )
  })

  it('checks the optimizers of all phases when the trainer is made', async () => {
    const later = (optimizer: OptimizerConfig, message: RegExp): Promise<void> =>
      refused(() => trainer({ phases: [...phases, { ...phases[0], optimizer }] }), 'ERR_INVALID_ARGUMENT', message)
    await later({ name: 'Adam', momentum: 0.9 }, /Adam has no option momentum/)
    await later({ name: 'SGD', nesterov: true }, /nesterov needs momentum/)
    await later({ name: 'AdamW', betas: [0.9] }, /betas is \[0\.9\]/)
    await refused(
      () => trainer({ phases: [{ ...phases[0], lr: Infinity }] }),
      'ERR_INVALID_ARGUMENT',
      /lr should be a finite positive number/,
    )
  })

  it('names the sample of a data set that cannot be read or does not fit its batch', async () => {
    const train = (length: number, sample: (row: number) => unknown, message: RegExp): Promise<void> =>
      assert.rejects(trainer().train(loader(new FunctionDataset(length, sample))), { code: 'ERR_DATA', message })
    await train(10, async () => [], /sample 0 of the training data should be an array of tensors, but is a promise/)
    await train(10, () => [[1, 2], 3], /sample 0 .* is an array of an array, number/)
    await train(NaN, () => [], /length of the training data set should be an integer of at least 0, but is NaN/)
    const late = (odd: () => unknown) => (row: number) => (row === 9 ? odd() : [randn([4]), randn([2])])
    await train(
      10,
      late(() => [randn([5]), randn([2])]),
      /sample 9 .* float32 \[4\], float32 \[2\] like sample 8 of its batch, but is float32 \[5\]/,
    )
    await train(
      10,
      late(() => [randn([4], { dtype: 'float64' }), randn([2])]),
      /sample 9 .* but is float64 \[4\]/,
    )
    await train(
      10,
      late(() => {
        throw new Error('disk gone')
      }),
      /sample 9 of the training data could not be read: disk gone; no checkpoint/,
    )
  })

  it('names the data that the model cannot take', async () => {
    const wide = loader(new TensorDataset(randn([10, 5]), randn([10, 2])))
    await refused(
      () => trainer().train(wide),
      'ERR_DATA',
      /first batch of the training data \(float32 \[4, 5\] on cpu\): aten::linear/,
    )
    await refused(() => trainer().train(loader(), wide), 'ERR_DATA', /first batch of the validation data/)
  })

  it('refuses models and losses that give no tensor, or more outputs than the loss takes', async () => {
    const train = (fn: (x: Tensor, linear: nn.Linear) => unknown, message: RegExp): Promise<void> =>
      refused(() => trainer({}, new FunctionNet(fn)).train(loader()), 'ERR_INVALID_ARGUMENT', message)
    await train(() => undefined, /forward\(\) should return a tensor or an array of tensors, but returned undefined/)
    await train(async (x, layer) => layer.call(x), /forward\(\) must not be async/)
    await train(() => {
      throw new RangeError('boom')
    }, /the model's forward\(\) failed on the first batch of the training data: boom/)
    await train(
      (x, layer) => [layer.call(x), layer.call(x)],
      /'mse' compares one output with the target, but the model returns 2/,
    )
    const loss = (fn: unknown): Promise<unknown> => trainer({ loss: 'custom' }, linear(), { loss: fn }).train(loader())
    await refused(
      () =>
        loss(() => {
          throw new TypeError('no loss')
        }),
      'ERR_INVALID_ARGUMENT',
      /the loss function failed on the first batch of the training data: no loss/,
    )
    await refused(
      () => loss((output: Tensor, target: Tensor) => output.sub(target)),
      'ERR_INVALID_ARGUMENT',
      /shape \[\], but is a tensor of shape \[4, 2\]/,
    )
    await refused(() => loss(() => 3), 'ERR_INVALID_ARGUMENT', /but is number/)
  })

  it('leaves the data alone where a model changes its input in place', async () => {
    const x = randn([10, 4])
    const before = Buffer.from((x.data() as Float32Array).buffer)
    const data = loader(new TensorDataset(x, randn([10, 2])))
    await trainer({}, new FunctionNet((input, layer) => layer.call(input.add_(1)))).train(data, data)
    assert.deepEqual(Buffer.from((x.data() as Float32Array).buffer), before)
  })

  it('refuses a checkpoint whose place in the run does not exist', async () => {
    await trainer({ phases: [...phases, ...phases] }, linear(), { checkpoint: { everySteps: 2 } }).train(loader())
    await assert.rejects(trainer().train(loader(), null, { resumeFrom: 'latest', accept: ['phases'] }), {
      code: 'ERR_CHECKPOINT_INCOMPATIBLE',
      message: /latest\.pth stands in phase 2, but the training configuration has 1/,
    })
    const interrupted = new AbortController()
    const run = trainer({}, linear(), { checkpoint: { everySteps: 2 } })
    run.once('step', () => interrupted.abort())
    await assert.rejects(run.train(loader(), null, { signal: interrupted.signal }), { code: 'ERR_ABORTED' })
    const checkpoint = (await load(latestPath(folder), { keepFloats: true })) as Map<string, Map<string, unknown>>
    checkpoint.get('data_position')?.set('batches_done', 99)
    await save(latestPath(folder), checkpoint)
    await assert.rejects(trainer().train(loader(), null, { resumeFrom: 'latest' }), {
      code: 'ERR_CHECKPOINT_INCOMPATIBLE',
      message: /batches_done is 99, but an epoch has 3 batches/,
    })
  })

  it('names a random state in a checkpoint that is none', async () => {
    await trainer().train(loader())
    const checkpoint = (await load(latestPath(folder), { keepFloats: true })) as Map<string, Map<string, unknown>>
    checkpoint.get('rng_state')?.set('cpu', randn([3]))
    await save(latestPath(folder), checkpoint)
    await assert.rejects(trainer().train(loader(), null, { resumeFrom: 'latest' }), {
      code: 'ERR_CHECKPOINT_INCOMPATIBLE',
      message: /latest\.pth: rng_state\.cpu is no generator's state/,
    })
  })

  it('refuses paths that are none', async () => {
    for (const path of [7, undefined, '', 'a\0b', new URL('file:///tmp/a.pth')] as string[]) {
      await assert.rejects(save(path, tensor([1])), { code: 'ERR_INVALID_ARGUMENT', message: /path should be/ })
      await assert.rejects(load(path), { code: 'ERR_INVALID_ARGUMENT', message: /path should be/ })
    }
  })
})
