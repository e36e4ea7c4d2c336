/** Changes of values while the bytes of a storage are copied: zeros, means or a donor's values in place of what is not finite or is known to be damaged. */
import { ByteSource } from '../format/byte-source.js'
import { swapBytes } from '../format/byte-order.js'
import { decodeElements } from '../format/element-values.js'
import { dtypes, type DTypeName } from '../format/dtypes.js'
import { floatFormats, type FloatFormat } from '../format/float-formats.js'
import { StridedView } from '../format/strided-view.js'
import type { FileRange, TensorRecord } from '../format/tensor-record.js'

/** One change of a storage. Called for each piece in order; changes it in place. */
export type Patch = (piece: Uint8Array, offsetBytes: number) => void | Promise<void>

/** Several changes in order, on bytes that may lie in big-endian order in the file. */
export function patchesInOrder(patches: readonly Patch[], swapUnitBytes: number): Patch {
  return async (piece, offsetBytes) => {
    swapBytes(piece, swapUnitBytes)
    for (const patch of patches) await patch(piece, offsetBytes)
    swapBytes(piece, swapUnitBytes)
  }
}

/** Zeros in place of the bytes from `begin` to `end` of the storage. */
export function zeroPatch(begin: number, end: number): Patch {
  return (piece, offsetBytes) => {
    const [from, to] = overlap(piece, offsetBytes, begin, end)
    if (from < to) piece.fill(0, from, to)
  }
}

/**
 * The bytes of a range of another file in place of those from `begin` on.
 * @param unitBytes what has to be turned around there, since patches work on little-endian elements: 1 for a little-endian file.
 */
export function copyPatch(begin: number, range: FileRange, unitBytes: number): Patch {
  return async (piece, offsetBytes) => {
    const [from, to] = overlap(piece, offsetBytes, begin, begin + range.sizeBytes)
    if (from >= to) return
    await ByteSource.with(range.path, async (source) => {
      if (range.identity !== undefined) source.requireUnchanged(range.identity)
      const taken = piece.subarray(from, to)
      await source.readInto(taken, range.offsetBytes + offsetBytes + from - begin)
      swapBytes(taken, unitBytes)
    })
  }
}

function overlap(piece: Uint8Array, offsetBytes: number, begin: number, end: number): [from: number, to: number] {
  return [Math.max(begin - offsetBytes, 0), Math.min(end - offsetBytes, piece.byteLength)]
}

/** What takes the place of numbers that are not finite. */
export interface Replacement {
  /** Whether infinite numbers are replaced too, besides NaN. */
  readonly infinite: boolean
  /** The bytes of the number, one for each number of an element (two for complex ones). */
  readonly numbers: readonly Uint8Array[]
  /** A tensor of the same dtype and sizes whose elements are taken instead, where they are finite. */
  readonly donor: TensorRecord | null
}

/** Replaces what is not finite in one tensor. Elements that the tensor does not cover stay. */
export function finitePatch(tensor: TensorRecord, { infinite, numbers, donor }: Replacement): Patch {
  const format = floatFormats[tensor.dtype]
  if (format === undefined) return () => undefined
  const { itemSizeBytes } = dtypes[tensor.dtype]
  const place = new StridedView(tensor)
  const isBad = (view: DataView, offset: number): boolean => {
    const found = format.classify(view, offset)
    return found === 'nan' || (infinite && found === 'infinite')
  }
  return async (piece, offsetBytes) => {
    const [from, to] = overlap(piece, offsetBytes, place.begin * itemSizeBytes, place.end * itemSizeBytes)
    const view = new DataView(piece.buffer, piece.byteOffset, piece.byteLength)
    const donorNumbers = donor === null ? null : new DonorNumbers(donor)
    try {
      for (let at = from; at < to; at += itemSizeBytes) {
        at = firstOdd(format, piece, at, to, itemSizeBytes)
        if (at >= to) break
        for (let part = 0, offset = at; offset < at + itemSizeBytes; part++, offset += format.sizeBytes) {
          if (!isBad(view, offset)) continue
          const index = place.indexOf((offsetBytes + at) / itemSizeBytes)
          if (index === undefined) continue
          const given = await donorNumbers?.at(index, part * format.sizeBytes, format.sizeBytes)
          const isUsable =
            given !== undefined && format.classify(new DataView(given.buffer, given.byteOffset), 0) === 'finite'
          piece.set(isUsable ? given : (numbers[part] as Uint8Array), offset)
        }
      }
    } finally {
      await donorNumbers?.close()
    }
  }
}

