/** What can be known of data, model and loss before the first step is checked here, so that no run fails an hour later. */
import type { Module, Tensor } from '../../lib/index.js'
import type { MetricName, TrainingConfig } from '../checkpoint/training-config.js'
import { TorchkeepError } from '../format/errors.js'
import type { BatchFeed } from './feed.js'
import { checkMetrics } from './metrics.js'
import type { PhaseNames } from './patterns.js'
import { exampleOutputs, tryRecording } from './recording.js'

/**
 * Runs the model on the first batch and checks the targets and the metrics against its output.
 *
 * @throws TorchkeepError `ERR_DATA`.
 */
export function checkFeed(
  model: Module,
  loss: TrainingConfig['loss'],
  metrics: readonly MetricName[],
  feed: BatchFeed,
): void {
  const example = feed.example(feed.rowsOfBatch(0))
  const outputs = exampleOutputs(model, example.slice(0, -1))
  const [output, target] = [outputs[0] as Tensor, example.at(-1) as Tensor]
  checkTargets(loss, output, target, feed)
  checkMetrics(metrics, output.shape, target.shape)
  for (const tensor of [...outputs, ...example]) tensor.dispose()
}

/**
 * Tries a last batch of one sample, which batch norm cannot train on: one value has no variance.
 *
 * @throws TorchkeepError `ERR_DATA` with what the model said.
 */
export function checkLastBatch(model: Module, phases: readonly PhaseNames[], feed: BatchFeed): void {
  if (feed.rowsOfBatch(feed.batches - 1) !== 1) return
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

/**
 * Checks the targets of a feed against the model's output for its first rows.
 *
 * @throws TorchkeepError `ERR_DATA` with expected and found.
 */
function checkTargets(loss: TrainingConfig['loss'], output: Tensor, target: Tensor, feed: BatchFeed): void {
  if (loss === 'mse') checkMse(output, target, feed)
  if (loss === 'cross_entropy') checkCrossEntropy(output, target, feed)
}

function checkMse(output: Tensor, target: Tensor, feed: BatchFeed): void {
  // Other shapes would be broadcast against each other: a finite loss of the wrong thing.
  if (String(output.shape) !== String(target.shape))
    fail(feed, `of shape ${shape(output)} like the model's output for 'mse'`, `of shape ${shape(target)}`)
  if (output.dtype !== target.dtype) fail(feed, `${output.dtype} like the model's output for 'mse'`, target.dtype)
}

function checkCrossEntropy(output: Tensor, target: Tensor, feed: BatchFeed): void {
  if (target.dtype === output.dtype) {
    if (String(output.shape) !== String(target.shape))
      fail(feed, `class probabilities of shape ${shape(output)} for 'cross_entropy'`, `of shape ${shape(target)}`)
    return
  }
  if (target.dtype !== 'int64')
    fail(feed, "int64 class numbers for 'cross_entropy'", target.dtype, [
      "make them with tensor(labels, { dtype: 'int64' })",
    ])
  const expected = [output.shape[0], ...output.shape.slice(2)]
  if (String(expected) !== String(target.shape))
    fail(
      feed,
      `of shape [${expected.join(', ')}] for outputs ${shape(output)} and 'cross_entropy'`,
      `of shape ${shape(target)}`,
    )
  const classes = output.shape[1] ?? 0
  const labels = (feed.targets ?? target).data() as BigInt64Array
  const wrong = labels.findIndex((label) => (label < 0n || label >= BigInt(classes)) && label !== ignoredLabel)
  if (wrong !== -1)
    fail(
      feed,
      `class numbers from 0 to ${classes - 1} (the model has ${classes} outputs)`,
      `${labels[wrong]} at position ${wrong}`,
    )
}

/** `ignore_index` of PyTorch's cross-entropy. */
const ignoredLabel = -100n

const shape = (tensor: Tensor): string => `[${tensor.shape.join(', ')}]`

function fail(feed: BatchFeed, expected: string, found: string, suggestions: string[] = []): never {
  throw new TorchkeepError('ERR_DATA', `targets of the ${feed.role} data should be ${expected}, but are ${found}`, {
    suggestions,
  })
}
