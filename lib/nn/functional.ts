/** `torch.nn.functional`: what the modules of this folder compute, for use without a module. */
import { TorchkeepError } from '../../src/format/errors.js'
import { callTensor } from '../call.js'
import { knownOptions } from '../options.js'
import { activeRecorder } from '../recording.js'
import type { Tensor } from '../tensor.js'

export * from './functional-loss.js'

/** One number for both spatial dimensions, or height and width. */
export type Pair = number | readonly [height: number, width: number]

const pair = (value: Pair): readonly [number, number] => (typeof value === 'number' ? [value, value] : value)

/** `x Wᵀ + b` with weight [out, in]. */
export const linear = (input: Tensor, weight: Tensor, bias: Tensor | null = null): Tensor =>
  callTensor('linear', [input, weight, bias])

export interface Conv1dOptions {
  stride?: number
  /** `'same'` and `'valid'` as in PyTorch, or cells of zeros on each side. */
  padding?: number | 'same' | 'valid'
  dilation?: number
  groups?: number
}

/** Input [N, C, L], weight [out, C / groups, k]. */
export function conv1d(input: Tensor, weight: Tensor, bias: Tensor | null = null, options: Conv1dOptions = {}): Tensor {
  const { stride = 1, padding = 0, dilation = 1, groups = 1 } = knownOptions('conv1d', options, convNames)
  const isNamed = typeof padding === 'string'
  const [overload, cells] = isNamed ? ['conv1d.padding', padding] : ['conv1d', [padding]]
  return callTensor(overload, [input, weight, bias, [stride], cells, [dilation], groups])
}

export interface Conv2dOptions {
  stride?: Pair
  /** `'same'` and `'valid'` as in PyTorch, or cells of zeros on each side. */
  padding?: Pair | 'same' | 'valid'
  dilation?: Pair
  groups?: number
}

/** The names of {@link Conv1dOptions} and {@link Conv2dOptions}. */
export const convNames = ['stride', 'padding', 'dilation', 'groups'] as const

/** Input [N, C, H, W], weight [out, C / groups, kH, kW]. */
export function conv2d(input: Tensor, weight: Tensor, bias: Tensor | null = null, options: Conv2dOptions = {}): Tensor {
  const { stride = 1, padding = 0, dilation = 1, groups = 1 } = knownOptions('conv2d', options, convNames)
  const isNamed = typeof padding === 'string'
  return callTensor(isNamed ? 'conv2d.padding' : 'conv2d', [
    input,
    weight,
    bias,
    pair(stride),
    isNamed ? padding : pair(padding),
    pair(dilation),
    groups,
  ])
}

/** Rows of `weight` [count, dim] by index; the row `paddingIdx` gets no gradient. */
export function embedding(input: Tensor, weight: Tensor, options: { paddingIdx?: number | null } = {}): Tensor {
  const { paddingIdx = null } = knownOptions('embedding', options, ['paddingIdx'])
  const rows = weight.size(0)
  if (paddingIdx !== null && (paddingIdx < -rows || paddingIdx >= rows)) {
    throw new TorchkeepError('ERR_INVALID_ARGUMENT', `paddingIdx is ${paddingIdx}, expected one of the ${rows} rows`)
  }
  const index = paddingIdx === null ? -1 : paddingIdx < 0 ? rows + paddingIdx : paddingIdx
  return callTensor('embedding', [weight, input, index, false, false])
}

export interface BatchNormOptions {
  weight?: Tensor | null
  bias?: Tensor | null
  /** Whether the batch's own statistics are used (and the running ones follow). */
  training?: boolean
  momentum?: number
  eps?: number
}

/** Normalises each channel of an input [N, C, ...]. */
export function batchNorm(
  input: Tensor,
  runningMean: Tensor | null,
  runningVar: Tensor | null,
  options: BatchNormOptions = {},
): Tensor {
  const given = knownOptions('batchNorm', options, ['weight', 'bias', 'training', 'momentum', 'eps'])
  const { weight = null, bias = null, training = false, momentum = 0.1, eps = 1e-5 } = given
  if (training) checkBatchSize(input.shape)
  // torch.export records with cuDNN off; the executor turns it on for a session on CUDA.
  const cudnnEnabled = activeRecorder() === null
  return callTensor('batch_norm', [input, weight, bias, runningMean, runningVar, training, momentum, eps, cudnnEnabled])
}

function checkBatchSize(sizes: readonly number[]): void {
  const values = sizes.reduce((product, size, dim) => (dim === 1 ? product : product * size), 1)
  if (values > 1) return
  throw new TorchkeepError(
    'ERR_INVALID_ARGUMENT',
    `Batch norm in training needs more than 1 value per channel, got input size [${sizes.join(', ')}]`,
  )
}

export const relu = (input: Tensor, options: { inplace?: boolean } = {}): Tensor =>
  knownOptions('relu', options, ['inplace']).inplace === true ? input.relu_() : input.relu()

export interface MaxPool2dOptions {
  /** The kernel's size unless told. */
  stride?: Pair
  padding?: Pair
  dilation?: Pair
  /** Whether a window may reach over the edge. */
  ceilMode?: boolean
}

/** The names of {@link MaxPool2dOptions}. */
export const maxPool2dNames = ['stride', 'padding', 'dilation', 'ceilMode'] as const

export function maxPool2d(input: Tensor, kernelSize: Pair, options: MaxPool2dOptions = {}): Tensor {
  const given = knownOptions('maxPool2d', options, maxPool2dNames)
  const { stride = kernelSize, padding = 0, dilation = 1, ceilMode = false } = given
  const sizes = [pair(kernelSize), pair(stride), pair(padding), pair(dilation)]
  return callTensor('max_pool2d', [input, ...sizes, ceilMode])
}

/** Sets each value to 0 with probability `p` in training and scales the rest by 1 / (1 - p). */
export function dropout(input: Tensor, options: { p?: number; training?: boolean; inplace?: boolean } = {}): Tensor {
  const { p = 0.5, training = true, inplace = false } = knownOptions('dropout', options, ['p', 'training', 'inplace'])
  checkProbability(p)
  return callTensor(inplace ? 'dropout_' : 'dropout', [input, p, training])
}

/** Refuses what is no probability. */
export function checkProbability(p: number): void {
  if (!(p >= 0 && p <= 1))
    throw new TorchkeepError('ERR_INVALID_ARGUMENT', `Dropout probability is ${p}, expected a number from 0 to 1`)
}

export const softmax = (input: Tensor, dim: number): Tensor => input.softmax(dim)

export const logSoftmax = (input: Tensor, dim: number): Tensor => input.logSoftmax(dim)
