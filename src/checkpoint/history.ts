/** The history of a run: its metrics epoch by epoch, gathered from a checkpoint or from a run's folder. */
import { readdir, stat } from 'node:fs/promises'
import { basename, extname, join, resolve } from 'node:path'
import { TorchkeepError } from '../format/errors.js'
import { readTorchFile } from '../format/read.js'
import { chronological, type Moment } from './chronology.js'
import { isOfRun, listCheckpoints, type ListedCheckpoint } from './listing.js'
import { numberOf } from './metrics.js'
import { historyOf } from './migrations.js'
import { normalizeCheckpoint } from './normalize.js'
import { readSidecar, sidecarNumber } from './sidecar.js'

/** One epoch. */
export interface HistoryRow {
  /** Counted through the whole run: the epoch itself, or the number of the row from 1 where epochs begin anew with a phase. */
  runEpoch: number
  /** As the file says. */
  epoch: number
  /** Null where nothing says. */
  phase: number | null
  /** All numbers of the epoch by name: metrics, rates, times. */
  metrics: Record<string, number>
}

/** A run's history. */
export interface RunHistory {
  path: string
  /** Files that it was gathered from. */
  sources: string[]
  /** Sidecars that could not be read, and why. */
  warnings: string[]
  /** Names of the metrics, in the order in which they appear. */
  metrics: string[]
  /** In the order of the run. */
  rows: HistoryRow[]
  /** Where each phase but the first begins. */
  phaseBorders: { phase: number; runEpoch: number }[]
}

type Row = Omit<HistoryRow, 'runEpoch'>

/** Rows with the moment at which they were written. */
interface Source extends Moment {
  rows: Row[]
}

/**
 * Reads the history of a run.
 *
 * Of a checkpoint: the rows in it, of every layout that keeps some. Of a folder: the newest checkpoint of the run with rows, joined with the files in `metrics/`; where no checkpoint has rows, one row a checkpoint.
 * Sources are joined from the oldest to the newest: what a later one says of an epoch holds, and epochs after its last one were rolled back and are dropped.
 *
 * @param path a checkpoint, a metrics sidecar (`.json`), or the folder of one run.
 * @throws TorchkeepError ERR_CHECKPOINT_MISSING where there is nothing, or no history in it; what reading a checkpoint throws.
 */
export async function readHistory(path: string): Promise<RunHistory> {
  const facts = await stat(path).catch((cause: unknown) => {
    throw new TorchkeepError('ERR_CHECKPOINT_MISSING', `no such run: ${path}`, { cause })
  })
  const warnings: string[] = []
  const sources = facts.isDirectory()
    ? await sourcesOfFolder(path, warnings)
    : [await sourceOfFile(path, facts.mtimeMs)]
  const rows = numbered(sources.reduce(joined, []))
  if (rows.length === 0) {
    throw new TorchkeepError(
      'ERR_CHECKPOINT_MISSING',
      `no history in ${path}: no checkpoint or metrics file there lists epochs`,
      {
        suggestions: facts.isDirectory()
          ? ['name the folder of one run: the one with regular/, best/ or metrics/']
          : [],
      },
    )
  }
  return {
    path,
    sources: sources.map((source) => source.path),
    warnings,
    metrics: [...new Set(rows.flatMap(({ metrics }) => Object.keys(metrics)))],
    rows,
    phaseBorders: bordersOf(rows),
  }
}

/** Refuses metrics that none of the runs has. */
export function requireHistoryMetrics(runs: readonly RunHistory[], metrics: readonly string[]): void {
  const known = new Set(runs.flatMap((run) => run.metrics))
  const missing = metrics.find((name) => !known.has(name))
  if (missing === undefined) return
  throw new TorchkeepError(
    'ERR_INVALID_ARGUMENT',
    `no run has a metric '${missing}'; there are: ${[...known].sort().join(', ')}`,
  )
}

async function sourcesOfFolder(folder: string, warnings: string[]): Promise<Source[]> {
  const listed = (await listCheckpoints(folder)).filter((file) => isOfRun(file) && file.structure === 'ok')
  const inTime = chronological(listed)
  const sources = [...(await newestWithRows(inTime)), ...(await sidecarSources(folder, warnings))]
  return sources.length > 0 ? chronological(sources) : inTime.map(ownRow)
}

/** The newest checkpoint that has a history. */
async function newestWithRows(inTime: readonly ListedCheckpoint[]): Promise<Source[]> {
  for (const checkpoint of inTime.toReversed()) {
    const { rows } = await sourceOfCheckpoint(checkpoint.path, checkpoint.modifiedMs)
    // Of a sidecar and a checkpoint of one moment the checkpoint counts as the later: its numbers are exact, those of older sidecars are rounded texts.
    if (rows.length > 0) return [{ ...checkpoint, modifiedMs: Infinity, rows }]
  }
  return []
}

/** A checkpoint without a history tells of its own epoch. */
function ownRow(checkpoint: ListedCheckpoint): Source {
  const { epoch, phase, metrics } = checkpoint
  const rows = epoch === null || Object.keys(metrics).length === 0 ? [] : [{ epoch, phase, metrics: { ...metrics } }]
  return { ...checkpoint, rows }
}

