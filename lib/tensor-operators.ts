/**
 * The operators of a tensor as methods: one line each over `call`, named and ordered as PyTorch's. Whatever is missing
 * here is one `call` away.
 */
import { callTensor, callTensors, call, type Argument } from './call.js'
import type { DType } from './contract.js'
import type { GeneratorLike } from './call.js'
import { isDType } from './dtype.js'
import { knownOptions } from './options.js'
import { refuseValueWhileRecording } from './recording.js'
import { TensorBase } from './tensor-base.js'
import type { Tensor } from './tensor.js'

/** A tensor, or a number that acts as a 0-d tensor of its own kind (as in Python's `x + 1`). */
export type Operand = Tensor | number | bigint | boolean

/** One dimension, several, or null for all. */
export type Dims = number | readonly number[] | null

const dimList = (dims: Dims): readonly number[] | null => (typeof dims === 'number' ? [dims] : dims)

/** `f(1, 2)` and `f([1, 2])` mean the same. */
const sizesOf = (sizes: readonly (number | readonly number[])[]): readonly number[] => sizes.flat()

export abstract class TensorOperators extends TensorBase {
  // Arithmetic. `alpha` multiplies `other` first.
  add(other: Operand, options: { alpha?: number } = {}): Tensor {
    return callTensor('add.Tensor', [this, other], { alpha: 1, ...options })
  }
  sub(other: Operand, options: { alpha?: number } = {}): Tensor {
    return callTensor('sub.Tensor', [this, other], { alpha: 1, ...options })
  }
  mul(other: Operand): Tensor {
    return callTensor('mul.Tensor', [this, other])
  }
  /** `roundingMode`: `'trunc'`, `'floor'`, or true division. */
  div(other: Operand, options: { roundingMode?: 'trunc' | 'floor' } = {}): Tensor {
    const { roundingMode } = knownOptions('div', options, ['roundingMode'])
    if (roundingMode === undefined) return callTensor('div.Tensor', [this, other])
    return callTensor('div.Tensor_mode', [this, other], { rounding_mode: roundingMode })
  }
  remainder(other: Operand): Tensor {
    return callTensor('remainder.Tensor', [this, other])
  }
  pow(exponent: Operand): Tensor {
    return callTensor(exponent instanceof TensorBase ? 'pow.Tensor_Tensor' : 'pow.Tensor_Scalar', [this, exponent])
  }
  matmul(other: Tensor): Tensor {
    return callTensor('matmul', [this, other])
  }
  mm(other: Tensor): Tensor {
    return callTensor('mm', [this, other])
  }
  bmm(other: Tensor): Tensor {
    return callTensor('bmm', [this, other])
  }
  maximum(other: Tensor): Tensor {
    return callTensor('maximum', [this, other])
  }
  minimum(other: Tensor): Tensor {
    return callTensor('minimum', [this, other])
  }

  // In place; each returns this tensor.
  add_(other: Operand, options: { alpha?: number } = {}): Tensor {
    return callTensor('add_.Tensor', [this, other], { alpha: 1, ...options })
  }
  sub_(other: Operand, options: { alpha?: number } = {}): Tensor {
    return callTensor('sub_.Tensor', [this, other], { alpha: 1, ...options })
  }
  mul_(other: Operand): Tensor {
    return callTensor('mul_.Tensor', [this, other])
  }
  div_(other: Operand): Tensor {
    return callTensor('div_.Tensor', [this, other])
  }
  copy_(source: Tensor): Tensor {
    return callTensor('copy_', [this, source])
  }
  fill_(value: number | bigint | boolean): Tensor {
    return callTensor('fill_.Scalar', [this, value])
  }
  zero_(): Tensor {
    return callTensor('zero_', [this])
  }
  relu_(): Tensor {
    return callTensor('relu_', [this])
  }
  clamp_(min: number | null, max: number | null = null): Tensor {
    return callTensor('clamp_', [this, min, max])
  }
  lerp_(end: Tensor, weight: number): Tensor {
    return callTensor('lerp_.Scalar', [this, end, weight])
  }
  addcmul_(tensor1: Tensor, tensor2: Tensor, options: { value?: number } = {}): Tensor {
    return callTensor('addcmul_', [this, tensor1, tensor2], { value: 1, ...options })
  }
  addcdiv_(tensor1: Tensor, tensor2: Tensor, options: { value?: number } = {}): Tensor {
    return callTensor('addcdiv_', [this, tensor1, tensor2], { value: 1, ...options })
  }
  normal_(mean = 0, std = 1, options: { generator?: GeneratorLike } = {}): Tensor {
    return callTensor('normal_', [this, mean, std], options)
  }
  uniform_(from = 0, to = 1, options: { generator?: GeneratorLike } = {}): Tensor {
    return callTensor('uniform_', [this, from, to], options)
  }
  bernoulli_(p = 0.5, options: { generator?: GeneratorLike } = {}): Tensor {
    return callTensor('bernoulli_.float', [this, p], options)
  }
  /** Draws integers: the whole range of the dtype, as `tensor.random_()`. */
  random_(options: { generator?: GeneratorLike } = {}): Tensor {
    return callTensor('random_', [this], options)
  }

