/** What can be known of data, model and loss before the first step is checked here, so that no run fails an hour later. */
import { type Module, Tensor } from '../../lib/index.js'
import type { TrainingConfig } from '../checkpoint/training-config.js'
import { TorchkeepError } from '../format/errors.js'
import type { BatchFeed } from './feed.js'
import { checkMetrics, type Metric } from './metrics.js'
import type { PhaseNames } from './patterns.js'
import { exampleLoss, exampleOutputs, type LossFunction, tryRecording } from './recording.js'
import { checkTargets } from './target-check.js'

/**
 * Runs the model and the loss on the first batch and checks the targets and the metrics against the model's output.
 *
 * @param lossName how the configuration calls `loss`.
 * @throws TorchkeepError `ERR_DATA`, `ERR_INVALID_ARGUMENT` for a model or a loss that gives no tensors.
 */
export function checkFeed(
  model: Module,
  lossName: TrainingConfig['loss'],
  loss: LossFunction,
  metrics: readonly Metric[],
  feed: BatchFeed,
): void {
  const example = feed.example()
  const outputs = outputsFor(model, example.slice(0, -1), feed)
  try {
    checkOutputs(outputs, lossName)
    const [output, target] = [outputs[0] as Tensor, example.at(-1) as Tensor]
    checkTargets(lossName, output, target, feed)
    checkMetrics(metrics, output.shape, target.shape, () => (feed.targets ?? target).data())
    checkLoss(lossOf(loss, outputs, target, feed))
  } finally {
    for (const tensor of [...outputs, ...example]) if (tensor instanceof Tensor) tensor.dispose()
  }
}

/** The model's outputs for a batch; a batch that the operators refuse is named. */
function outputsFor(model: Module, inputs: readonly Tensor[], feed: BatchFeed): Tensor[] {
  try {
    return exampleOutputs(model, inputs)
  } catch (error) {
    if (!(error instanceof TorchkeepError)) return ownCodeFailed("the model's forward()", feed, error)
    if (error.code !== 'ERR_TORCH') throw error
    const found = inputs.map((input) => `${input.dtype} ${shape(input)} on ${input.device}`).join(', ')
    throw new TorchkeepError(
      'ERR_DATA',
      `the model cannot take the first batch of the ${feed.role} data (${found}): ${error.message}`,
      { cause: error },
    )
  }
}

function lossOf(loss: LossFunction, outputs: readonly Tensor[], target: Tensor, feed: BatchFeed): unknown {
  try {
    return exampleLoss(loss, outputs, target)
  } catch (error) {
    if (error instanceof TorchkeepError) throw error
    return ownCodeFailed('the loss function', feed, error)
  }
}

/** What a user's code throws may be anything, and says neither whose it is nor what ran. */
function ownCodeFailed(what: string, feed: BatchFeed, error: unknown): never {
  const reason = error instanceof Error ? error.message : String(error)
  throw new TorchkeepError(
    'ERR_INVALID_ARGUMENT',
    `${what} failed on the first batch of the ${feed.role} data: ${reason}`,
    { cause: error },
  )
}

function checkOutputs(outputs: readonly unknown[], lossName: TrainingConfig['loss']): void {
  const odd = outputs.find((output) => !(output instanceof Tensor))
  if (outputs.length === 0 || odd !== undefined || outputs.includes(undefined)) {
    const found = odd instanceof Promise ? 'a promise (forward() must not be async)' : typeof odd
    throw new TorchkeepError(
      'ERR_INVALID_ARGUMENT',
      `the model's forward() should return a tensor or an array of tensors, but returned ${found}`,
    )
  }
  if (outputs.length === 1 || lossName === 'custom') return
  throw new TorchkeepError(
    'ERR_INVALID_ARGUMENT',
    `'${lossName}' compares one output with the target, but the model returns ${outputs.length}`,
    { suggestions: ["loss: 'custom' with a loss option of (output1, output2, target) => ..."] },
  )
}

function checkLoss(loss: unknown): void {
  if (loss instanceof Tensor && loss.shape.length === 0) return loss.dispose()
  const found = loss instanceof Tensor ? `a tensor of shape ${shape(loss)}` : typeof loss
  throw new TorchkeepError('ERR_INVALID_ARGUMENT', `the loss should be a tensor of shape [], but is ${found}`, {
    suggestions: ['reduce it with mean() or sum()'],
  })
}

/**
 * Tries a last batch of one sample, which batch norm cannot train on: one value has no variance.
 *
 * @throws TorchkeepError `ERR_DATA` with what the model said.
 */
export function checkLastBatch(model: Module, phases: readonly PhaseNames[], feed: BatchFeed): void {
  if (feed.batchSizes.at(-1) !== 1) return
  const example = feed.example(1)
  try {
    for (const { modulesInEval } of phases) tryRecording(model, modulesInEval, example.slice(0, -1))
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error)
    throw new TorchkeepError(
      'ERR_DATA',
      `the last batch of the ${feed.role} data has 1 sample (${feed.numSamples} samples, batch size ${feed.batchSize}), on which the model cannot train: ${reason}`,
      {
        cause: error,
        suggestions: ['dropLast: true leaves a last batch out that is not full', 'another batchSize'],
      },
    )
  } finally {
    for (const tensor of example) tensor.dispose()
  }
}

const shape = (tensor: Tensor): string => `[${tensor.shape.join(', ')}]`
