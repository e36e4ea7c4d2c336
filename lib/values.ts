/** Values of tensors as plain JavaScript values. */
import { callTensor } from './call.js'
import type { Complex } from './contract.js'
import { isComplex, travelsAsBits, type TypedArray } from './dtype.js'
import { noGrad } from './grad-mode.js'
import { scope } from './scope.js'
import type { Tensor } from './tensor.js'

/** One value. Integers outside ±2^53 are bigint. */
export type ScalarValue = number | bigint | boolean | Complex

/** Values in the shape of their tensor. */
export type NestedValues = ScalarValue | NestedValues[]

/** All values of a tensor in C order, each exactly: 16-bit and 8-bit floats widened, integers as number or bigint. */
export function flatValues(tensor: Tensor): ScalarValue[] {
  const { dtype } = tensor
  const data = plainData(tensor)
  if (isComplex(dtype)) {
    return Array.from({ length: data.length / 2 }, (_, i) => ({ re: Number(data[2 * i]), im: Number(data[2 * i + 1]) }))
  }
  if (dtype === 'bool') return Array.from(data as Uint8Array, (value) => value !== 0)
  return Array.from(data as Iterable<number | bigint>, plainInteger)
}

/** Values nested as the sizes say; the 0-d case is the bare value. */
export function nestedValues(tensor: Tensor): NestedValues {
  const values = flatValues(tensor)
  let next = 0
  const nest = (sizes: readonly number[]): NestedValues => {
    const [size, ...rest] = sizes
    if (size === undefined) return values[next++] as ScalarValue
    return Array.from({ length: size }, () => nest(rest))
  }
  return nest(tensor.shape)
}

/** The typed array with dtypes that travel as bits widened first, which is exact. */
function plainData(tensor: Tensor): TypedArray {
  const { dtype } = tensor
  if (!travelsAsBits(dtype)) return tensor.data()
  const wide = dtype === 'complex32' ? 'complex64' : 'float32'
  return scope(() => noGrad(() => callTensor('to.dtype', [tensor, wide]).data()))
}

function plainInteger(value: number | bigint): number | bigint {
  return typeof value === 'bigint' && Number.isSafeInteger(Number(value)) ? Number(value) : value
}
