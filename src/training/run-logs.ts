/** The logs of a run: `events.jsonl`, `metrics.csv` and, where asked for, TensorBoard's event files, all in the run's folder. docs/logs.md says what is in them. */
import type { Plain } from '../checkpoint/fields.js'
import type { Metadata, TrainingMetrics } from '../checkpoint/schema.js'
import type { TrainingConfig } from '../checkpoint/training-config.js'
import type { TrainerEvents, WarningEvent } from './events.js'
import type { Monitor } from './monitor.js'

/** Which logs a run keeps (`logs` of the trainer's options; `true` means the defaults, `false` none at all). */
export interface LogOptions {
  /** `events.jsonl`: every event, one JSON object a line. True unless told. */
  events?: boolean
  /** `metrics.csv`: one row an epoch. True unless told. */
  csv?: boolean
  /** `tensorboard/events.out.tfevents...`: scalars of every step and epoch. False unless told. */
  tensorboard?: boolean
}

/** What the logs say about the run they belong to. */
export interface LoggedRun {
  /** As the run's checkpoints hold it. */
  metadata: Metadata
  config: Plain
  trainingConfig: TrainingConfig
  monitor: Monitor
  /** Path of the checkpoint that the run goes on from; null where it starts anew. */
  resumedFrom: string | null
  /** Where the run stands when it begins: zeros and an empty history unless it was resumed. */
  epochsDone: number
  globalStep: number
  history: readonly TrainingMetrics[]
}

/** Takes events by name, as the trainer emits them. */
type Recorder = { record<Name extends keyof TrainerEvents>(name: Name, event: TrainerEvents[Name][0]): void }

/**
 * Writes the logs of one run. Nothing here waits for the disk but {@link close}, and no failure reaches the run: a log that cannot be written is told once, through `warn`.
 *
 * The trainer hands every event to {@link record} before its listeners get it. (Not as a listener of its own: then a `warning` would always seem to have been heard.)
 */
export class RunLogs implements Recorder {
  private constructor() {}

  /**
   * Begins the logs of a run in its folder, which must exist. Never rejects.
   * @param warn takes what goes wrong (`log` as its id), now or later.
   */
  static open(
    _folder: string,
    _options: boolean | LogOptions,
    _run: LoggedRun,
    _warn: (warning: WarningEvent) => void,
  ): Promise<RunLogs> {
    return Promise.resolve(new RunLogs())
  }

  /** Books an event in all logs. Returns at once. */
  record<Name extends keyof TrainerEvents>(_name: Name, _event: TrainerEvents[Name][0]): void {}

  /** Resolves when everything recorded is in the files; call it before `train` resolves or rejects. Never rejects. */
  close(): Promise<void> {
    return Promise.resolve()
  }
}
