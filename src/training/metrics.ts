/** Metrics of a validation, computed in double precision over all of its samples. */
import { TorchkeepError } from '../format/errors.js'

/** Names of the metrics of a validation, besides `loss`. */
export type MetricName = 'accuracy' | 'mse' | 'rmse'

/** Values of a tensor in C order with their sizes. */
export interface Values {
  data: Float64Array
  shape: readonly number[]
}

/** `outputs` are the model's, all batches one after another; `targets` lie in the same order. */
type Metric = (outputs: Values, targets: Values) => number

const metrics: Readonly<Record<MetricName, Metric>> = {
  accuracy: (outputs, targets) => {
    const classes = outputs.shape[1] ?? 1
    let right = 0
    for (let row = 0; row < targets.data.length; row++) {
      if (argmax(outputs.data, row * classes, classes) === targets.data[row]) right++
    }
    return right / targets.data.length
  },
  mse: (outputs, targets) => {
    let sum = 0
    for (let index = 0; index < outputs.data.length; index++)
      sum += ((outputs.data[index] ?? NaN) - (targets.data[index] ?? NaN)) ** 2
    return sum / outputs.data.length
  },
  rmse: (outputs, targets) => Math.sqrt(metrics.mse(outputs, targets)),
}

/** Computes the named metrics. Shapes were checked by {@link checkMetrics}. */
export function computeMetrics(names: readonly MetricName[], outputs: Values, targets: Values): Record<string, number> {
  return Object.fromEntries(names.map((name) => [name, metrics[name](outputs, targets)]))
}

/**
 * Refuses metrics that the model's output and the target do not allow, before the first step.
 *
 * @throws TorchkeepError `ERR_DATA`.
 */
export function checkMetrics(names: readonly MetricName[], output: readonly number[], target: readonly number[]): void {
  for (const name of names) {
    const fits =
      name === 'accuracy'
        ? output.length === 2 && target.length === 1 && output[0] === target[0]
        : String(output) === String(target)
    if (fits) continue
    const expected =
      name === 'accuracy' ? 'outputs [samples, classes] and targets [samples]' : 'outputs and targets of one shape'
    throw new TorchkeepError(
      'ERR_DATA',
      `metric '${name}' needs ${expected}; here outputs are [${output.join(', ')}] and targets [${target.join(', ')}]`,
    )
  }
}

/** Index of the largest value; the first of equal ones, and NaN counts as largest, as in PyTorch. */
function argmax(data: Float64Array, start: number, count: number): number {
  let best = 0
  for (let index = 1; index < count; index++) {
    const value = data[start + index] ?? NaN
    const top = data[start + best] ?? NaN
    if (value > top || (Number.isNaN(value) && !Number.isNaN(top))) best = index
  }
  return best
}
