/** `torch.utils.data`: where samples come from. */
import { TorchkeepError } from '../../src/format/errors.js'
import { tensor } from '../creation.js'
import { scope } from '../scope.js'
import type { Tensor } from '../tensor.js'

/** A numbered collection of samples; a sample is a list of tensors, usually inputs and then a target. */
export abstract class Dataset {
  /** Number of samples. */
  abstract readonly length: number
  /**
   * The sample of that number, 0 to `length - 1`. Not async, as in Python: what has to be waited for is an async iterable of batches. May draw random numbers from the default
   * generator (augmentation); the trainer then reads batch by batch, so that the draws come in the order of Python's `DataLoader`.
   */
  abstract get(index: number): Tensor[]
  /**
   * The samples of these numbers as one batch, along dimension 0: the very tensors that stacking {@link get} gives, at once. Python's `__getitems__`, but collated.
   * For data sets that can gather rows faster than one by one.
   */
  getBatch?(indices: BigInt64Array): Tensor[]
  /** All targets in one tensor, where the data set has them at hand: their values are then checked before a run begins. */
  allTargets?(): Tensor
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

  override getBatch(indices: BigInt64Array): Tensor[] {
    return scope(() => {
      const rows = tensor(indices)
      return this.tensors.map((whole) => whole.indexSelect(0, rows))
    })
  }
}

/** The tensors whose rows are the samples; null where samples are made in another way, a subclass of TensorDataset with a `get` of its own included. */
export function wholeTensors(dataset: Dataset): readonly Tensor[] | null {
  if (!(dataset instanceof TensorDataset)) return null
  const { get, getBatch } = TensorDataset.prototype
  return dataset.get === get && dataset.getBatch === getBatch ? dataset.tensors : null
}

/** The data set's own way of making a batch, or null: one inherited from TensorDataset does not know what a subclass's `get` does. */
export function batchGetter(dataset: Dataset): ((indices: BigInt64Array) => Tensor[]) | null {
  const inherited = dataset instanceof TensorDataset && dataset.getBatch === TensorDataset.prototype.getBatch
  if (inherited && dataset.get !== TensorDataset.prototype.get) return null
  return dataset.getBatch === undefined ? null : (indices) => dataset.getBatch?.(indices) ?? []
}
