/** Evaluation and prediction from a checkpoint alone: its recorded model, its weights, its loss and metrics. */
import type { Session, Tensor } from '../../lib/index.js'
import type { TrainingConfig } from '../checkpoint/training-config.js'
import { TorchkeepError } from '../format/errors.js'
import { CheckpointModel, type CheckpointModelOptions } from './checkpoint-model.js'
import { type BatchFeed, feedOf, type TrainingData } from './feed.js'
import { leaveAfterFailure } from './leave-epochs.js'
import { lossFunction } from './losses.js'
import { checkMetrics, type MetricFunction, resolveMetrics } from './metrics.js'
import type { LossFunction } from './recording.js'
import { measure } from './validation.js'

/** Options of {@link evaluateCheckpoint}. */
export interface EvaluationOptions extends CheckpointModelOptions {
  /** Names of metrics; default those of the checkpoint's `training_config`. */
  metrics?: readonly string[]
  /** Metrics of one's own by name, as the trainer takes them. */
  ownMetrics?: Readonly<Record<string, MetricFunction>>
  /** The loss, where the checkpoint's is `custom`: without it none is computed. */
  loss?: LossFunction
  /** Ends the evaluation, which then rejects with `ERR_ABORTED`. */
  signal?: AbortSignal
}

/** What an evaluation found. */
export interface Evaluation {
  /** The checkpoint. */
  path: string
  samples: number
  /** Mean over the batches weighted by their sizes, as a validation computes it; null where the loss is `custom` and was not given. */
  loss: number | null
  metrics: Readonly<Record<string, number>>
}

/**
 * Evaluates a checkpoint's model on data whose batches are inputs and then a target. With the validation data, batch size and threads of its run the figures are those of the run, bit for bit.
 *
 * @throws TorchkeepError `ERR_CHECKPOINT_*`; `ERR_DATA` for data that do not fit the model; `ERR_INVALID_ARGUMENT` for metrics that do not exist; `ERR_ABORTED`.
 */
export async function evaluateCheckpoint(
  path: string,
  data: TrainingData,
  options: EvaluationOptions = {},
): Promise<Evaluation> {
  const model = await CheckpointModel.load(path, options)
  try {
    const feed = await feedOf(data, 'evaluation', options.signal ?? null)
    const found = await evaluateOn(model, feed, options).catch(async (error: unknown) => {
      await leaveAfterFailure([feed])
      throw error
    })
    await feed.leaveEpoch()
    return found
  } finally {
    model.dispose()
  }
}

async function evaluateOn(model: CheckpointModel, feed: BatchFeed, options: EvaluationOptions): Promise<Evaluation> {
  const example = feed.example()
  let session: Session | null = null
  try {
    const { trainingConfig } = model.checkpoint
    const metrics = resolveMetrics(options.metrics ?? trainingConfig.metrics ?? [], options.ownMetrics)
    model.checkInputs(example.slice(0, -1))
    const target = example.at(-1) as Tensor
    const compute = lossOf(trainingConfig, options.loss)
    const shape = model.outputsFor(target.size(0))[0]?.shape ?? []
    checkMetrics(metrics, shape, target.shape, () => (feed.targets ?? target).data())
    session = await model.open({ compute: compute ?? noLoss, target })
    const result = await pausable(session, options.signal, (running) =>
      feed.evaluate(running, feed.epochOrder(), metrics.length > 0),
    )
    if (result.reason !== 'end') throw aborted(options.signal)
    return {
      path: model.path,
      samples: result.samples,
      loss: compute === null ? null : result.loss,
      metrics: await measure(metrics, result),
    }
  } finally {
    session?.dispose()
    for (const tensor of example) tensor.dispose()
  }
}

/** Options of {@link predictCheckpoint}. */
export interface PredictionOptions extends CheckpointModelOptions {
  /** Ends the prediction, which then throws `ERR_ABORTED`. */
  signal?: AbortSignal
}

/**
 * The outputs of a checkpoint's model, batch by batch in the order in which the batches come. The tensors belong to the caller.
 *
 * @param batches arrays of the model's inputs; further tensors (a target) are passed over.
 * @throws TorchkeepError `ERR_CHECKPOINT_*`; `ERR_DATA` for a batch that does not fit the model; `ERR_ABORTED`.
 */
export async function* predictCheckpoint(
  path: string,
  batches: Iterable<readonly Tensor[]> | AsyncIterable<readonly Tensor[]>,
  options: PredictionOptions = {},
): AsyncGenerator<Tensor[], void, undefined> {
  const model = await CheckpointModel.load(path, options)
  let session: Session | null = null
  try {
    session = await model.open(null)
    const { length } = model.inputs
    for await (const batch of batches) {
      const inputs = batch.slice(0, length)
      model.checkInputs(inputs)
      const { outputs, reason } = await pausable(session, options.signal, (running) =>
        running.evaluate({ batches: [inputs], inputs: length }),
      )
      if (reason !== 'end') {
        for (const output of outputs) output.dispose()
        throw aborted(options.signal)
      }
      yield outputs
    }
  } finally {
    session?.dispose()
    model.dispose()
  }
}

/** In place of a loss that is not at hand; nobody sees its value. */
const noLoss: LossFunction = (output) => output.float().mean()

function lossOf({ loss }: TrainingConfig, own: LossFunction | undefined): LossFunction | null {
  return own ?? (loss === 'custom' ? null : lossFunction(loss))
}

/** Runs a session's operation, which the signal ends after its present batch. */
async function pausable<Result>(
  session: Session,
  signal: AbortSignal | undefined,
  operation: (session: Session) => Promise<Result>,
): Promise<Result> {
  if (signal?.aborted === true) throw aborted(signal)
  const pause = (): void => session.pause()
  signal?.addEventListener('abort', pause, { once: true })
  try {
    return await operation(session)
  } finally {
    signal?.removeEventListener('abort', pause)
  }
}

function aborted(signal: AbortSignal | undefined): TorchkeepError {
  return new TorchkeepError('ERR_ABORTED', 'the evaluation was interrupted', { cause: signal?.reason })
}
