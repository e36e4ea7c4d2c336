/** What "best" means in a run. */
import { TorchkeepError } from '../format/errors.js'
import type { Best, TrainingMetrics } from '../checkpoint/schema.js'
import type { TrainingConfig } from '../checkpoint/training-config.js'

/** The monitored value and its direction. */
export interface Monitor {
  name: string
  mode: 'min' | 'max'
}

/**
 * The monitor that a configuration asks for.
 *
 * @throws TorchkeepError `ERR_MONITOR_MISSING` with the names that exist.
 */
export function resolveMonitor(config: TrainingConfig, validates: boolean): Monitor {
  const known = [
    'train_loss',
    ...(validates ? ['val_loss', ...(config.metrics ?? []).map((name) => `val_${name}`)] : []),
  ]
  const name = config.monitor ?? (validates ? 'val_loss' : 'train_loss')
  if (!known.includes(name)) {
    throw new TorchkeepError(
      'ERR_MONITOR_MISSING',
      `monitor '${name}' is not computed in this run; there are ${known.join(', ')}`,
    )
  }
  return { name, mode: config.mode ?? (name === 'val_accuracy' ? 'max' : 'min') }
}

/** The new best, or null where this epoch is none: NaN and infinities never are, and a tie keeps the earlier epoch. */
export function improvement(monitor: Monitor, best: Best | null, metrics: TrainingMetrics): Best | null {
  const score = monitoredValue(monitor.name, metrics)
  if (!Number.isFinite(score)) return null
  if (best !== null && !(monitor.mode === 'min' ? score < best.score : score > best.score)) return null
  return { monitor: monitor.name, mode: monitor.mode, score, epoch: metrics.epoch, phase: metrics.phase }
}

function monitoredValue(name: string, metrics: TrainingMetrics): number {
  if (name === 'train_loss') return metrics.trainLoss
  if (name === 'val_loss') return metrics.valLoss ?? NaN
  return metrics.valMetrics[name.slice('val_'.length)] ?? NaN
}
