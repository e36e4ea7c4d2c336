/** Writes `metrics.csv`: one row an epoch, as RFC 4180 has it. */
import { readFile, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Best, TrainingMetrics } from '../checkpoint/schema.js'
import { exists, nodeFiles, publish, takeName } from '../checkpoint/store.js'
import { csvText } from '../format/csv.js'
import { epochFields } from './event-lines.js'
import type { EpochEvent, TrainerEvents } from './events.js'
import { LogFile } from './log-file.js'
import { improvement } from './monitor.js'
import type { LoggedRun, RunLog } from './run-logs.js'

/** Name of the file in the run's folder. */
export const metricsCsvName = 'metrics.csv'

type Cell = string | number | null

export class MetricsCsv implements RunLog {
  readonly #file: LogFile
  readonly #columns: readonly string[]

  private constructor(file: LogFile, columns: readonly string[]) {
    this.#file = file
    this.#columns = columns
  }

  /**
   * Writes the heading and the epochs that the run goes on from, in place of whatever the file had: rows past them vanish. The file of another run, one that this run does not go on from, is kept
   * under another name.
   *
   * @throws TorchkeepError `ERR_CHECKPOINT_WRITE`, or the system's error.
   */
  static async open(folder: string, run: LoggedRun, onFailure: (error: Error) => void): Promise<MetricsCsv> {
    const path = join(folder, metricsCsvName)
    if (run.resumedFrom === null) await setAside(path, folder)
    const columns = columnsOf(run)
    const text = csvText([columns, ...historyRows(run).map((row) => cells(row, columns))])
    await publish(path, (temporaryPath) => writeFile(temporaryPath, text, { flag: 'wx' }))
    return new MetricsCsv(await LogFile.open(path, { mode: 'append', onFailure }), columns)
  }

  record<Name extends keyof TrainerEvents>(name: Name, event: TrainerEvents[Name][0]): void {
    if (name !== 'epoch') return
    const { phaseName, isBest } = event as EpochEvent
    const row = rowOf(event as EpochEvent, phaseName, isBest)
    this.#file.append(Buffer.from(csvText([cells(row, this.#columns)])))
  }

  close(): Promise<void> {
    return this.#file.close()
  }
}

/** Gives the file a second name, after the time of its last row, so that no run's figures are lost. One without rows has none to lose. */
async function setAside(path: string, folder: string): Promise<void> {
  if (!(await exists(path)) || (await readFile(path, 'utf8')).trimEnd().split('\n').length === 1) return
  const { mtimeMs } = await stat(path)
  const stem = join(folder, `metrics_${Math.floor(mtimeMs / 1000)}`)
  for (let count = 1; ; count++)
    if (await takeName(path, `${stem}${count === 1 ? '' : `-${count}`}.csv`, nodeFiles)) return
}

/** The columns of the whole run: what it computes, and what the epochs that it goes on from have. */
function columnsOf({ history, trainingConfig, numGroups }: LoggedRun): string[] {
  const names = [...(trainingConfig.metrics ?? []), ...history.flatMap(({ valMetrics }) => Object.keys(valMetrics))]
  const groups = history.reduce((most, { learningRates }) => Math.max(most, learningRates?.length ?? 1), numGroups)
  return [
    'epoch',
    'phase',
    'phase_name',
    'train_loss',
    'val_loss',
    ...new Set(names.map((name) => `val_${name}`)),
    'learning_rate',
    ...Array.from({ length: groups - 1 }, (_, index) => `learning_rate_${index + 2}`),
    'step',
    'samples_per_second',
    'training_time',
    'memory_usage',
    'skipped_batches',
    'is_best',
    'stop_reason',
  ]
}

/** The rows of the epochs that were done before; `is_best` as it was told then: of the epochs until each one. */
function historyRows({ history, monitor, trainingConfig }: LoggedRun): Record<string, Cell>[] {
  let best: Best | null = null
  return history.map((metrics) => {
    const better = improvement(monitor, best, metrics)
    best = better ?? best
    return rowOf(metrics, trainingConfig.phases[metrics.phase - 1]?.name ?? '', better !== null)
  })
}

function rowOf(metrics: TrainingMetrics, phaseName: string, isBest: boolean): Record<string, Cell> {
  const { learning_rates: _rates, ...fields } = epochFields(metrics)
  const rates = (metrics.learningRates ?? []).slice(1).map((rate, index) => [`learning_rate_${index + 2}`, rate])
  return {
    ...(fields as Record<string, Cell>),
    ...(Object.fromEntries(rates) as Record<string, Cell>),
    phase_name: phaseName,
    is_best: String(isBest),
  }
}

const cells = (row: Record<string, Cell>, columns: readonly string[]): Cell[] =>
  columns.map((column) => (Object.hasOwn(row, column) ? (row[column] ?? null) : null))
