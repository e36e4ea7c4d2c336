/** Copies elements of a strided tensor from a file into C order, in constant memory. */
import type { ByteSource } from './byte-source.js'
import { dtypes } from './dtypes.js'
import type { TensorRecord } from './tensor-record.js'

/** Bytes of the file that are read at once, where a view's elements lie scattered. */
const windowBytes = 1 << 20

/** Below this, reading what lies between the elements costs less than a read of its own for each. */
const worthwhileBytes = 16 << 10

/** One dimension of a box: how many steps, and how far a step goes in the storage and in the piece, in elements. */
interface Dimension {
  size: number
  from: number
  to: number
}

/** Fills `piece` with the elements `begin` to `end` (exclusive) of the tensor, counted in C order. The tensor has elements of whole bytes. */
export async function gatherRange(
  source: ByteSource,
  tensor: TensorRecord,
  [begin, end]: readonly [number, number],
  piece: Uint8Array,
): Promise<void> {
  const { itemSizeBytes } = dtypes[tensor.dtype]
  const first = tensor.storage.source.offsetBytes
  for (const { at, extent, to } of boxes(tensor.sizes, begin, end)) {
    let from = tensor.storageOffset
    for (const [dimension, index] of at.entries()) from += index * (tensor.strides[dimension] ?? 0)
    let step = 1
    const dimensions: Dimension[] = []
    for (let dimension = extent.length - 1; dimension >= 0; dimension--) {
      const size = extent[dimension] ?? 1
      if (size > 1) dimensions.push({ size, from: tensor.strides[dimension] ?? 0, to: step })
      step *= size
    }
    // In the order in which the elements lie in the file, farthest steps first; an expanded dimension (0) comes last.
    dimensions.sort((left, right) => right.from - left.from)
    await gatherBox(source, { first, itemSizeBytes, piece }, dimensions, from, to - begin)
  }
}

/** Where a box of elements begins, how many it has in each dimension, and the C-order number of its first one. */
interface Box {
  at: number[]
  extent: number[]
  to: number
}

/** Cuts a range of a tensor's elements, in C order, into boxes that are themselves contiguous in that order: at most two a dimension and one. */
function* boxes(sizes: readonly number[], begin: number, end: number): Generator<Box> {
  const inner = sizes.map((_, dimension) => sizes.slice(dimension + 1).reduce((product, size) => product * size, 1))
  for (let start = begin; start < end;) {
    const at = inner.map((step, dimension) => Math.floor(start / step) % (sizes[dimension] ?? 1))
    // The outermost dimension whose step is aligned here and fits into what is left.
    let dimension = 0
    while (
      dimension < sizes.length - 1 &&
      (start % (inner[dimension] ?? 1) !== 0 || start + (inner[dimension] ?? 1) > end)
    )
      dimension++
    const step = inner[dimension] ?? 1
    const steps = Math.min((sizes[dimension] ?? 1) - (at[dimension] ?? 0), Math.floor((end - start) / step))
    const extent = sizes.map((size, each) => (each < dimension ? 1 : each === dimension ? steps : size))
    yield { at, extent, to: start }
    start += steps * step
  }
}

interface Target {
  /** Where the storage begins in the file, in bytes. */
  first: number
  itemSizeBytes: number
  piece: Uint8Array
}

/** Reads as much as lies close together at once, the rest step by step of the farthest dimension. */
async function gatherBox(
  source: ByteSource,
  target: Target,
  dimensions: readonly Dimension[],
  from: number,
  to: number,
): Promise<void> {
  const { first, itemSizeBytes, piece } = target
  let [span, useful] = [1, 1]
  for (const { size, from: stride } of dimensions) {
    span += (size - 1) * stride
    if (stride > 0) useful *= size
  }
  const outer = dimensions[0]
  const spanBytes = span * itemSizeBytes
  const isClose = spanBytes <= windowBytes && (spanBytes <= worthwhileBytes || span <= 16 * useful)
  if (outer === undefined || outer.from === 0 || isClose) {
    const window = new Uint8Array(spanBytes)
    await source.readInto(window, first + from * itemSizeBytes)
    scatter(window, dimensions, target, to)
    return
  }
  // Steps that lie close together are read together.
  const inner = dimensions.slice(1)
  const innerSpan = span - (outer.size - 1) * outer.from
  const limitBytes = span <= 16 * useful ? windowBytes : worthwhileBytes
  const together = Math.max(Math.floor((limitBytes / itemSizeBytes - innerSpan) / outer.from) + 1, 1)
  for (let step = 0; step < outer.size; step += together) {
    const size = Math.min(together, outer.size - step)
    const part = size === 1 ? inner : [{ ...outer, size }, ...inner]
    await gatherBox(source, { first, itemSizeBytes, piece }, part, from + step * outer.from, to + step * outer.to)
  }
}

/** Copies the elements of a window to their places. Words and not floats are copied, so that no bit of a NaN changes. */
function scatter(
  window: Uint8Array,
  dimensions: readonly Dimension[],
  { itemSizeBytes, piece }: Target,
  to: number,
): void {
  const Words = itemSizeBytes === 1 ? Uint8Array : itemSizeBytes === 2 ? Uint16Array : Uint32Array
  const words = itemSizeBytes / Words.BYTES_PER_ELEMENT
  const source = new Words(window.buffer as ArrayBuffer, window.byteOffset, window.byteLength / Words.BYTES_PER_ELEMENT)
  const target = new Words(piece.buffer as ArrayBuffer, piece.byteOffset, piece.byteLength / Words.BYTES_PER_ELEMENT)
  const innermost = dimensions[dimensions.length - 1] ?? { size: 1, from: 0, to: 0 }
  const outer = dimensions.slice(0, -1)
  const index = outer.map(() => 0)
  for (let [from, at] = [0, to]; ;) {
    copyRow(source, from, target, at, innermost, words)
    let dimension = outer.length - 1
    for (; dimension >= 0; dimension--) {
      const { size, from: stride, to: step } = outer[dimension] as Dimension
      index[dimension] = (index[dimension] ?? 0) + 1
      from += stride
      at += step
      if ((index[dimension] ?? 0) < size) break
      from -= stride * size
      at -= step * size
      index[dimension] = 0
    }
    if (dimension < 0) return
  }
}

type Words = Uint8Array | Uint16Array | Uint32Array

function copyRow(source: Words, from: number, target: Words, at: number, row: Dimension, words: number): void {
  for (let step = 0; step < row.size; step++) {
    const [origin, place] = [(from + step * row.from) * words, (at + step * row.to) * words]
    for (let word = 0; word < words; word++) target[place + word] = source[origin + word] as number
  }
}
