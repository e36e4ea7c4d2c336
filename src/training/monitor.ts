/** What "best" means in a run. */
import type { Best, TrainingMetrics } from '../checkpoint/schema.js'
import type { TrainingConfig } from '../checkpoint/training-config.js'
import { TorchkeepError } from '../format/errors.js'
import { nearNames } from '../format/near-names.js'
import type { Direction, Metric } from './metrics.js'

/** The monitored value and its direction. */
export interface Monitor {
  name: string
  mode: Direction
}

/** A monitor as somebody asks for it: an early stopping, a saver. */
export interface WantedMonitor {
  /** Default: the run's. */
  monitor?: string
  /** Default: the metric's own; of the run's monitor, the run's. */
  mode?: Direction
}

/** What a run computes. */
export interface Computed {
  validates: boolean
  metrics: readonly Metric[]
}

/**
 * The monitor of a run, or of `wanted` in it. Never guesses a direction: losses are better when small, metrics say it themselves, and of a user's own that does not, `mode` must.
 *
 * @throws TorchkeepError `ERR_MONITOR_MISSING` with the names that exist, `ERR_INVALID_ARGUMENT` for a metric without a direction.
 */
export function resolveMonitor(config: TrainingConfig, computed: Computed, wanted: WantedMonitor = {}): Monitor {
  const ofRun = config.monitor ?? (computed.validates ? 'val_loss' : 'train_loss')
  const name = wanted.monitor ?? ofRun
  const modes = knownModes(computed)
  const own = modes.get(name)
  if (own === undefined) throw missing(name, computed, [...modes.keys()])
  const mode = wanted.mode ?? (name === ofRun ? config.mode : undefined) ?? own
  if (mode !== null) return { name, mode }
  throw new TorchkeepError(
    'ERR_INVALID_ARGUMENT',
    `monitor '${name}' has no direction: nothing says whether a smaller or a larger value is better`,
    {
      suggestions: [
        "mode: 'min' or mode: 'max' beside the monitor",
        `metrics: { ${name.slice(4)}: { mode, compute } }`,
      ],
    },
  )
}

function knownModes({ validates, metrics }: Computed): Map<string, Direction | null> {
  const modes = new Map<string, Direction | null>([['train_loss', 'min']])
  if (!validates) return modes
  modes.set('val_loss', 'min')
  for (const { name, mode } of metrics) modes.set(`val_${name}`, mode)
  return modes
}

function missing(name: string, { validates, metrics }: Computed, known: readonly string[]): TorchkeepError {
  const suggestions = nearNames(name, known).map((near) => `'${near}'`)
  if (known.includes(`val_${name}`)) suggestions.unshift(`'val_${name}'`)
  const needsValidation = !validates && (name === 'val_loss' || metrics.some((metric) => name === `val_${metric.name}`))
  if (needsValidation) suggestions.unshift('validation data, as the second argument of train()')
  return new TorchkeepError(
    'ERR_MONITOR_MISSING',
    `monitor '${name}' is not computed in this run; there are ${known.join(', ')}`,
    { suggestions: [...new Set(suggestions)] },
  )
}

/** The new best, or null where this epoch is none: NaN and infinities never are, and a tie keeps the earlier epoch. */
export function improvement(monitor: Monitor, best: Best | null, metrics: TrainingMetrics): Best | null {
  const score = monitoredValue(monitor.name, metrics)
  if (!Number.isFinite(score)) return null
  if (best !== null && !(monitor.mode === 'min' ? score < best.score : score > best.score)) return null
  return { monitor: monitor.name, mode: monitor.mode, score, epoch: metrics.epoch, phase: metrics.phase }
}

/** The value of a monitor in an epoch; NaN where the epoch has none. */
export function monitoredValue(name: string, metrics: TrainingMetrics): number {
  // All batches were passed over: whatever the validation says, it is not of anything that was trained here.
  if (Number.isNaN(metrics.trainLoss) && metrics.skippedBatches !== undefined) return NaN
  if (name === 'train_loss') return metrics.trainLoss
  if (name === 'val_loss') return metrics.valLoss ?? NaN
  return metrics.valMetrics[name.slice('val_'.length)] ?? NaN
}
