/** What was complete where a pickle breaks off. */
import { OpaqueObject, PythonGlobal, Tuple } from './values.js'

/**
 * Puts the values that lie on the stack of a broken pickle into the containers that were being filled. CPython writes depth first, so that only the end of each container is missing.
 *
 * What is still being made (the arguments of a call, a tuple, a key without its value) is dropped. One thing cannot be told from the bytes: CPython fills a dict of one entry without a mark, so an
 * entry after an empty dict may belong into it or beside it. An int after str keys is taken as belonging into it, everything else as beside it.
 *
 * @param frames the stack split at its marks, outermost first.
 * @returns the outermost value; undefined where nothing was complete.
 */
export function completedValue(frames: readonly (readonly unknown[])[]): unknown {
  for (let depth = frames.length - 1; depth > 0; depth--) {
    const above = frames[depth - 1] as readonly unknown[]
    fill(above.at(-1), frames[depth] as readonly unknown[], above.length % 2 === 0)
  }
  const [root, ...rest] = frames[0] ?? []
  if (root instanceof PythonGlobal || root === undefined) return undefined
  if (root instanceof Map && root.size === 0) fill(root, rest, true)
  return root
}

/** `isValue`: the container stands where a dict has a value, so that what follows it cannot be a tuple beside it. */
function fill(container: unknown, items: readonly unknown[], isValue: boolean): void {
  const target: unknown = container instanceof OpaqueObject ? (container.entries ?? container.items) : container
  if (target instanceof Map) fillMap(target as Map<unknown, unknown>, items)
  else if (Array.isArray(target) && !(target instanceof Tuple) && isValue) {
    for (const item of items) {
      if (item instanceof PythonGlobal) return
      target.push(item)
    }
  }
}

function fillMap(map: Map<unknown, unknown>, items: readonly unknown[]): void {
  let target = map
  let before: unknown
  const [first] = items
  for (let index = 0; index + 1 < items.length; index += 2) {
    const [key, value] = [items[index], items[index + 1]]
    if (!isKey(key) || value instanceof PythonGlobal) return
    const nested = target !== map || (typeof first === 'string' && typeof key !== 'string')
    if (nested && before instanceof Map && before.size === 0) target = before as Map<unknown, unknown>
    target.set(key, value)
    before = value
  }
}

const isKey = (value: unknown): boolean =>
  value === null || value instanceof Tuple || ['string', 'number', 'bigint', 'boolean'].includes(typeof value)
