/** Writes `events.jsonl`. */
import { join, relative, resolve } from 'node:path'
import { eventsName } from '../checkpoint/run-events.js'
import { strictJson } from '../command-line/strict-json.js'
import { lineOf, runLine } from './event-lines.js'
import type { StepEvent, TrainerEvents } from './events.js'
import { LogFile } from './log-file.js'
import type { LoggedRun, Moment, RunLog } from './run-logs.js'

/** A step is written when the one written before was this long ago: enough for somebody who watches, and a day's file stays below 30 MB. */
const stepIntervalSeconds = 1

export class EventLog implements RunLog {
  readonly #file: LogFile
  readonly #folder: string
  #lastStepSeconds = -Infinity
  /** The newest step, where it was too near the one written before: written after all if its epoch or the run ends with it, or a checkpoint is made of it. */
  #held: { event: StepEvent; moment: Moment } | null = null

  private constructor(file: LogFile, folder: string) {
    this.#file = file
    this.#folder = resolve(folder)
  }

  /** Begins the run's part of the file. @throws the system's error where the file cannot be opened. */
  static async open(
    folder: string,
    run: LoggedRun,
    moment: Moment,
    onFailure: (error: Error) => void,
  ): Promise<EventLog> {
    const path = join(folder, eventsName)
    const log = new EventLog(await LogFile.open(path, { mode: 'append', endLastLine: true, onFailure }), folder)
    log.#write(run.resumedFrom === null ? 'run' : 'resume', moment, runLine(run, log.#relative))
    return log
  }

  record<Name extends keyof TrainerEvents>(name: Name, event: TrainerEvents[Name][0], moment: Moment): void {
    if (name === 'step') return this.#recordStep(event as StepEvent, moment)
    // A checkpoint may be of the step that is held: the file has them in order.
    if (name === 'epoch' || name === 'checkpoint' || name === 'stop') this.#writeHeld()
    this.#write(name, moment, lineOf(name, event, this.#relative))
  }

  close(): Promise<void> {
    this.#writeHeld()
    return this.#file.close()
  }

  #recordStep(event: StepEvent, moment: Moment): void {
    this.#held = { event, moment }
    if (moment.seconds - this.#lastStepSeconds >= stepIntervalSeconds) this.#writeHeld()
  }

  #writeHeld(): void {
    if (this.#held === null) return
    const { event, moment } = this.#held
    this.#write('step', moment, lineOf('step', event, this.#relative))
    this.#lastStepSeconds = moment.seconds
    this.#held = null
  }

  #write(event: string, { timeMs, seconds }: Moment, fields: object): void {
    const line = { event, time: new Date(timeMs).toISOString(), seconds, ...fields }
    this.#file.append(Buffer.from(`${strictJson(line, 0)}\n`))
  }

  /** Relative to the run's folder, so that the file stays right where the folder is moved to. */
  readonly #relative = (path: string): string => relative(this.#folder, resolve(path))
}
