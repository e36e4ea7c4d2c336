/** Descriptions of tensors and storages: where the bytes are and how they are viewed, never the bytes themselves. */
import { dtypes, type DTypeName } from './dtypes.js'
import { TorchkeepError } from './errors.js'
import type { Layout } from './values.js'

/** What distinguishes one state of a file from another. */
export interface FileIdentity {
  readonly inode: bigint
  readonly sizeBytes: number
  readonly modifiedNs: bigint
}

/** A byte range of a file. */
export interface FileRange {
  /** Absolute. */
  readonly path: string
  readonly offsetBytes: number
  readonly sizeBytes: number
  /** The state of the file that is meant; without it any is taken. */
  readonly identity?: FileIdentity
  /** CRC-32 of the range, checked when it is copied; null or absent: not known. */
  readonly crc32?: number | null
}

/** Order of the bytes of an element. */
export type ByteOrder = 'little' | 'big'

/** A range whose bytes are changed on their way into the new file, as recovery mends values. */
export interface PatchedRange extends FileRange {
  /** Changes a piece in place. `offsetBytes`: where in the range it begins; pieces begin and end with whole elements. */
  readonly patch: (piece: Uint8Array, offsetBytes: number) => void | Promise<void>
}

/** Bytes that are made while they are written, as values are when they are cast or gathered. */
export interface MadeBytes {
  readonly sizeBytes: number
  /** Makes the bytes from `offsetBytes` on, in pieces. A piece is valid until the next one is asked for. */
  readonly make: (offsetBytes: number, sizeBytes: number) => AsyncIterable<Uint8Array>
}

/** What the Node executor can write: bytes at hand, a range of another file, or bytes that are made. */
export type ByteOrigin = Uint8Array | FileRange | PatchedRange | MadeBytes

/** A storage: untyped bytes that tensors view. */
export class StorageRecord<Source = FileRange> {
  /** Equal for tensors that share the storage, different for all others. */
  readonly id: string
  /** Element type of a typed storage, null for `torch.UntypedStorage`. */
  readonly dtype: DTypeName | null
  readonly sizeBytes: number
  /** `'cpu'`, `'cuda:0'`: where it was when it was saved, where `torch.load` puts it back. */
  readonly location: string
  /** Where the bytes are: a range of a file, an array, or whatever the caller's executor understands (a tensor handle). */
  readonly source: Source
  /** CRC-32 that the file holds for the bytes; null: not known or not stored. */
  readonly crc32: number | null
  /** Its record in the file it was read from; null otherwise. */
  readonly recordName: string | null
  /** Order of the bytes of each element where they are; all functions that read values give little-endian ones. */
  readonly byteOrder: ByteOrder
  /** Where it is a part of another storage, as files before PyTorch 0.4 have them: that one, and where in it the part begins. */
  readonly viewOf: { readonly storage: StorageRecord<Source>; readonly offsetBytes: number } | null

  constructor(facts: {
    id: string
    dtype: DTypeName | null
    sizeBytes: number
    source: Source
    location?: string
    crc32?: number | null
    recordName?: string | null
    byteOrder?: ByteOrder
    viewOf?: { readonly storage: StorageRecord<Source>; readonly offsetBytes: number } | null
  }) {
    this.id = facts.id
    this.dtype = facts.dtype
    this.sizeBytes = facts.sizeBytes
    this.location = facts.location ?? 'cpu'
    this.source = facts.source
    this.crc32 = facts.crc32 ?? null
    this.recordName = facts.recordName ?? null
    this.byteOrder = facts.byteOrder ?? 'little'
    this.viewOf = facts.viewOf ?? null
  }
}

