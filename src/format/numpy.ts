/** numpy's dtypes, scalars and arrays as pickles of numpy 1 and 2 hold them. Source: `numpy/_core/src/multiarray/descriptor.c`, `methods.c`, `scalarapi.c`. */
import { describe, type CallArguments } from './arguments.js'
import type { PickleReader } from './pickle-read.js'
import type { Rebuild } from './rebuild-tensors.js'
import { decodeNumpyItem } from './numpy-values.js'
import { ByteArray, NumpyArray, NumpyDType, NumpyScalar, OpaqueObject, PythonGlobal, Tuple } from './values.js'

/** Bytes that a description takes. */
const objectBytes = 200

/** What numpy's functions give, by full name. */
export const numpyRebuilders: ReadonlyMap<string, Rebuild> = new Map<string, Rebuild>([
  ['numpy.dtype', rebuildDType],
  ...['numpy.core', 'numpy._core'].flatMap((core): [string, Rebuild][] => [
    [`${core}.multiarray.scalar`, rebuildScalar],
    [`${core}.multiarray._reconstruct`, rebuildArray],
    [`${core}.numeric._frombuffer`, rebuildFromBuffer],
  ]),
])

/** `numpy.dtype('f4', False, True)`; its byte order comes with BUILD. */
function rebuildDType(args: CallArguments): NumpyDType {
  args.count(1, 3)
  args.allocate(objectBytes)
  const code = textOf(args.at(0))
  const dtype = code === null ? null : new NumpyDType(code.replace(/^[<>=|]/, ''))
  if (dtype === null || !/^[?a-zA-Z]\d{0,9}$/.test(dtype.code)) return args.fail(`${describe(args.at(0))} is no dtype`)
  const order = code?.[0] ?? ''
  if (/[<>=|]/.test(order)) dtype.state = [3, order, null, null, null, -1, -1, 0]
  return dtype
}

/** The state of a dtype: `(3, '<', None, None, None, -1, -1, 0)`. */
export function buildDType(dtype: NumpyDType, state: unknown, reader: PickleReader): void {
  if (!(state instanceof Tuple) || state.length < 5 || state.length > 9)
    reader.fail(`the state of a numpy dtype is ${describe(state)}, expected a tuple of up to 9`)
  const order = textOf(state[1])
  if (order === null || !/^[<>=|]$/.test(order)) reader.fail(`the byte order of a numpy dtype is ${describe(state[1])}`)
  reader.charge(state.length)
  const plain = Array.from(state)
  plain[1] = order
  dtype.state = plain
}

/** `scalar(dtype, bytes)`; of objects it gives the object itself. */
function rebuildScalar(args: CallArguments, reader: PickleReader): unknown {
  args.count(2)
  args.allocate(objectBytes)
  const dtype = dtypeArgument(args, 0)
  if (kindOf(dtype) === 'O') return args.at(1)
  const bytes = bytesOf(args.at(1), reader)
  const itemSize = itemSizeBytes(dtype, args)
  if (bytes.length !== itemSize) args.fail(`${bytes.length} bytes for a ${dtype.name} of ${itemSize} bytes`)
  return new NumpyScalar(dtype.name, bytes, decodeNumpyItem(dtype.name, bytes), dtype, coreOf(args))
}

/** `_reconstruct(ndarray, (0,), b'b')`: an empty array that BUILD fills. */
function rebuildArray(args: CallArguments): NumpyArray | OpaqueObject {
  args.count(3)
  args.allocate(objectBytes)
  const cls = args.at(0)
  if (!(cls instanceof PythonGlobal)) return args.fail(`${describe(cls)} instead of a class`)
  const shape = args.sizes(1)
  if (cls.name !== 'numpy.ndarray') return new OpaqueObject(args.name, Array.from(args.values), null, 'call')
  if (shape.length !== 1 || shape[0] !== 0)
    args.fail(`a new array of shape (${shape.slice(0, 8).join(', ')}), expected (0,)`)
  return new NumpyArray('|i1', shape, false, new Uint8Array(), null, null, coreOf(args))
}

/** The state of an array: `(1, shape, dtype, is_fortran, bytes)`; the bytes of an array of objects are a list. */
export function buildArray(array: NumpyArray, state: unknown, reader: PickleReader): void {
  if (!(state instanceof Tuple) || state.length < 4 || state.length > 5)
    reader.fail(`the state of a numpy array is ${describe(state)}, expected a tuple of 5`)
  const [shape, dtype, fortran, data] = state.slice(state.length - 4)
  if (!Array.isArray(shape) || !(dtype instanceof NumpyDType))
    reader.fail(
      `the state of a numpy array holds ${describe(shape)} and ${describe(dtype)}, expected a shape and a dtype`,
    )
  fillArray(array, { shape, dtype, fortranOrder: fortran === true || fortran === 1, data }, reader)
}

