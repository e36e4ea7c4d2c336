/** New tensors: from values, and by PyTorch's creation functions. */
import { dtypes } from '../src/format/dtypes.js'
import { TorchkeepError } from '../src/format/errors.js'
import { callTensor, type Argument, type GeneratorLike } from './call.js'
import {
  checkDType,
  dtypeOfArray,
  integerRange,
  isComplex,
  travelsAsBits,
  type DType,
  type TypedArray,
} from './dtype.js'
import { noGrad } from './grad-mode.js'
import { addon } from './native.js'
import { knownOptions } from './options.js'
import { activeRecorder, withoutRecorder } from './recording.js'
import { Tensor } from './tensor.js'
import type { ScalarValue } from './values.js'

/** What every creation function takes. */
export interface TensorOptions {
  /** float32 unless told (int64 for functions that make integers). */
  dtype?: DType
  /** `'cpu'` unless told. */
  device?: string
  /** false unless told. */
  requiresGrad?: boolean
}

/** What functions that draw take besides. */
export interface RandomOptions extends TensorOptions {
  /** The default generator unless told. */
  generator?: GeneratorLike
}

/** What `tensor()` takes as values. */
export type TensorData = Values | TypedArray

type Values = ScalarValue | readonly Values[]

/**
 * A tensor with a copy of the given values: a number, nested arrays, or a typed array with its `shape`. Without a
 * dtype: numbers make float32 (JavaScript does not tell 1 from 1.0: say `dtype: 'int64'` for integers), booleans bool,
 * bigints int64, `{re, im}` complex64, a typed array its own. A Uint16Array or Uint8Array given for a 16-bit or 8-bit
 * float dtype holds its bit patterns. Values that an integer dtype cannot hold are refused, fractions too, and so is
 * whatever is no value.
 */
export function tensor(data: TensorData, options: TensorOptions & { shape?: readonly number[] } = {}): Tensor {
  knownOptions('tensor()', options, ['dtype', 'device', 'requiresGrad', 'shape'])
  if (options.dtype !== undefined) checkDType(options.dtype)
  // Made while a graph is recorded, it is a constant of the graph.
  const made = withoutRecorder(() =>
    ArrayBuffer.isView(data) ? fromTypedArray(data, options) : fromNested(data, options),
  )
  return options.requiresGrad ? made.requiresGrad_() : made
}

function fromTypedArray(
  data: TypedArray,
  { dtype, device = 'cpu', shape }: TensorOptions & { shape?: readonly number[] },
): Tensor {
  const own = dtypeOfArray(data)
  const asBits =
    dtype !== undefined &&
    (travelsAsBits(dtype) || isComplex(dtype) || dtype === 'bool') &&
    data instanceof dtypes[dtype].array
  const given = asBits ? dtype : own
  const length = isComplex(given) ? data.length / 2 : data.length
  const sizes = checkedShape(shape ?? [length], length)
  if (given === 'bool') checkBooleans(data)
  if (dtype !== undefined && dtype !== given) checkIntegers(data, dtype)
  return converted(fromData(given, sizes, data, device), dtype)
}

function fromNested(
  data: TensorData,
  { dtype, device = 'cpu', shape }: TensorOptions & { shape?: readonly number[] },
): Tensor {
  const values: ScalarValue[] = []
  const sizes = flatten(data, values)
  const target = dtype ?? inferDType(values)
  const finalSizes = shape === undefined ? sizes : checkedShape(shape, values.length)
  const carrier = carrierOf(target)
  const array = fill(values, carrier, target)
  return converted(fromData(carrier, finalSizes, array, device), target)
}

function fromData(dtype: DType, sizes: readonly number[], data: TypedArray, device: string): Tensor {
  return new Tensor(addon().tensorFromData({ dtype, sizes, data, device }))
}

/** Rounding to a narrower float is LibTorch's own (to nearest even), as in Python. */
function converted(made: Tensor, dtype: DType | undefined): Tensor {
  if (dtype === undefined || made.dtype === dtype) return made
  const result = noGrad(() => callTensor('to.dtype', [made, dtype]))
  made.dispose()
  return result
}

/** The dtype whose typed array can hold the values before they are converted. */
function carrierOf(dtype: DType): DType {
  if (dtype === 'complex32') return 'complex64'
  return travelsAsBits(dtype) ? 'float32' : dtype
}

