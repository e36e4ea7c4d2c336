/**
 * How large a value is once everything that it shares is written out, as JSON, a print or a comparison does. A pickle can hold one row and name it a million times, or double a list sixty times: Python takes
 * that, and whoever walks the value without end is lost.
 */
import { OpaqueObject, OrderedDict } from './values.js'

/** Parts of shared containers that any pickle may have, besides as many as it has bytes: every part that is not shared takes a byte at least. */
const sharedParts = 1_000_000

/** How many parts a value from a pickle of so many bytes may have, shared ones counted at each place. */
export const mostParts = (pickleBytes: number): number => pickleBytes + sharedParts

/** Whether the value has more parts than `most`. A container that holds itself counts once on each way to it. */
export function expandsBeyond(root: unknown, most: number): boolean {
  const sizes = new Map<object, number>()
  const open: { container: object; parts: Iterator<unknown>; size: number }[] = []
  const enter = (container: object, parts: Iterable<unknown>): void => {
    sizes.set(container, 0)
    open.push({ container, parts: parts[Symbol.iterator](), size: 1 })
  }
  const rootParts = partsOf(root)
  if (rootParts !== undefined) enter(root as object, rootParts)
  for (let top = open[open.length - 1]; top !== undefined; top = open[open.length - 1]) {
    const next = top.parts.next()
    if (next.done === true) {
      if (top.size > most) return true
      sizes.set(top.container, top.size)
      open.pop()
      const above = open[open.length - 1]
      if (above !== undefined) above.size += top.size
      continue
    }
    const parts = partsOf(next.value)
    const known = parts === undefined ? 1 : sizes.get(next.value as object)
    if (known === undefined) enter(next.value as object, parts as Iterable<unknown>)
    else top.size += known
  }
  return false
}

/** Whether a value from a pickle holds others, so that naming it again repeats them. */
export const isContainer = (value: unknown): boolean =>
  Array.isArray(value) || value instanceof Map || value instanceof Set || value instanceof OpaqueObject

/** What a container holds; undefined for all that is none. */
function partsOf(value: unknown): Iterable<unknown> | undefined {
  if (typeof value !== 'object' || value === null) return undefined
  if (Array.isArray(value) || value instanceof Set) return value as Iterable<unknown>
  if (value instanceof OrderedDict && value.attributes !== null) return [...value.values(), value.attributes]
  if (value instanceof Map) return entriesOf(value)
  return value instanceof OpaqueObject
    ? [value.args, value.keywordArgs, value.state, value.items, value.entries]
    : undefined
}

function* entriesOf(map: ReadonlyMap<unknown, unknown>): Generator<unknown> {
  for (const [key, value] of map) {
    yield key
    yield value
  }
}