/** What describes a strided tensor. */
export interface TensorFacts<Source = FileRange> {
  storage: StorageRecord<Source>
  dtype: DTypeName
  sizes: readonly number[]
  /** In elements. */
  strides: readonly number[]
  /** In elements; 0 unless told. */
  storageOffset?: number
  requiresGrad?: boolean
  /** Whether it is an `nn.Parameter`. */
  isParameter?: boolean
  /** The values are to be read conjugated (`torch.Tensor.is_conj`). */
  conj?: boolean
  /** The values are to be read negated (`torch.Tensor.is_neg`). */
  neg?: boolean
  /** Python attributes of the tensor object. */
  attributes?: Map<unknown, unknown> | null
  /** Full name of its class where it is neither Tensor nor Parameter. */
  className?: string | null
}

/** A strided tensor over a storage. */
export class TensorRecord<Source = FileRange> {
  readonly kind = 'strided'
  readonly storage: StorageRecord<Source>
  readonly dtype: DTypeName
  readonly sizes: readonly number[]
  readonly strides: readonly number[]
  readonly storageOffset: number
  readonly requiresGrad: boolean
  readonly isParameter: boolean
  readonly conj: boolean
  readonly neg: boolean
  readonly attributes: Map<unknown, unknown> | null
  readonly className: string | null

  constructor(facts: TensorFacts<Source>) {
    this.storage = facts.storage
    this.dtype = facts.dtype
    this.sizes = facts.sizes
    this.strides = facts.strides
    this.storageOffset = facts.storageOffset ?? 0
    this.requiresGrad = facts.requiresGrad ?? false
    this.isParameter = facts.isParameter ?? false
    this.conj = facts.conj ?? false
    this.neg = facts.neg ?? false
    this.attributes = facts.attributes ?? null
    this.className = facts.className ?? null
  }
}

/** A sparse tensor: `indices, values` (COO) or `compressed indices, plain indices, values` (CSR, CSC, BSR, BSC). */
export class SparseTensorRecord<Source = FileRange> {
  readonly kind = 'sparse'

  constructor(
    readonly layout: Layout,
    readonly parts: readonly TensorRecord<Source>[],
    readonly sizes: readonly number[],
    /** COO only; null where the file does not say. */
    readonly isCoalesced: boolean | null,
  ) {}
}

/** How the integers of a quantized tensor become numbers. */
export type Quantizer<Source = FileRange> =
  | { readonly scheme: string; readonly scale: number; readonly zeroPoint: number }
  | {
      readonly scheme: string
      readonly scales: TensorRecord<Source>
      readonly zeroPoints: TensorRecord<Source>
      readonly axis: number
    }

/** A quantized tensor: its integers as a strided tensor, and the quantizer. */
export class QuantizedTensorRecord<Source = FileRange> {
  readonly kind = 'quantized'

  constructor(
    readonly integers: TensorRecord<Source>,
    readonly quantizer: Quantizer<Source>,
  ) {}
}

/** A tensor on the meta device: a shape without values. */
export class MetaTensorRecord {
  readonly kind = 'meta'

  constructor(
    readonly dtype: DTypeName,
    readonly sizes: readonly number[],
    readonly strides: readonly number[],
    readonly requiresGrad: boolean,
  ) {}
}

/** A nested tensor of the strided layout: one buffer, and sizes, strides and offsets of the parts as int64 tensors. */
export class NestedTensorRecord<Source = FileRange> {
  readonly kind = 'nested'

  constructor(
    readonly buffer: TensorRecord<Source>,
    readonly nestedSizes: TensorRecord<Source>,
    readonly nestedStrides: TensorRecord<Source>,
    readonly storageOffsets: TensorRecord<Source>,
  ) {}
}

/**
 * A tensor whose parts lie in several places, as `torch.distributed.checkpoint` saves those that were spread over processes. The chunks cover the tensor without overlap.
 */
export class ChunkedTensorRecord<Source = FileRange> {
  readonly kind = 'chunked'

  constructor(
    readonly dtype: DTypeName,
    readonly sizes: readonly number[],
    /** The parts: where in the tensor each begins, and the tensor that it is. */
    readonly chunks: readonly { readonly offsets: readonly number[]; readonly tensor: TensorRecord<Source> }[],
    readonly requiresGrad: boolean,
  ) {}
}

