/**
 * What the bytes of an element mean as numbers: the doubles that `tensor.to(torch.float64)` gives in PyTorch. Source: c10/util's BFloat16, Half, Float8_*, Float4_e2m1fn_x2
 * headers, and the OCP formats that they implement.
 */
import { dtypes, type DTypeName } from './dtypes.js'

/** How many doubles one element gives: re and im of a complex number, the two numbers that a `float4_e2m1fn_x2` element packs, else one. */
export function valuesPerElement(dtype: DTypeName): 1 | 2 {
  return isComplex(dtype) || dtype === 'float4_e2m1fn_x2' ? 2 : 1
}

export function isComplex(dtype: DTypeName): boolean {
  return dtype === 'complex32' || dtype === 'complex64' || dtype === 'complex128'
}

/**
 * The values of elements as doubles. Exact for every dtype but `int64` and `uint64`, whose values beyond 2^53 are rounded to the nearest double. Booleans give 0 and 1, quantized dtypes
 * their integers, `bits*` dtypes their bytes as unsigned numbers.
 * @param bytes whole elements, little-endian; elements of `quint4x2` and `quint2x4` have a byte each here. The start must be aligned to the element.
 * @param target takes the values, {@link valuesPerElement} for each element; made unless given.
 */
export function decodeElements(dtype: DTypeName, bytes: Uint8Array, target?: Float64Array): Float64Array {
  const { itemSizeBytes, array: Values } = dtypes[dtype]
  const values = target ?? new Float64Array((bytes.byteLength / itemSizeBytes) * valuesPerElement(dtype))
  const view = new Values(bytes.buffer as ArrayBuffer, bytes.byteOffset, bytes.byteLength / Values.BYTES_PER_ELEMENT)
  if (view instanceof BigInt64Array || view instanceof BigUint64Array) decode64(bytes, values, dtype === 'int64')
  else if (dtype === 'bfloat16') decodeBfloat16(view as Uint16Array, values)
  else if (dtype === 'float16' || dtype === 'complex32') look(view, values, float16Values())
  else if (dtype === 'float4_e2m1fn_x2') decodePairs(view as Uint8Array, values)
  else if (dtype === 'bool') for (let index = 0; index < view.length; index++) values[index] = view[index] === 0 ? 0 : 1
  else if (Object.hasOwn(float8Layouts, dtype)) look(view, values, float8Values(dtype as Float8))
  else values.set(view)
  return values
}

/** Without BigInts: the upper half is exact as a double, and adding the lower one rounds once. */
function decode64(bytes: Uint8Array, values: Float64Array, signed: boolean): void {
  const low = new Uint32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 4)
  const high = signed ? new Int32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 4) : low
  for (let index = 0, at = 0; at < low.length; index++, at += 2) {
    values[index] = (high[at + 1] as number) * 2 ** 32 + (low[at] as number)
  }
}

/** A bfloat16 is the upper half of a float32. */
function decodeBfloat16(bits: Uint16Array, values: Float64Array): void {
  const wide = new Uint32Array(Math.min(bits.length, 1 << 14))
  const floats = new Float32Array(wide.buffer)
  for (let start = 0; start < bits.length; start += wide.length) {
    const count = Math.min(wide.length, bits.length - start)
    for (let index = 0; index < count; index++) wide[index] = (bits[start + index] as number) << 16
    values.set(count === floats.length ? floats : floats.subarray(0, count), start)
  }
}

/** Two numbers a byte, the one in the lower bits first. */
function decodePairs(bytes: Uint8Array, values: Float64Array): void {
  for (let index = 0; index < bytes.length; index++) {
    const byte = bytes[index] as number
    values[2 * index] = float4Values[byte & 15] as number
    values[2 * index + 1] = float4Values[byte >> 4] as number
  }
}

function look(bits: ArrayLike<number>, values: Float64Array, table: Float64Array): void {
  for (let index = 0; index < bits.length; index++) values[index] = table[bits[index] as number] as number
}

/** Sign, exponent and mantissa, and what the largest exponents mean. */
interface SmallFloat {
  exponentBits: number
  mantissaBits: number
  bias: number
  /**
   * `ieee`: the largest exponent holds infinities and NaN. `all ones`: only all bits set is NaN, there is no infinity. `minus zero`: the bits of -0 are the one NaN. `none`: every
   * pattern is a number.
   */
  special: 'ieee' | 'all ones' | 'minus zero' | 'none'
}

const float16: SmallFloat = { exponentBits: 5, mantissaBits: 10, bias: 15, special: 'ieee' }
const float8Layouts = {
  float8_e4m3fn: { exponentBits: 4, mantissaBits: 3, bias: 7, special: 'all ones' },
  float8_e5m2: { exponentBits: 5, mantissaBits: 2, bias: 15, special: 'ieee' },
  float8_e4m3fnuz: { exponentBits: 4, mantissaBits: 3, bias: 8, special: 'minus zero' },
  float8_e5m2fnuz: { exponentBits: 5, mantissaBits: 2, bias: 16, special: 'minus zero' },
  float8_e8m0fnu: null, // no sign and no mantissa: an exponent
} satisfies Record<string, SmallFloat | null>
type Float8 = keyof typeof float8Layouts

const float4Values = tabulate({ exponentBits: 2, mantissaBits: 1, bias: 1, special: 'none' })
const float8Tables = new Map<Float8, Float64Array>()
let float16Table: Float64Array | undefined

/** 512 KiB, made on first use. */
function float16Values(): Float64Array {
  return (float16Table ??= tabulate(float16))
}

function float8Values(dtype: Float8): Float64Array {
  const layout = float8Layouts[dtype]
  const table = float8Tables.get(dtype) ?? (layout === null ? powersOfTwo() : tabulate(layout))
  float8Tables.set(dtype, table)
  return table
}

function powersOfTwo(): Float64Array {
  return Float64Array.from({ length: 256 }, (_, bits) => (bits === 255 ? NaN : 2 ** (bits - 127)))
}

/** The value of every bit pattern. */
function tabulate({ exponentBits, mantissaBits, bias, special }: SmallFloat): Float64Array {
  const half = 1 << (exponentBits + mantissaBits)
  const largest = (1 << exponentBits) - 1
  return Float64Array.from({ length: 2 * half }, (_, bits) => {
    const sign = bits < half ? 1 : -1
    const exponent = (bits >> mantissaBits) & largest
    const mantissa = bits & ((1 << mantissaBits) - 1)
    if (special === 'ieee' && exponent === largest) return mantissa === 0 ? sign * Infinity : NaN
    if (special === 'all ones' && bits % half === half - 1) return NaN
    if (special === 'minus zero' && bits === half) return NaN
    const fraction = mantissa / (1 << mantissaBits)
    return sign * (exponent === 0 ? fraction * 2 ** (1 - bias) : (1 + fraction) * 2 ** (exponent - bias))
  })
}
