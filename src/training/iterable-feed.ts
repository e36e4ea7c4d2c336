/** Batches of an (async) iterable: read ahead, checked one by one, and remembered by the state that the iterable gives with each. */
import { scope, type Session, type Tensor } from '../../lib/index.js'
import type { Plain } from '../checkpoint/fields.js'
import { TorchkeepError } from '../format/errors.js'
import type { Batch } from './batch-queue.js'
import type { BatchFeed, FeedEvaluation, FeedPosition, FeedRunOptions, FeedRunResult } from './feed.js'
import { askState, type BatchKind, IterableEpoch, kindOf, messageOf } from './iterable-epoch.js'
import { leaveAfterFailure } from './leave-epochs.js'
import { QueuedBatches } from './queued-batches.js'

/**
 * An (async) iterable of batches as data: each an array of tensors, inputs and then the target, all with the same first size.
 *
 * Each epoch asks for a new iterator and goes through it. Batches are read ahead, at most 64, so a batch must not be overwritten later; its tensors stay the iterable's own (it may dispose
 * them once it is asked for the next batch, or give them again), since the trainer takes references of its own at once. Random numbers must come from elsewhere than the default
 * generator, in whose turn the model draws.
 *
 * A run that stops inside an epoch goes on with the same bits only where the iterable offers both `state` and `restore`.
 */
export type BatchIterable = (Iterable<readonly Tensor[]> | AsyncIterable<readonly Tensor[]>) & {
  /** Where it stands, asked for after each batch and at the end of each epoch; plain values, since they go into checkpoints. */
  state?(): Plain
  /** Goes back to where `state()` was given: the next iterator begins with the batch after it (of the end of an epoch: with the next epoch). */
  restore?(state: Plain): void | Promise<void>
}

export function isIterable(data: unknown): data is BatchIterable {
  return typeof data === 'object' && data !== null && (Symbol.asyncIterator in data || Symbol.iterator in data)
}

export class IterableFeed implements BatchFeed {
  readonly shuffle = false
  readonly dropLast = false
  readonly targets = null
  readonly hasGenerator = false
  readonly role: string
  readonly #source: BatchIterable
  readonly #signal: AbortSignal | null
  /** A copy of the first batch of all, which the others are like. */
  #first: readonly Tensor[] = []
  #numSamples: number | null = null
  #batches: number | null = null
  #state: Plain
  #epoch: IterableEpoch
  #queued = new QueuedBatches(1)

  /**
   * Reads the first batch.
   *
   * @throws TorchkeepError `ERR_INVALID_ARGUMENT` for an iterable that offers only one of `state` and `restore`, or can be gone through only once; `ERR_DATA` for one without batches, or with wrong ones.
   */
  static async open(source: BatchIterable, role: string, signal: AbortSignal | null): Promise<IterableFeed> {
    checkIterable(source, role)
    const feed = new IterableFeed(source, role, signal)
    try {
      await feed.#readFirst()
    } catch (error) {
      await leaveAfterFailure([feed])
      throw error
    }
    return feed
  }

  private constructor(source: BatchIterable, role: string, signal: AbortSignal | null) {
    this.role = role
    this.#source = source
    this.#signal = signal
    this.#state = askState(source, role)
    this.#epoch = this.#begin(0, Promise.resolve())
  }

  get inputs(): number {
    return this.#first.length - 1
  }

  get batchSize(): number {
    return this.#first[0]?.size(0) ?? 0
  }

  get numSamples(): number | null {
    return this.#numSamples
  }

  get batches(): number | null {
    return this.#batches
  }

  get batchSizes(): number[] {
    return [this.batchSize]
  }

  get sourceState(): Plain {
    return this.#state
  }

  withBatchSize(batchSize: number): this {
    if (batchSize === this.batchSize) return this
    throw new TorchkeepError(
      'ERR_INVALID_ARGUMENT',
      `batches of ${batchSize} are wanted, but the ${this.role} data are an iterable, whose batches are as it gives them (the first has ${this.batchSize} rows)`,
    )
  }

