/**
 * The JSON files beside checkpoints: `metrics/metrics_epoch_{E}_phase_{P}_{T}.json`, files of the same name, `{file}.config.json`. The older system wrote some that no strict parser reads: bare
 * NaN and Infinity, and numbers as strings.
 */
import { readFile, stat } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { TorchkeepError } from '../format/errors.js'
import { exists } from './store.js'

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
  const name = basename(path)
  const stem = name.replace(/\.[^.]+$/, '')
  const metrics = join(runFolder(path), 'metrics')
  const candidates = [join(dirname(path), `${stem}.json`), join(metrics, `${stem}.json`), `${path}.config.json`]
  const label = /^(?:checkpoint|best_model)_(epoch_\d+_phase_\d+)(_\d+.*)?$/.exec(stem)
  const moment = label?.[2] ?? (timestamp === null ? undefined : `_${timestamp}`)
  if (label?.[1] !== undefined && moment !== undefined)
    candidates.push(join(metrics, `metrics_${label[1]}${moment}.json`))
  const found: string[] = []
  for (const candidate of new Set(candidates)) if (await exists(candidate)) found.push(candidate)
  return found
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
