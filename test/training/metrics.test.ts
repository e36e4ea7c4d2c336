/** Metrics and what counts as best. */
import assert from 'node:assert/strict'
import type { Best, TrainingMetrics } from '../../src/checkpoint/schema.js'
import { checkMetrics, computeMetrics } from '../../src/training/metrics.js'
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

describe('metrics', () => {
  it('computes accuracy with the first of equal scores, and NaN as the largest, as torch.argmax does', () => {
    const outputs = values([4, 3], 1, 5, 5, 0, NaN, 9, 2, 1, 0, 0, 0, 1)
    assert.deepEqual(computeMetrics(['accuracy'], outputs, values([4], 1, 1, 0, 0)), { accuracy: 0.75 })
  })

  it('computes mse and rmse', () => {
    assert.deepEqual(computeMetrics(['mse', 'rmse'], values([2, 2], 1, 2, 3, 4), values([2, 2], 1, 2, 3, 8)), {
      mse: 4,
      rmse: 2,
    })
  })

  it('refuses shapes that a metric cannot have', () => {
    checkMetrics(['accuracy'], [8, 10], [8])
    checkMetrics(['mse'], [8, 1], [8, 1])
    assert.throws(() => checkMetrics(['rmse'], [8, 1], [8]), {
      code: 'ERR_DATA',
      message: /'rmse' needs .*; here outputs are \[8, 1\] and targets \[8\]/,
    })
    assert.throws(() => checkMetrics(['accuracy'], [8], [8]), { code: 'ERR_DATA' })
  })
})

describe('the best epoch', () => {
  it('is monitored as configured, with a direction that suits the metric', () => {
    const phases = [{ name: 'a', epochs: 1, lr: 1 }]
    assert.deepEqual(resolveMonitor({ loss: 'mse', phases }, true), { name: 'val_loss', mode: 'min' })
    assert.deepEqual(resolveMonitor({ loss: 'mse', phases }, false), { name: 'train_loss', mode: 'min' })
    assert.deepEqual(resolveMonitor({ loss: 'mse', phases, metrics: ['accuracy'], monitor: 'val_accuracy' }, true), {
      name: 'val_accuracy',
      mode: 'max',
    })
    assert.throws(() => resolveMonitor({ loss: 'mse', phases, monitor: 'val_acc', metrics: ['rmse'] }, true), {
      code: 'ERR_MONITOR_MISSING',
      message: "monitor 'val_acc' is not computed in this run; there are train_loss, val_loss, val_rmse",
    })
    assert.throws(() => resolveMonitor({ loss: 'mse', phases, monitor: 'val_loss' }, false), {
      code: 'ERR_MONITOR_MISSING',
    })
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
