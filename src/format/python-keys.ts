/** Python's rules for dict keys and set members, which JavaScript's Map and Set do not share. */
import { ByteArray, FrozenSet, PyFloat, Tuple } from './values.js'
import { isPlainObject } from './walk.js'

/** Whether Python could hash the value: lists, dicts, sets and bytearrays cannot be keys. */
export function isHashable(key: unknown): boolean {
  if (key instanceof Tuple) return key.every((item) => item instanceof Tuple || isHashable(item))
  if (
    Array.isArray(key) ||
    key instanceof Map ||
    (key instanceof Set && !(key instanceof FrozenSet)) ||
    key instanceof ByteArray
  )
    return false
  return !(typeof key === 'object' && key !== null && isPlainObject(key))
}

/** A key in `container` that Python takes for the same as `key` although JavaScript does not (`1`, `True` and `1.0` are one key), or undefined. */
export function equalKey(container: { has(key: unknown): boolean }, key: unknown): unknown {
  if (typeof key === 'string') return undefined
  const value = key instanceof PyFloat ? key.value : key
  if (typeof value !== 'number' && typeof value !== 'boolean' && typeof value !== 'bigint') return undefined
  const number = Number(value)
  const twins: unknown[] = []
  if (typeof value !== 'bigint' || (Number.isFinite(number) && BigInt(number) === value)) twins.push(number)
  if (Number.isInteger(number)) twins.push(typeof value === 'bigint' ? value : BigInt(number))
  if (number === 0 || number === 1) twins.push(number === 1)
  return twins.find((twin) => twin !== key && container.has(twin))
}

/** The tuples among the keys of one container: Python takes those with equal items for one key, JavaScript keeps them apart. */
export class TupleKeys {
  readonly #seen = new Set<string>()

  /** Whether the tuple is another key than those before. Tuples that hold more than texts and numbers are taken for different ones. */
  add(key: Tuple): boolean {
    const texts = Array.from(key, plainText)
    if (texts.includes(undefined)) return true
    const text = texts.join(',')
    if (this.#seen.has(text)) return false
    this.#seen.add(text)
    return true
  }
}

/** A text that is equal for what Python takes for equal. */
function plainText(value: unknown): string | undefined {
  if (typeof value === 'string') return JSON.stringify(value)
  if (value instanceof PyFloat) return String(value.value)
  if (typeof value === 'boolean') return value ? '1' : '0'
  if (Object.is(value, -0)) return '0'
  return value === null || typeof value === 'number' || typeof value === 'bigint' ? String(value) : undefined
}
