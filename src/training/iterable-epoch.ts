/** One pass through an iterable of batches. */
import { scope, Tensor } from '../../lib/index.js'
import { Place, plain, type Plain } from '../checkpoint/fields.js'
import { TorchkeepError } from '../format/errors.js'
import { type Batch, BatchQueue } from './batch-queue.js'
import { defaultGeneratorState, hasDrawn } from './default-generator.js'
import type { BatchIterable } from './iterable-feed.js'
import { describe } from './samples.js'

/** What the first batch of all was like, and the others have to be: dtypes, and sizes but for the first. */
export type BatchKind = string

export class IterableEpoch {
  readonly queue: BatchQueue
  /** Batches of the epoch that were trained on before it was taken up here. */
  readonly startsAt: number
  /** Whether a batch was used: the epoch is under way, and the next one needs an iterator of its own. */
  isUnderWay = false
  batchesDone: number
  samplesDone = 0
  /** The iterable's state once its iterator had ended. */
  stateAtEnd: Plain = null
  readonly #source: BatchIterable
  readonly #role: string
  readonly #kind: () => BatchKind | null
  #iterator: Iterator<unknown> | AsyncIterator<unknown> | null = null
  #pulled: number

  /**
   * @param startsAt see {@link startsAt}.
   * @param kind null before the first batch of all.
   * @param ready the iterator is asked for once this has resolved: that of the epoch before has been closed.
   */
  constructor(
    source: BatchIterable,
    role: string,
    { startsAt, kind, ready }: { startsAt: number; kind: () => BatchKind | null; ready: Promise<void> },
  ) {
    this.#source = source
    this.#role = role
    this.#kind = kind
    this.startsAt = this.batchesDone = this.#pulled = startsAt
    this.queue = new BatchQueue(async () => {
      await ready
      return this.#pull()
    })
  }

  /** Drops what was read ahead and closes the iterator. */
  async close(): Promise<void> {
    this.isUnderWay = true
    const closed = this.queue.close()
    const iterator = this.#iterator
    this.#iterator = null
    await this.#call('return()', async () => iterator?.return?.())
    await closed
  }

  async #pull(): Promise<Batch | null> {
    const iterator = (this.#iterator ??= await this.#call('the iterator', () => iteratorOf(this.#source)))
    const { done, value } = await this.#call(this.#name, () => this.#next(iterator))
    if (done === true) {
      this.#iterator = null
      this.stateAtEnd = askState(this.#source, this.#role)
      return null
    }
    const tensors = this.#checked(value)
    this.#pulled++
    return { tensors, rows: tensors[0]?.size(0) ?? 0, state: askState(this.#source, this.#role) }
  }

  /** Draws of the iterable would come between those of the model, now here and now there, since it is read ahead. */
  #next(iterator: Iterator<unknown> | AsyncIterator<unknown>) {
    const before = defaultGeneratorState()
    const next = iterator.next()
    if (!hasDrawn(before)) return next
    throw new TorchkeepError(
      'ERR_DATA',
      "it was drawn from the default generator, which is the model's while it trains",
      {
        suggestions: ['draw from a Generator of the data, and give its state with state()'],
      },
    )
  }

  /** The batch that is being read, for messages. */
  get #name(): string {
    return `batch ${this.#pulled + 1} of an epoch of the ${this.#role} data`
  }

  /** References of our own to the tensors of a batch, once they are what they should be. */
  #checked(batch: unknown): Tensor[] {
    if (!Array.isArray(batch) || batch.length < 2 || !batch.every((item) => item instanceof Tensor))
      throw new TorchkeepError(
        'ERR_DATA',
        `${this.#name} should be an array of tensors, inputs and then the target, but is ${describe(batch)}`,
      )
    const tensors = batch as Tensor[]
    const shapes = tensors.map(({ shape }) => shape)
    const [rows] = shapes[0] ?? []
    if (rows === undefined || rows === 0 || shapes.some((shape) => shape[0] !== rows))
      throw new TorchkeepError(
        'ERR_DATA',
        `the tensors of ${this.#name} should have the same first size, at least 1, but have shapes ${shapes.map((shape) => `[${shape.join(', ')}]`).join(', ')}`,
      )
    const [expected, found] = [this.#kind(), kindOf(tensors)]
    if (expected !== null && expected !== found)
      throw new TorchkeepError('ERR_DATA', `${this.#name} should be ${expected} like the first batch, but is ${found}`)
    return scope(() => tensors.map((tensor) => tensor.detach()))
  }

  /** Runs code of the user's. */
  async #call<Result>(what: string, run: () => Result): Promise<Awaited<Result>> {
    try {
      return await run()
    } catch (error) {
      const isBusy = error instanceof TorchkeepError && error.code === 'ERR_BUSY'
      const suggestions = error instanceof TorchkeepError ? error.suggestions : []
      const where = what === this.#name ? what : `${what} of the ${this.#role} data`
      throw new TorchkeepError('ERR_DATA', `${where} could not be read: ${messageOf(error)}`, {
        cause: error,
        suggestions: isBusy
          ? ['batches are read while the model trains: draw from a Generator of the data, not from the default one']
          : suggestions,
      })
    }
  }
}

function iteratorOf(source: BatchIterable): Iterator<unknown> | AsyncIterator<unknown> {
  return Symbol.asyncIterator in source ? source[Symbol.asyncIterator]() : source[Symbol.iterator]()
}

/** Dtypes and sizes of a batch's tensors, but for the number of rows. */
export function kindOf(tensors: readonly Tensor[]): BatchKind {
  return tensors.map(({ dtype, shape }) => `${dtype} [${['n', ...shape.slice(1)].join(', ')}]`).join(', ')
}

/** A copy of what the iterable gives as its state, which it may go on changing; null where it gives none. */
export function askState(source: BatchIterable, role: string): Plain {
  if (source.state === undefined) return null
  let state: Plain
  try {
    state = source.state()
  } catch (error) {
    throw new TorchkeepError('ERR_DATA', `state() of the ${role} data failed: ${messageOf(error)}`, { cause: error })
  }
  plain.encode(state, new Place('ERR_DATA', '', `state() of the ${role} data`))
  return structuredClone(state)
}

export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}