async function sidecarSources(folder: string, warnings: string[]): Promise<Source[]> {
  const sources: Source[] = []
  for (const metrics of [join(folder, 'metrics'), ...(basename(resolve(folder)) === 'metrics' ? [folder] : [])]) {
    for (const name of (await namesIn(metrics)).filter((name) => extname(name) === '.json').sort()) {
      const path = join(metrics, name)
      try {
        const source = await sourceOfSidecar(path, (await stat(path)).mtimeMs)
        if (source.rows.length > 0) sources.push(source)
      } catch (error) {
        if (!(error instanceof TorchkeepError)) throw error
        warnings.push(error.message)
      }
    }
  }
  return sources
}

async function namesIn(folder: string): Promise<string[]> {
  try {
    return await readdir(folder)
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return []
    throw new TorchkeepError('ERR_CHECKPOINT_UNREADABLE', `cannot list ${folder}: ${String(cause)}`, { cause })
  }
}

const sourceOfFile = (path: string, modifiedMs: number): Promise<Source> =>
  extname(path) === '.json' && !path.endsWith('.index.json')
    ? sourceOfSidecar(path, modifiedMs)
    : sourceOfCheckpoint(path, modifiedMs)

async function sourceOfCheckpoint(path: string, modifiedMs: number): Promise<Source> {
  const file = await readTorchFile(path, { unsafe: 'describe', structure: 'directory' })
  const { value } = normalizeCheckpoint(file)
  const number = (key: string) => numberOf(value.get(key))
  const moment = { path, epoch: number('epoch'), phase: number('phase'), timestamp: number('timestamp'), modifiedMs }
  return { ...moment, globalStep: null, rows: rowsFrom(historyOf(value) ?? [], numberOf) }
}

async function sourceOfSidecar(path: string, modifiedMs: number): Promise<Source> {
  const json = objectOf(await readSidecar(path))
  const number = (key: string) => sidecarNumber(json[key])
  const moment = { path, epoch: number('epoch'), phase: number('phase'), timestamp: number('timestamp'), modifiedMs }
  const history = [json['metrics_history'], objectOf(json['training_state'])['metrics_history']].find(Array.isArray)
  const validation = objectOf(objectOf(json['additional_metrics'])['val_metrics'])
  const metrics = Object.entries(validation).map(
    ([name, value]) => [`val_${name.replace(/^val_/, '')}`, value] as const,
  )
  const own = {
    epoch: json['epoch'],
    phase: json['phase'],
    val_loss: json['validation_loss'],
    ...Object.fromEntries(metrics),
  }
  const rows = Array.isArray(history) ? history : moment.epoch === null ? [] : [own]
  return { ...moment, globalStep: null, rows: rowsFrom(rows, sidecarNumber) }
}

const objectOf = (value: unknown): Readonly<Record<string, unknown>> =>
  typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {}

/** Rows of a file: what is a number in them. A row that gives no epoch is the one after the row before it. */
function rowsFrom(history: readonly unknown[], numberIn: (value: unknown) => number | null): Row[] {
  let before = 0
  return history.map((row) => {
    const entries: (readonly [unknown, unknown])[] = row instanceof Map ? [...row] : Object.entries(objectOf(row))
    const numbers = new Map(entries.map(([name, value]) => [String(name), numberIn(value)]))
    const epoch = finite(numbers.get('epoch')) ?? before + 1
    before = epoch
    const metrics: Record<string, number> = {}
    for (const [name, value] of numbers)
      if (value !== null && name !== 'epoch' && name !== 'phase') metrics[name] = value
    return { epoch, phase: finite(numbers.get('phase')), metrics }
  })
}

const finite = (value: number | null | undefined): number | null =>
  value !== undefined && Number.isFinite(value) ? value : null

/** Adds what a later source says: its rows replace those of the same epochs, and what lies after its last one was rolled back. */
function joined(before: Row[], { rows }: Source): Row[] {
  const last = rows.reduce<Row | undefined>(
    (most, row) => (most === undefined || inOrder(most, row) < 0 ? row : most),
    undefined,
  )
  if (last === undefined) return before
  const byEpoch = new Map<number, Row[]>()
  for (const row of [...before.filter((row) => inOrder(row, last) <= 0), ...rows]) {
    const ofEpoch = byEpoch.get(row.epoch) ?? []
    const index = ofEpoch.findIndex((other) => inOrder(row, other) === 0)
    const other = ofEpoch[index]
    if (other === undefined) byEpoch.set(row.epoch, [...ofEpoch, row])
    else
      ofEpoch[index] = {
        epoch: row.epoch,
        phase: row.phase ?? other.phase,
        metrics: { ...other.metrics, ...row.metrics },
      }
  }
  return [...byEpoch.values()].flat().sort(inOrder)
}

/** By phase, where both say one, then by epoch. */
function inOrder(left: Row, right: Row): number {
  const phases = left.phase === null || right.phase === null ? 0 : left.phase - right.phase
  return phases === 0 ? left.epoch - right.epoch : phases
}

function numbered(rows: readonly Row[]): HistoryRow[] {
  const through = rows.every((row, index) => index === 0 || row.epoch > (rows[index - 1]?.epoch ?? -Infinity))
  return rows.map((row, index) => ({ runEpoch: through ? row.epoch : index + 1, ...row }))
}

function bordersOf(rows: readonly HistoryRow[]): { phase: number; runEpoch: number }[] {
  return rows.flatMap(({ phase, runEpoch }, index) =>
    index > 0 && phase !== null && phase !== rows[index - 1]?.phase ? [{ phase, runEpoch }] : [],
  )
}
