/** Some samples of a data set. */
import { TorchkeepError } from '../../src/format/errors.js'
import { tensor } from '../creation.js'
import { scope } from '../scope.js'
import type { Tensor } from '../tensor.js'
import { batchGetter, Dataset, TensorDataset, wholeTensors } from './dataset.js'

/** The samples of these numbers, in this order: `torch.utils.data.Subset`. */
export class Subset extends Dataset {
  /** As {@link Dataset.getBatch}, where the data set has it. */
  declare getBatch?: (indices: BigInt64Array) => Tensor[]

  constructor(
    readonly dataset: Dataset,
    readonly indices: BigInt64Array,
  ) {
    super()
    const wrong = indices.find((index) => index < 0n || index >= BigInt(dataset.length))
    if (wrong !== undefined)
      throw new TorchkeepError(
        'ERR_INVALID_ARGUMENT',
        `Subset: index ${wrong} of a data set of ${dataset.length} samples`,
      )
    const getBatch = batchGetter(dataset)
    if (getBatch !== null) this.getBatch = (rows) => getBatch(rows.map((row) => this.#index(Number(row))))
  }

  override get length(): number {
    return this.indices.length
  }

  override get(index: number): Tensor[] {
    return this.dataset.get(Number(this.#index(index)))
  }

  /** Of whole tensors, the rows as whole tensors of their own (copied), which are quicker to train on; else this. */
  settled(): Dataset {
    const tensors = wholeTensors(this.dataset)
    if (tensors === null || this.length === 0) return this
    return new TensorDataset(...scope(() => tensors.map((whole) => whole.indexSelect(0, tensor(this.indices)))))
  }

  #index(index: number): bigint {
    const found = this.indices[index]
    if (found !== undefined) return found
    throw new TorchkeepError('ERR_INVALID_ARGUMENT', `Subset: sample ${index} of ${this.length}`)
  }
}
