/** The loss functions by the names of a training configuration. */
import { nn, type Tensor } from '../../lib/index.js'
import type { TrainingConfig } from '../checkpoint/training-config.js'
import { TorchkeepError } from '../format/errors.js'
import type { LossFunction } from './recording.js'

export type LossName = Exclude<TrainingConfig['loss'], 'custom'>

const losses: Readonly<Record<LossName, (output: Tensor, target: Tensor) => Tensor>> = {
  mse: nn.functional.mseLoss,
  l1: nn.functional.l1Loss,
  cross_entropy: nn.functional.crossEntropy,
  bce_with_logits: nn.functional.binaryCrossEntropyWithLogits,
}

/**
 * The function of that name, PyTorch's with its defaults (the mean over the batch).
 *
 * It throws `ERR_INVALID_ARGUMENT` for a model with several outputs, whose second one it would take for the target.
 */
export function lossFunction(name: LossName): LossFunction {
  const loss = losses[name]
  return (output, target, ...more) => {
    if (more.length === 0) return loss(output, target)
    throw new TorchkeepError(
      'ERR_INVALID_ARGUMENT',
      `the loss '${name}' is for a model with one output, but this one has ${more.length + 1}`,
      { suggestions: ["Use loss 'custom' with a function of the outputs and the target."] },
    )
  }
}