  // Element by element.
  neg(): Tensor {
    return callTensor('neg', [this])
  }
  abs(): Tensor {
    return callTensor('abs', [this])
  }
  exp(): Tensor {
    return callTensor('exp', [this])
  }
  log(): Tensor {
    return callTensor('log', [this])
  }
  sqrt(): Tensor {
    return callTensor('sqrt', [this])
  }
  square(): Tensor {
    return callTensor('square', [this])
  }
  sin(): Tensor {
    return callTensor('sin', [this])
  }
  cos(): Tensor {
    return callTensor('cos', [this])
  }
  tanh(): Tensor {
    return callTensor('tanh', [this])
  }
  sigmoid(): Tensor {
    return callTensor('sigmoid', [this])
  }
  relu(): Tensor {
    return callTensor('relu', [this])
  }
  floor(): Tensor {
    return callTensor('floor', [this])
  }
  ceil(): Tensor {
    return callTensor('ceil', [this])
  }
  round(): Tensor {
    return callTensor('round', [this])
  }
  isnan(): Tensor {
    return callTensor('isnan', [this])
  }
  isfinite(): Tensor {
    return callTensor('isfinite', [this])
  }
  clamp(min: number | null, max: number | null = null): Tensor {
    return callTensor('clamp', [this, min, max])
  }
  softmax(dim: number): Tensor {
    return callTensor('softmax.int', [this, dim])
  }
  logSoftmax(dim: number): Tensor {
    return callTensor('log_softmax.int', [this, dim])
  }
  maskedFill(mask: Tensor, value: number): Tensor {
    return callTensor('masked_fill.Scalar', [this, mask, value])
  }

  // Comparisons and logic.
  eq(other: Operand): Tensor {
    return this.#compare('eq', other)
  }
  ne(other: Operand): Tensor {
    return this.#compare('ne', other)
  }
  lt(other: Operand): Tensor {
    return this.#compare('lt', other)
  }
  le(other: Operand): Tensor {
    return this.#compare('le', other)
  }
  gt(other: Operand): Tensor {
    return this.#compare('gt', other)
  }
  ge(other: Operand): Tensor {
    return this.#compare('ge', other)
  }
  logicalAnd(other: Tensor): Tensor {
    return callTensor('logical_and', [this, other])
  }
  logicalOr(other: Tensor): Tensor {
    return callTensor('logical_or', [this, other])
  }
  logicalNot(): Tensor {
    return callTensor('logical_not', [this])
  }
  /** Whether shape and all values are the same (`torch.equal`). */
  equal(other: Tensor): boolean {
    refuseValueWhileRecording('equal()')
    return call('equal', [this, other]) as boolean
  }

  // Reductions. Without `dim` over everything.
  sum(dim: Dims = null, options: { keepdim?: boolean; dtype?: DType } = {}): Tensor {
    const { keepdim = false, ...rest } = options
    if (dim === null && !keepdim) return callTensor('sum', [this], rest)
    return callTensor('sum.dim_IntList', [this, dimList(dim), keepdim], rest)
  }
  mean(dim: Dims = null, options: { keepdim?: boolean; dtype?: DType } = {}): Tensor {
    const { keepdim = false, ...rest } = options
    if (dim === null && !keepdim) return callTensor('mean', [this], rest)
    return callTensor('mean.dim', [this, dimList(dim), keepdim], rest)
  }
  /** Largest value over the dimensions; where several are equal, each gets its share of the gradient. */
  amax(dim: Dims = null, options: { keepdim?: boolean } = {}): Tensor {
    return callTensor('amax', [this, dimList(dim) ?? []], options)
  }
  /** Smallest value over the dimensions; where several are equal, each gets its share of the gradient. */
  amin(dim: Dims = null, options: { keepdim?: boolean } = {}): Tensor {
    return callTensor('amin', [this, dimList(dim) ?? []], options)
  }
  /** Standard deviation with Bessel's correction. */
  std(dim: Dims = null, options: { correction?: number; keepdim?: boolean } = {}): Tensor {
    return callTensor('std.correction', [this, dimList(dim)], { correction: 1, ...options })
  }
  var(dim: Dims = null, options: { correction?: number; keepdim?: boolean } = {}): Tensor {
    return callTensor('var.correction', [this, dimList(dim)], { correction: 1, ...options })
  }
  /** Largest value; with `dim` the pair `[values, indices]`. */
  max(): Tensor
  max(dim: number, options?: { keepdim?: boolean }): [values: Tensor, indices: Tensor]
  max(dim?: number, options: { keepdim?: boolean } = {}): Tensor | [Tensor, Tensor] {
    if (dim === undefined) return callTensor('max', [this])
    return callTensors('max.dim', [this, dim], options) as [Tensor, Tensor]
  }
  /** Smallest value; with `dim` the pair `[values, indices]`. */
  min(): Tensor
  min(dim: number, options?: { keepdim?: boolean }): [values: Tensor, indices: Tensor]
  min(dim?: number, options: { keepdim?: boolean } = {}): Tensor | [Tensor, Tensor] {
    if (dim === undefined) return callTensor('min', [this])
    return callTensors('min.dim', [this, dim], options) as [Tensor, Tensor]
  }
  argmax(dim: number | null = null, options: { keepdim?: boolean } = {}): Tensor {
    return callTensor('argmax', [this, dim], options)
  }
  argmin(dim: number | null = null, options: { keepdim?: boolean } = {}): Tensor {
    return callTensor('argmin', [this, dim], options)
  }
  cumsum(dim: number): Tensor {
    return callTensor('cumsum', [this, dim])
  }
  all(dim?: number, options: { keepdim?: boolean } = {}): Tensor {
    return dim === undefined ? callTensor('all', [this]) : callTensor('all.dim', [this, dim], options)
  }
  any(dim?: number, options: { keepdim?: boolean } = {}): Tensor {
    return dim === undefined ? callTensor('any', [this]) : callTensor('any.dim', [this, dim], options)
  }

