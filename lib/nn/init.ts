/**
 * `torch.nn.init`: same names, defaults, arithmetic and order of random draws. Each function changes its tensor in
 * place and returns it.
 */
import { TorchkeepError } from '../../src/format/errors.js'
import type { GeneratorLike } from '../call.js'
import { noGrad } from '../grad-mode.js'
import { knownOptions } from '../options.js'
import type { Tensor } from '../tensor.js'

/** Which fan a Kaiming initialisation preserves. */
export type FanMode = 'fan_in' | 'fan_out'

const linearFunctions = [
  'linear',
  'conv1d',
  'conv2d',
  'conv3d',
  'conv_transpose1d',
  'conv_transpose2d',
  'conv_transpose3d',
] as const

const nonlinearFunctions = ['sigmoid', 'tanh', 'relu', 'leaky_relu', 'selu'] as const

/** The functions that {@link calculateGain} knows, by PyTorch's names. */
export type Nonlinearity = (typeof linearFunctions)[number] | (typeof nonlinearFunctions)[number]

interface Draw {
  /** The default generator unless told. */
  generator?: GeneratorLike | undefined
}

export interface KaimingOptions extends Draw {
  /** Negative slope of a leaky ReLU that follows; 0 unless told. */
  a?: number
  mode?: FanMode
  nonlinearity?: Nonlinearity
}

export const uniform_ = (tensor: Tensor, a = 0, b = 1, draw: Draw = {}): Tensor =>
  noGrad(() => tensor.uniform_(a, b, given(draw)))

export const normal_ = (tensor: Tensor, mean = 0, std = 1, draw: Draw = {}): Tensor =>
  noGrad(() => tensor.normal_(mean, std, given(draw)))

export const constant_ = (tensor: Tensor, value: number): Tensor => noGrad(() => tensor.fill_(value))

export const ones_ = (tensor: Tensor): Tensor => constant_(tensor, 1)

export const zeros_ = (tensor: Tensor): Tensor => noGrad(() => tensor.zero_())

/** Glorot's uniform initialisation. */
export function xavierUniform_(tensor: Tensor, options: { gain?: number } & Draw = {}): Tensor {
  const { gain = 1, ...draw } = knownOptions('xavierUniform_', options, ['gain', 'generator'])
  const [fanIn, fanOut] = calculateFanInAndFanOut(tensor)
  const std = gain * Math.sqrt(2 / (fanIn + fanOut))
  const bound = Math.sqrt(3) * std
  return uniform_(tensor, -bound, bound, draw)
}

/** Glorot's normal initialisation. */
export function xavierNormal_(tensor: Tensor, options: { gain?: number } & Draw = {}): Tensor {
  const { gain = 1, ...draw } = knownOptions('xavierNormal_', options, ['gain', 'generator'])
  const [fanIn, fanOut] = calculateFanInAndFanOut(tensor)
  return normal_(tensor, 0, gain * Math.sqrt(2 / (fanIn + fanOut)), draw)
}

/** He's uniform initialisation. */
export function kaimingUniform_(tensor: Tensor, options: KaimingOptions = {}): Tensor {
  if (tensor.numel() === 0) return tensor
  const bound = Math.sqrt(3) * kaimingStd(tensor, options)
  return uniform_(tensor, -bound, bound, options)
}

/** He's normal initialisation. */
export function kaimingNormal_(tensor: Tensor, options: KaimingOptions = {}): Tensor {
  if (tensor.numel() === 0) return tensor
  return normal_(tensor, 0, kaimingStd(tensor, options), options)
}

function kaimingStd(tensor: Tensor, options: KaimingOptions): number {
  const given = knownOptions('A Kaiming initialisation', options, ['a', 'mode', 'nonlinearity', 'generator'])
  const { a = 0, mode = 'fan_in', nonlinearity = 'leaky_relu' } = given
  refuseOther('mode', mode, ['fan_in', 'fan_out'])
  const [fanIn, fanOut] = calculateFanInAndFanOut(tensor)
  return calculateGain(nonlinearity, a) / Math.sqrt(mode === 'fan_in' ? fanIn : fanOut)
}

/** How much a function shrinks the spread of its inputs; `negativeSlope` is for `'leaky_relu'`. */
export function calculateGain(nonlinearity: Nonlinearity, negativeSlope = 0.01): number {
  refuseOther('nonlinearity', nonlinearity, [...linearFunctions, ...nonlinearFunctions])
  if (nonlinearity === 'tanh') return 5 / 3
  if (nonlinearity === 'relu') return Math.sqrt(2)
  if (nonlinearity === 'leaky_relu') return Math.sqrt(2 / (1 + negativeSlope * negativeSlope))
  return nonlinearity === 'selu' ? 3 / 4 : 1
}

/** How many inputs reach one output of a weight, and how many outputs one input reaches. */
export function calculateFanInAndFanOut(tensor: Tensor): [fanIn: number, fanOut: number] {
  const [outputs, inputs, ...kernel] = tensor.shape
  if (outputs === undefined || inputs === undefined) {
    throw new TorchkeepError(
      'ERR_INVALID_ARGUMENT',
      `A tensor of ${tensor.dim()} dimension(s) has no fan in and fan out, expected at least 2`,
    )
  }
  const receptiveField = kernel.reduce((product, size) => product * size, 1)
  return [inputs * receptiveField, outputs * receptiveField]
}

function refuseOther<T extends string>(what: string, found: T, expected: readonly T[]): void {
  if (expected.includes(found)) return
  throw new TorchkeepError('ERR_INVALID_ARGUMENT', `Unknown ${what} '${found}', expected one of ${expected.join(', ')}`)
}

const given = ({ generator }: Draw): { generator?: GeneratorLike } => (generator === undefined ? {} : { generator })
