/** Values of numpy items as JavaScript has them. */
import { Complex, type NumpyArray, type NumpyScalar } from './values.js'

/** The value of one item of a dtype (`<f4`), or null for dtypes without a counterpart: dates, records, objects, floats of 16 bytes. */
export function decodeNumpyItem(dtype: string, bytes: Uint8Array): NumpyScalar['value'] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const order = dtype[0]
  const text = dtype.slice(1)
  if (text.startsWith('S')) return trimmed(bytes)
  if (text.startsWith('U')) return unicode(view, order !== '>')
  return readers[text]?.(view, 0, order !== '>') ?? null
}

/**
 * The items of an array in C order, or null for dtypes without numbers or booleans. Complex numbers are `Complex`.
 */
export function numpyValues(array: NumpyArray): (number | bigint | boolean | Complex)[] | null {
  const read = readers[array.dtype.slice(1)]
  if (read === undefined) return null
  const { bytes, shape } = array
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const count = shape.reduce((product, size) => product * size, 1)
  const itemSize = count === 0 ? 0 : bytes.byteLength / count
  const little = !array.dtype.startsWith('>')
  const items = Array.from({ length: count }, (_, index) => read(view, index * itemSize, little))
  return array.fortranOrder ? cOrder(items, shape) : items
}

/** Items that lie in Fortran's order, brought to C's. */
function cOrder<T>(items: readonly T[], shape: readonly number[]): T[] {
  const strides: number[] = []
  let stride = 1
  for (const size of shape) {
    strides.push(stride)
    stride *= size
  }
  const index = new Array<number>(shape.length).fill(0)
  return items.map(() => {
    const at = index.reduce((sum, position, dimension) => sum + position * (strides[dimension] ?? 0), 0)
    for (let dimension = shape.length - 1; dimension >= 0; dimension--) {
      const next = (index[dimension] ?? 0) + 1
      index[dimension] = next < (shape[dimension] ?? 0) ? next : 0
      if (index[dimension] !== 0) break
    }
    return items[at] as T
  })
}

type ItemReader = (view: DataView, at: number, little: boolean) => number | bigint | boolean | Complex

const readers: Readonly<Record<string, ItemReader>> = {
  b1: (view, at) => view.getUint8(at) !== 0,
  '?': (view, at) => view.getUint8(at) !== 0,
  i1: (view, at) => view.getInt8(at),
  u1: (view, at) => view.getUint8(at),
  i2: (view, at, little) => view.getInt16(at, little),
  u2: (view, at, little) => view.getUint16(at, little),
  i4: (view, at, little) => view.getInt32(at, little),
  u4: (view, at, little) => view.getUint32(at, little),
  i8: (view, at, little) => exact(view.getBigInt64(at, little)),
  u8: (view, at, little) => exact(view.getBigUint64(at, little)),
  f2: (view, at, little) => halfToNumber(view.getUint16(at, little)),
  f4: (view, at, little) => view.getFloat32(at, little),
  f8: (view, at, little) => view.getFloat64(at, little),
  c8: (view, at, little) => new Complex(view.getFloat32(at, little), view.getFloat32(at + 4, little)),
  c16: (view, at, little) => new Complex(view.getFloat64(at, little), view.getFloat64(at + 8, little)),
}

function exact(value: bigint): number | bigint {
  const number = Number(value)
  return Number.isSafeInteger(number) ? number : value
}

/** The number of a 16-bit float's bits. */
function halfToNumber(bits: number): number {
  const sign = (bits & 0x8000) === 0 ? 1 : -1
  const exponent = (bits >> 10) & 0x1f
  const fraction = bits & 0x3ff
  if (exponent === 0) return sign * fraction * 2 ** -24
  if (exponent === 31) return fraction === 0 ? sign * Infinity : NaN
  return sign * (1024 + fraction) * 2 ** (exponent - 25)
}

/** numpy's `bytes_`: without the zeros at the end. */
function trimmed(bytes: Uint8Array): Uint8Array {
  let end = bytes.length
  while (end > 0 && bytes[end - 1] === 0) end--
  return bytes.slice(0, end)
}

/** numpy's `str_`: four bytes a character, without the zeros at the end. Null where a number is no character. */
function unicode(view: DataView, little: boolean): string | null {
  const pieces: string[] = []
  let end = view.byteLength
  while (end >= 4 && view.getUint32(end - 4, little) === 0) end -= 4
  for (let at = 0; at < end; at += 4) {
    const code = view.getUint32(at, little)
    if (code > 0x10ffff) return null
    pieces.push(String.fromCodePoint(code))
  }
  return pieces.join('')
}
