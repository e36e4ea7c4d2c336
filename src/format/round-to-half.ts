/** Rounding to the two 16-bit floating dtypes, to nearest with ties to even. Source: c10/util/BFloat16.h and Half.h. */

/** Rounded numbers as their bits; the first finite number that became infinite, or null. */
export interface Rounded {
  bits: Uint16Array<ArrayBuffer>
  overflow: number | null
}

/** Rounds little-endian numbers. A float64 is rounded to float32 first, as `static_cast<float>` of PyTorch's conversion does. */
export function roundToHalf(
  buffer: ArrayBuffer,
  from: 'float64' | 'float32' | 'float16' | 'bfloat16',
  to: 'bfloat16' | 'float16',
): Rounded {
  const floats = toFloat32(buffer, from)
  const words = new Uint32Array(floats.buffer)
  const bits = to === 'bfloat16' ? words16(words, bfloat16Bits) : words16(words, float16Bits)
  return { bits, overflow: firstOverflow(bits, to, from === 'float64' ? new Float64Array(buffer) : floats) }
}

function words16(words: Uint32Array, round: (word: number) => number): Uint16Array<ArrayBuffer> {
  const bits = new Uint16Array(words.length)
  for (let index = 0; index < words.length; index++) bits[index] = round(words[index] as number)
  return bits
}

function firstOverflow(
  bits: Uint16Array,
  to: 'bfloat16' | 'float16',
  values: Float32Array | Float64Array,
): number | null {
  const infinity = to === 'bfloat16' ? 0x7f80 : 0x7c00
  for (let index = 0; index < bits.length; index++) {
    if (((bits[index] as number) & 0x7fff) !== infinity) continue
    const value = values[index] as number
    if (Number.isFinite(value)) return value
  }
  return null
}

function toFloat32(
  buffer: ArrayBuffer,
  from: 'float64' | 'float32' | 'float16' | 'bfloat16',
): Float32Array<ArrayBuffer> {
  if (from === 'float32') return new Float32Array(buffer)
  if (from === 'float64') return new Float32Array(new Float64Array(buffer))
  const halves = new Uint16Array(buffer)
  const words = new Uint32Array(halves.length)
  const floats = new Float32Array(words.buffer)
  if (from === 'bfloat16') for (const [index, bits] of halves.entries()) words[index] = bits << 16
  else for (const [index, bits] of halves.entries()) floats[index] = halfValue(bits)
  return floats
}

/** The number that float16 bits are; exact. */
function halfValue(bits: number): number {
  const exponent = (bits >> 10) & 0x1f
  const fraction = bits & 0x3ff
  const sign = bits & 0x8000 ? -1 : 1
  if (exponent === 0x1f) return fraction === 0 ? sign * Infinity : NaN
  return sign * (exponent === 0 ? fraction * 2 ** -24 : (1 + fraction / 1024) * 2 ** (exponent - 15))
}

/** The bfloat16 nearest to a float32 of these bits. */
function bfloat16Bits(word: number): number {
  if ((word & 0x7fffffff) > 0x7f800000) return 0x7fc0
  // Half of the last bit that stays, less one where that bit is even: a tie then goes to even.
  return (word + 0x7fff + ((word >>> 16) & 1)) >>> 16
}

/** The float16 nearest to a float32 of these bits. */
function float16Bits(word: number): number {
  const sign = (word >>> 16) & 0x8000
  const magnitude = word & 0x7fffffff
  if (magnitude > 0x7f800000) return sign | 0x7e00
  if (magnitude >= 0x47800000) return sign | 0x7c00 // 65536 and beyond
  if (magnitude >= 0x38800000) {
    // Normal: the exponent's bias changes by 112, the carry of the rounding may go into it.
    return sign | ((magnitude - 0x38000000 + 0xfff + ((magnitude >>> 13) & 1)) >>> 13)
  }
  if (magnitude < 0x33000000) return sign // at most 2^-25, which ties to even: 0
  const shift = 126 - (magnitude >>> 23)
  const fraction = (magnitude & 0x7fffff) | 0x800000
  const kept = fraction >>> shift
  const rest = fraction & ((1 << shift) - 1)
  const half = 1 << (shift - 1)
  return sign | (kept + (rest > half || (rest === half && (kept & 1) === 1) ? 1 : 0))
}
