/** Writes `tensorboard/`: what TensorBoard shows when it is pointed at the run's folder. */
import { mkdir, readdir } from 'node:fs/promises'
import { hostname } from 'node:os'
import { join } from 'node:path'
import { Place } from '../checkpoint/fields.js'
import { plainValue } from '../checkpoint/plain-values.js'
import { trainingConfigField } from '../checkpoint/training-config.js'
import { strictJson } from '../command-line/strict-json.js'
import { epochFields, runLine } from './event-lines.js'
import type { EpochEvent, StepEvent, TrainerEvents } from './events.js'
import { LogFile } from './log-file.js'
import type { LoggedRun, Moment, RunLog } from './run-logs.js'
import { StepLosses } from './step-losses.js'
import { markdown, scalar, sessionStart, versionRecord } from './tensorboard-records.js'

/** Name of the folder in the run's folder. */
export const tensorBoardFolder = 'tensorboard'

/**
 * Scalars over optimizer steps of the whole run: `step/...` of every step, `epoch/...` at each epoch's last one. (TensorBoard purges by steps when a run is resumed, so everything has to be over
 * steps; the epoch is a scalar itself.)
 */
export class TensorBoardLog implements RunLog {
  readonly #file: LogFile
  readonly #losses: StepLosses

  private constructor(file: LogFile, losses: StepLosses) {
    this.#file = file
    this.#losses = losses
  }

  /** Makes a file of its own for this process, which purges the steps that a resumed run does anew. @throws the system's error. */
  static async open(
    folder: string,
    run: LoggedRun,
    { timeMs }: Moment,
    onFailure: (error: Error) => void,
  ): Promise<TensorBoardLog> {
    const path = join(folder, tensorBoardFolder)
    await mkdir(path, { recursive: true })
    const file = await LogFile.open(join(path, await freeName(path, timeMs)), { mode: 'new', onFailure })
    const wallTime = timeMs / 1000
    const firstStep = run.resumedFrom === null ? 0 : run.globalStep + 1
    file.append(versionRecord(wallTime))
    file.append(sessionStart(wallTime, firstStep))
    for (const [tag, value] of Object.entries(descriptions(run)))
      file.append(markdown(wallTime, firstStep, tag, indented(strictJson(value))))
    return new TensorBoardLog(file, new StepLosses(run))
  }

  record<Name extends keyof TrainerEvents>(name: Name, event: TrainerEvents[Name][0], { timeMs }: Moment): void {
    if (name === 'step') this.#recordStep(event as StepEvent, timeMs / 1000)
    if (name === 'epoch') this.#recordEpoch(event as EpochEvent, timeMs / 1000)
  }

  close(): Promise<void> {
    return this.#file.close()
  }

  #recordStep(event: StepEvent, wallTime: number): void {
    const records = this.#losses.of(event).map(([step, loss]) => scalar(wallTime, step, 'step/loss', loss))
    if (records.length === 0) return
    for (const [tag, value] of [
      ['step/samples_per_second', event.samplesPerSecond],
      ['step/learning_rate', event.learningRate],
    ] as const)
      records.push(scalar(wallTime, event.step, tag, value))
    this.#file.append(Buffer.concat(records))
  }

  #recordEpoch(event: EpochEvent, wallTime: number): void {
    const step = event.step ?? 0
    const { learning_rates: rates, phase, epoch, ...fields } = epochFields(event)
    const more = ((rates ?? []) as number[])
      .slice(1)
      .map((rate, index) => [`learning_rate_${index + 2}`, rate] as const)
    const values = [['number', epoch], ['phase', phase], ...Object.entries(fields), ...more].filter(
      (entry): entry is [string, number] => entry[0] !== 'step' && typeof entry[1] === 'number',
    )
    this.#file.append(Buffer.concat(values.map(([name, value]) => scalar(wallTime, step, `epoch/${name}`, value))))
  }
}

/** What TensorBoard shows under Text. */
function descriptions(run: LoggedRun): Record<string, unknown> {
  const at = new Place('ERR_INVALID_ARGUMENT', '', 'trainingConfig')
  return {
    'run/training_config': plainValue(trainingConfigField.encode(run.trainingConfig, at)),
    'run/config': run.config,
    'run/environment': runLine(run, (path) => path),
  }
}

/** As a block of code in Markdown. */
const indented = (text: string): string => text.replace(/^/gm, '    ')

/** TensorBoard reads the files of a folder in the order of their names: the newest must come last, whatever the clock did meanwhile. */
async function freeName(folder: string, timeMs: number): Promise<string> {
  const times = (await readdir(folder)).map((name) => Number(/^events\.out\.tfevents\.(\d+)\./.exec(name)?.[1] ?? 0))
  const time = Math.max(Math.floor(timeMs / 1000), ...times.map((other) => other + 1))
  return `events.out.tfevents.${String(time).padStart(10, '0')}.${hostname()}.${process.pid}`
}
