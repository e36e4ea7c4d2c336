/** The contents of a file as a tree with Python's types, down to some depth. */
import { isTensorRecord } from '../format/tensor-record.js'
import { OpaqueObject } from '../format/values.js'
import { inspectedKey } from './inspect-values.js'
import { pythonText, pythonTypeName } from './python-types.js'

/** One value of the tree. */
export interface TreeNode {
  /** Key or index in the container above; empty for the top. */
  key: string
  /** Python's name of the type. */
  type: string
  /** The value in short; null for containers. */
  text: string | null
  /** Number of items of a container; null for others. */
  size: number | null
  /** Where the same object was shown before; null for the first time. */
  sameAs: string | null
  /** Null where there are none, or deeper ones were not asked for. */
  children: TreeNode[] | null
}

/** Values in a tree at most, so that no file can make one that fills the memory. */
const mostNodes = 200_000

/** The tree of a value. `depth` counts the levels below the top; objects that were shown before are only named, so that cycles end. */
export function treeOf(value: unknown, depth: number): TreeNode {
  const shown = new Map<object, string>()
  let nodes = 0
  const visit = (key: string, item: unknown, path: string, levels: number): TreeNode => {
    const children = childrenOf(item)
    const node: TreeNode = {
      key,
      type: pythonTypeName(item),
      text: pythonText(item),
      size: children?.length ?? null,
      sameAs: null,
      children: null,
    }
    nodes++
    if (children === null || children.length === 0) return node
    node.sameAs = shown.get(item as object) ?? null
    shown.set(item as object, node.sameAs ?? path)
    if (node.sameAs !== null || levels === 0 || nodes + children.length > mostNodes) return node
    node.children = children.map(([name, child]) =>
      visit(name, child, path === '' ? name : `${path}.${name}`, levels - 1),
    )
    return node
  }
  return visit('', value, '', depth)
}

/** What a container holds; null for what is none. The state of an object of an unknown class counts as its items. */
export function childrenOf(value: unknown): [key: string, child: unknown][] | null {
  if (value instanceof Map)
    return [...(value as ReadonlyMap<unknown, unknown>)].map(([key, child]) => [inspectedKey(key), child])
  if (Array.isArray(value) || value instanceof Set)
    return [...(value as Iterable<unknown>)].map((child, index) => [String(index), child])
  if (!(value instanceof OpaqueObject) || isTensorRecord(value)) return null
  const { args, keywordArgs, state, items, entries } = value
  const named = (name: string, part: unknown): [string, unknown][] =>
    part === null || part === undefined ? [] : [[name, part]]
  const attributes = state instanceof Map ? (childrenOf(state) ?? []) : named('(state)', state)
  const listed = [...named('(arguments)', args.length > 0 ? args : null), ...named('(keywords)', keywordArgs)]
  return [...listed, ...attributes, ...named('(items)', items), ...named('(entries)', entries)]
}
