/** Compares tensors of two files, both streamed: raw bytes first, arithmetic only where they differ. Memory stays constant whatever their size. */
import { dtypes, type DTypeName } from '../format/dtypes.js'
import { decodeElements, isComplex, valuesPerElement } from '../format/element-values.js'
import { readDequantized, readElementBytes, readElements } from '../format/elements.js'
import { TorchkeepError } from '../format/errors.js'
import type { TorchFile } from '../format/read.js'
import { OpenSources } from '../format/storage-source.js'
import {
  ChunkedTensorRecord,
  elementCount,
  MetaTensorRecord,
  QuantizedTensorRecord,
  TensorRecord,
} from '../format/tensor-record.js'
import { FigureSums, type TensorFigures, type Tolerance } from './compare-figures.js'

/** A tensor whose elements are numbers one by one: the parts of sparse and nested tensors are such tensors. */
export type NumberTensor = TensorRecord | ChunkedTensorRecord | QuantizedTensorRecord | MetaTensorRecord

/** One whose elements are in one place. */
type WholeTensor = TensorRecord | QuantizedTensorRecord

/** How two tensors of one name differ. */
export interface TensorComparison {
  /** The path in the checkpoint's part: a parameter's name; parts of sparse tensors add `(indices)`, `(values)`... */
  name: string
  /**
   * What is different, the gravest first: `layout` (strided, sparse, quantized...), `shape`, `dtype`, `values`, or only `bits`: all values are equal, but some zero has another sign or some NaN another payload.
   */
  difference: 'layout' | 'shape' | 'dtype' | 'values' | 'bits'
  dtypeA: string
  dtypeB: string
  shapeA: readonly number[]
  shapeB: readonly number[]
  /** Elements of a. */
  numElements: number
  /** Null where values cannot be compared place by place. */
  figures: TensorFigures | null
}

/** What {@link TensorComparer.compare} finds: null for equal bits. The sums serve the figures of layers. */
export type TensorDifference = { comparison: TensorComparison; sums: FigureSums | null } | null

export interface ComparerOptions {
  tolerance: Tolerance | null
  signal: AbortSignal | null
  /** Called with the bytes of the current tensor of a that were compared. */
  onProgress: (bytes: number) => void
}

/** Compares tensors of two files. */
export class TensorComparer {
  readonly #a: TorchFile
  readonly #b: TorchFile
  readonly #options: ComparerOptions
  readonly #sources = new OpenSources()

  constructor(a: TorchFile, b: TorchFile, options: ComparerOptions) {
    this.#a = a
    this.#b = b
    this.#options = options
  }

  /** Closes the files. */
  close(): Promise<void> {
    return this.#sources.close()
  }

