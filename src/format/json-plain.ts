/** JSON as plain objects without a lost digit, in and out: graphs of torch.export hold 9223372036854775807 and -0.0, which `JSON.parse` and `JSON.stringify` change. */
import type { JsonValue } from './json-text.js'

/** What {@link parseJson} gave, with plain objects for Maps. Integers beyond 2^53 stay bigints. */
export function plainJson(value: JsonValue): unknown {
  if (Array.isArray(value)) return value.map(plainJson)
  // Not by assignment: a key may be __proto__.
  if (value instanceof Map) return Object.fromEntries([...value].map(([key, item]) => [key, plainJson(item)]))
  return value
}

/** `JSON.stringify`, but bigints are integers and -0 keeps its sign. NaN and infinities have no JSON: an error of the caller's. */
export function exactJson(value: unknown): string {
  if (typeof value === 'bigint') return value.toString()
  if (typeof value === 'number') {
    if (!Number.isFinite(value)) throw new RangeError(`${value} has no JSON`)
    return Object.is(value, -0) ? '-0.0' : String(value)
  }
  if (Array.isArray(value)) return `[${value.map((item) => exactJson(item ?? null)).join(',')}]`
  if (typeof value !== 'object' || value === null) return JSON.stringify(value)
  const entries = Object.entries(value).filter(([, item]) => item !== undefined)
  const text = ([key, item]: [string, unknown]): string => (floats.has(key) ? floatJson(item) : exactJson(item))
  return `{${entries.map((entry) => `${JSON.stringify(entry[0])}:${text(entry)}`).join(',')}}`
}

/** Arguments of torch.export's graphs that Python takes for integers where they are written as such: `x * 2.0` of integers is floating. */
const floats = new Set(['as_float', 'as_floats'])

function floatJson(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(floatJson).join(',')}]`
  const text = exactJson(value)
  return /^-?\d+$/.test(text) ? `${text}.0` : text
}