const blockBytes = 4096

/** Passes over whole blocks in which all numbers are finite; the place to go on at, a whole number of elements after `at`. */
function firstOdd(
  { allFinite }: FloatFormat,
  piece: Uint8Array,
  at: number,
  to: number,
  itemSizeBytes: number,
): number {
  if (at % blockBytes !== 0 || piece.byteOffset % 4 !== 0 || blockBytes % itemSizeBytes !== 0) return at
  const words = new Int32Array(piece.buffer, piece.byteOffset, piece.byteLength >> 2)
  let place = at
  while (place + blockBytes <= to && allFinite(words, place >> 2, (place + blockBytes) >> 2)) place += blockBytes
  return place
}

/** Numbers of a donor's tensor by index, little-endian. Its file is opened with the first. */
class DonorNumbers {
  readonly #tensor: TensorRecord
  #source: ByteSource | null = null

  constructor(tensor: TensorRecord) {
    this.#tensor = tensor
  }

  async at(index: readonly number[], partOffset: number, sizeBytes: number): Promise<Uint8Array> {
    const { dtype, strides, storageOffset, storage } = this.#tensor
    const { path, offsetBytes, identity } = storage.source
    if (this.#source === null) {
      this.#source = await ByteSource.open(path)
      if (identity !== undefined) this.#source.requireUnchanged(identity)
    }
    const element = index.reduce((sum, step, axis) => sum + step * (strides[axis] ?? 0), storageOffset)
    const at = offsetBytes + element * dtypes[dtype].itemSizeBytes + partOffset
    const bytes = new Uint8Array(await this.#source.read(at, sizeBytes))
    return storage.byteOrder === 'big' ? swapBytes(bytes, sizeBytes) : bytes
  }

  async close(): Promise<void> {
    await this.#source?.close()
  }
}

/** The bytes of the number of a dtype that is nearest to `value` (of complex dtypes, of one of its two numbers), and the number that they are. */
export function encodeNumber(dtype: DTypeName, value: number): { bytes: Uint8Array; value: number } {
  const real = realDType(dtype)
  if (real === 'float64' || real === 'float32') {
    const bytes = new Uint8Array(real === 'float64' ? 8 : 4)
    const view = new DataView(bytes.buffer)
    if (real === 'float64') view.setFloat64(0, value, true)
    else view.setFloat32(0, value, true)
    return { bytes, value: real === 'float64' ? value : Math.fround(value) }
  }
  const { itemSizeBytes } = dtypes[real]
  const patterns = new Uint8Array(itemSizeBytes << (8 * itemSizeBytes))
  for (let pattern = 0; pattern < patterns.length / itemSizeBytes; pattern++) {
    patterns[pattern * itemSizeBytes] = pattern & 0xff
    if (itemSizeBytes === 2) patterns[pattern * 2 + 1] = pattern >> 8
  }
  const values = decodeElements(real, patterns)
  let best = 0
  for (const [pattern, candidate] of values.entries())
    if (Number.isFinite(candidate) && Math.abs(candidate - value) < Math.abs((values[best] as number) - value))
      best = pattern
  return { bytes: patterns.slice(best * itemSizeBytes, (best + 1) * itemSizeBytes), value: values[best] as number }
}

const realDType = (dtype: DTypeName): DTypeName =>
  dtype === 'complex128' ? 'float64' : dtype === 'complex64' ? 'float32' : dtype === 'complex32' ? 'float16' : dtype
