/** Walks a tree of Python values once per object, without recursion, so that neither cycles nor depth nor shared parts can hurt. */
import { TorchkeepError } from './errors.js'
import {
  ChunkedTensorRecord,
  isTensorRecord,
  NestedTensorRecord,
  QuantizedTensorRecord,
  SparseTensorRecord,
  TensorRecord,
  type AnyTensorRecord,
} from './tensor-record.js'
import { DefaultDict, NumpyArray, OpaqueObject, OrderedDict } from './values.js'

/**
 * Deepest nesting that is read or written. CPython's own pickler gives up below this depth, so no file that Python saved comes near it, while code that
 * walks the value recursively stays safe.
 */
export const maxDepth = 1000

/** Where a value sits, for messages: `["optimizer"]["state"][0]`. */
export type ValuePath = readonly unknown[]

/** Prints a path as Python would index it. */
export function formatPath(path: ValuePath): string {
  return (
    path.map((key) => `[${typeof key === 'string' ? JSON.stringify(key) : String(key)}]`).join('') || 'the value itself'
  )
}

/**
 * Calls `visit` for every object below and including `root`, parents first, in the order of the containers.
 * @returns nothing; `visit` returning false keeps the walk out of that object.
 * `refuse` raises the error for nesting beyond {@link maxDepth}: ERR_CHECKPOINT_UNSAFE unless told.
 */
export function walk(
  root: unknown,
  visit: (value: object, path: ValuePath) => boolean,
  refuse: (reason: string) => never = refuseFile,
): void {
  if (!isObject(root)) return
  const seen = new Set<object>([root])
  const path: unknown[] = []
  const open: Children[] = []
  if (visit(root, path)) open.push(new Children(root))
  for (let last = open.at(-1); last !== undefined; last = open.at(-1)) {
    const value = last.values[last.next]
    if (value === undefined) {
      open.pop()
      path.pop()
      continue
    }
    const key = last.keys[last.next++]
    if (seen.has(value)) continue
    seen.add(value)
    path.push(key)
    if (open.length >= maxDepth)
      refuse(`values are nested deeper than ${maxDepth} levels at ${formatPath(path.slice(0, 4))}...`)
    if (visit(value, path)) open.push(new Children(value))
    else path.pop()
  }
}

function refuseFile(reason: string): never {
  throw new TorchkeepError('ERR_CHECKPOINT_UNSAFE', reason, { finding: 'pickle.limit' })
}

const isObject = (value: unknown): value is object => typeof value === 'object' && value !== null

/** The objects that an object holds, each with its key, and which comes next. */
class Children {
  readonly keys: unknown[] = []
  readonly values: object[] = []
  next = 0

  constructor(parent: object) {
    if (parent instanceof Map) {
      this.#addMap(parent)
      if (parent instanceof OrderedDict) this.#add('(attributes)', parent.attributes)
      if (parent instanceof DefaultDict) this.#add('(factory)', parent.factory)
    } else if (Array.isArray(parent)) this.#addAll(parent)
    else if (parent instanceof Set) this.#addAll([...(parent as Set<unknown>)])
    else if (isTensorRecord(parent)) this.#addTensor(parent)
    else if (parent instanceof OpaqueObject) this.#addOpaque(parent)
    else if (parent instanceof NumpyArray) this.#addAll(parent.objects ?? [])
    else if (isPlainObject(parent)) for (const [key, value] of Object.entries(parent)) this.#add(key, value)
  }

  #add(key: unknown, value: unknown): void {
    if (!isObject(value)) return
    this.keys.push(key)
    this.values.push(value)
  }

  #addAll(items: readonly unknown[]): void {
    for (let index = 0; index < items.length; index++) this.#add(index, items[index])
  }

  #addMap(entries: ReadonlyMap<unknown, unknown>): void {
    for (const [key, value] of entries) {
      this.#add('(key)', key)
      this.#add(key, value)
    }
  }

  #addTensor(record: AnyTensorRecord): void {
    if (!(record instanceof TensorRecord)) for (const part of strided(record)) this.#add('(part)', part)
    else if (record.attributes !== null) this.#add('(attributes)', record.attributes)
  }

  #addOpaque({ args, keywordArgs, state, items, entries }: OpaqueObject): void {
    this.#addAll(args)
    this.#add('(keywords)', keywordArgs)
    if (state instanceof Map) this.#addMap(state)
    else this.#add('(state)', state)
    this.#add('(items)', items)
    if (entries !== null) this.#addMap(entries)
  }
}

/** The strided tensors that a tensor description consists of. */
export function strided<Source>(record: AnyTensorRecord<Source>): readonly TensorRecord<Source>[] {
  if (record instanceof TensorRecord) return [record]
  if (record instanceof SparseTensorRecord) return record.parts
  if (record instanceof ChunkedTensorRecord) return record.chunks.map((chunk) => chunk.tensor)
  if (record instanceof NestedTensorRecord) {
    return [record.buffer, record.nestedSizes, record.nestedStrides, record.storageOffsets]
  }
  if (record instanceof QuantizedTensorRecord) {
    const { quantizer } = record
    return 'scales' in quantizer ? [record.integers, quantizer.scales, quantizer.zeroPoints] : [record.integers]
  }
  return []
}

/** Whether `value` is an object literal (or was made by JSON.parse): written as a `dict`. */
export function isPlainObject(value: object): value is Record<string, unknown> {
  const prototype: unknown = Object.getPrototypeOf(value)
  return prototype === Object.prototype || prototype === null
}

/**
 * Replaces every tensor description in a tree by what `decode` makes of it, in place, so that shared and cyclic containers stay so. Each description is decoded
 * once; the same description in two places gives the same object. Tensors that are keys of a dict, and those in object literals (which no reader here makes), are left.
 * @returns the tree, which is the decoded tensor itself where the whole value is one tensor.
 */
export function replaceTensors(root: unknown, decode: (record: AnyTensorRecord, path: ValuePath) => unknown): unknown {
  const decoded = new Map<object, unknown>()
  const containers: object[] = []
  walk(root, (value, path) => {
    if (!isTensorRecord(value)) return containers.push(value) > 0
    decoded.set(value, decode(value, path))
    return false
  })
  const swap = (value: unknown): unknown => (isTensorRecord(value) ? decoded.get(value) : value)
  for (const container of containers) replaceChildren(container, swap)
  return swap(root)
}

function replaceChildren(container: object, swap: (value: unknown) => unknown): void {
  if (container instanceof OpaqueObject) {
    container.state = swap(container.state)
    const { args, keywordArgs, state, items, entries } = container
    for (const part of [args, keywordArgs, state, items, entries]) if (isObject(part)) replaceChildren(part, swap)
  } else if (container instanceof NumpyArray) {
    if (container.objects !== null) replaceChildren(container.objects, swap)
  } else if (container instanceof Map) {
    for (const [key, value] of container) if (isTensorRecord(value)) container.set(key, swap(value))
  } else if (Array.isArray(container)) {
    for (const [index, value] of container.entries()) if (isTensorRecord(value)) container[index] = swap(value)
  } else if (container instanceof Set) {
    const values = [...(container as Set<unknown>)]
    if (!values.some(isTensorRecord)) return
    container.clear()
    for (const value of values) container.add(swap(value))
  }
}

/** Every tensor description of a tree with the path of its first place, in order. */
export function listTensors(root: unknown): { path: ValuePath; record: AnyTensorRecord }[] {
  const found: { path: ValuePath; record: AnyTensorRecord }[] = []
  walk(root, (value, path) => {
    if (!isTensorRecord(value)) return true
    found.push({ path: [...path], record: value })
    return false
  })
  return found
}
