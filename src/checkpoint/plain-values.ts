/** Values as they come out of a file, as plain JSON values for people and programs to look at. Nothing is written back from these. */
import {
  Complex,
  Device,
  Layout,
  NumpyArray,
  NumpyScalar,
  OpaqueObject,
  PyFloat,
  PythonGlobal,
  TorchDType,
} from '../format/values.js'
import { isTensorRecord, StorageRecord, type AnyTensorRecord } from '../format/tensor-record.js'
import { TorchkeepError } from '../format/errors.js'
import type { Plain } from './fields.js'
import { sizesOf } from './tensor-roles.js'

/** Most parts of one value that are shown: a file can hold values that are far larger written out than they are in it. */
const mostParts = 1000

/** What a part beyond the limit, or inside itself, becomes. */
const elided = '...'

/**
 * A value without classes: dicts as objects with texts as keys, tuples and lists as arrays, numpy scalars as their values, bytes and whatever else JSON does not know as a short text in angle brackets. What
 * is cyclic or beyond 1,000 parts becomes '...'.
 */
export function plainValue(value: unknown): Plain {
  return plainWithin(value, { parts: mostParts }, [])
}

/**
 * The same without leaving anything out.
 * @throws TorchkeepError ERR_CHECKPOINT_UNSAFE beyond a million parts: a small file can hold a value that is endless written out.
 */
export function wholePlainValue(value: unknown): Plain {
  const left = { parts: 1_000_000 }
  const plain = plainWithin(value, left, [])
  if (left.parts >= 0) return plain
  throw new TorchkeepError('ERR_CHECKPOINT_UNSAFE', 'a value has more than a million parts', {
    finding: 'pickle.limit',
  })
}

function plainWithin(value: unknown, left: { parts: number }, above: readonly object[]): Plain {
  if (value === null || value === undefined) return null
  if (typeof value === 'boolean' || typeof value === 'string' || typeof value === 'bigint') return value
  if (typeof value === 'number') return value
  if (typeof value !== 'object') return `<${typeof value}>`
  const scalar = scalarText(value)
  if (scalar !== undefined) return scalar
  if (--left.parts < 0 || above.includes(value)) return elided
  const within = [...above, value]
  if (Array.isArray(value)) return takeWhileAny(value, left, (item) => plainWithin(item, left, within))
  if (value instanceof Set) return takeWhileAny([...value], left, (item) => plainWithin(item, left, within))
  const entries = namedParts(value)
  const out: Record<string, Plain> = {}
  for (const [key, item] of entries) {
    if (--left.parts < 0) break
    // Not by assignment: a key may be __proto__.
    Object.defineProperty(out, key, {
      value: plainWithin(item, left, within),
      enumerable: true,
      configurable: true,
      writable: true,
    })
  }
  return out
}

function takeWhileAny(items: readonly unknown[], left: { parts: number }, plain: (item: unknown) => Plain): Plain[] {
  const out: Plain[] = []
  for (const item of items) {
    if (--left.parts < 0) return [...out, elided]
    out.push(plain(item))
  }
  return out
}

/** The plain form of what has no parts; undefined for what has. */
export function scalarText(value: object): Plain | undefined {
  if (value instanceof PyFloat) return value.value
  if (value instanceof NumpyScalar) {
    const { value: inner } = value
    if (inner instanceof Complex || inner instanceof Uint8Array) return scalarText(inner)
    return inner ?? `<numpy ${value.dtype} ${hex(value.bytes)}>`
  }
  if (value instanceof NumpyArray) return `<numpy array ${value.dtype} [${value.shape.join(', ')}]>`
  if (value instanceof Complex) return `<complex ${value.re} ${value.im}>`
  if (value instanceof Uint8Array) return `<${value.byteLength} bytes ${hex(value)}>`
  if (value instanceof TorchDType) return `<${value.toString()}>`
  if (value instanceof Device) return `<device ${value.toString()}>`
  if (value instanceof Layout) return `<torch.${value.name}>`
  if (value instanceof PythonGlobal) return `<${value.name}>`
  if (value instanceof StorageRecord) return `<storage of ${value.sizeBytes} bytes>`
  return isTensorRecord(value) ? `<${tensorText(value)}>` : undefined
}

/** `float32 tensor [2, 3]`. */
export function tensorText(record: AnyTensorRecord): string {
  const dtype = record.kind === 'strided' || record.kind === 'meta' ? `${record.dtype} ` : `${record.kind} `
  return `${dtype}tensor [${sizesOf(record).join(', ')}]`
}

const hex = (bytes: Uint8Array): string =>
  Buffer.from(bytes.subarray(0, 16)).toString('hex') + (bytes.byteLength > 16 ? '...' : '')

/** The parts of a dict or of an object of an unknown class, by name. */
export function namedParts(value: object): (readonly [key: string, item: unknown])[] {
  if (value instanceof Map) return [...(value as Map<unknown, unknown>)].map(([key, item]) => [keyText(key), item])
  if (value instanceof OpaqueObject) {
    return [
      ['(class)', value.className],
      ...value.args.map((item, index) => [`(argument ${index})`, item] as const),
      ...(value.keywordArgs === null ? [] : namedParts(value.keywordArgs)),
      ...(value.items === null ? [] : [['(items)', value.items] as const]),
      ...(value.entries === null ? [] : namedParts(value.entries)),
      ...(value.state instanceof Map
        ? namedParts(value.state)
        : value.state === undefined
          ? []
          : [['(state)', value.state] as const]),
    ]
  }
  return Object.entries(value)
}

/** A dict's key as text: strings as they are, everything else as plain JSON. */
export function keyText(key: unknown): string {
  if (typeof key === 'string') return key
  const plain = plainValue(key)
  return typeof plain === 'object'
    ? JSON.stringify(plain, (_key, item: unknown) => (typeof item === 'bigint' ? String(item) : item))
    : String(plain)
}
