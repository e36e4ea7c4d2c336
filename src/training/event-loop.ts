/** Long computations on the JavaScript thread, in pieces: timers, signals and I/O have their turn in between. */
import { setImmediate } from 'node:timers/promises'

/** Longest stretch without a turn of the event loop. The product promises delays below 20 ms. */
const pieceMs = 8

/** Elements that any loop here is done with in well under a millisecond. */
export const blockSize = 1 << 14

/** Shared by all computations: what counts is how long the thread was held, by however many of them. */
let turnBeganMs = 0

/** Lets the event loop turn if it has waited for long enough. Call it after each block of work. */
export async function letOthersRun(): Promise<void> {
  if (performance.now() - turnBeganMs < pieceMs) return
  await setImmediate()
  turnBeganMs = performance.now()
}

/** Calls `work` for the blocks of 0 to `count`, one after another. */
export async function inBlocks(count: number, work: (from: number, to: number) => void): Promise<void> {
  for (let from = 0; from < count; from += blockSize) {
    work(from, Math.min(from + blockSize, count))
    await letOthersRun()
  }
}
