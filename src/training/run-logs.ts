/** The logs of a run: `events.jsonl`, `metrics.csv` and, where asked for, TensorBoard's event files, all in the run's folder. docs/logs.md says what is in them. */
import type { Plain } from '../checkpoint/fields.js'
import type { Metadata, TrainingMetrics } from '../checkpoint/schema.js'
import type { TrainingConfig } from '../checkpoint/training-config.js'
import { EventLog } from './event-log.js'
import type { TrainerEvents, WarningEvent } from './events.js'
import { MetricsCsv } from './metrics-csv.js'
import type { Monitor } from './monitor.js'
import { TensorBoardLog } from './tensorboard.js'

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
  /** Optimizer groups of the phase that has most of them. */
  numGroups: number
  /** Path of the checkpoint that the run goes on from; null where it starts anew. */
  resumedFrom: string | null
  /** Where the run stands when it begins: zeros and an empty history unless it was resumed. */
  epochsDone: number
  globalStep: number
  history: readonly TrainingMetrics[]
}

/** When an event was. */
export interface Moment {
  /** Milliseconds since 1970. */
  timeMs: number
  /** Since the run began in this process, by a clock that never goes back. */
  seconds: number
}

/** One of the logs. */
export interface RunLog {
  record<Name extends keyof TrainerEvents>(name: Name, event: TrainerEvents[Name][0], moment: Moment): void
  close(): Promise<void>
}

/**
 * Writes the logs of one run. Nothing here waits for the disk but {@link open} and {@link close}, and no failure reaches the run: a log that cannot be written is told of through `warn`.
 *
 * The trainer hands every event to {@link record} before its listeners get it. (Not as a listener of its own: then a `warning` would always seem to have been heard.)
 */
export class RunLogs {
  readonly #logs: readonly RunLog[]
  readonly #began: number
  #isClosed = false

  private constructor(logs: readonly RunLog[], began: number) {
    this.#logs = logs
    this.#began = began
  }

  /**
   * Begins the logs of a run in its folder, which must exist. Never rejects.
   * @param warn takes what goes wrong (`log` as its id), now or later.
   */
  static async open(
    folder: string,
    options: boolean | LogOptions,
    run: LoggedRun,
    warn: (warning: WarningEvent) => void,
  ): Promise<RunLogs> {
    const { events = true, csv = true, tensorboard = false } = typeof options === 'object' ? options : {}
    const began = performance.now()
    const moment = { timeMs: Date.now(), seconds: 0 }
    const openings: [wanted: boolean, what: string, begin: (onFailure: (error: Error) => void) => Promise<RunLog>][] = [
      [events, 'events.jsonl', (onFailure) => EventLog.open(folder, run, moment, onFailure)],
      [csv, 'metrics.csv', (onFailure) => MetricsCsv.open(folder, run, onFailure)],
      [tensorboard, 'the TensorBoard log', (onFailure) => TensorBoardLog.open(folder, run, moment, onFailure)],
    ]
    const logs: RunLog[] = []
    for (const [wanted, what, begin] of options === false ? [] : openings) {
      if (!wanted) continue
      const onFailure = ({ message }: Error): void => {
        warn({ id: 'log', message: `cannot write ${what} in ${folder}, the run goes on without: ${message}` })
      }
      try {
        logs.push(await begin(onFailure))
      } catch (error) {
        onFailure(error as Error)
      }
    }
    return new RunLogs(logs, began)
  }

  /** Books an event in all logs. Returns at once. What comes after {@link close}, as the warning of a handler whose promise is rejected late does, is in no log. */
  record<Name extends keyof TrainerEvents>(name: Name, event: TrainerEvents[Name][0]): void {
    if (this.#isClosed) return
    const moment = { timeMs: Date.now(), seconds: Math.round((performance.now() - this.#began) * 1000) / 1e6 }
    for (const log of this.#logs) log.record(name, event, moment)
  }

  /** Resolves when everything recorded is in the files; call it before `train` resolves or rejects. Never rejects. */
  async close(): Promise<void> {
    this.#isClosed = true
    await Promise.all(this.#logs.map((log) => log.close()))
  }
}
