/** `torch.utils.data`: where samples come from. */
import { TorchkeepError } from '../../src/format/errors.js'
import type { Tensor } from '../tensor.js'

/** A numbered collection of samples; a sample is a list of tensors, usually inputs and then a target. */
export abstract class Dataset {
  /** Number of samples. */
  abstract readonly length: number
  /** The sample of that number, 0 to `length - 1`. */
  abstract get(index: number): Tensor[]
}

/** Samples are the rows of tensors with the same first size. */
export class TensorDataset extends Dataset {
  readonly tensors: readonly Tensor[]

  constructor(...tensors: Tensor[]) {
    super()
    const sizes = tensors.map((tensor) => tensor.shape[0])
    if (sizes[0] === undefined || sizes.some((size) => size !== sizes[0])) {
      throw new TorchkeepError(
        'ERR_INVALID_ARGUMENT',
        `TensorDataset: first sizes are [${sizes.map(String).join(', ')}], expected at least one tensor and all the same`,
      )
    }
    this.tensors = tensors
  }

  override get length(): number {
    return this.tensors[0]?.size(0) ?? 0
  }

  override get(index: number): Tensor[] {
    return this.tensors.map((tensor) => tensor.select(0, index))
  }
}
