/** Batches of a `DataLoader`: rows of whole tensors by number, which the session gathers itself, or samples copied together ahead of their use. */
import type { DataLoader } from '../../lib/index.js'
import { preserveRngState, scope, type Session, type Tensor, tensor, wholeTensors } from '../../lib/index.js'
import { TorchkeepError } from '../format/errors.js'
import { BatchQueue } from './batch-queue.js'
import { defaultGeneratorState, hasDrawn } from './default-generator.js'
import type { BatchFeed, FeedEvaluation, FeedPosition, FeedRunOptions, FeedRunResult } from './feed.js'
import { QueuedBatches } from './queued-batches.js'
import { Samples } from './samples.js'

export class LoaderFeed implements BatchFeed {
  readonly numSamples: number
  readonly batchSize: number
  readonly batches: number
  readonly inputs: number
  readonly sourceState = null
  readonly #tensors: readonly Tensor[] | null
  readonly #samples: Samples
  readonly #queued: QueuedBatches
  /** Whether reading samples draws from the default generator: Python draws for a batch just before its step, so no batch may be made before that. Known once samples were read. */
  #drawsRandom = false
  /** What is being copied together: the order it follows, and the first batch in the queue. */
  #ahead: { queue: BatchQueue; order: BigInt64Array; next: number } | null = null

  /** @throws TorchkeepError `ERR_DATA` for a loader without samples or without targets. */
  constructor(
    readonly loader: DataLoader,
    readonly role: string,
    private readonly signal: AbortSignal | null = null,
  ) {
    const { dataset } = loader
    this.numSamples = dataset.length
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
    this.#tensors = wholeTensors(dataset)
    this.#samples = new Samples(dataset, role)
    this.inputs = this.#tensors === null ? this.#inputsOfSample() : this.#tensors.length - 1
    if (this.inputs < 1)
      throw new TorchkeepError(
        'ERR_DATA',
        `a sample of the ${role} data should be inputs and a target, but has ${this.inputs + 1} tensor(s)`,
      )
    this.#queued = new QueuedBatches(this.inputs)
  }

  get shuffle(): boolean {
    return this.loader.shuffle
  }

  get dropLast(): boolean {
    return this.loader.dropLast
  }

  get batchSizes(): number[] {
    return [this.#rowsOfBatch(0), this.#rowsOfBatch(this.batches - 1)]
  }

  get targets(): Tensor | null {
    return this.#tensors?.at(-1) ?? this.loader.dataset.allTargets?.() ?? null
  }

  get hasGenerator(): boolean {
    return this.loader.generator !== null
  }

  withBatchSize(batchSize: number): LoaderFeed {
    if (batchSize === this.batchSize) return this
    return new LoaderFeed(this.loader.withBatchSize(batchSize), this.role, this.signal)
  }

  example(rows = this.#rowsOfBatch(0)): Tensor[] {
    const tensors = this.#tensors
    if (tensors !== null) return scope(() => tensors.map((whole) => whole.narrow(0, 0, rows).clone()))
    return this.#reading(() => this.#samples.collate(BigInt64Array.from({ length: rows }, (_, row) => BigInt(row))))
  }

  generatorState(): Tensor | null {
    return this.loader.generator?.getState() ?? null
  }

  setGeneratorState(state: Tensor | null): void {
    if (state !== null) this.loader.generator?.setState(state)
  }

  epochOrder(): BigInt64Array {
    return this.loader.epochOrder()
  }

  takeUp(): Promise<void> {
    return Promise.resolve()
  }

  lookAhead({ batchesDone }: FeedPosition, count: number): Promise<number> {
    return Promise.resolve(Math.max(0, Math.min(count, this.batches - batchesDone)))
  }

  async train(
    session: Session,
    { order, batchesDone }: FeedPosition,
    count: number,
    maxDurationMs: number,
    options: FeedRunOptions = {},
  ): Promise<FeedRunResult> {
    if (this.#tensors !== null) {
      const source = this.#rowsFrom(this.#tensors, order, batchesDone, count)
      const result = await session.run({ ...options, ...source, maxDurationMs })
      return { ...result, rows: Array.from(result.losses, (_, index) => this.#rowsOfBatch(batchesDone + index)) }
    }
    const queue = await this.#queueAt(order, batchesDone)
    const inStep = this.#drawsRandom
    return this.#queued.train(queue, session, { count, maxDurationMs, options, inStep }, (done) => {
      if (this.#ahead !== null) this.#ahead.next += done.length
    })
  }

  async evaluate(session: Session, order: BigInt64Array, keep: boolean): Promise<FeedEvaluation> {
    if (this.#tensors === null) {
      const queue = await this.#queueAt(order, 0)
      try {
        // A session can be paused between the batches of one call only, and here each has a call of its own.
        const wait = async (filled: Promise<number>): Promise<number | null> => {
          const count = await filled
          return this.signal?.aborted === true ? null : count
        }
        const how = { keep, inStep: this.#drawsRandom, wait }
        return await this.#queued.evaluate(queue, session, how, () => undefined)
      } finally {
        await this.leaveEpoch()
      }
    }
    const source = this.#rowsFrom(this.#tensors, order, 0, this.batches)
    const { samples, loss, outputs, reason } = await session.evaluate(source)
    if (keep && reason === 'end') return { samples, loss, outputs, targets: this.#targetsOf(source.order), reason }
    for (const output of outputs) output.dispose()
    return { samples, loss, outputs: [], targets: null, reason }
  }

  async leaveEpoch(): Promise<void> {
    const ahead = this.#ahead
    this.#ahead = null
    await ahead?.queue.close()
  }

  /** Rows of the batch with this index: all but the last are full. */
  #rowsOfBatch(index: number): number {
    return Math.min(this.batchSize, this.numSamples - index * this.batchSize)
  }

  #inputsOfSample(): number {
    return this.#reading(() => scope(() => this.#samples.get(0).length)) - 1
  }

  /** Reads samples outside of any epoch, and learns on the way whether that draws. */
  #reading<Result>(read: () => Result): Result {
    return preserveRngState(() => {
      const before = defaultGeneratorState()
      const result = read()
      this.#drawsRandom ||= hasDrawn(before)
      return result
    })
  }

  #rowsFrom(tensors: readonly Tensor[], order: BigInt64Array, first: number, count: number) {
    const { batchSize, inputs } = this
    const rows = order.subarray(first * batchSize, Math.min((first + count) * batchSize, order.length))
    return { tensors, order: rows, batchSize, inputs }
  }

  #targetsOf(rows: BigInt64Array): Tensor {
    return scope(() => (this.#tensors?.at(-1) as Tensor).indexSelect(0, tensor(rows)))
  }

  /** The queue that has this batch of this order next. */
  async #queueAt(order: BigInt64Array, first: number): Promise<BatchQueue> {
    if (this.#ahead !== null && this.#ahead.order === order && this.#ahead.next === first) return this.#ahead.queue
    await this.leaveEpoch()
    let index = first
    const queue = new BatchQueue(async () => {
      if (index >= this.batches) return null
      const rows = order.subarray(index * this.batchSize, (index + 1) * this.batchSize)
      const tensors = await this.#samples.collateInTurns(rows)
      index++
      return { tensors, rows: rows.length, state: null }
    })
    this.#ahead = { queue, order, next: first }
    return queue
  }
}
