/** What a tensor is, without its operators: a native handle, what is known of it, its values, its end. */
import { TorchkeepError } from '../src/format/errors.js'
import type { DType, TensorHandle, TensorInfo } from './contract.js'
import { typedArrayOf, type TypedArray } from './dtype.js'
import { addon } from './native.js'
import { refuseValueWhileRecording } from './recording.js'
import { track } from './scope.js'

export abstract class TensorBase {
  /** The native tensor. */
  readonly handle: TensorHandle

  /** Wraps a handle that the addon made; the handle then belongs to this tensor. */
  constructor(handle: TensorHandle) {
    this.handle = handle
    track(this)
  }

  /** Everything known of the tensor without reading its values. */
  info(): TensorInfo {
    return addon().tensorInfo({ tensor: this.handle })
  }

  /** Sizes, outermost first; `[]` for a scalar. */
  get shape(): number[] {
    return this.info().sizes
  }

  get dtype(): DType {
    return this.info().dtype
  }

  /** `'cpu'`, `'cuda:0'`, `'meta'`. */
  get device(): string {
    return this.info().device
  }

  get isLeaf(): boolean {
    return this.info().isLeaf
  }

  /** Size of one dimension (negative counts from the end), or all sizes. */
  size(): number[]
  size(dim: number): number
  size(dim?: number): number | number[] {
    const sizes = this.shape
    if (dim === undefined) return sizes
    const size = sizes.at(dim)
    if (size !== undefined) return size
    throw new TorchkeepError('ERR_INVALID_ARGUMENT', `Dimension ${dim} of a tensor of shape [${sizes.join(', ')}]`)
  }

  /** Number of dimensions. */
  dim(): number {
    return this.shape.length
  }

  /** Number of elements. */
  numel(): number {
    return this.shape.reduce((product, size) => product * size, 1)
  }

  /** Strides in elements. */
  stride(): number[] {
    return this.info().strides
  }

  /** Offset of the first element in the storage, in elements. */
  storageOffset(): number {
    return this.info().storageOffset
  }

  isContiguous(): boolean {
    return this.info().isContiguous
  }

  /**
   * A copy of the values in C order: Float32Array, Float64Array, Int8/16/32Array, Uint8Array (uint8, bool as 0 and 1,
   * float8 bytes), Uint16Array (uint16, and the bits of float16 and bfloat16), Uint32Array, BigInt64Array,
   * BigUint64Array; complex numbers as pairs.
   */
  data(): TypedArray {
    refuseValueWhileRecording('data()')
    return typedArrayOf(this.dtype, addon().tensorToData({ tensor: this.handle }))
  }

  /** True after {@link dispose}. */
  get disposed(): boolean {
    return this.handle.disposed
  }

  /** Drops this reference to the native tensor now. Idempotent; every later use throws `ERR_DISPOSED`. */
  dispose(): void {
    this.handle.dispose()
  }

  /** For `using`. */
  [Symbol.dispose](): void {
    this.dispose()
  }
}
