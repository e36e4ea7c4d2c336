/** When a run saves, what it keeps: the options of {@link ModelCheckpoint}. */
import { type Field, flag, float, integer, list, nullable, oneOf, record, text } from '../checkpoint/fields.js'

/** A metric whose new bests are saved under `best/`. */
export interface BestRule {
  /** `train_loss`, `val_loss` or `val_` and a metric. */
  monitor: string
  /** Whether a smaller or a larger value is better; default by the metric. */
  mode?: 'min' | 'max'
  /** How many epochs `best/` holds on this metric's account: an epoch that is among so many best is saved, and stays while it is; default 3. Null saves each new best and keeps all. */
  count?: number | null
}

/** When to save and what to keep. Intervals add up: whichever is due saves. */
export interface ModelCheckpointOptions {
  /** Saves after every so many epochs of the run; default 1, null never. The end of the run is always saved. */
  everyEpochs?: number | null
  /** Saves after every so many steps of the run, inside epochs; default null: never. */
  everySteps?: number | null
  /** Saves inside epochs where the last save was so many seconds ago; default null: never. */
  everySeconds?: number | null
  /** Saves the best epochs under `best/`; default true. Without it there is no `best/latest_best.pth` either. */
  saveBest?: boolean
  /**
   * The metrics whose best epochs are saved and kept; default the run's monitor alone. The run's monitor is always among them (with a count of 3 where it is not listed), and `best/latest_best.pth` follows it only. A file stays while
   * it is among the best `count` by any of them.
   */
  best?: readonly BestRule[]
  /** How many of the run's newest files under `regular/` stay; default 5, null keeps all. */
  keepLast?: number | null
  /** Writes `phases/phase_{P}_end.pth` at the end of each phase; default true. */
  phaseEnds?: boolean
  /** Whether the files hold optimizer and scheduler; default true. Files without them are smaller, but no run goes on from them. */
  saveOptimizer?: boolean
  /** Writes `metrics/metrics_epoch_{E}_phase_{P}_{T}.json` beside each checkpoint in `regular/` or `best/`; default true. */
  saveMetrics?: boolean
}

/** The default of {@link BestRule.count}. */
export const defaultBestCount = 3

/** The default of {@link ModelCheckpointOptions.keepLast}. */
export const defaultKeepLast = 5

/** Checks the options, naming the wrong one. */
export const modelCheckpointOptionsField: Field<ModelCheckpointOptions> = record<ModelCheckpointOptions>({
  everyEpochs: ['every_epochs', nullable(integer(1)), 'optional'],
  everySteps: ['every_steps', nullable(integer(1)), 'optional'],
  everySeconds: [
    'every_seconds',
    nullable(float('a finite positive number', (value) => value > 0 && Number.isFinite(value))),
    'optional',
  ],
  saveBest: ['save_best', flag, 'optional'],
  best: [
    'best',
    list(
      record<BestRule>({
        monitor: ['monitor', text],
        mode: ['mode', oneOf('min', 'max'), 'optional'],
        count: ['count', nullable(integer(1)), 'optional'],
      }),
    ),
    'optional',
  ],
  keepLast: ['keep_last', nullable(integer(1)), 'optional'],
  phaseEnds: ['phase_ends', flag, 'optional'],
  saveOptimizer: ['save_optimizer', flag, 'optional'],
  saveMetrics: ['save_metrics', flag, 'optional'],
})
