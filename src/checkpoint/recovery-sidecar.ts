/** The sidecar of a damaged checkpoint, read leniently but exactly: bare NaN and Infinity are numbers, `1.0` stays a float, large integers keep their digits. */
import { readdir, readFile, stat } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { TorchkeepError } from '../format/errors.js'
import { PyFloat } from '../format/values.js'
import type { NameFacts } from './recovery-name.js'
import { runFolder, sidecarNumber, sidecarsOf } from './sidecar.js'

/** What a sidecar says. */
export interface Sidecar {
  path: string
  /** Its JSON as Python values. */
  value: ReadonlyMap<unknown, unknown>
  /** A number of its top level, whether it stands there as a number or as a text; null where there is none. */
  number(key: string): number | null
}

const maxSidecarBytes = 64 << 20

/**
 * The sidecar of a checkpoint: the one of its very name, or the newest of its epoch and phase. Null without one.
 * @throws TorchkeepError ERR_CHECKPOINT_UNREADABLE, ERR_CHECKPOINT_CORRUPT where it is no JSON object.
 */
export async function exactSidecar(path: string, { epoch, phase, timestamp }: NameFacts): Promise<Sidecar | null> {
  const [named] = (await sidecarsOf(path, timestamp)).filter((found) => !found.endsWith('.config.json'))
  const found = named ?? (epoch === null ? undefined : await newestOf(join(runFolder(path), 'metrics'), epoch, phase))
  return found === undefined ? null : read(found)
}

async function newestOf(folder: string, epoch: number, phase: number | null): Promise<string | undefined> {
  let names: string[]
  try {
    names = await readdir(folder)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw new TorchkeepError('ERR_CHECKPOINT_UNREADABLE', `cannot list ${folder}: ${String(error)}`, { cause: error })
  }
  const moments = names.flatMap((name) => {
    const match = /^metrics_epoch_(\d+)_phase_(\d+)_(\d+)\.json$/.exec(name)
    const isIts = match !== null && Number(match[1]) === epoch && (phase === null || Number(match[2]) === phase)
    return isIts ? [{ name, moment: Number(match[3]), phase: Number(match[2]) }] : []
  })
  if (new Set(moments.map((moment) => moment.phase)).size > 1) return undefined
  const newest = moments.sort((left, right) => right.moment - left.moment)[0]
  return newest === undefined ? undefined : join(folder, newest.name)
}

async function read(path: string): Promise<Sidecar> {
  let text: string
  try {
    const { size } = await stat(path)
    if (size > maxSidecarBytes) throw new Error(`it has ${size} bytes, at most ${maxSidecarBytes} are read`)
    text = await readFile(path, 'utf8')
  } catch (cause) {
    throw new TorchkeepError('ERR_CHECKPOINT_UNREADABLE', `cannot read ${path}: ${(cause as Error).message}`, { cause })
  }
  let value: unknown
  try {
    value = parseExactJson(text)
  } catch (cause) {
    throw new TorchkeepError('ERR_CHECKPOINT_CORRUPT', `${basename(path)} is no JSON: ${(cause as Error).message}`, {
      cause,
    })
  }
  if (!(value instanceof Map))
    throw new TorchkeepError('ERR_CHECKPOINT_CORRUPT', `${basename(path)} holds no JSON object`)
  const fields = value as ReadonlyMap<unknown, unknown>
  const number = (key: string): number | null => {
    const found = fields.get(key)
    return sidecarNumber(found instanceof PyFloat ? found.value : found)
  }
  return { path, value: fields, number }
}

/** Python's `json.loads`: objects as dicts, `1.0` and `1e3` as floats, integers exact, bare `NaN`, `Infinity` and `-Infinity` as floats. */
export function parseExactJson(text: string): unknown {
  // Numbers and words become texts with a mark that no string of the file can begin with, as all of those get another mark.
  // Strings that do not end are passed whole to the parser, which refuses them: see `parseLenientJson`.
  const tokens = /"[^"\\]*(?:\\.[^"\\]*)*"?|-?\b(?:NaN|Infinity)\b|-?\d+(\.\d+)?([eE][+-]?\d+)?/g
  const marked = text.replace(tokens, (token) => (token.startsWith('"') ? `"s${token.slice(1)}` : `"n${token}"`))
  return revive(JSON.parse(marked) as unknown)
}

function revive(value: unknown): unknown {
  if (typeof value === 'string') return value.startsWith('s') ? value.slice(1) : numberFrom(value.slice(1))
  if (Array.isArray(value)) return value.map(revive)
  if (typeof value !== 'object' || value === null) return value
  return new Map(Object.entries(value).map(([key, item]) => [key.slice(1), revive(item)]))
}

function numberFrom(token: string): number | bigint | PyFloat {
  if (/^-?\d+$/.test(token)) {
    if (/^-?0\d/.test(token)) throw new SyntaxError(`${token} is no number`)
    const number = Number(token)
    return Number.isSafeInteger(number) && token !== '-0' ? number : BigInt(token)
  }
  const number = Number(token)
  return Number.isInteger(number) ? new PyFloat(number) : number
}
