/** What a file holds as `inspect` gives it to programs: plain JSON values, and Python's type and text for everything that has none. `plain-values.ts` serves comparisons. */
import { isTensorRecord } from '../format/tensor-record.js'
import { NumpyScalar, PyFloat } from '../format/values.js'
import { pythonText, pythonTypeName } from './python-types.js'

/** Values that one call makes at most: shared parts of a file could otherwise multiply beyond all memory. */
const mostValues = 1_000_000

/**
 * Plain values: dicts become objects (keys as text), sequences and sets arrays, numpy scalars and floats numbers. A tensor or an object of another type becomes `{"type", "text"}`, and so does what
 * lies deeper than `depth` levels or contains itself. Integers beyond 2^53 stay bigints.
 */
export function inspectedValue(value: unknown, depth = 100): unknown {
  let left = mostValues
  const above = new Set<unknown>()
  const convert = (item: unknown, levels: number): unknown => {
    if (item === null || item === undefined) return null
    if (item instanceof PyFloat) return item.value
    if (item instanceof NumpyScalar) return convert(item.value, levels)
    if (typeof item !== 'object') return item
    if (isPlainObject(item)) return convert(new Map(Object.entries(item)), levels)
    const container = item instanceof Map || Array.isArray(item) || item instanceof Set
    if (!container || isTensorRecord(item) || levels === 0 || above.has(item) || (left -= 1 + sizeOf(item)) < 0)
      return { type: pythonTypeName(item), text: pythonText(item) }
    above.add(item)
    const inside = (child: unknown): unknown => convert(child, levels - 1)
    const result =
      item instanceof Map
        ? Object.fromEntries(
            [...(item as ReadonlyMap<unknown, unknown>)].map(([key, child]) => [inspectedKey(key), inside(child)]),
          )
        : [...(item as Iterable<unknown>)].map(inside)
    above.delete(item)
    return result
  }
  return convert(value, depth)
}

/** Objects that our readers make (details of a container), never a value of a pickle; they do not contain themselves. */
const isPlainObject = (item: object): boolean => Object.getPrototypeOf(item) === Object.prototype

const sizeOf = (container: readonly unknown[] | ReadonlySet<unknown> | ReadonlyMap<unknown, unknown>): number =>
  'size' in container ? container.size : container.length

/** A dict's key as text: strings as they are, others as Python prints them. */
export function inspectedKey(key: unknown): string {
  return typeof key === 'string' ? key : (pythonText(key) ?? pythonTypeName(key))
}
