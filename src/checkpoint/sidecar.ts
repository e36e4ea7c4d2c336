/**
 * The JSON files beside checkpoints: `metrics/metrics_epoch_{E}_phase_{P}_{T}.json`, files of the same name, `{file}.config.json`. The older system wrote some that no strict parser reads: bare
 * NaN and Infinity, and numbers as strings.
 */
import { readFile, stat, writeFile } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { TorchkeepError } from '../format/errors.js'
import { PyFloat } from '../format/values.js'
import { exactRowOf, numberOf } from './metrics.js'
import { historyOf, type TopLevel } from './migrations.js'
import { exists, type FileOperations, nodeFiles, publishNew } from './store.js'

/** Folders of a run in which its checkpoints lie. */
const innerFolders = new Set(['regular', 'best', 'phases', 'metrics'])

/** The folder of the run that a file belongs to: where it lies, or the one above `regular/`, `best/`, `phases/` and `metrics/`. */
export function runFolder(path: string): string {
  const folder = dirname(path)
  return innerFolders.has(basename(folder)) ? dirname(folder) : folder
}

/**
 * Paths of the files that belong to a checkpoint and that exist: named like it, beside it or in `metrics/` of its run.
 * @param timestamp seconds since 1970 that the checkpoint gives: the names under `best/` have none of their own.
 */
export async function sidecarsOf(path: string, timestamp: number | null): Promise<string[]> {
  const found: string[] = []
  for (const candidate of sidecarNames(path, timestamp)) if (await exists(candidate)) found.push(candidate)
  return found
}

/** The paths that {@link sidecarsOf} looks for. */
export function sidecarNames(path: string, timestamp: number | null): Set<string> {
  const stem = basename(path).replace(/\.[^.]+$/, '')
  const metrics = join(runFolder(path), 'metrics')
  const own = metricsPath(path, timestamp)
  return new Set([
    join(dirname(path), `${stem}.json`),
    join(metrics, `${stem}.json`),
    `${path}.config.json`,
    ...(own === null ? [] : [own]),
  ])
}

/** `metrics/metrics_epoch_{E}_phase_{P}_{T}.json` of a file in `regular/` or `best/`, with the additions of its name (`_step_{S}`, `-2`); null where the name, or without one in it the timestamp, says too little. */
function metricsPath(path: string, timestamp: number | null): string | null {
  const label = /^(?:checkpoint_(epoch_\d+_phase_\d+)(_\d+.*)?|best_model_(epoch_\d+_phase_\d+)(?:-\d+)?)\.[^.]+$/.exec(
    basename(path),
  )
  const moment = label?.[2] ?? (timestamp === null ? undefined : `_${timestamp}`)
  const epoch = label?.[1] ?? label?.[3]
  return epoch === undefined || moment === undefined
    ? null
    : join(runFolder(path), 'metrics', `metrics_${epoch}${moment}.json`)
}

/**
 * Publishes the sidecar of a checkpoint that is durable: the older system's keys in strict JSON, in which NaN and the infinities are strings.
 * @param path of the checkpoint, in `regular/` or `best/`.
 * @param checkpoint as it is in the file.
 * @returns the name it got.
 * @throws TorchkeepError ERR_CHECKPOINT_WRITE.
 */
export async function publishSidecar(
  path: string,
  checkpoint: TopLevel,
  files: FileOperations = nodeFiles,
): Promise<string> {
  const sidecar = metricsPath(path, numberOf(checkpoint.get('timestamp')))
  if (sidecar === null) throw new TorchkeepError('ERR_INVALID_ARGUMENT', `${path} has no name of a checkpoint`)
  const text = `${strictJson(sidecarOf(checkpoint))}\n`
  return publishNew(sidecar, (temporaryPath) => writeFile(temporaryPath, text, { flag: 'wx' }), { files })
}

const labels = ['timestamp', 'epoch', 'phase', 'validation_loss', 'is_best', 'training_state', 'config']

function sidecarOf(checkpoint: TopLevel): TopLevel {
  const fields = new Map<unknown, unknown>(labels.map((key) => [key, checkpoint.get(key)]))
  const additional = additionalMetrics(checkpoint)
  return new Map([
    ...fields,
    ['metrics_history', historyOf(checkpoint) ?? []],
    ...(additional === null ? [] : [['additional_metrics', additional] as const]),
  ])
}

