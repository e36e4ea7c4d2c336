/** Where the batches of a session come from: a loader's samples in a given order, a chunk at a time. */
import {
  DataLoader,
  type EvaluateResult,
  type RunResult,
  scope,
  type Session,
  stack,
  Tensor,
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

  /** @throws TorchkeepError `ERR_INVALID_ARGUMENT` for what is no loader, `ERR_DATA` for one without samples or without targets. */
  constructor(
    readonly loader: DataLoader,
    /** `training` or `validation`, for messages. */
    readonly role: string,
  ) {
    if (!((loader as unknown) instanceof DataLoader))
      throw new TorchkeepError(
        'ERR_INVALID_ARGUMENT',
        `the ${role} data should be a DataLoader, but are ${Array.isArray(loader) ? 'an array' : loader === null ? 'null' : typeof loader}`,
      )
    this.numSamples = loader.dataset.length
    if (!Number.isSafeInteger(this.numSamples) || this.numSamples < 0)
      throw new TorchkeepError(
        'ERR_DATA',
        `the length of the ${role} data set should be an integer of at least 0, but is ${String(this.numSamples)}`,
      )
    this.batchSize = loader.batchSize
    this.batches = loader.numBatches
    if (this.batches === 0) {
      throw new TorchkeepError(
        'ERR_DATA',
        `the ${role} data have no batch: ${this.numSamples} samples, batch size ${this.batchSize}, dropLast ${loader.dropLast}`,
      )
    }
    this.#tensors = loader.dataset instanceof TensorDataset ? loader.dataset.tensors : null
    this.inputs = (this.#tensors ?? this.#sample(0)).length - 1
    if (this.inputs < 1)
      throw new TorchkeepError(
        'ERR_DATA',
        `a sample of the ${role} data should be inputs and a target, but has ${this.inputs + 1} tensor(s)`,
      )
  }

  /** The sizes that batches have: of the full ones, and of the last. */
  get batchSizes(): number[] {
    return [this.rowsOfBatch(0), this.rowsOfBatch(this.batches - 1)]
  }

  /** Rows of the batch with this index: all but the last are full. */
  rowsOfBatch(index: number): number {
    return Math.min(this.batchSize, this.numSamples - index * this.batchSize)
  }

  /** The first `rows` samples as one batch, in the data set's own order; a copy, since a model may change its input in place. */
  example(rows: number): Tensor[] {
    if (this.#tensors !== null)
      return scope(() => this.#tensors?.map((whole) => whole.narrow(0, 0, rows).clone()) ?? [])
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
      return stack(Array.from(order, (row) => this.#sample(Number(row)).at(-1) as Tensor))
    })
  }

  #source(order: BigInt64Array, first: number, count: number): BatchSource {
    const { batchSize, inputs } = this
    const rows = order.subarray(first * batchSize, Math.min((first + count) * batchSize, order.length))
    if (this.#tensors !== null) return { tensors: this.#tensors, order: rows, batchSize, inputs }
    const starts = Array.from({ length: Math.ceil(rows.length / batchSize) }, (_, index) => index * batchSize)
    return { batches: starts.map((start) => this.#collate(rows.subarray(start, start + batchSize))), inputs }
  }

  /** One sample of a data set of the user's own, which may do anything. */
  #sample(row: number): Tensor[] {
    const where = `sample ${row} of the ${this.role} data`
    let sample: unknown
    try {
      sample = this.loader.dataset.get(row)
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error)
      throw new TorchkeepError('ERR_DATA', `${where} could not be read: ${reason}`, { cause: error })
    }
    if (Array.isArray(sample) && sample.every((item) => item instanceof Tensor)) return sample
    throw new TorchkeepError('ERR_DATA', `${where} should be an array of tensors, but is ${describe(sample)}`)
  }

  /** Samples of one batch that do not fit each other are named, rather than promoted to a common dtype or refused by number in the batch. */
  #checkAlike(sample: readonly Tensor[], row: number, first: readonly Tensor[], firstRow: number): void {
    const [expected, found] = [first, sample].map((tensors) =>
      tensors.map(({ dtype, shape }) => `${dtype} [${shape.join(', ')}]`).join(', '),
    )
    if (expected === found) return
    throw new TorchkeepError(
      'ERR_DATA',
      `sample ${row} of the ${this.role} data should be ${expected} like sample ${firstRow} of its batch, but is ${found}`,
    )
  }

  #collate(rows: BigInt64Array): Tensor[] {
    return scope(() => {
      const samples = Array.from(rows, (row) => this.#sample(Number(row)))
      for (const [position, sample] of samples.entries())
        this.#checkAlike(sample, Number(rows[position]), samples[0] as Tensor[], Number(rows[0]))
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

/** What was found in place of a sample. */
function describe(value: unknown): string {
  if (value instanceof Promise) return 'a promise (get() must not be async)'
  if (!Array.isArray(value)) return value === null ? 'null' : typeof value
  return `an array of ${value.map((item) => (item instanceof Tensor ? 'a tensor' : Array.isArray(item) ? 'an array' : typeof item)).join(', ')}`
}