  // Shape.
  reshape(...sizes: (number | readonly number[])[]): Tensor {
    return callTensor('reshape', [this, sizesOf(sizes)])
  }
  /** The same values in another shape, or the same bytes as another dtype: `view(2, -1)`, `view('uint8')`. */
  view(...sizes: (number | readonly number[])[] | [DType]): Tensor {
    if (typeof sizes[0] === 'string') return callTensor('view.dtype', [this, sizes[0]])
    return callTensor('view', [this, sizesOf(sizes as (number | readonly number[])[])])
  }
  expand(...sizes: (number | readonly number[])[]): Tensor {
    return callTensor('expand', [this, sizesOf(sizes)])
  }
  repeat(...repeats: (number | readonly number[])[]): Tensor {
    return callTensor('repeat', [this, sizesOf(repeats)])
  }
  permute(...dims: (number | readonly number[])[]): Tensor {
    return callTensor('permute', [this, sizesOf(dims)])
  }
  transpose(dim0: number, dim1: number): Tensor {
    return callTensor('transpose.int', [this, dim0, dim1])
  }
  t(): Tensor {
    return callTensor('t', [this])
  }
  flatten(startDim = 0, endDim = -1): Tensor {
    return callTensor('flatten.using_ints', [this, startDim, endDim])
  }
  squeeze(dim?: number): Tensor {
    return dim === undefined ? callTensor('squeeze', [this]) : callTensor('squeeze.dim', [this, dim])
  }
  unsqueeze(dim: number): Tensor {
    return callTensor('unsqueeze', [this, dim])
  }
  select(dim: number, index: number): Tensor {
    return callTensor('select.int', [this, dim, index])
  }
  narrow(dim: number, start: number, length: number): Tensor {
    return callTensor('narrow', [this, dim, start, length])
  }
  /**
   * `start`, `end` and `step` along one dimension; negative ends count from the end, too large ones are cut, as in
   * Python.
   */
  slice(options: { dim?: number; start?: number | null; end?: number | null; step?: number } = {}): Tensor {
    const {
      dim = 0,
      start = null,
      end = null,
      step = 1,
    } = knownOptions('slice', options, ['dim', 'start', 'end', 'step'])
    return callTensor('slice.Tensor', [this, dim, start, end, step])
  }
  indexSelect(dim: number, index: Tensor): Tensor {
    return callTensor('index_select', [this, dim, index])
  }
  gather(dim: number, index: Tensor): Tensor {
    return callTensor('gather', [this, dim, index])
  }
  split(size: number, dim = 0): Tensor[] {
    return callTensors('split.Tensor', [this, size, dim])
  }
  chunk(chunks: number, dim = 0): Tensor[] {
    return callTensors('chunk', [this, chunks, dim])
  }
  unbind(dim = 0): Tensor[] {
    return callTensors('unbind.int', [this, dim])
  }

  // Copies and conversions.
  clone(): Tensor {
    return callTensor('clone', [this])
  }
  detach(): Tensor {
    return callTensor('detach', [this])
  }
  contiguous(): Tensor {
    return callTensor('contiguous', [this])
  }
  /** To a dtype (`'float64'`), a device (`'cuda:0'`), or both. The same tensor where nothing changes, as in Python. */
  to(target: DType | (string & {}) | { dtype?: DType; device?: string }): Tensor {
    if (typeof target === 'string') return this.to(isDType(target) ? { dtype: target } : { device: target })
    const { dtype, device } = knownOptions('to', target, ['dtype', 'device'])
    if (device === undefined) return callTensor('to.dtype', [this, dtype ?? this.dtype])
    return callTensor('to.device', [this, device, dtype ?? this.dtype])
  }
  float(): Tensor {
    return this.to('float32')
  }
  double(): Tensor {
    return this.to('float64')
  }
  long(): Tensor {
    return this.to('int64')
  }

  #compare(op: string, other: Operand): Tensor {
    const args: Argument[] = [this, other]
    return callTensor(`${op}.${other instanceof TensorBase ? 'Tensor' : 'Scalar'}`, args)
  }
}