/** What the older system kept of the epoch beside its history; null inside an epoch. */
function additionalMetrics(checkpoint: TopLevel): TopLevel | null {
  const row = checkpoint.get('data_position') === null ? exactRowOf(checkpoint) : undefined
  if (row === undefined) return null
  const metrics = [...row].filter(([key]) => String(key).startsWith('val_') && key !== 'val_loss')
  return new Map<unknown, unknown>([
    ['val_metrics', new Map(metrics.map(([key, value]) => [String(key).slice('val_'.length), value]))],
    ['epoch_time', row.get('training_time')],
    ['learning_rate', row.get('learning_rate')],
    ['phase', row.get('phase')],
  ])
}

/** JSON that every parser reads, of a value as it goes into a file: floats keep a point (1.0), so that Python gets floats back. */
export function strictJson(value: unknown, indent = ''): string {
  if (value instanceof PyFloat) return floatText(value.value)
  if (typeof value === 'number') return Number.isFinite(value) ? JSON.stringify(value) : `"${value}"`
  if (typeof value === 'bigint') return value.toString()
  if (typeof value !== 'object' || value === null) return JSON.stringify(value)
  const inner = `${indent}  `
  const isArray = Array.isArray(value)
  const items = isArray
    ? value.map((item: unknown) => strictJson(item, inner))
    : [...(value instanceof Map ? (value as TopLevel) : Object.entries(value))].map(
        ([key, item]) => `${JSON.stringify(String(key))}: ${strictJson(item, inner)}`,
      )
  const [open, close] = isArray ? '[]' : '{}'
  return items.length === 0 ? `${open}${close}` : `${open}\n${inner}${items.join(`,\n${inner}`)}\n${indent}${close}`
}

function floatText(value: number): string {
  if (!Number.isFinite(value)) return `"${value}"`
  const text = Object.is(value, -0) ? '-0' : String(value)
  return /^-?\d+$/.test(text) ? `${text}.0` : text
}

/** No sidecar of a run comes near. */
const maxSidecarBytes = 64 << 20

/**
 * What a sidecar holds, see {@link parseLenientJson}; {@link sidecarNumber} reads its numbers.
 * @throws TorchkeepError ERR_CHECKPOINT_UNREADABLE where the file cannot be read, ERR_CHECKPOINT_CORRUPT where it is no JSON, ERR_CHECKPOINT_UNSUPPORTED where it is too large for a sidecar.
 */
export async function readSidecar(path: string): Promise<unknown> {
  let text: string
  try {
    const { size } = await stat(path)
    if (size > maxSidecarBytes)
      throw new TorchkeepError(
        'ERR_CHECKPOINT_UNSUPPORTED',
        `${path} has ${size} bytes; sidecars have at most ${maxSidecarBytes}`,
      )
    text = await readFile(path, 'utf8')
  } catch (cause) {
    if (cause instanceof TorchkeepError) throw cause
    throw new TorchkeepError('ERR_CHECKPOINT_UNREADABLE', `cannot read ${path}: ${String(cause)}`, { cause })
  }
  try {
    return parseLenientJson(text)
  } catch (cause) {
    throw new TorchkeepError('ERR_CHECKPOINT_CORRUPT', `${path} is no JSON: ${(cause as Error).message}`, { cause })
  }
}

/** Parses JSON in which numbers may also be bare `NaN`, `Infinity` or `-Infinity`; they become these strings, as in the strict form that Torchkeep writes. */
export function parseLenientJson(text: string): unknown {
  // A string of JSON whole, so that no word inside one is touched; or one of the words.
  // One that does not end is taken to the end of the text: looked for again from each quote in it, a hostile text would take minutes.
  const tokens = /"[^"\\]*(?:\\.[^"\\]*)*"?|-?\b(?:NaN|Infinity)\b/g
  return JSON.parse(text.replace(tokens, (token) => (token.startsWith('"') ? token : `"${token}"`)))
}

/** The number in a value of a sidecar: a number, or a string that the older system made of a numpy one (`"0.25"`, `"nan"`, `"inf"`); null for anything else. */
export function sidecarNumber(value: unknown): number | null {
  if (typeof value === 'number') return value
  if (typeof value !== 'string') return null
  const word = /^([+-]?)(nan|inf|infinity)$/i.exec(value.trim())
  if (word !== null) return word[2]?.toLowerCase() === 'nan' ? NaN : word[1] === '-' ? -Infinity : Infinity
  return /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i.test(value.trim()) ? Number(value) : null
}
