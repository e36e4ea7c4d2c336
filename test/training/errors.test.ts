/** Mistakes are named before the first step where they can be known, and a failure in mid-run loses nothing. */
import assert from 'node:assert/strict'
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Tensor } from '../../lib/index.js'
import { DataLoader, manualSeed, nn, randint, randn, tensor, TensorDataset, zeros } from '../../lib/index.js'
import { latestPath } from '../../src/checkpoint/layout.js'
import type { TrainingConfig } from '../../src/checkpoint/training-config.js'
import type { TorchkeepError } from '../../src/format/errors.js'
import { load } from '../../src/serialization.js'
import { ProgressiveTrainer } from '../../src/training/trainer.js'
import { prepare, trainingConfig } from './fixture.js'

describe('trainer errors', function () {
  this.timeout(60_000)
  let folder: string
  beforeEach(() => (folder = join(mkdtempSync(join(tmpdir(), 'torchkeep-errors-')), 'run')))
  afterEach(() => rmSync(join(folder, '..'), { recursive: true }))

  const phases = [{ name: 'all', epochs: 3, lr: 0.1 }]
  const linear = (): nn.Module => new nn.Sequential(new nn.Linear(4, 2))
  const trainer = (config: Partial<TrainingConfig> = {}, model = linear()): ProgressiveTrainer =>
    new ProgressiveTrainer(model, null, { loss: 'mse', phases, ...config } as TrainingConfig, {
      checkpointDir: folder,
      threads: 1,
    })
  const loader = (x: Tensor, y: Tensor, options = {}): DataLoader =>
    new DataLoader(new TensorDataset(x, y), { batchSize: 4, ...options })

  /** Asserts that the mistake is refused and that nothing was written. */
  async function refused(run: Promise<unknown>, code: string, message: RegExp): Promise<void> {
    await assert.rejects(run, (error: TorchkeepError) => {
      assert.equal(error.code, code, error.stack)
      assert.match(error.message, message)
      return true
    })
    assert.ok(!existsSync(folder), 'nothing was written')
  }

  it('refuses wrong configurations when the trainer is made', () => {
    assert.throws(() => trainer({ phases: [] }), { code: 'ERR_INVALID_ARGUMENT', message: /phases is empty/ })
    assert.throws(() => trainer({ loss: 'custom' }), {
      code: 'ERR_INVALID_ARGUMENT',
      message: /loss option is missing/,
    })
    assert.throws(
      () => trainer({ phases: [{ ...phases[0]!, freeze: ['head.*'] }] }),
      /matches no parameter; there are 0\.weight, 0\.bias/,
    )
    const config = { activation: () => 0 } as unknown as null
    assert.throws(
      () => new ProgressiveTrainer(linear(), config, { loss: 'mse', phases }),
      /^TorchkeepError.*|config\.activation/,
    )
  })

  it('refuses data that cannot train, with expected and found', async () => {
    const x = randn([8, 4])
    await refused(
      trainer().train(loader(zeros([0, 4]), zeros([0, 2])), null),
      'ERR_DATA',
      /training data have no batch: 0 samples/,
    )
    await refused(
      trainer().train(loader(x, randn([8])), null),
      'ERR_DATA',
      /of shape \[4, 2\] like the model's output for 'mse', but are of shape \[4\]/,
    )
    await refused(
      trainer().train(loader(x, randint(0, 2, [8, 2])), null),
      'ERR_DATA',
      /float32 like the model's output for 'mse', but are int64/,
    )
    const classify = (y: Tensor): Promise<unknown> => trainer({ loss: 'cross_entropy' }).train(loader(x, y), null)
    const oneOutput = trainer({ loss: 'cross_entropy' }, new nn.Linear(4, 1))
    await refused(
      oneOutput.train(loader(x, zeros([8, 1])), null),
      'ERR_DATA',
      /class probabilities of two or more classes for 'cross_entropy', but are of shape \[4, 1\]: one number/,
    )
    await refused(classify(randn([8])), 'ERR_DATA', /int64 class numbers for 'cross_entropy'|class probabilities/)
    await refused(
      classify(zeros([8], { dtype: 'int32' })),
      'ERR_DATA',
      /int64 class numbers for 'cross_entropy', but are int32/,
    )
    await refused(
      classify(tensor(BigInt64Array.of(0n, 1n, 0n, 1n, 0n, 2n, 0n, 0n))),
      'ERR_DATA',
      /from 0 to 1 \(the model has 2 outputs\), but are 2 at position 5/,
    )
    await refused(classify(tensor(BigInt64Array.of(0n, 1n, 0n, -1n, 0n, 1n, 0n, 0n))), 'ERR_DATA', /-1 at position 3/)
    const validated = trainer({ metrics: ['accuracy'] }).train(loader(x, randn([8, 2])), loader(x, randn([8, 2])))
    await refused(validated, 'ERR_DATA', /metric 'accuracy' needs/)
    await refused(
      trainer({ monitor: 'val_loss' }).train(loader(x, randn([8, 2])), null),
      'ERR_MONITOR_MISSING',
      /there are train_loss/,
    )
  })

  it('refuses a last batch that batch norm cannot train on, and trains with dropLast', async () => {
    manualSeed(0)
    const model = (): nn.Module => new nn.Sequential(new nn.BatchNorm2d(4), new nn.Flatten(), new nn.Linear(4, 2))
    const x = randn([9, 4, 1, 1])
    await refused(trainer({}, model()).train(loader(x, randn([9, 2])), null), 'ERR_DATA', /last batch.* 1 sample/)
    const summary = await trainer({}, model()).train(loader(x, randn([9, 2]), { dropLast: true }), null)
    assert.equal(summary.totalSteps, 6)
  })

  it('refuses a model that treats the shorter last batch in another way, as one recording cannot', async () => {
    class Decides extends nn.Module {
      readonly linear = new nn.Linear(4, 2)
      override forward(x: Tensor): Tensor {
        const y = this.linear.call(x) as Tensor
        return x.size(0) > 2 ? y : y.neg()
      }
    }
    const bySize = trainer({}, new Decides()).train(loader(randn([6, 4]), randn([6, 2])), null)
    await assert.rejects(bySize, { code: 'ERR_INVALID_ARGUMENT', message: /depends on the batch size/ })
    await trainer({}, new Decides()).train(loader(randn([8, 4]), randn([8, 2])), null)
  })

  it('stops at a loss that is not finite and says where the last good checkpoint is', async () => {
    const run = new ProgressiveTrainer(
      linear(),
      null,
      { loss: 'mse', phases: [{ name: 'wild', epochs: 9, lr: 1e12, optimizer: { name: 'SGD' } }] },
      {
        checkpointDir: folder,
        checkpoint: { everySteps: 1 },
        threads: 1,
      },
    )
    const saved: string[] = []
    run.on('checkpoint', ({ path }) => saved.push(path))
    let failure: TorchkeepError | undefined
    await run.train(loader(randn([8, 4]), randn([8, 2])), null).catch((error: TorchkeepError) => (failure = error))
    assert.equal(failure?.code, 'ERR_NON_FINITE')
    assert.match(
      failure.message,
      /^the loss of step \d+ \(epoch \d+, phase 1\) is (NaN|Infinity); .*; the last checkpoint is /,
    )
    assert.ok(failure.message.endsWith(saved.at(-1) as string))
    const checkpoint = (await load(saved.at(-1) as string)) as Map<string, Map<string, Tensor>>
    for (const [name, weight] of checkpoint.get('model_state_dict') ?? [])
      assert.ok((weight.data() as Float32Array).every(Number.isFinite), name)
  })

  it('keeps the last checkpoint when a later save fails, and names it', async () => {
    const { trainer: run, trainLoader, valLoader } = prepare(folder)
    run.once('checkpoint', () => {
      rmSync(join(folder, 'regular'), { recursive: true })
      writeFileSync(join(folder, 'regular'), 'in the way')
    })
    await assert.rejects(run.train(trainLoader, valLoader), (error: TorchkeepError) => {
      assert.equal(error.code, 'ERR_CHECKPOINT_WRITE')
      assert.match(
        error.message,
        /could not write .*checkpoint_epoch_2_phase_1.*; the last checkpoint is .*checkpoint_epoch_1_phase_1/,
      )
      return true
    })
    assert.equal(((await load(latestPath(folder))) as Map<string, unknown>).get('epoch'), 1)
  })

  it('refuses a model that a checkpoint does not fit, and data of another size inside an epoch', async () => {
    const first = prepare(folder, { checkpoint: { everySteps: 1 } })
    const files: string[] = []
    first.trainer.on('checkpoint', ({ path }) => files.push(path))
    await first.trainer.train(first.trainLoader, first.valLoader)
    const other = new ProgressiveTrainer(
      linear(),
      { width: 4 },
      { ...trainingConfig, phases: trainingConfig.phases.map((phase) => ({ ...phase, freeze: [] })) },
      { checkpointDir: folder },
    )
    const classes = loader(randn([8, 4]), randint(0, 2, [8]))
    await assert.rejects(other.train(classes, classes, { resumeFrom: 'latest', accept: ['phases'] }), {
      code: 'ERR_CHECKPOINT_INCOMPATIBLE',
      message: /latest\.pth does not fit the model: .*0\.weight/s,
    })
    const again = prepare(folder)
    const shorter = new DataLoader(new TensorDataset(randn([20, 1, 8, 8]), randint(0, 3, [20])), {
      batchSize: 8,
      shuffle: true,
    })
    await assert.rejects(again.trainer.train(shorter, again.valLoader, { resumeFrom: files[0] as string }), {
      code: 'ERR_CHECKPOINT_INCOMPATIBLE',
      message: /stops inside an epoch with numSamples 22, but the training loader has 20/,
    })
    const unshuffled = new DataLoader(again.trainLoader.dataset, { batchSize: 8 })
    await assert.rejects(again.trainer.train(unshuffled, again.valLoader, { resumeFrom: files[0] as string }), {
      code: 'ERR_CHECKPOINT_INCOMPATIBLE',
      message: /stops inside an epoch with shuffle true, but the training loader has false/,
    })
  })

  it('trains one run at a time', async () => {
    const { trainer: run, trainLoader, valLoader } = prepare(folder)
    const first = run.train(trainLoader, valLoader)
    await assert.rejects(run.train(trainLoader, valLoader), { code: 'ERR_BUSY' })
    await first
  })
})
