/** Targets against what the model gives and the loss compares: what would be broadcast, or be a finite loss of the wrong thing, is refused. */
import type { Tensor } from '../../lib/index.js'
import type { TrainingConfig } from '../checkpoint/training-config.js'
import { TorchkeepError } from '../format/errors.js'
import type { BatchFeed } from './feed.js'

/**
 * Checks the targets of a feed against the model's output for its first batch: dtypes and shapes of that batch, and the values of all targets where they are at hand (else of that batch).
 *
 * @throws TorchkeepError `ERR_DATA` with expected and found.
 */
export function checkTargets(loss: TrainingConfig['loss'], output: Tensor, target: Tensor, feed: BatchFeed): void {
  if (loss === 'custom') return
  if (loss === 'cross_entropy' && target.dtype !== output.dtype) return checkClasses(output, target, feed)
  const what =
    loss === 'cross_entropy' ? 'class probabilities' : loss === 'bce_with_logits' ? 'probabilities' : 'values'
  // Other shapes would be broadcast against each other.
  if (String(output.shape) !== String(target.shape))
    fail(feed, `${what} of shape ${shape(output)} like the model's output for '${loss}'`, `of shape ${shape(target)}`)
  if (output.dtype !== target.dtype) fail(feed, `${output.dtype} like the model's output for '${loss}'`, target.dtype)
  // The softmax of one output is 1 whatever it is: the loss would be 0, and nothing would be learned.
  if (loss === 'cross_entropy' && (output.shape[1] ?? output.shape[0]) === 1)
    fail(feed, `${what} of two or more classes for '${loss}'`, `of shape ${shape(target)}: one number`, asClasses)
  checkRange(loss, target, feed)
}

function checkClasses(output: Tensor, target: Tensor, feed: BatchFeed): void {
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
  const labels = valuesOf(feed, target) as BigInt64Array
  const wrong = labels.findIndex((label) => (label < 0n || label >= BigInt(classes)) && label !== ignoredLabel)
  if (wrong !== -1)
    fail(
      feed,
      `class numbers from 0 to ${classes - 1} (the model has ${classes} outputs)`,
      `${labels[wrong]} at position ${wrong}`,
    )
}

/** Probabilities outside of 0 to 1 give finite, even negative losses; what is not finite gives a loss that ends the run. */
function checkRange(loss: TrainingConfig['loss'], target: Tensor, feed: BatchFeed): void {
  const values = valuesOf(feed, target)
  if (!(values instanceof Float32Array || values instanceof Float64Array)) return
  const isProbability = loss === 'bce_with_logits' || loss === 'cross_entropy'
  const wrong = values.findIndex((value) => !Number.isFinite(value) || (isProbability && (value < 0 || value > 1)))
  if (wrong !== -1)
    fail(
      feed,
      isProbability ? `from 0 to 1 for '${loss}'` : 'finite',
      `${values[wrong]} at position ${wrong}`,
      loss === 'cross_entropy' ? asClasses : [],
    )
}

/** Of all targets, or of the first batch. */
function valuesOf(feed: BatchFeed, target: Tensor) {
  const all = feed.targets
  return (all !== null && all.dtype === target.dtype ? all : target).data()
}

const asClasses = [
  'classes are int64 numbers; a table gives them for a target with role: category',
  'bce_with_logits is for one number that is 0 or 1',
]

/** `ignore_index` of PyTorch's cross-entropy. */
const ignoredLabel = -100n

const shape = (tensor: Tensor): string => `[${tensor.shape.join(', ')}]`

function fail(feed: BatchFeed, expected: string, found: string, suggestions: string[] = []): never {
  throw new TorchkeepError('ERR_DATA', `targets of the ${feed.role} data should be ${expected}, but are ${found}`, {
    suggestions,
  })
}
