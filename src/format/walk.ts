/** Walks a tree of Python values once per object, without recursion, so that neither cycles nor depth nor shared parts can hurt. */
import { TorchkeepError, type ErrorCode } from './errors.js'
import {
  ChunkedTensorRecord,
  isTensorRecord,
  NestedTensorRecord,
  QuantizedTensorRecord,
  SparseTensorRecord,
  TensorRecord,
  type AnyTensorRecord,
} from './tensor-record.js'
import { NumpyArray, OpaqueObject, OrderedDict } from './values.js'

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
 * @throws TorchkeepError with the code `tooDeep` for nesting beyond {@link maxDepth}.
 */
export function walk(
  root: unknown,
  visit: (value: object, path: ValuePath) => boolean,
  tooDeep: ErrorCode = 'ERR_CHECKPOINT_UNSAFE',
): void {
  if (!isObject(root)) return
  const seen = new Set<object>([root])
  const path: unknown[] = []
  const open: Iterator<readonly [unknown, unknown]>[] = []
  if (visit(root, path)) open.push(children(root))
  while (open.length > 0) {
    const next = open[open.length - 1]?.next()
    if (next === undefined || next.done === true) {
      open.pop()
      path.pop()
      continue
    }
    const [key, value] = next.value
    if (!isObject(value) || seen.has(value)) continue
    seen.add(value)
    path.push(key)
    if (open.length >= maxDepth) {
      throw new TorchkeepError(
        tooDeep,
        `values are nested deeper than ${maxDepth} levels at ${formatPath(path.slice(0, 4))}...`,
      )
    }
    if (visit(value, path)) open.push(children(value))
    else path.pop()
  }
}

const isObject = (value: unknown): value is object => typeof value === 'object' && value !== null

function* children(parent: object): Generator<readonly [unknown, unknown]> {
  if (parent instanceof Map) {
    for (const [key, value] of parent) {
      if (isObject(key)) yield ['(key)', key]
      yield [key, value]
    }
    if (parent instanceof OrderedDict && parent.attributes !== null) yield ['(attributes)', parent.attributes]
  } else if (Array.isArray(parent)) {
    yield* parent.entries()
  } else if (parent instanceof Set) {
    let index = 0
    for (const value of parent) yield [index++, value]
  } else if (isTensorRecord(parent)) {
    yield* tensorChildren(parent)
  } else if (parent instanceof OpaqueObject) {
    yield* opaqueChildren(parent)
  } else if (parent instanceof NumpyArray) {
    if (parent.objects !== null) yield* parent.objects.entries()
  } else if (isPlainObject(parent)) {
    yield* Object.entries(parent)
  }
}

function* opaqueChildren(parent: OpaqueObject): Generator<readonly [unknown, unknown]> {
  yield* parent.args.entries()
  yield ['(keywords)', parent.keywordArgs]
  if (parent.state instanceof Map) yield* parent.state
  else yield ['(state)', parent.state]
  yield ['(items)', parent.items]
  if (parent.entries !== null) yield* parent.entries
}

function* tensorChildren(record: AnyTensorRecord): Generator<readonly [unknown, unknown]> {
  if (record instanceof TensorRecord && record.attributes !== null) yield ['(attributes)', record.attributes]
  for (const part of strided(record)) if (part !== record) yield ['(part)', part]
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
