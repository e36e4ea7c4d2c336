/** Where the batches of a session come from: a loader's samples in a given order, a chunk at a time. */
import {
  type DataLoader,
  type EvaluateResult,
  type RunResult,
  scope,
  type Session,
  stack,
  type Tensor,
  tensor,
  TensorDataset,
} from '../../lib/index.js'
import { TorchkeepError } from '../format/errors.js'

/** A loader as the trainer reads it: the last tensor of a sample is the target, those before it are the model's inputs. */
export class BatchFeed {
  readonly numSamples: number
  readonly batchSize: number
  readonly batches: number
  /** How many leading tensors of a batch go to the model. */
  readonly inputs: number
  readonly #tensors: readonly Tensor[] | null
  /** Batches that one chunk has time for. */
  #affordable = 1

  /** @throws TorchkeepError `ERR_DATA` for a loader without samples or without targets. */
  constructor(
    readonly loader: DataLoader,
    /** `training` or `validation`, for messages. */
    readonly role: string,
  ) {
    this.numSamples = loader.dataset.length
    this.batchSize = loader.batchSize
    this.batches = loader.numBatches
    if (this.batches === 0) {
      throw new TorchkeepError(
        'ERR_DATA',
        `the ${role} data have no batch: ${this.numSamples} samples, batch size ${this.batchSize}, dropLast ${loader.dropLast}`,
      )
    }
    this.#tensors = loader.dataset instanceof TensorDataset ? loader.dataset.tensors : null
    this.inputs = (this.#tensors ?? loader.dataset.get(0)).length - 1
    if (this.inputs < 1)
      throw new TorchkeepError(
        'ERR_DATA',
        `a sample of the ${role} data should be inputs and a target, but has ${this.inputs + 1} tensor(s)`,
      )
  }

  /** Rows of the batch with this index: all but the last are full. */
  rowsOfBatch(index: number): number {
    return Math.min(this.batchSize, this.numSamples - index * this.batchSize)
  }

  /** The first `rows` samples as one batch, in the data set's own order. */
  example(rows: number): Tensor[] {
    if (this.#tensors !== null) return this.#tensors.map((whole) => whole.narrow(0, 0, rows))
    return this.#collate(BigInt64Array.from({ length: rows }, (_, row) => BigInt(row)))
  }

  /** State of the loader's own generator, or null where it draws from the default one. */
  generatorState(): Tensor | null {
    return this.loader.generator?.getState() ?? null
  }

  /** Puts {@link generatorState} back. */
  setGeneratorState(state: Tensor | null): void {
    if (state !== null) this.loader.generator?.setState(state)
  }

  /** All targets, where they are at hand without reading every sample. */
  get targets(): Tensor | null {
    return this.#tensors?.at(-1) ?? null
  }

  /**
   * Trains on batches of an epoch's order, from batch `first` on: at most `count`, as many as the time allows. Samples of a data set that is no TensorDataset are copied
   * together here, on the JavaScript thread, so of those only as many as the last chunk had time for.
   */
  async train(
    session: Session,
    order: BigInt64Array,
    first: number,
    count: number,
    maxDurationMs: number,
  ): Promise<RunResult> {
    const wanted = this.#tensors === null ? Math.min(count, this.#affordable) : count
    const start = performance.now()
    const source = this.#source(order, first, wanted)
    try {
      const result = await session.run({ ...source, maxDurationMs })
      const duration = performance.now() - start
      this.#affordable = Math.max(1, Math.round((result.steps * maxDurationMs) / duration))
      return result
    } finally {
      release(source)
    }
  }

  /** Evaluates on all batches in this order. */
  async evaluate(session: Session, order: BigInt64Array): Promise<EvaluateResult> {
    const source = this.#source(order, 0, this.batches)
    try {
      return await session.evaluate(source)
    } finally {
      release(source)
    }
  }

  /** The targets in an epoch's order. */
  targetsInOrder(order: BigInt64Array): Tensor {
    return scope(() => {
      if (this.targets !== null) return this.targets.indexSelect(0, tensor(order))
      return stack(Array.from(order, (row) => this.loader.dataset.get(Number(row)).at(-1) as Tensor))
    })
  }

  #source(order: BigInt64Array, first: number, count: number): BatchSource {
    const { batchSize, inputs } = this
    const rows = order.subarray(first * batchSize, Math.min((first + count) * batchSize, order.length))
    if (this.#tensors !== null) return { tensors: this.#tensors, order: rows, batchSize, inputs }
    const starts = Array.from({ length: Math.ceil(rows.length / batchSize) }, (_, index) => index * batchSize)
    return { batches: starts.map((start) => this.#collate(rows.subarray(start, start + batchSize))), inputs }
  }

  #collate(rows: BigInt64Array): Tensor[] {
    return scope(() => {
      const samples = Array.from(rows, (row) => this.loader.dataset.get(Number(row)))
      return Array.from({ length: this.inputs + 1 }, (_, index) =>
        stack(samples.map((sample) => sample[index] as Tensor)),
      )
    })
  }
}

/** Batches as a session takes them. */
type BatchSource = { inputs: number } & (
  { tensors: readonly Tensor[]; order: BigInt64Array; batchSize: number } | { batches: readonly (readonly Tensor[])[] }
)

/** Disposes what was copied together for one operation. */
function release(source: BatchSource): void {
  if ('batches' in source) for (const tensor of source.batches.flat()) tensor.dispose()
}