  example(rows = this.batchSize): Tensor[] {
    return scope(() => this.#first.map((tensor) => tensor.narrow(0, 0, rows).clone()))
  }

  generatorState(): null {
    return null
  }

  setGeneratorState(): void {
    // It has no generator that we know of.
  }

  epochOrder(): BigInt64Array {
    if (this.#epoch.isUnderWay) this.#epoch = this.#begin(0, this.#epoch.close())
    return new BigInt64Array(0)
  }

  async takeUp(place: { path: string; batchesDone: number; sourceState: Plain }): Promise<void> {
    const { path, batchesDone, sourceState } = place
    const { restore } = this.#source
    if (sourceState === null || restore === undefined) {
      if (batchesDone > 0) refuseTakingUp(path, batchesDone, this.role, restore === undefined)
      return
    }
    await this.leaveEpoch()
    try {
      await restore.call(this.#source, structuredClone(sourceState))
    } catch (error) {
      throw new TorchkeepError('ERR_DATA', `restore() of the ${this.role} data failed: ${messageOf(error)}`, {
        cause: error,
      })
    }
    this.#state = sourceState
    this.#epoch = this.#begin(batchesDone, Promise.resolve())
  }

  async lookAhead(_position: FeedPosition, count: number): Promise<number | null> {
    const filled = await this.#wait(this.#epoch.queue.fill(count))
    if (this.#epoch.queue.isDrained) this.#finishEpoch()
    return filled
  }

  async train(
    session: Session,
    _position: FeedPosition,
    count: number,
    maxDurationMs: number,
    options: FeedRunOptions = {},
  ): Promise<FeedRunResult> {
    const chunk = { count, maxDurationMs, options, inStep: false }
    return this.#queued.train(this.#epoch.queue, session, chunk, (batches) => this.#count(batches))
  }

  async evaluate(session: Session, _order: BigInt64Array, keep: boolean): Promise<FeedEvaluation> {
    const wait = (filled: Promise<number>): Promise<number | null> => this.#wait(filled)
    const how = { keep, inStep: false, wait }
    const result = await this.#queued.evaluate(this.#epoch.queue, session, how, (batches) => this.#count(batches))
    if (result.reason === 'end') this.#finishEpoch()
    else await this.leaveEpoch()
    return result
  }

  async leaveEpoch(): Promise<void> {
    await this.#epoch.close()
  }

  async #readFirst(): Promise<void> {
    const filled = await this.#wait(this.#epoch.queue.fill(1))
    if (filled === null)
      throw new TorchkeepError(
        'ERR_ABORTED',
        `the signal fired before the first batch of the ${this.role} data was there`,
        {
          cause: this.#signal?.reason,
        },
      )
    const [first] = this.#epoch.queue.take(1)
    if (first === undefined) throw new TorchkeepError('ERR_DATA', `the ${this.role} data have no batch`)
    this.#first = scope(() => first.tensors.map((tensor) => tensor.clone()))
    this.#queued = new QueuedBatches(this.inputs)
    this.#epoch.queue.putBack([first])
  }

  #begin(startsAt: number, ready: Promise<void>): IterableEpoch {
    const kind = (): BatchKind | null => (this.#first.length === 0 ? null : kindOf(this.#first))
    return new IterableEpoch(this.#source, this.role, { startsAt, kind, ready })
  }

  /** Waits for batches, but no longer than until the signal fires: then null. */
  async #wait(filled: Promise<number>): Promise<number | null> {
    const signal = this.#signal
    if (signal === null) return filled
    let stop = (): void => undefined
    const aborted = new Promise<null>((resolve) => {
      stop = () => resolve(null)
      signal.addEventListener('abort', stop, { once: true })
      if (signal.aborted) stop()
    })
    try {
      return await Promise.race([filled, aborted])
    } finally {
      signal.removeEventListener('abort', stop)
    }
  }

  #count(batches: readonly Batch[]): void {
    const last = batches.at(-1)
    if (last === undefined) return
    this.#epoch.isUnderWay = true
    this.#epoch.batchesDone += batches.length
    this.#epoch.samplesDone += batches.reduce((sum, { rows }) => sum + rows, 0)
    this.#state = last.state
  }

  /** The epoch is through, so it is known how long it was; of one that was taken up in the middle only the number of its batches. */
  #finishEpoch(): void {
    const { batchesDone, samplesDone, startsAt, stateAtEnd } = this.#epoch
    if (batchesDone === 0)
      throw new TorchkeepError(
        'ERR_DATA',
        `the ${this.role} data had batches, but a further epoch has none: each epoch asks for a new iterator, which has to begin anew`,
      )
    this.#epoch.isUnderWay = true
    this.#batches = batchesDone
    if (startsAt === 0) this.#numSamples = samplesDone
    this.#state = stateAtEnd
  }
}

function checkIterable(source: BatchIterable, role: string): void {
  if ((source.state === undefined) !== (source.restore === undefined))
    throw new TorchkeepError(
      'ERR_INVALID_ARGUMENT',
      `the iterable of the ${role} data offers ${source.state === undefined ? 'restore() but no state()' : 'state() but no restore()'}: both or neither were expected`,
    )
  if ('next' in source && !('restore' in source))
    throw new TorchkeepError(
      'ERR_INVALID_ARGUMENT',
      `the ${role} data are an iterator (or what a generator function gave), which can be gone through once, but each epoch needs a pass of its own`,
      { suggestions: ['{ [Symbol.asyncIterator]: () => generate() } begins anew with each epoch'] },
    )
}

function refuseTakingUp(path: string, batchesDone: number, role: string, isMissing: boolean): never {
  const reason = isMissing ? 'offers no state() and restore()' : 'offered no state() when it was saved'
  throw new TorchkeepError(
    'ERR_CHECKPOINT_INCOMPATIBLE',
    `${path} stops inside an epoch, after ${batchesDone} batches, and the iterable of the ${role} data ${reason}: it cannot go on with the next batch`,
    {
      suggestions: [
        'resume from a checkpoint made at the end of an epoch',
        'give the iterable state() and restore(state)',
      ],
    },
  )
}
