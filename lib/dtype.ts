/** What lib knows of each dtype beyond the facts of `src/format/dtypes.ts`: its kind and its range of values. */
import { dtypes, isDTypeName, type TypedArray } from '../src/format/dtypes.js'
import { TorchkeepError } from '../src/format/errors.js'
import type { DType } from './contract.js'

export type { DType, TypedArray }

const signed = (bits: bigint): readonly [bigint, bigint] => [-(1n << (bits - 1n)), (1n << (bits - 1n)) - 1n]
const unsigned = (bits: bigint): readonly [bigint, bigint] => [0n, (1n << bits) - 1n]

const integerRanges: Partial<Record<DType, readonly [smallest: bigint, largest: bigint]>> = {
  int8: signed(8n),
  int16: signed(16n),
  int32: signed(32n),
  int64: signed(64n),
  uint8: unsigned(8n),
  uint16: unsigned(16n),
  uint32: unsigned(32n),
  uint64: unsigned(64n),
}

/** Whether a string is the name of a dtype; devices never are. */
export function isDType(name: string): name is DType {
  return isDTypeName(name)
}

/** Refuses a name that is no dtype. */
export function checkDType(name: string): void {
  if (isDType(name)) return
  throw new TorchkeepError('ERR_INVALID_ARGUMENT', `Unknown dtype '${name}'`, {
    suggestions: [`Use one of ${Object.keys(dtypes).join(', ')}.`],
  })
}

/** Smallest and largest value of an integer dtype; undefined for all others. */
export const integerRange = (dtype: DType): readonly [bigint, bigint] | undefined => integerRanges[dtype]

/** `torch.dtype.is_floating_point`. */
export const isFloatingPoint = (dtype: DType): boolean => /^b?float/.test(dtype)

/** `torch.dtype.is_complex`. */
export const isComplex = (dtype: DType): boolean => dtype.startsWith('complex')

/**
 * Dtypes whose typed array holds bit patterns, not values: 16-bit floats as Uint16Array, float8 kinds as Uint8Array.
 */
export const travelsAsBits = (dtype: DType): boolean =>
  (isFloatingPoint(dtype) && dtype !== 'float32' && dtype !== 'float64') || dtype === 'complex32'

/** Views raw little-endian bytes as the typed array of a dtype. */
export function typedArrayOf(dtype: DType, bytes: ArrayBuffer): TypedArray {
  return new dtypes[dtype].array(bytes)
}

/** The dtype a typed array means when nothing else is said. */
export function dtypeOfArray(array: ArrayBufferView): DType {
  if (array instanceof Float32Array) return 'float32'
  if (array instanceof Float64Array) return 'float64'
  if (array instanceof Int32Array) return 'int32'
  if (array instanceof BigInt64Array) return 'int64'
  if (array instanceof Uint8Array || array instanceof Uint8ClampedArray) return 'uint8'
  if (array instanceof Int8Array) return 'int8'
  if (array instanceof Int16Array) return 'int16'
  if (array instanceof Uint16Array) return 'uint16'
  if (array instanceof Uint32Array) return 'uint32'
  if (array instanceof BigUint64Array) return 'uint64'
  throw new TorchkeepError('ERR_INVALID_ARGUMENT', `A ${array.constructor.name} holds no tensor values`)
}
