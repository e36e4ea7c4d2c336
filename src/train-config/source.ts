/** The text of a configuration file: YAML or JSON to plain values, with the line of each, and the changes of `--set`. */
import { isMap, isPair, isSeq, LineCounter, parseDocument, type Document, type Node, type Pair } from 'yaml'
import { TorchkeepError } from '../format/errors.js'

/** Keys and indices from the root of the file. */
export type ConfigPath = readonly (string | number)[]

/** A path as people write it: `phases[0].lr`. */
export function pathText(path: ConfigPath): string {
  return path.reduce<string>((text, part) => {
    if (typeof part === 'number') return `${text}[${part}]`
    const key = /^[\w-]+$/.test(part) ? part : JSON.stringify(part)
    return text === '' ? key : `${text}.${key}`
  }, '')
}

/** What a file says, and where. */
export interface ConfigSource {
  /** The file, as it was named. */
  file: string
  /** Plain values, after the changes. */
  value: unknown
  /** Where a part of the value comes from: `run.yaml:12`, or `--set phases[0].lr`. A part that is not there has the place of what holds it. */
  placeOf: (path: ConfigPath) => string
  /** The line, for the order of messages; changes come last. */
  lineOf: (path: ConfigPath) => number
}

/**
 * Parses a configuration. JSON is YAML, so one parser reads both.
 *
 * @param changes `key=value` of `--set`, in order: a dotted path with indices (`phases[0].lr` or `phases.0.lr`), and a value as YAML.
 * @throws TorchkeepError `ERR_INVALID_ARGUMENT` with every mistake of syntax and its line.
 */
export function parseSource(file: string, text: string, changes: readonly string[] = []): ConfigSource {
  const lines = new LineCounter()
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: false })
  const lineOf = (offset: number): number => lines.linePos(offset).line
  if (document.errors.length > 0) {
    const mistakes = document.errors.map(({ pos, message }) => `  ${file}:${lineOf(pos[0])}: ${message}`)
    throw new TorchkeepError('ERR_INVALID_ARGUMENT', `${file} cannot be parsed:\n${mistakes.join('\n')}`, {
      suggestions: ['torchkeep init writes a configuration to begin with'],
    })
  }
  let value: unknown = toPlain(document, file)
  const set: ConfigPath[] = []
  for (const change of changes) {
    const { path, value: replacement } = parseChange(change)
    value = withChange(value, path, replacement, change)
    set.push(path)
  }
  const changeAt = (path: ConfigPath): ConfigPath | undefined =>
    set.findLast((start) => start.every((part, index) => String(part) === String(path[index])))
  return {
    file,
    value,
    placeOf(path) {
      const changed = changeAt(path)
      if (changed !== undefined) return `--set ${pathText(changed)}`
      const offset = offsetOf(document, path)
      return offset === null ? file : `${file}:${lineOf(offset)}`
    },
    lineOf: (path) => (changeAt(path) === undefined ? lineOf(offsetOf(document, path) ?? 0) : Number.MAX_SAFE_INTEGER),
  }
}

/** Aliases are followed, but not without end: a file of nested ones would fill the memory. */
function toPlain(document: Document, file: string): unknown {
  try {
    return document.toJS()
  } catch (error) {
    throw new TorchkeepError('ERR_INVALID_ARGUMENT', `${file} cannot be parsed: ${(error as Error).message}`, {
      cause: error,
    })
  }
}

/** Where the deepest part of a path that is there begins: of an entry of a mapping, its key. */
function offsetOf(document: Document, path: ConfigPath): number | null {
  let node = document.contents as unknown
  let offset = startOf(node)
  for (const part of path) {
    const entry: unknown = isMap(node)
      ? node.items.find((item) => String((item as Pair<{ value?: unknown }>).key?.value) === String(part))
      : isSeq(node)
        ? node.items[Number(part)]
        : undefined
    if (entry === undefined) break
    offset = startOf(isPair(entry) ? entry.key : entry) ?? offset
    node = isPair(entry) ? entry.value : entry
  }
  return offset
}

function startOf(node: unknown): number | null {
  return (node as Node | null | undefined)?.range?.[0] ?? null
}

function parseChange(change: string): { path: ConfigPath; value: unknown } {
  const equals = change.indexOf('=')
  const fail = (what: string): never => {
    throw new TorchkeepError('ERR_INVALID_ARGUMENT', `--set ${change}: ${what}`, {
      suggestions: ['--set phases[0].lr=1e-4'],
    })
  }
  if (equals < 1) return fail('expected KEY=VALUE')
  const path = parsePath(change.slice(0, equals)) ?? fail('the key should be names and indices, such as phases[0].lr')
  const document = parseDocument(change.slice(equals + 1))
  const [error] = document.errors
  if (error !== undefined) fail(`the value is not YAML: ${error.message.split('\n')[0]}`)
  return { path, value: document.toJS() as unknown }
}

function parsePath(text: string): ConfigPath | null {
  if (!/^[\w-]+(?:\.[\w-]+|\[\d+\])*$/.test(text)) return null
  return text.split(/[.[]/).map((part) => {
    const key = part.replace(']', '')
    return /^\d+$/.test(key) ? Number(key) : key
  })
}

/** A copy of `value` with another part; mappings on the way are made where they are missing, and a list grows by one at most. */
function withChange(value: unknown, path: ConfigPath, replacement: unknown, change: string): unknown {
  const [part, ...rest] = path
  if (part === undefined) return replacement
  if (Array.isArray(value)) {
    if (typeof part !== 'number' || part > value.length)
      throw new TorchkeepError(
        'ERR_INVALID_ARGUMENT',
        `--set ${change}: there is a list of ${value.length} where '${part}' is looked up; indices count from 0`,
      )
    const items = [...(value as unknown[])]
    items[part] = withChange(items[part], rest, replacement, change)
    return items
  }
  const isMapping = typeof value === 'object' && value !== null
  // Own properties only, so that a key such as __proto__ is a key like others, and refused as unknown later.
  const entries = new Map<string, unknown>(isMapping ? Object.entries(value) : [])
  entries.set(String(part), withChange(entries.get(String(part)), rest, replacement, change))
  return Object.fromEntries(entries)
}
