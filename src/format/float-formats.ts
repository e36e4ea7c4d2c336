/** How each floating dtype writes NaN and infinity, and fast tests for their absence over whole words. Sources: IEEE 754; OCP 8-bit floating point and microscaling specifications; c10/util/Float8_*.h. */
import type { DTypeName } from './dtypes.js'

/** What a stored number is. */
export type NumberClass = 'finite' | 'infinite' | 'nan'

/** A floating format of numbers that lie one after another. */
export interface FloatFormat {
  /** Bytes of one number; a complex element has two. */
  readonly sizeBytes: 1 | 2 | 4 | 8
  /** Whether all numbers in the words `from` to `to` (exclusive) are finite. A range of a 64-bit format begins and ends at even words. */
  readonly allFinite: (words: Int32Array, from: number, to: number) => boolean
  /** What the number at `index` of the range is. */
  readonly classify: (view: DataView, offsetBytes: number) => NumberClass
}

/**
 * Formats whose exponent of all ones means NaN or infinity: adding one to the exponent then carries into the sign's place. One addition tests as many numbers as fit a word.
 * @param step 2 where only every second word holds exponents (64 bits, little-endian: the odd ones)
 */
function exponentTest(mask: number, one: number, carries: number, step: 1 | 2): FloatFormat['allFinite'] {
  return (words, from, to) => {
    let sum = 0
    for (let index = from + step - 1; index < to; index += step) sum |= ((words[index] as number) & mask) + one
    return (sum & carries) === 0
  }
}

/** Formats in which one byte alone is NaN: the exact test for a zero byte after that byte is folded to zero. */
function byteTest(nan: number): FloatFormat['allFinite'] {
  const fold = nan * 0x01010101
  return (words, from, to) => {
    let zeros = 0
    for (let index = from; index < to; index++) {
      const word = (words[index] as number) ^ fold
      zeros |= ~(((word & 0x7f7f7f7f) + 0x7f7f7f7f) | word | 0x7f7f7f7f)
    }
    return zeros === 0
  }
}

/** Numbers of at most 32 bits; `infinity` is the pattern of +Infinity, above which (without the sign) everything is NaN. */
function classifier(read: (view: DataView, offset: number) => number, unsigned: number, infinity: number) {
  return (view: DataView, offsetBytes: number): NumberClass => {
    const bits = read(view, offsetBytes) & unsigned
    return bits < infinity ? 'finite' : bits === infinity ? 'infinite' : 'nan'
  }
}

const byte = (view: DataView, offset: number) => view.getUint8(offset)
const half = (view: DataView, offset: number) => view.getUint16(offset, true)
const word = (view: DataView, offset: number) => view.getUint32(offset, true)
const only = (nan: number) => (view: DataView, offset: number) => (view.getUint8(offset) === nan ? 'nan' : 'finite')

const binary64: FloatFormat = {
  sizeBytes: 8,
  allFinite: exponentTest(0x7ff00000, 0x00100000, 0x80000000, 2),
  classify(view, offsetBytes) {
    const high = view.getUint32(offsetBytes + 4, true) & 0x7fffffff
    if (high < 0x7ff00000) return 'finite'
    return high === 0x7ff00000 && view.getUint32(offsetBytes, true) === 0 ? 'infinite' : 'nan'
  },
}
const binary32: FloatFormat = {
  sizeBytes: 4,
  allFinite: exponentTest(0x7f800000, 0x00800000, 0x80000000, 1),
  classify: classifier(word, 0x7fffffff, 0x7f800000),
}
const binary16: FloatFormat = {
  sizeBytes: 2,
  allFinite: exponentTest(0x7c007c00, 0x04000400, 0x80008000, 1),
  classify: classifier(half, 0x7fff, 0x7c00),
}
const bfloat16: FloatFormat = {
  sizeBytes: 2,
  allFinite: exponentTest(0x7f807f80, 0x00800080, 0x80008000, 1),
  classify: classifier(half, 0x7fff, 0x7f80),
}

/** Formats by dtype; dtypes without NaN and infinity (integers, quantized, `float4_e2m1fn_x2`, bits) have none. */
export const floatFormats: Readonly<Partial<Record<DTypeName, FloatFormat>>> = {
  float64: binary64,
  complex128: binary64,
  float32: binary32,
  complex64: binary32,
  float16: binary16,
  complex32: binary16,
  bfloat16,
  float8_e5m2: {
    sizeBytes: 1,
    allFinite: exponentTest(0x7c7c7c7c, 0x04040404, 0x80808080, 1),
    classify: classifier(byte, 0x7f, 0x7c),
  },
  // No infinities; 0x7f and 0xff are NaN.
  float8_e4m3fn: {
    sizeBytes: 1,
    allFinite: exponentTest(0x7f7f7f7f, 0x01010101, 0x80808080, 1),
    classify: (view, offset) => ((view.getUint8(offset) & 0x7f) === 0x7f ? 'nan' : 'finite'),
  },
  // No infinities and no negative zero: its pattern is the one NaN.
  float8_e5m2fnuz: { sizeBytes: 1, allFinite: byteTest(0x80), classify: only(0x80) },
  float8_e4m3fnuz: { sizeBytes: 1, allFinite: byteTest(0x80), classify: only(0x80) },
  // Powers of two without a sign; 0xff is NaN.
  float8_e8m0fnu: { sizeBytes: 1, allFinite: byteTest(0xff), classify: only(0xff) },
}
