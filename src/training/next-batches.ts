/** Which batches come next: groups of accumulation, and where an epoch's last group is smaller. */
import type { BatchFeed } from './feed.js'
import type { EpochPosition } from './run-state.js'

/** Batches that a session may train on in one go. */
export interface NextBatches {
  count: number
  /** Batches of one optimizer step. */
  accumulate: number
}

/**
 * The next batches of an epoch: whole groups of `accumulate`, up to `steps` optimizer steps; at the end of the epoch what is left as a group of its own.
 *
 * @returns null where the epoch is through, or the signal fired before that was known.
 */
export async function nextBatches(
  feed: BatchFeed,
  position: EpochPosition,
  accumulate: number,
  steps: number,
): Promise<NextBatches | null> {
  const { accumulatedBatches: begun } = position
  const ahead = await feed.lookAhead(position, accumulate - begun)
  if (ahead === null || ahead === 0) return null
  if (ahead + begun < accumulate) return { count: ahead, accumulate: ahead + begun }
  // Of an iterable nobody knows how many batches an epoch has; its feed begins no group that it has not whole.
  const isKnown = position.order.length > 0 && position.batches !== null
  const wholeGroups = isKnown
    ? Math.floor(((position.batches as number) - position.batchesDone + begun) / accumulate)
    : Infinity
  const groups = Math.min(wholeGroups, steps)
  return { count: groups === Infinity ? Number.MAX_SAFE_INTEGER : groups * accumulate - begun, accumulate }
}
