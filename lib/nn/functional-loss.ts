/** The losses of `torch.nn.functional`. */
import { TorchkeepError } from '../../src/format/errors.js'
import { callTensor } from '../call.js'
import { knownOptions } from '../options.js'
import type { Tensor } from '../tensor.js'

/** How a loss joins the losses of a batch. */
export type Reduction = 'none' | 'mean' | 'sum'

const reductions: readonly Reduction[] = ['none', 'mean', 'sum']

/**
 * Mean (or sum) of squared differences. PyTorch broadcasts unequal shapes with a warning; here they are refused, as the
 * result is rarely meant.
 */
export function mseLoss(input: Tensor, target: Tensor, options: { reduction?: Reduction } = {}): Tensor {
  const { reduction = 'mean' } = knownOptions('mseLoss', options, ['reduction'])
  checkSameShape('mseLoss', input, target)
  return callTensor('mse_loss', [input, target, reductionNumber(reduction)])
}

/** Mean (or sum) of absolute differences. Unequal shapes are refused, as in {@link mseLoss}. */
export function l1Loss(input: Tensor, target: Tensor, options: { reduction?: Reduction } = {}): Tensor {
  const { reduction = 'mean' } = knownOptions('l1Loss', options, ['reduction'])
  checkSameShape('l1Loss', input, target)
  return callTensor('l1_loss', [input, target, reductionNumber(reduction)])
}

export interface BinaryCrossEntropyOptions {
  /** Weight of each sample's loss; of a shape that broadcasts to the input's. */
  weight?: Tensor | null
  /** Weight of the positive class; of a shape that broadcasts to the input's. */
  posWeight?: Tensor | null
  reduction?: Reduction
}

/** The names of {@link BinaryCrossEntropyOptions}. */
export const binaryCrossEntropyNames = ['weight', 'posWeight', 'reduction'] as const

/** Cross entropy of scores with probabilities (0 or 1 where classes are known) of the same shape and a floating-point dtype. */
export function binaryCrossEntropyWithLogits(
  input: Tensor,
  target: Tensor,
  options: BinaryCrossEntropyOptions = {},
): Tensor {
  const given = knownOptions('binaryCrossEntropyWithLogits', options, binaryCrossEntropyNames)
  const { weight = null, posWeight = null, reduction = 'mean' } = given
  checkSameShape('binaryCrossEntropyWithLogits', input, target)
  const weights = [weight, posWeight]
  return callTensor('binary_cross_entropy_with_logits', [input, target, ...weights, reductionNumber(reduction)])
}

export interface CrossEntropyOptions {
  /** Weight of each class. */
  weight?: Tensor | null
  /** Targets of this value do not count. */
  ignoreIndex?: number
  reduction?: Reduction
  labelSmoothing?: number
}

/** The names of {@link CrossEntropyOptions}. */
export const crossEntropyNames = ['weight', 'ignoreIndex', 'reduction', 'labelSmoothing'] as const

/** Input: scores [N, classes, ...]; target: class numbers (int64) [N, ...] or probabilities of the input's shape. */
export function crossEntropy(input: Tensor, target: Tensor, options: CrossEntropyOptions = {}): Tensor {
  const given = knownOptions('crossEntropy', options, crossEntropyNames)
  const { weight = null, ignoreIndex = -100, reduction = 'mean', labelSmoothing = 0 } = given
  const settings = [reductionNumber(reduction), ignoreIndex, labelSmoothing]
  return callTensor('cross_entropy_loss', [input, target, weight, ...settings])
}

function checkSameShape(loss: string, input: Tensor, target: Tensor): void {
  const [inputSizes, targetSizes] = [input.shape.join(', '), target.shape.join(', ')]
  if (inputSizes === targetSizes) return
  throw new TorchkeepError(
    'ERR_INVALID_ARGUMENT',
    `${loss}: target has shape [${targetSizes}], expected the input's [${inputSizes}]`,
    { suggestions: ['Reshape the target, for example with unsqueeze(1).'] },
  )
}

/** Refuses what is no reduction. */
export function checkReduction(reduction: Reduction): void {
  reductionNumber(reduction)
}

/** The operators take the reduction as its position. */
function reductionNumber(reduction: Reduction): number {
  const number = reductions.indexOf(reduction)
  if (number < 0)
    throw new TorchkeepError(
      'ERR_INVALID_ARGUMENT',
      `Unknown reduction '${reduction}', expected one of ${reductions.join(', ')}`,
    )
  return number
}