function flatten(data: unknown, values: ScalarValue[]): number[] {
  if (!Array.isArray(data)) {
    if (!isScalar(data)) throw notAValue(data, values.length)
    values.push(data)
    return []
  }
  // Not data.map, which leaves out the holes of a sparse array.
  const items: readonly unknown[] = data
  const inner = Array.from(items, (item) => flatten(item, values))
  const first = inner[0] ?? []
  const odd = inner.findIndex((sizes) => sizes.length !== first.length || sizes.some((size, i) => size !== first[i]))
  if (odd >= 0) {
    throw new TorchkeepError(
      'ERR_INVALID_ARGUMENT',
      `Nested arrays are ragged: element ${odd} has shape [${String(inner[odd])}], expected [${String(first)}]`,
    )
  }
  return [items.length, ...first]
}

function isScalar(value: unknown): value is ScalarValue {
  if (typeof value !== 'object') return ['number', 'bigint', 'boolean'].includes(typeof value)
  const { re, im } = (value ?? {}) as { re?: unknown; im?: unknown }
  return typeof re === 'number' && typeof im === 'number'
}

function notAValue(found: unknown, position: number): TorchkeepError {
  const isObject = typeof found === 'object' && found !== null
  const name = isObject ? `a ${found.constructor.name}` : String(found)
  return new TorchkeepError(
    'ERR_INVALID_ARGUMENT',
    `Value ${name} at position ${position} is no number, bigint, boolean, {re, im} or array of these`,
    {
      suggestions: ArrayBuffer.isView(found) ? ['Give one typed array with its shape.'] : [],
    },
  )
}

function inferDType(values: readonly ScalarValue[]): DType {
  const kinds = new Set(values.map((value) => typeof value))
  if (kinds.has('object')) return 'complex64'
  if (kinds.has('number') || kinds.size === 0) return 'float32'
  return kinds.has('bigint') ? 'int64' : 'bool'
}

function fill(values: readonly ScalarValue[], carrier: DType, target: DType): TypedArray {
  const array = new dtypes[carrier].array(new ArrayBuffer(values.length * dtypes[carrier].itemSizeBytes))
  const range = integerRange(target)
  values.forEach((value, i) => {
    if (isComplex(carrier)) {
      const { re, im } = typeof value === 'object' ? value : { re: Number(value), im: 0 }
      array[2 * i] = re
      array[2 * i + 1] = im
    } else if (typeof value === 'object') throw notA(target, value, i)
    else if (range !== undefined) {
      const integer = toInteger(value, target, i, range)
      array[i] = array instanceof BigInt64Array || array instanceof BigUint64Array ? integer : Number(integer)
    } else array[i] = carrier === 'bool' ? Number(Number(value) !== 0) : Number(value)
  })
  return array
}

function toInteger(
  value: number | bigint | boolean,
  dtype: DType,
  position: number,
  [smallest, largest]: readonly [bigint, bigint],
): bigint {
  // A number beyond 2^53 may already have lost its last digits, so it is not taken for an integer.
  if (typeof value === 'number' && !Number.isSafeInteger(value)) throw notA(dtype, value, position)
  const integer = BigInt(value)
  if (integer < smallest || integer > largest) throw notA(dtype, value, position)
  return integer
}

function notA(dtype: DType, value: unknown, position: number): TorchkeepError {
  return new TorchkeepError('ERR_INVALID_ARGUMENT', `Value ${String(value)} at position ${position} is no ${dtype}`, {
    suggestions: typeof value === 'number' ? ['Give integers beyond 2^53 as bigint.'] : [],
  })
}

/** Values of a typed array that become integers of another dtype. */
function checkIntegers(data: TypedArray, dtype: DType): void {
  const range = integerRange(dtype)
  if (range === undefined) return
  for (const [position, value] of data.entries()) toInteger(value, dtype, position, range)
}

function checkBooleans(data: TypedArray): void {
  const odd = data.findIndex((value) => value !== 0 && value !== 1)
  if (odd >= 0) throw notA('bool', data[odd], odd)
}

function checkedShape(shape: readonly number[], length: number): readonly number[] {
  const product = shape.reduce((elements, size) => elements * size, 1)
  if (product === length && shape.every((size) => Number.isInteger(size) && size >= 0)) return shape
  throw new TorchkeepError('ERR_INVALID_ARGUMENT', `Shape [${shape.join(', ')}] does not fit ${length} values`)
}

/** `torch.empty`: values are whatever the memory holds. */
export const empty = (size: readonly number[], options?: TensorOptions): Tensor =>
  create('empty.memory_format', [size], options)