/** Every kind of tensor description. */
export type AnyTensorRecord<Source = FileRange> =
  | TensorRecord<Source>
  | ChunkedTensorRecord<Source>
  | SparseTensorRecord<Source>
  | QuantizedTensorRecord<Source>
  | MetaTensorRecord
  | NestedTensorRecord<Source>

/** Whether `value` describes a tensor. */
export function isTensorRecord(value: unknown): value is AnyTensorRecord {
  return (
    value instanceof TensorRecord ||
    value instanceof ChunkedTensorRecord ||
    value instanceof SparseTensorRecord ||
    value instanceof QuantizedTensorRecord ||
    value instanceof MetaTensorRecord ||
    value instanceof NestedTensorRecord
  )
}

/** Number of elements. */
export function elementCount(sizes: readonly number[]): number {
  return sizes.reduce((product, size) => product * size, 1)
}

/** Strides of a contiguous tensor, in elements, as PyTorch computes them (a size of 0 counts as 1). */
export function contiguousStrides(sizes: readonly number[]): number[] {
  const strides = new Array<number>(sizes.length)
  let stride = 1
  for (let dimension = sizes.length - 1; dimension >= 0; dimension--) {
    strides[dimension] = stride
    stride *= Math.max(sizes[dimension] ?? 1, 1)
  }
  return strides
}

/** Whether the elements lie one after the other in C order. Strides of dimensions of size 1 do not matter. */
export function isContiguous({ sizes, strides }: Pick<TensorRecord, 'sizes' | 'strides'>): boolean {
  if (sizes.includes(0)) return true
  const expected = contiguousStrides(sizes)
  return sizes.every((size, dimension) => size === 1 || strides[dimension] === expected[dimension])
}

/** The bytes of the storage that a view touches, end exclusive; `[0, 0]` for an empty tensor. Sizes and strides are not negative. */
export function coveredBytes(view: {
  dtype: DTypeName
  sizes: readonly number[]
  strides: readonly number[]
  storageOffset: number
}): [number, number] {
  if (view.sizes.includes(0)) return [0, 0]
  const last = view.sizes.reduce((index, size, dimension) => index + (size - 1) * (view.strides[dimension] ?? 0), 0)
  const { itemSizeBytes, elementsPerByte } = dtypes[view.dtype]
  const first = Math.floor((view.storageOffset * itemSizeBytes) / elementsPerByte)
  return [first, Math.ceil(((view.storageOffset + last + 1) * itemSizeBytes) / elementsPerByte)]
}

let memoryStorages = 0

/** Describes a contiguous tensor over bytes at hand (little-endian, C order), for writing without LibTorch. */
export function tensorFromBytes(facts: {
  dtype: DTypeName
  sizes: readonly number[]
  bytes: Uint8Array
  isParameter?: boolean
  requiresGrad?: boolean
}): TensorRecord<Uint8Array> {
  const expectedBytes = Math.ceil(
    (elementCount(facts.sizes) * dtypes[facts.dtype].itemSizeBytes) / dtypes[facts.dtype].elementsPerByte,
  )
  if (facts.bytes.byteLength !== expectedBytes) {
    throw new TorchkeepError(
      'ERR_INVALID_ARGUMENT',
      `a ${facts.dtype} tensor of sizes [${facts.sizes.join(', ')}] takes ${expectedBytes} bytes, got ${facts.bytes.byteLength}`,
    )
  }
  const storage = new StorageRecord({
    id: `memory:${++memoryStorages}`,
    dtype: dtypes[facts.dtype].storageClass === null ? null : facts.dtype,
    sizeBytes: facts.bytes.byteLength,
    source: facts.bytes,
  })
  return new TensorRecord({ ...facts, storage, strides: contiguousStrides(facts.sizes) })
}
