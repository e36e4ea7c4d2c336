/** Batches made ahead of their use: read or copied together on the JavaScript thread while a session trains on the ones before. */
import { setImmediate as nextTurn } from 'node:timers/promises'
import type { Tensor } from '../../lib/index.js'
import type { Plain } from '../checkpoint/fields.js'

/** The tensors belong to the queue and whoever takes them from it. */
export interface Batch {
  tensors: readonly Tensor[]
  rows: number
  /** What the iterable gave as its `state()` after this batch. */
  state: Plain
}

/** How many batches may wait at most, however quick the steps are (a group of accumulation may be larger). */
export const maxBatchesAhead = 64

/** Longest stretch of the JavaScript thread between two turns of the event loop, as far as it lies with us. */
export const longestTurnMs = 5

export class BatchQueue {
  readonly #pull: () => Promise<Batch | null>
  #ready: Batch[] = []
  #pulling: Promise<void> | null = null
  #limit = 0
  #isGoingOn = false
  #isClosed = false
  #hasEnded = false
  #failure: { error: unknown } | null = null
  #turnBegan = performance.now()

  /** @param pull makes the next batch, or null at the end; never called twice at once, nor after an end or a failure. */
  constructor(pull: () => Promise<Batch | null>) {
    this.#pull = pull
  }

  /** Batches at hand. */
  get length(): number {
    return this.#ready.length
  }

  /** Whether all has been made and taken. */
  get isDrained(): boolean {
    return this.#hasEnded && this.#ready.length === 0
  }

  /** Waits until `count` batches are at hand, or all that are left, and says how many. Throws what making one threw, once those before it are taken. */
  async fill(count: number): Promise<number> {
    this.#turnBegan = performance.now()
    while (this.#ready.length < count && !this.#isOver) await this.#pullOnce()
    if (this.#ready.length < count && this.#failure !== null) throw this.#failure.error
    return Math.min(this.#ready.length, count)
  }

  /** Goes on making batches, without anybody waiting, until `limit` are at hand. */
  goOn(limit: number): void {
    this.#limit = limit
    if (this.#isGoingOn) return
    this.#isGoingOn = true
    void this.#makeAhead()
  }

  /** Ends {@link goOn} after the batch that is being made. */
  rest(): void {
    this.#limit = 0
  }

  take(count: number): Batch[] {
    return this.#ready.splice(0, count)
  }

  /** Puts batches back that were taken and not used. */
  putBack(batches: readonly Batch[]): void {
    this.#ready.unshift(...batches)
  }

  /** Drops all batches. */
  async close(): Promise<void> {
    this.#isClosed = true
    await this.#pulling
    dispose(this.#ready)
    this.#ready = []
  }

  get #isOver(): boolean {
    return this.#hasEnded || this.#isClosed || this.#failure !== null
  }

  async #makeAhead(): Promise<void> {
    while (this.#ready.length < this.#limit && !this.#isOver) {
      await nextTurn()
      this.#turnBegan = performance.now()
      if (this.#ready.length < this.#limit && !this.#isOver) await this.#pullOnce()
    }
    this.#isGoingOn = false
  }

  /** One batch; a second caller waits for the same. Never rejects. */
  async #pullOnce(): Promise<void> {
    this.#pulling ??= this.#pullNow()
    await this.#pulling
  }

  async #pullNow(): Promise<void> {
    try {
      // What a source has at hand comes without a turn of the event loop, however many batches it is.
      if (performance.now() - this.#turnBegan > longestTurnMs) {
        await nextTurn()
        this.#turnBegan = performance.now()
      }
      const batch = await this.#pull()
      if (batch === null) this.#hasEnded = true
      else this.#ready.push(batch)
    } catch (error) {
      this.#failure = { error }
    } finally {
      this.#pulling = null
    }
  }
}

export function dispose(batches: readonly Batch[]): void {
  for (const { tensors } of batches) for (const tensor of tensors) tensor.dispose()
}