/** `_frombuffer(bytes, dtype, shape, order)`. */
function rebuildFromBuffer(args: CallArguments, reader: PickleReader): NumpyArray {
  args.count(4)
  args.allocate(objectBytes)
  const order = args.string(3)
  if (order !== 'C' && order !== 'F') args.fail(`the order ${JSON.stringify(order)}, expected "C" or "F"`)
  const array = new NumpyArray('|i1', [], false, new Uint8Array(), null, null, coreOf(args))
  const given = { shape: args.sizes(2), dtype: dtypeArgument(args, 1), fortranOrder: order === 'F', data: args.at(0) }
  fillArray(array, given, reader)
  return array
}

function coreOf(args: CallArguments): 'numpy.core' | 'numpy._core' {
  return args.name.startsWith('numpy._core.') ? 'numpy._core' : 'numpy.core'
}

type Mutable<T> = { -readonly [Key in keyof T]: T[Key] }

function fillArray(
  array: Mutable<NumpyArray>,
  given: { shape: unknown[]; dtype: NumpyDType; fortranOrder: boolean; data: unknown },
  reader: PickleReader,
): void {
  const { shape, dtype, data } = given
  reader.charge(shape.length)
  const count = countOf(shape, reader)
  array.shape = Array.from(shape) as number[]
  array.dtype = dtype.name
  array.description = dtype
  array.fortranOrder = given.fortranOrder
  if (Array.isArray(data) && !(data instanceof Tuple)) {
    if (data.length !== count) reader.fail(`${data.length} objects for a numpy array of ${count}`)
    array.objects = data
    return
  }
  const itemSize = itemSizeBytes(dtype, reader)
  const bytes = bytesOf(data, reader)
  if (kindOf(dtype) === 'O' || bytes.length !== count * itemSize)
    reader.fail(`${bytes.length} bytes for a numpy array of ${count} items of ${dtype.name}`)
  array.bytes = bytes
}

function countOf(shape: readonly unknown[], reader: PickleReader): number {
  if (shape.length > 64) reader.fail(`a numpy array of ${shape.length} dimensions`)
  let count = 1
  for (const size of shape) {
    if (!Number.isSafeInteger(size) || (size as number) < 0) reader.fail(`${describe(size)} as a size of a numpy array`)
    count *= size as number
  }
  if (!Number.isSafeInteger(count)) reader.fail('a numpy array beyond any memory')
  return count
}

function dtypeArgument(args: CallArguments, index: number): NumpyDType {
  const dtype = args.at(index)
  return dtype instanceof NumpyDType
    ? dtype
    : args.fail(`argument ${index + 1} is ${describe(dtype)}, expected a numpy dtype`)
}

function kindOf(dtype: NumpyDType): string {
  return dtype.code[0] ?? ''
}

function itemSizeBytes(dtype: NumpyDType, failing: { fail(reason: string): never }): number {
  const size = Number(dtype.code.slice(1))
  const kind = kindOf(dtype)
  if (kind === '?') return 1
  if (!/^[a-zA-Z]\d+$/.test(dtype.code)) return failing.fail(`a numpy dtype ${dtype.code} of unknown size`)
  return kind === 'U' ? 4 * size : size
}

/** Text of a `str`, or of a Python 2 `str` that came as bytes. */
function textOf(value: unknown): string | null {
  if (typeof value === 'string') return value
  return value instanceof Uint8Array ? Buffer.from(value).toString('latin1') : null
}

/** `bytes`; a Python 2 `str` that was taken for text is turned back, other text is latin-1 as numpy reads it. */
function bytesOf(value: unknown, reader: PickleReader): Uint8Array {
  if (value instanceof ByteArray) return new Uint8Array(value.buffer, value.byteOffset, value.byteLength)
  if (value instanceof Uint8Array) return value
  if (typeof value !== 'string') return reader.fail(`${describe(value)} instead of the bytes of numpy values`)
  reader.charge(value.length)
  if (reader.byteStrings.has(value)) return new Uint8Array(Buffer.from(value, 'utf8'))
  return encodeLatin1(value) ?? reader.fail('a str beyond latin-1 instead of the bytes of numpy values')
}

/** The latin-1 bytes of a text, or undefined where it has characters beyond. */
export function encodeLatin1(text: string): Uint8Array | undefined {
  const bytes = new Uint8Array(text.length)
  for (let index = 0; index < text.length; index++) {
    const code = text.charCodeAt(index)
    if (code > 0xff) return undefined
    bytes[index] = code
  }
  return bytes
}
