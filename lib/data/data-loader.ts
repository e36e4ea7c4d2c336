import { TorchkeepError } from '../../src/format/errors.js'
import { empty, randperm, stack } from '../creation.js'
import { knownOptions } from '../options.js'
import { Generator } from '../random.js'
import { scope } from '../scope.js'
import type { Tensor } from '../tensor.js'
import { batchGetter, type Dataset } from './dataset.js'

export interface DataLoaderOptions {
  /** 1 unless told. */
  batchSize?: number
  /** Whether each epoch has an order of its own. */
  shuffle?: boolean
  /** Whether a last batch that is not full is left out. */
  dropLast?: boolean
  /** What orders are drawn from; the default generator unless told. */
  generator?: Generator
}

/** Batches of a dataset, in the very order of Python's `DataLoader` (without workers) for the same seed. */
export class DataLoader {
  readonly batchSize: number
  readonly shuffle: boolean
  readonly dropLast: boolean
  readonly generator: Generator | null

  constructor(
    readonly dataset: Dataset,
    options: DataLoaderOptions = {},
  ) {
    const names = ['batchSize', 'shuffle', 'dropLast', 'generator'] as const
    const { batchSize = 1, shuffle = false, dropLast = false, generator } = knownOptions('DataLoader', options, names)
    if (!Number.isSafeInteger(batchSize) || batchSize < 1) {
      throw new TorchkeepError(
        'ERR_INVALID_ARGUMENT',
        `DataLoader: batchSize is ${batchSize}, expected an integer of at least 1`,
      )
    }
    this.batchSize = batchSize
    this.shuffle = shuffle
    this.dropLast = dropLast
    this.generator = generator ?? null
  }

  /** The same data, order and generator in batches of another size. */
  withBatchSize(batchSize: number): DataLoader {
    const { dataset, shuffle, dropLast, generator } = this
    return new DataLoader(dataset, { batchSize, shuffle, dropLast, ...(generator === null ? {} : { generator }) })
  }

  /** Batches of one epoch. */
  get numBatches(): number {
    const batches = this.dataset.length / this.batchSize
    return this.dropLast ? Math.floor(batches) : Math.ceil(batches)
  }

  /**
   * The order of the samples of one epoch. Draws what Python's iterator draws: a base seed, even without shuffling;
   * then a seed for a generator of the epoch's own, which makes the order. From an explicit generator the order is
   * drawn directly, and a second one that is not used.
   */
  epochOrder(): BigInt64Array {
    const { length } = this.dataset
    return scope(() => {
      this.#drawInt64(this.generator)
      if (!this.shuffle) return BigInt64Array.from({ length }, (_, i) => BigInt(i))
      const generator = this.generator ?? new Generator(this.#drawInt64(null))
      const order = randperm(length, { generator }).data() as BigInt64Array
      if (this.generator !== null) randperm(length, { generator })
      return order
    })
  }

  /** The batches of an epoch: each a list of tensors with the samples along dimension 0. */
  *[Symbol.iterator](): globalThis.Generator<Tensor[], void, undefined> {
    const order = this.epochOrder()
    for (let batch = 0; batch < this.numBatches; batch++) {
      yield this.#collate(order.slice(batch * this.batchSize, (batch + 1) * this.batchSize))
    }
  }

  /** As `torch.empty((), dtype=torch.int64).random_(generator=generator).item()`. */
  #drawInt64(generator: Generator | null): bigint {
    const drawn = empty([], { dtype: 'int64' }).random_(generator === null ? {} : { generator })
    return (drawn.data() as BigInt64Array)[0] as bigint
  }

  #collate(rows: BigInt64Array): Tensor[] {
    const { dataset } = this
    return scope(() => {
      const whole = batchGetter(dataset)?.(rows)
      if (whole !== undefined) return whole
      const samples = Array.from(rows, (row) => dataset.get(Number(row)))
      return (samples[0] ?? []).map((_, i) => stack(samples.map((sample) => sample[i] as Tensor)))
    })
  }
}
