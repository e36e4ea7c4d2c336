/** Data sets, losses and models other than the plain ones. */
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import {
  DataLoader,
  Dataset,
  liveTensors,
  manualSeed,
  nn,
  randn,
  type Tensor,
  tensor,
  TensorDataset,
} from '../../lib/index.js'
import { ProgressiveTrainer, type TrainerOptions } from '../../src/training/trainer.js'
import { assertSameBits } from './fixture.js'

/** Two inputs of different widths. */
class TwoInputs extends nn.Module {
  readonly left = new nn.Linear(3, 4)
  readonly right = new nn.Linear(2, 4)
  readonly top = new nn.Linear(4, 1)
  readonly dropout = new nn.Dropout(0.2)

  override forward(left: Tensor, right: Tensor): Tensor {
    return this.top.call(this.dropout.call(this.left.call(left).add(this.right.call(right))).relu())
  }
}

/** Makes each sample when it is asked for. */
class MadeOnDemand extends Dataset {
  readonly length = 21
  readonly #whole: TensorDataset
  asked = 0

  constructor(whole: TensorDataset) {
    super()
    this.#whole = whole
  }

  override get(index: number): Tensor[] {
    this.asked++
    return this.#whole.get(index).map((sample) => sample.clone())
  }
}

describe('trainer data', function () {
  this.timeout(60_000)
  let folder: string
  let data: TensorDataset
  before(() => {
    folder = mkdtempSync(join(tmpdir(), 'torchkeep-data-'))
    manualSeed(1)
    data = new TensorDataset(randn([21, 3]), randn([21, 2]), randn([21, 1]))
  })
  after(() => rmSync(folder, { recursive: true }))

  const phases = [{ name: 'all', epochs: 3, lr: 0.01 }]
  async function train(
    name: string,
    dataset: Dataset,
    options: TrainerOptions = {},
    loss: 'mse' | 'custom' = 'mse',
  ): Promise<string> {
    manualSeed(2)
    const trainer = new ProgressiveTrainer(
      new TwoInputs(),
      null,
      { loss, phases, metrics: ['rmse'] },
      { checkpointDir: join(folder, name), threads: 1, ...options },
    )
    const loader = new DataLoader(dataset, { batchSize: 4, shuffle: true })
    return (await trainer.train(loader, loader)).latestCheckpointPath
  }

  it('trains a model of two inputs to the same bits from whole tensors and from samples made on demand', async () => {
    const whole = await train('whole', data)
    const onDemand = new MadeOnDemand(data)
    const before = liveTensors()
    await assertSameBits(await train('on-demand', onDemand), whole)
    assert.ok(onDemand.asked >= 2 * 3 * 21)
    const left = liveTensors() - before
    assert.ok(left < onDemand.asked, `${left} tensors are left of ${onDemand.asked} samples of three`)
  })

  it('trains with a loss of the user as with its own', async () => {
    const own = await train('mse', data)
    const custom = await train(
      'custom',
      data,
      { loss: (output, target) => nn.functional.mseLoss(output, target) },
      'custom',
    )
    await assertSameBits(custom, own, ['.training_config.loss'])
  })

  it('trains on what a loss makes of several outputs', async () => {
    class TwoOutputs extends nn.Module {
      readonly body = new nn.Linear(2, 2)
      override forward(x: Tensor): Tensor[] {
        const y = this.body.call(x)
        return [y.narrow(1, 0, 1), y.narrow(1, 1, 1)]
      }
    }
    manualSeed(3)
    const x = randn([8, 2])
    const loader = new DataLoader(new TensorDataset(x, x.sum(1, { keepdim: true })), { batchSize: 8 })
    const trainer = new ProgressiveTrainer(
      new TwoOutputs(),
      null,
      { loss: 'custom', phases: [{ name: 'all', epochs: 200, lr: 0.05 }] },
      {
        checkpointDir: join(folder, 'two-outputs'),
        checkpoint: { everyEpochs: 200 },
        loss: (first, second, target) =>
          first
            .add(second)
            .sub(target as Tensor)
            .pow(2)
            .mean(),
      },
    )
    const { metricsHistory } = await trainer.train(loader, null)
    assert.ok((metricsHistory.at(-1)?.trainLoss ?? NaN) < 1e-3, `loss ${metricsHistory.at(-1)?.trainLoss}`)
  })

  it('keeps tied weights tied through phases and a resume', async () => {
    class Tied extends nn.Module {
      readonly first = new nn.Linear(3, 3, { bias: false })
      readonly second = new nn.Linear(3, 3, { bias: false })
      constructor() {
        super()
        this.second.weight = this.first.weight
      }
      override forward(x: Tensor): Tensor {
        return this.second.call(this.first.call(x).relu())
      }
    }
    manualSeed(4)
    const x = randn([8, 3])
    const loader = new DataLoader(new TensorDataset(x, x), { batchSize: 3, shuffle: true })
    const config = { loss: 'mse', phases: [phases[0]!, { name: 'again', epochs: 1, lr: 0.001 }] } as const
    const prepare = (): { model: Tied; trainer: ProgressiveTrainer } => {
      const model = new Tied()
      return {
        model,
        trainer: new ProgressiveTrainer(model, null, config, {
          checkpointDir: join(folder, 'tied'),
          checkpoint: { everySteps: 1, keepLast: null },
          threads: 1,
        }),
      }
    }
    const saved: string[] = []
    const { trainer } = prepare()
    trainer.on('checkpoint', ({ path }) => saved.push(path))
    const { latestCheckpointPath } = await trainer.train(loader, loader)
    const resumed = prepare()
    const again = await resumed.trainer.train(loader, loader, { resumeFrom: saved[3] as string })
    await assertSameBits(again.latestCheckpointPath, latestCheckpointPath)
    assert.equal(resumed.model.second.weight, resumed.model.first.weight)
    assert.equal(
      resumed.model.stateDict().get('second.weight')?.info().storageId,
      resumed.model.first.weight.info().storageId,
    )
  })

  it('takes class probabilities as targets of cross_entropy', async () => {
    const x = randn([8, 3])
    const loader = new DataLoader(new TensorDataset(x, x.softmax(1)), { batchSize: 4 })
    const trainer = new ProgressiveTrainer(
      new nn.Sequential(new nn.Linear(3, 3)),
      null,
      { loss: 'cross_entropy', phases },
      { checkpointDir: join(folder, 'soft') },
    )
    assert.equal((await trainer.train(loader, null)).totalSteps, 6)
    const ignoring = new DataLoader(
      new TensorDataset(x, tensor(BigInt64Array.of(0n, -100n, 1n, 2n, 0n, 1n, 2n, -100n))),
      { batchSize: 4 },
    )
    assert.equal((await trainer.train(ignoring, null)).totalSteps, 6)
  })
})
