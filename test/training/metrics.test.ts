/** Metrics and what counts as best. */
import assert from 'node:assert/strict'
import type { Best, TrainingMetrics } from '../../src/checkpoint/schema.js'
import type { TrainingConfig } from '../../src/checkpoint/training-config.js'
import { checkMetrics, computeMetrics, resolveMetrics } from '../../src/training/metrics.js'
import { improvement, resolveMonitor } from '../../src/training/monitor.js'

const values = (shape: number[], ...data: number[]): { shape: number[]; data: Float64Array } => ({
  shape,
  data: Float64Array.from(data),
})
const epoch = (number: number, valLoss: number | null, valMetrics = {}): TrainingMetrics => ({
  epoch: number,
  phase: 1,
  trainLoss: 0.5,
  valLoss,
  valMetrics,
  learningRate: 1,
  trainingTime: 1,
})

const compute = (names: string[], ...sides: [ReturnType<typeof values>, ReturnType<typeof values>]) =>
  computeMetrics(resolveMetrics(names), ...sides)

describe('metrics', () => {
  it('computes accuracy with the first of equal scores, as torch.argmax does', async () => {
    const outputs = values([4, 3], 1, 5, 5, 0, 8, 9, 2, 1, 0, 0, 0, 1)
    assert.deepEqual(await compute(['accuracy'], outputs, values([4], 1, 2, 0, 0)), { accuracy: 0.75 })
  })

  it('computes mse and rmse, the root position by position', async () => {
    const found = await compute(['mse', 'rmse'], values([2, 2], 1, 2, 3, 4), values([2, 2], 1, 2, 3, 8))
    assert.deepEqual(found, { mse: 4, rmse: Math.sqrt(8) / 2 })
  })

  it('refuses shapes that a metric cannot have', () => {
    const check = (name: string, output: number[], target: number[]) =>
      checkMetrics(resolveMetrics([name]), output, target)
    check('accuracy', [8, 10], [8])
    check('mse', [8, 1], [8, 1])
    assert.throws(() => check('rmse', [8, 1], [8]), {
      code: 'ERR_DATA',
      message: /'rmse' needs .*; here outputs are \[8, 1\] and targets \[8\]/,
    })
    assert.throws(() => check('accuracy', [8, 3], [8, 3]), { code: 'ERR_DATA' })
  })
})

describe('the best epoch', () => {
  it('is monitored as configured, with a direction that suits the metric', () => {
    const config: TrainingConfig = { loss: 'mse', phases: [{ name: 'a', epochs: 1, lr: 1 }] }
    const computed = (...names: string[]) => ({ validates: true, metrics: resolveMetrics(names) })
    const nothing = { validates: false, metrics: [] }
    assert.deepEqual(resolveMonitor(config, computed()), { name: 'val_loss', mode: 'min' })
    assert.deepEqual(resolveMonitor(config, nothing), { name: 'train_loss', mode: 'min' })
    assert.deepEqual(resolveMonitor({ ...config, monitor: 'val_accuracy' }, computed('accuracy')), {
      name: 'val_accuracy',
      mode: 'max',
    })
    assert.throws(() => resolveMonitor({ ...config, monitor: 'val_acc' }, computed('rmse')), {
      code: 'ERR_MONITOR_MISSING',
      message: "monitor 'val_acc' is not computed in this run; there are train_loss, val_loss, val_rmse",
    })
    assert.throws(() => resolveMonitor({ ...config, monitor: 'val_loss' }, nothing), { code: 'ERR_MONITOR_MISSING' })
  })

  it('is never one of NaN or infinity, and a tie keeps the earlier', () => {
    const monitor = { name: 'val_loss', mode: 'min' } as const
    let best: Best | null = null
    const seen = [NaN, 3, 3, NaN, -Infinity, 2, null, 2].map((loss, index) => {
      const found = improvement(monitor, best, epoch(index + 1, loss))
      best = found ?? best
      return best?.epoch
    })
    assert.deepEqual(seen, [undefined, 2, 2, 2, 2, 6, 6, 6])
  })

  it('follows a metric upwards', () => {
    const monitor = { name: 'val_accuracy', mode: 'max' } as const
    const first = improvement(monitor, null, epoch(1, 1, { accuracy: 0.5 }))
    assert.equal(first?.score, 0.5)
    assert.equal(improvement(monitor, first, epoch(2, 1, { accuracy: 0.5 })), null)
    assert.equal(improvement(monitor, first, epoch(3, 1, { accuracy: 0.6 }))?.epoch, 3)
  })
})