  /** @throws TorchkeepError ERR_CHECKPOINT_CORRUPT for damaged bytes in either file, ERR_ABORTED. */
  async compare(name: string, a: NumberTensor, b: NumberTensor): Promise<TensorDifference> {
    const [left, right] = [factsOf(a), factsOf(b)]
    const differ = (difference: TensorComparison['difference'], sums: FigureSums | null): TensorDifference => ({
      comparison: {
        name,
        difference,
        dtypeA: left.dtype,
        dtypeB: right.dtype,
        shapeA: [...left.sizes],
        shapeB: [...right.sizes],
        numElements: elementCount(left.sizes),
        figures: sums?.figures() ?? null,
      },
      sums,
    })
    if (left.sizes.join() !== right.sizes.join()) return differ('shape', null)
    if (a instanceof MetaTensorRecord || b instanceof MetaTensorRecord) {
      if (a.constructor !== b.constructor) return differ('layout', null)
      return left.dtype === right.dtype ? null : differ('dtype', null)
    }
    const pieces = piecesOf(a, b)
    if (pieces === null) return differ('layout', null)
    if (await this.#allEqual(pieces)) return null
    if (!isComparable(left.dtype, right.dtype)) return differ('dtype', null)
    const sums = new FigureSums(this.#options.tolerance)
    for (const piece of pieces) sums.addSums(await this.#sums(piece.a, piece.b), piece.times)
    if (left.dtype !== right.dtype) return differ('dtype', sums)
    return differ(sums.figures().differing > 0 ? 'values' : 'bits', sums)
  }

  /** The sums of a tensor of a against itself: what equal tensors add to the figures of their layer. */
  async norms(a: NumberTensor): Promise<FigureSums> {
    const all = new FigureSums(this.#options.tolerance)
    if (a instanceof MetaTensorRecord) return all
    for (const piece of piecesOf(a, a) ?? []) {
      const sums = new FigureSums(this.#options.tolerance)
      for await (const values of this.#values(this.#a, piece.a)) {
        this.#proceed(0, piece.a)
        if (isComplex(integersOf(piece.a).dtype)) sums.addComplex(values, values)
        else sums.add(values, values)
      }
      all.addSums(sums, piece.times)
    }
    return all
  }

  async #allEqual(pieces: readonly Piece[]): Promise<boolean> {
    for (const { a, b } of pieces) if (!(await this.#equalBits(a, b))) return false
    return true
  }

  async #equalBits(a: WholeTensor, b: WholeTensor): Promise<boolean> {
    const [left, right] = [integersOf(a), integersOf(b)]
    if (left.dtype !== right.dtype || left.conj !== right.conj || left.neg !== right.neg) return false
    if (!(await this.#equalQuantizers(a, b))) return false
    const { itemSizeBytes } = dtypes[left.dtype]
    let done = 0
    for await (const [one, other] of this.#bytes(left, right)) {
      if (Buffer.compare(one, other) !== 0) return false
      this.#proceed((done += one.byteLength / itemSizeBytes), a)
    }
    return true
  }

  async #equalQuantizers(a: WholeTensor, b: WholeTensor): Promise<boolean> {
    if (a instanceof TensorRecord || b instanceof TensorRecord) return a.kind === b.kind
    const [left, right] = [a.quantizer, b.quantizer]
    if (left.scheme !== right.scheme) return false
    if (!('scales' in left) || !('scales' in right)) {
      return (
        !('scales' in left) && !('scales' in right) && left.scale === right.scale && left.zeroPoint === right.zeroPoint
      )
    }
    if (left.axis !== right.axis) return false
    return (await this.#equalBits(left.scales, right.scales)) && this.#equalBits(left.zeroPoints, right.zeroPoints)
  }

  async #sums(a: WholeTensor, b: WholeTensor): Promise<FigureSums> {
    const sums = new FigureSums(this.#options.tolerance)
    let done = 0
    if (isWideInteger(a) && isWideInteger(b) && a.dtype === b.dtype) {
      for await (const [one, other] of this.#bytes(a, b)) {
        const signed = a.dtype === 'int64'
        sums.add(decodeElements(a.dtype, one), decodeElements(a.dtype, other), differences64(one, other, signed))
        this.#proceed((done += one.byteLength / 8), a)
      }
      return sums
    }
    const complex = [a, b].map((tensor) => isComplex(integersOf(tensor).dtype))
    for await (const [one, other] of together(this.#values(this.#a, a), this.#values(this.#b, b))) {
      if (complex[0] === false && complex[1] === false) sums.add(one, other)
      else sums.addComplex(complex[0] ? one : asComplex(one), complex[1] ? other : asComplex(other))
      this.#proceed((done += one.length / valuesPerElement(integersOf(a).dtype)), a)
    }
    return sums
  }

  #bytes(a: TensorRecord, b: TensorRecord): AsyncGenerator<[Uint8Array, Uint8Array]> {
    const options = { sources: this.#sources }
    return together(readElementBytes(this.#a, a, options), readElementBytes(this.#b, b, options))
  }

  #values(file: TorchFile, tensor: WholeTensor): AsyncGenerator<Float64Array> {
    const options = { sources: this.#sources }
    return tensor instanceof QuantizedTensorRecord
      ? readDequantized(file, tensor, options)
      : readElements(file, tensor, options)
  }

  #proceed(elements: number, tensor: WholeTensor): void {
    if (this.#options.signal?.aborted === true)
      throw new TorchkeepError('ERR_ABORTED', 'the comparison was interrupted')
    this.#options.onProgress(elements * dtypes[integersOf(tensor).dtype].itemSizeBytes)
  }
}

/** Bytes of a tensor's values. */
export function sizeBytesOf(tensor: NumberTensor): number {
  if (tensor instanceof MetaTensorRecord) return 0
  const { dtype, sizes } = tensor instanceof QuantizedTensorRecord ? tensor.integers : tensor
  return (elementCount(sizes) * dtypes[dtype].itemSizeBytes) / dtypes[dtype].elementsPerByte
}

function factsOf(tensor: NumberTensor): { dtype: DTypeName; sizes: readonly number[] } {
  return tensor instanceof QuantizedTensorRecord ? tensor.integers : tensor
}

const integersOf = (tensor: WholeTensor): TensorRecord =>
  tensor instanceof QuantizedTensorRecord ? tensor.integers : tensor

const isWideInteger = (tensor: WholeTensor): tensor is TensorRecord =>
  tensor instanceof TensorRecord && (tensor.dtype === 'int64' || tensor.dtype === 'uint64')

/** Elements that hold two numbers which are no complex one (`float4_e2m1fn_x2`) compare with their like only. */
const isComparable = (a: DTypeName, b: DTypeName): boolean => (a === 'float4_e2m1fn_x2') === (b === 'float4_e2m1fn_x2')

/** Two views with the same elements of both tensors, which count `times`. */
interface Piece {
  a: WholeTensor
  b: WholeTensor
  times: number
}

/** Cuts two tensors of one shape so that each piece lies in one place on both sides; null where a side has no such views. */
function piecesOf(
  a: Exclude<NumberTensor, MetaTensorRecord>,
  b: Exclude<NumberTensor, MetaTensorRecord>,
): Piece[] | null {
  if (!(a instanceof ChunkedTensorRecord || b instanceof ChunkedTensorRecord)) return [inMemoryOrder(a, b)]
  if (a instanceof QuantizedTensorRecord || b instanceof QuantizedTensorRecord) return null
  const pieces: Piece[] = []
  for (const left of chunksOf(a)) {
    for (const right of chunksOf(b)) {
      const begin = left.offsets.map((offset, dimension) => Math.max(offset, right.offsets[dimension] ?? 0))
      const endOf = (chunk: Chunk, dimension: number): number =>
        (chunk.offsets[dimension] ?? 0) + (chunk.tensor.sizes[dimension] ?? 0)
      const sizes = begin.map((at, dimension) => Math.min(endOf(left, dimension), endOf(right, dimension)) - at)
      if (sizes.every((size) => size > 0)) {
        pieces.push(inMemoryOrder(viewOf(left, begin, sizes), viewOf(right, begin, sizes)))
      }
    }
  }
  return pieces
}

type Chunk = ChunkedTensorRecord['chunks'][number]

function chunksOf(tensor: TensorRecord | ChunkedTensorRecord): readonly Chunk[] {
  return tensor instanceof ChunkedTensorRecord ? tensor.chunks : [{ offsets: tensor.sizes.map(() => 0), tensor }]
}

/** The part of a chunk from `begin` on, counted in the whole tensor. */
function viewOf({ offsets, tensor }: Chunk, begin: readonly number[], sizes: readonly number[]): TensorRecord {
  const storageOffset = begin.reduce(
    (at, index, dimension) => at + (index - (offsets[dimension] ?? 0)) * (tensor.strides[dimension] ?? 0),
    tensor.storageOffset,
  )
  return new TensorRecord({ ...tensor, sizes, storageOffset })
}

/**
 * The same pairs of elements in the order in which a's lie in its file, so that a transposed tensor is read in one go. What both expand (stride 0) is compared once and counts `times`.
 * Quantized tensors stay as they are: their channels are a dimension.
 */
function inMemoryOrder(a: WholeTensor, b: WholeTensor): Piece {
  if (!(a instanceof TensorRecord) || !(b instanceof TensorRecord)) return { a, b, times: 1 }
  if (dtypes[a.dtype].elementsPerByte > 1 || dtypes[b.dtype].elementsPerByte > 1) return { a, b, times: 1 }
  let times = 1
  const order = [...a.sizes.keys()].filter((dimension) => {
    const expanded = a.strides[dimension] === 0 && b.strides[dimension] === 0 && (a.sizes[dimension] ?? 0) > 0
    if (expanded) times *= a.sizes[dimension] ?? 1
    return !expanded && a.sizes[dimension] !== 1
  })
  order.sort((left, right) => (a.strides[right] ?? 0) - (a.strides[left] ?? 0))
  const pick = (values: readonly number[]): number[] => order.map((dimension) => values[dimension] ?? 0)
  const view = (tensor: TensorRecord): TensorRecord =>
    new TensorRecord({ ...tensor, sizes: pick(tensor.sizes), strides: pick(tensor.strides) })
  return { a: view(a), b: view(b), times }
}

/** Pieces of two streams side by side; both are closed whatever happens. */
async function* together<T>(a: AsyncGenerator<T>, b: AsyncGenerator<T>): AsyncGenerator<[T, T]> {
  try {
    for (;;) {
      const [left, right] = await bothSettled(a.next(), b.next())
      if (left.done === true || right.done === true) {
        if (left.done !== right.done) throw new Error('two tensors of one shape gave different numbers of pieces')
        return
      }
      yield [left.value, right.value]
    }
  } finally {
    await Promise.all([a.return(undefined), b.return(undefined)])
  }
}

/** Like `Promise.all`, but waits for the other one where one fails, so that nothing is still being read afterwards. */
async function bothSettled<T>(a: Promise<T>, b: Promise<T>): Promise<[T, T]> {
  await Promise.allSettled([a, b])
  return Promise.all([a, b])
}

/** Differences of 64-bit integers, each rounded once: the halves' differences are exact as doubles. */
function differences64(a: Uint8Array, b: Uint8Array, signed: boolean): Float64Array {
  const halves = (bytes: Uint8Array) => {
    const low = new Uint32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 4)
    return { low, high: signed ? new Int32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 4) : low }
  }
  const [left, right] = [halves(a), halves(b)]
  return Float64Array.from({ length: a.byteLength / 8 }, (_, index) => {
    const [low, high] = [2 * index, 2 * index + 1]
    const highDifference = (left.high[high] as number) - (right.high[high] as number)
    return highDifference * 2 ** 32 + ((left.low[low] as number) - (right.low[low] as number))
  })
}

function asComplex(values: Float64Array): Float64Array {
  const pairs = new Float64Array(values.length * 2)
  for (let index = 0; index < values.length; index++) pairs[2 * index] = values[index] as number
  return pairs
}
