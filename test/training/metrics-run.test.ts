/** Metrics in a run: computed over the whole validation, monitored, kept in the checkpoints. */
import assert from 'node:assert/strict'
import { mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DataLoader, manualSeed, nn, noGrad, randn, type Tensor, TensorDataset } from '../../lib/index.js'
import { decodeCheckpoint } from '../../src/checkpoint/index.js'
import type { TrainingConfig } from '../../src/checkpoint/training-config.js'
import { load } from '../../src/serialization.js'
import { metricValues } from '../../src/training/metric-values.js'
import { computeMetrics, type MetricFunction, resolveMetrics } from '../../src/training/metrics.js'
import { ProgressiveTrainer } from '../../src/training/trainer.js'

const names = ['rmse', 'pearson', 'concordance_index', 'r2', 'bias']
/** Mean of the outputs: it says itself nothing of what is better. */
const bias: MetricFunction = ({ data }) => data.reduce((sum, value) => sum + value, 0) / data.length

describe('metrics of a run', () => {
  let folder: string
  beforeEach(async () => (folder = await mkdtemp(join(tmpdir(), 'torchkeep-metrics-'))))
  afterEach(() => rm(folder, { recursive: true }))

  function prepare(config: Partial<TrainingConfig>, metrics: Record<string, MetricFunction> = { bias }) {
    manualSeed(1)
    const [inputs, targets, valInputs, valTargets] = [
      [20, 3],
      [20, 1],
      [11, 3],
      [11, 1],
    ].map((shape) => randn(shape))
    const model = new nn.Linear(3, 1)
    const training = new DataLoader(new TensorDataset(inputs as Tensor, targets as Tensor), { batchSize: 5 })
    const validation = new DataLoader(new TensorDataset(valInputs as Tensor, valTargets as Tensor), { batchSize: 4 })
    const whole: TrainingConfig = {
      loss: 'mse',
      metrics: names,
      phases: [{ name: 'a', epochs: 3, lr: 0.05 }],
      ...config,
    }
    const trainer = new ProgressiveTrainer(model, {}, whole, {
      checkpointDir: folder,
      logs: false,
      threads: 1,
      metrics,
    })
    return { model, trainer, train: () => trainer.train(training, validation), valInputs, valTargets }
  }

  it('are those of all validation samples at once, in the history and in the checkpoint', async () => {
    const { model, train, valInputs, valTargets } = prepare({ monitor: 'val_bias', mode: 'max' })
    const summary = await train()
    const output = noGrad(() => model.call(valInputs as Tensor))
    const sides = [await metricValues(output), await metricValues(valTargets as Tensor)] as const
    const expected = await computeMetrics(resolveMetrics(names, { bias }), ...sides)
    const last = summary.metricsHistory.at(-1)
    assert.deepEqual(last?.valMetrics, expected)
    assert.deepEqual(Object.keys(last?.valMetrics ?? {}), names)
    const biases = summary.metricsHistory.map(({ valMetrics }) => valMetrics['bias'] as number)
    assert.deepEqual([summary.best?.monitor, summary.best?.score], ['val_bias', Math.max(...biases)])

    const file = (await load(join(folder, 'latest.pth'))) as Map<string, unknown>
    const state = file.get('training_state') as Map<string, unknown>
    const rows = state.get('metrics_history') as Map<string, unknown>[]
    assert.deepEqual(
      names.map((name) => rows.at(-1)?.get(`val_${name}`)),
      Object.values(expected),
    )
    const pearsons = summary.metricsHistory.map(({ valMetrics }) => valMetrics['pearson'] as number)
    assert.equal(state.get('best_val_pearson'), Math.max(...pearsons))
    assert.equal(state.get('patience_counter'), 0)
    assert.deepEqual(decodeCheckpoint(file, 'latest.pth').trainingState.metricsHistory, summary.metricsHistory)
  })

  it('of which none is defined are NaN in it, never 0 and never the best', async () => {
    const still = { name: 'a', epochs: 3, lr: 0.05, freeze: ['weight'] }
    const { train, model } = prepare({ metrics: ['pearson'], monitor: 'val_pearson', phases: [still] }, {})
    // Constant outputs: with no weights that move, there is nothing to correlate.
    noGrad(() => model.weight.mul_(0))
    const summary = await train()
    assert.deepEqual(
      summary.metricsHistory.map(({ valMetrics }) => valMetrics),
      Array(3).fill({ pearson: NaN }),
    )
    assert.equal(summary.best, null)
    assert.equal((await readdir(join(folder, 'best'))).length, 0)
  })

  it('are checked before the first step, and nothing is written for those that do not exist', async () => {
    const wrong = async (config: Partial<TrainingConfig>, code: string, message: RegExp) => {
      const { trainer, train } = prepare(config, {})
      let steps = 0
      trainer.on('step', () => steps++)
      await assert.rejects(train(), { code, message })
      assert.equal(steps, 0)
      assert.deepEqual(await readdir(folder), [])
    }
    await wrong({ metrics: ['rsme'] }, 'ERR_INVALID_ARGUMENT', /no metric 'rsme'; there are mse, rmse, /)
    await wrong({ metrics: ['auroc'] }, 'ERR_DATA', /'auroc' needs class numbers from 0 to 1 as targets/)
    await wrong(
      { metrics: ['rmse'], monitor: 'val_r2' },
      'ERR_MONITOR_MISSING',
      /there are train_loss, val_loss, val_rmse/,
    )
    await wrong(
      { metrics: [], earlyStopping: { monitor: 'val_rmse' } },
      'ERR_MONITOR_MISSING',
      /monitor 'val_rmse' is not computed in this run/,
    )
  })
})
