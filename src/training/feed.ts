/** Where the batches of a run come from: a loader, or an iterable of batches. One interface, so that the trainer does not ask which. */
import {
  DataLoader,
  type EvaluateResult,
  type RunOptions,
  type RunResult,
  type Session,
  type Tensor,
} from '../../lib/index.js'
import type { Plain } from '../checkpoint/fields.js'
import { TorchkeepError } from '../format/errors.js'
import { type BatchIterable, IterableFeed, isIterable } from './iterable-feed.js'
import { LoaderFeed } from './loader-feed.js'

export type { BatchIterable } from './iterable-feed.js'

/** What a trainer takes as data: a loader, or an (async) iterable of batches. */
export type TrainingData = DataLoader | BatchIterable

/** Where an epoch stands. */
export interface FeedPosition {
  /** What {@link BatchFeed.epochOrder} gave for the epoch. */
  readonly order: BigInt64Array
  readonly batchesDone: number
}

/** What a chunk of training takes besides batches and time: accumulation, clipping, what to do with values that are not finite. */
export type FeedRunOptions = Omit<
  RunOptions,
  'tensors' | 'order' | 'batchSize' | 'batches' | 'inputs' | 'maxDurationMs'
>

export interface FeedRunResult extends RunResult {
  /** Rows of each batch, one for each of `losses`. */
  rows: readonly number[]
}

export interface FeedEvaluation {
  samples: number
  /** Mean of the batch losses weighted by batch size, summed in double. */
  loss: number
  /** The model's outputs for all batches, joined; empty where they were not wanted. */
  outputs: Tensor[]
  /** The targets in the same order; null where they were not wanted. */
  targets: Tensor | null
  /** `paused`: the signal fired or the session was paused, and not all batches were seen. */
  reason: EvaluateResult['reason']
}

/** Batches as the trainer reads them: the last tensor of a batch is the target, those before it are the model's inputs. */
export interface BatchFeed {
  /** `training` or `validation`, for messages. */
  readonly role: string
  /** How many leading tensors of a batch go to the model. */
  readonly inputs: number
  /** Samples of an epoch; null while unknown: of an iterable until its first epoch has ended, and then those of its last. */
  readonly numSamples: number | null
  /** Batches of an epoch; null while unknown. */
  readonly batches: number | null
  /** Rows of a full batch; of an iterable those of its first. */
  readonly batchSize: number
  readonly shuffle: boolean
  readonly dropLast: boolean
  /** The sizes that are known to come: of the full batches, and of the last. */
  readonly batchSizes: readonly number[]
  /** All targets, where they are at hand without reading every sample. */
  readonly targets: Tensor | null
  /** Whether orders are drawn from a generator of the loader's own. */
  readonly hasGenerator: boolean
  /** What the iterable gave as its `state()` after the last batch that was trained on, or at the end of the epoch; null for a loader, and for an iterable that offers none. */
  readonly sourceState: Plain

  /** The same data in batches of another size. An iterable's batches are as they are: `ERR_INVALID_ARGUMENT`. */
  withBatchSize(batchSize: number): BatchFeed
  /** A copy (a model may change its input in place) of the first `rows` samples, by default of the first batch. Draws no random number. */
  example(rows?: number): Tensor[]
  /** State of the loader's own generator, or null. */
  generatorState(): Tensor | null
  /** Puts {@link generatorState} back. */
  setGeneratorState(state: Tensor | null): void
  /** Begins an epoch: draws its order, as making the iterator of a `DataLoader` does in Python. An iterable has an order of its own, which is empty here. */
  epochOrder(): BigInt64Array
  /**
   * Goes on where a checkpoint stands, before the first batch. For a loader nothing is to be done: its order is drawn again.
   *
   * @throws TorchkeepError `ERR_CHECKPOINT_INCOMPATIBLE` where an iterable stops inside an epoch and cannot say where; `ERR_DATA` where its `restore` throws.
   */
  takeUp(place: { path: string; batchesDone: number; sourceState: Plain }): Promise<void>
  /**
   * How many of the next `count` batches there are: fewer only where the epoch ends before; null where the signal fired first. An iterable is read that far, so ask for a
   * group of accumulation, not for an epoch.
   */
  lookAhead(position: FeedPosition, count: number): Promise<number | null>
  /**
   * Trains on at most `count` of the next batches: as many as the time allows and are at hand. Groups of accumulation are begun only when all of their batches are there, so ask
   * {@link lookAhead} for the size of a last group. Batches that have to be read or copied together are so while the session runs the ones before.
   */
  train(
    session: Session,
    position: FeedPosition,
    count: number,
    maxDurationMs: number,
    options?: FeedRunOptions,
  ): Promise<FeedRunResult>
  /** Evaluates all batches of an epoch. `keep`: whether outputs and targets are wanted, for metrics. */
  evaluate(session: Session, order: BigInt64Array, keep: boolean): Promise<FeedEvaluation>
  /** Ends an epoch, also one that is not through: drops what was read ahead. */
  leaveEpoch(): Promise<void>
}

/**
 * A feed of a loader or an iterable. An iterable is begun here: its first batch is read.
 *
 * @param role `training` or `validation`, for messages.
 * @param signal ends the waiting for an iterable's batches, and an evaluation between two batches.
 * @throws TorchkeepError `ERR_INVALID_ARGUMENT` for what is neither, `ERR_DATA` for data without samples or without targets.
 */
export async function feedOf(data: TrainingData, role: string, signal: AbortSignal | null = null): Promise<BatchFeed> {
  if (data instanceof DataLoader) return new LoaderFeed(data, role, signal)
  if (isIterable(data)) return IterableFeed.open(data, role, signal)
  const found = data === null ? 'null' : Array.isArray(data) ? 'an array' : typeof data
  throw new TorchkeepError(
    'ERR_INVALID_ARGUMENT',
    `the ${role} data should be a DataLoader or an (async) iterable of batches, but are ${found}`,
  )
}
