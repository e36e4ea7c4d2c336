/** The tensor: PyTorch's, with camelCase names. Creation is in creation.ts, most operators in tensor-operators.ts. */
import { inspect } from 'node:util'
import { TorchkeepError } from '../src/format/errors.js'
import { call } from './call.js'
import type { TensorHandle } from './contract.js'
import { isComplex } from './dtype.js'
import { indexPut, indexTensor, type Index } from './indexing.js'
import { addon } from './native.js'
import { knownOptions } from './options.js'
import { formatTensor } from './print.js'
import { refuseValueWhileRecording } from './recording.js'
import { TensorOperators } from './tensor-operators.js'
import { nestedValues, type NestedValues, type ScalarValue } from './values.js'

export class Tensor extends TensorOperators {
  /** Makes the tensor around a handle; the handle then belongs to it. */
  static fromHandle(handle: TensorHandle): Tensor {
    return new Tensor(handle)
  }

  /** Whether autograd follows this tensor. Only leaves can be set. */
  get requiresGrad(): boolean {
    return this.info().requiresGrad
  }

  set requiresGrad(on: boolean) {
    call('requires_grad_', [this, on])
  }

  /** Sets {@link requiresGrad} and returns this tensor. */
  requiresGrad_(on = true): this {
    this.requiresGrad = on
    return this
  }

  /** The gradient that `backward()` accumulated, or null. Each reading gives a new Tensor over the same values. */
  get grad(): Tensor | null {
    const grad = addon().tensorGrad({ tensor: this.handle })
    return grad === null ? null : new Tensor(grad)
  }

  set grad(grad: Tensor | null) {
    addon().tensorGrad({ tensor: this.handle, grad: grad === null ? null : grad.handle })
  }

  /**
   * Computes the gradients of the leaves that this tensor depends on and adds them to their `grad`. `gradient` is
   * needed unless this tensor has one element; `retainGraph` keeps the graph for a second pass.
   */
  backward(options: { gradient?: Tensor | null; retainGraph?: boolean } = {}): void {
    const { gradient = null, retainGraph = false } = knownOptions('backward', options, ['gradient', 'retainGraph'])
    refuseValueWhileRecording('backward()')
    call('_backward', [this, [], gradient, retainGraph])
  }

  /** The value of a tensor with one element: number, boolean, bigint for integers outside ±2^53, or `{re, im}`. */
  item(): ScalarValue {
    refuseValueWhileRecording('item()')
    return call('item', [this]) as ScalarValue
  }

  /**
   * The values as nested arrays: numbers, booleans, bigint for integers outside ±2^53; a scalar's value for a 0-d
   * tensor.
   */
  tolist(): NestedValues {
    refuseValueWhileRecording('tolist()')
    return nestedValues(this)
  }

  /**
   * PyTorch's indexing: `x[0]` is `x.at(0)`, `x[:, 1:3]` is `x.at({}, { start: 1, end: 3 })`, `x[..., None]` is
   * `x.at('...', null)`, `x[mask]` is `x.at(mask)`, `x[[0, 2]]` is `x.at([0, 2])`. Numbers and ranges give views,
   * tensors and lists copies.
   */
  at(...indices: Index[]): Tensor {
    return indexTensor(this, indices)
  }

  /** {@link at} with the indices in an array. */
  index(indices: readonly Index[]): Tensor {
    return indexTensor(this, indices)
  }

  /**
   * `this[indices] = value`; with `accumulate` values are added, also where an index occurs twice. Returns this tensor.
   */
  indexPut_(indices: readonly Index[], value: Tensor | number, options: { accumulate?: boolean } = {}): this {
    const { accumulate = false } = knownOptions('indexPut_', options, ['accumulate'])
    indexPut(this, indices, value, accumulate)
    return this
  }

  /** As PyTorch prints it. */
  override toString(): string {
    return formatTensor(this)
  }

  [inspect.custom](): string {
    return this.disposed ? 'tensor(disposed)' : this.toString()
  }

  /**
   * A tensor has no truth value, number or text of its own in arithmetic: `a + b` on tensors would be a silent mistake.
   */
  [Symbol.toPrimitive](hint: 'number' | 'string' | 'default'): string | number {
    if (hint === 'string') return this.toString()
    if (this.numel() !== 1 || isComplex(this.dtype)) {
      throw new TorchkeepError('ERR_INVALID_ARGUMENT', `A tensor of shape [${this.shape.join(', ')}] is not a number`, {
        suggestions: ['Use methods: a.add(b), a.mul(2).'],
      })
    }
    return Number(this.item())
  }
}
