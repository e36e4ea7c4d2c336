/** Turns big-endian elements, as `torch.save` writes them on machines such as IBM's s390x, into little-endian ones. */
import { dtypes, type DTypeName } from './dtypes.js'
import type { TensorRecord } from './tensor-record.js'

/** Bytes that are in another order on a big-endian machine: an element, or each half of a complex one. */
export function swapUnitBytes(dtype: DTypeName): number {
  const { itemSizeBytes } = dtypes[dtype]
  return dtype.startsWith('complex') ? itemSizeBytes / 2 : itemSizeBytes
}

/** Makes whole elements of a tensor little-endian in place, if they are not. Returns them. */
export function toLittleEndian<Bytes extends Uint8Array>({ storage, dtype }: TensorRecord, elements: Bytes): Bytes {
  if (storage.byteOrder === 'little') return elements
  return swapBytes(elements, swapUnitBytes(dtype))
}

/** Reverses the bytes of each unit of 1, 2, 4 or 8 bytes in place. A part of a unit at the end, as a cut file has it, stays. Returns them. */
export function swapBytes<Bytes extends Uint8Array>(bytes: Bytes, unitBytes: number): Bytes {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength - (bytes.byteLength % unitBytes))
  if (unitBytes === 2) buffer.swap16()
  else if (unitBytes === 4) buffer.swap32()
  else if (unitBytes === 8) buffer.swap64()
  return bytes
}