export const zeros = (size: readonly number[], options?: TensorOptions): Tensor => create('zeros', [size], options)
export const ones = (size: readonly number[], options?: TensorOptions): Tensor => create('ones', [size], options)

/** `torch.full`. Without a dtype float32 (Python takes int64 for an int, which JavaScript cannot tell from a float). */
export function full(size: readonly number[], value: number | bigint | boolean, options: TensorOptions = {}): Tensor {
  return create('full', [size, value], { dtype: typeof value === 'boolean' ? 'bool' : 'float32', ...options })
}

/**
 * `[start, end)` in steps; `arange(end)` starts at 0. int64 unless a fraction is given or a dtype told, as in Python.
 */
export function arange(end: number, options?: TensorOptions): Tensor
export function arange(start: number, end: number, step?: number, options?: TensorOptions): Tensor
export function arange(first: number, second?: number | TensorOptions, step = 1, options?: TensorOptions): Tensor {
  if (typeof second !== 'number') return arange(0, first, 1, second)
  const dtype = [first, second, step].every(Number.isInteger) ? 'int64' : 'float32'
  return create('arange.start_step', [first, second, step], { dtype, ...options })
}

/** `steps` values from `start` to `end`, both included. */
export const linspace = (start: number, end: number, steps: number, options?: TensorOptions): Tensor =>
  create('linspace', [start, end, steps], options)

/** Identity matrix. */
export const eye = (n: number, options?: TensorOptions): Tensor => create('eye', [n], options)

/** Uniform in [0, 1). */
export const rand = (size: readonly number[], options?: RandomOptions): Tensor =>
  draw('rand', [size], 'rand.generator', options)

/** Normal with mean 0 and variance 1. */
export const randn = (size: readonly number[], options?: RandomOptions): Tensor =>
  draw('randn', [size], 'randn.generator', options)

/** Integers in [low, high), int64 unless told. */
export const randint = (low: number, high: number, size: readonly number[], options?: RandomOptions): Tensor =>
  draw('randint.low', [low, high, size], 'randint.low_generator', { dtype: 'int64', ...options })

/** A permutation of 0 ... n-1, int64 unless told. */
export const randperm = (n: number, options?: RandomOptions): Tensor =>
  draw('randperm', [n], 'randperm.generator', { dtype: 'int64', ...options })

/** Draws 0 or 1 with the given probabilities. */
export const bernoulli = (probabilities: Tensor, options: { generator?: GeneratorLike } = {}): Tensor =>
  callTensor('bernoulli', [probabilities], options)

/** Joins tensors along an existing dimension. */
export const cat = (tensors: readonly Tensor[], dim = 0): Tensor => callTensor('cat', [tensors, dim])

/** Joins tensors of one shape along a new dimension. */
export const stack = (tensors: readonly Tensor[], dim = 0): Tensor => callTensor('stack', [tensors, dim])

/** `ifTrue` where the condition holds, else `ifFalse`. */
export function where(condition: Tensor, ifTrue: Tensor | number, ifFalse: Tensor | number): Tensor {
  const overload =
    ifTrue instanceof Tensor
      ? ifFalse instanceof Tensor
        ? 'self'
        : 'ScalarOther'
      : ifFalse instanceof Tensor
        ? 'ScalarSelf'
        : 'Scalar'
  return callTensor(`where.${overload}`, [condition, ifTrue, ifFalse])
}

/** A new tensor of the same shape, dtype and device. */
export const zerosLike = (like: Tensor): Tensor => callTensor('zeros_like', [like])
export const onesLike = (like: Tensor): Tensor => callTensor('ones_like', [like])
export const emptyLike = (like: Tensor): Tensor => callTensor('empty_like', [like])

function draw(
  op: string,
  args: readonly Argument[],
  withGenerator: string,
  { generator, ...options }: RandomOptions = {},
): Tensor {
  return generator === undefined ? create(op, args, options) : create(withGenerator, args, options, { generator })
}

function create(
  op: string,
  args: readonly Argument[],
  options: TensorOptions = {},
  kwargs: Record<string, Argument> = {},
): Tensor {
  const { dtype, device, requiresGrad } = knownOptions(op, options, ['dtype', 'device', 'requiresGrad'])
  if (dtype !== undefined) checkDType(dtype)
  // A recorded factory names its device, as torch.export's does: the executor moves it to the session's.
  const where = device ?? (activeRecorder() === null ? undefined : 'cpu')
  const made = callTensor(op, args, { ...kwargs, dtype, device: where })
  return requiresGrad ? made.requiresGrad_() : made
}
