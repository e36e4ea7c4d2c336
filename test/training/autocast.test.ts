/** A run under autocast: what it records, validates and writes is what a session under autocast computes. */
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { autocast, DataLoader, manualSeed, nn, noGrad, randn, type Tensor, TensorDataset } from '../../lib/index.js'
import { latestPath } from '../../src/checkpoint/layout.js'
import { evaluateCheckpoint } from '../../src/training/evaluation.js'
import { ProgressiveTrainer } from '../../src/training/trainer.js'

/** A forward that asks for the dtype of a tensor in its middle, which autocast changes. */
class Asking extends nn.Module {
  readonly first = new nn.Linear(4, 4)
  readonly second = new nn.Linear(4, 1)

  override forward(x: Tensor): Tensor {
    const hidden = this.first.call(x) as Tensor
    return (this.second.call(hidden.relu()) as Tensor).add(x.to(hidden.dtype).sum([1], { keepdim: true }))
  }
}

describe('a run under autocast', function () {
  this.timeout(60_000)
  let folder: string
  before(() => (folder = mkdtempSync(join(tmpdir(), 'torchkeep-autocast-'))))
  after(() => rmSync(folder, { recursive: true }))

  it('validates as the model computes under autocast, and its checkpoint gives the same figures', async () => {
    manualSeed(1)
    const model = new Asking()
    const [x, y] = [randn([10, 4]), randn([10, 1])]
    const training = new DataLoader(new TensorDataset(randn([22, 4]), randn([22, 1])), { batchSize: 8, shuffle: true })
    const validation = new DataLoader(new TensorDataset(x, y), { batchSize: 10 })
    const phases = [{ name: 'cast', epochs: 2, lr: 0.01, autocast: 'bfloat16' as const, restoreBest: false }]
    const trainer = new ProgressiveTrainer(
      model,
      {},
      { loss: 'mse', metrics: ['mse'], phases },
      { checkpointDir: folder, threads: 1 },
    )
    const summary = await trainer.train(training, validation)
    const last = summary.metricsHistory.at(-1)
    const output = noGrad(() => autocast('cpu', 'bfloat16', () => model.eval().call(x) as Tensor))
    assert.equal(output.dtype, 'bfloat16')
    const expected = Number(autocast('cpu', 'bfloat16', () => nn.functional.mseLoss(output, y)))
    assert.equal(last?.valLoss, expected)
    assert.notEqual(expected, Number(noGrad(() => nn.functional.mseLoss(model.call(x) as Tensor, y))))
    const evaluated = await evaluateCheckpoint(latestPath(folder), validation, { threads: 1 })
    assert.equal(evaluated.loss, expected)
    assert.deepEqual(evaluated.metrics, last?.valMetrics)
  })
})
