/** Data on the device of a model. */
import { batchGetter, DataLoader, Dataset, scope, type Tensor, TensorDataset, wholeTensors } from '../../lib/index.js'
import type { TrainingData } from '../training/feed.js'

/** The same data with tensors on `device`: whole tensors are moved once, samples as they are read. The batches of an iterable are as its owner makes them. */
export function onDevice(data: TrainingData, device: string): TrainingData {
  if (device === 'cpu' || !(data instanceof DataLoader)) return data
  const { dataset, batchSize, shuffle, dropLast, generator } = data
  const whole = wholeTensors(dataset)
  const moved =
    whole === null ? new MovedDataset(dataset, device) : new TensorDataset(...whole.map((tensor) => tensor.to(device)))
  return new DataLoader(moved, { batchSize, shuffle, dropLast, ...(generator === null ? {} : { generator }) })
}

/** Samples of another data set, moved to a device. */
class MovedDataset extends Dataset {
  override getBatch?: (indices: BigInt64Array) => Tensor[]

  constructor(
    private readonly dataset: Dataset,
    private readonly device: string,
  ) {
    super()
    const getBatch = batchGetter(dataset)
    if (getBatch !== null) this.getBatch = (indices) => this.#move(() => getBatch(indices))
  }

  override get length(): number {
    return this.dataset.length
  }

  override get(index: number): Tensor[] {
    return this.#move(() => this.dataset.get(index))
  }

  #move(make: () => Tensor[]): Tensor[] {
    return scope(() => make().map((tensor) => tensor.to(this.device)))
  }
}
