/**
 * Metrics of a validation: which there are, what each needs, and how a run computes them. The definitions lie in `metrics-regression.ts`, `metrics-ranking.ts` and `metrics-classification.ts`;
 * `docs/metrics.md` says them for users. All are computed in double precision over all samples at once, without holding the event loop.
 */
import { TorchkeepError } from '../format/errors.js'
import { nearNames } from '../format/near-names.js'
import { accuracy, aupr, auroc, ignoredLabel, macroF1 } from './metrics-classification.js'
import { concordanceIndex, spearman } from './metrics-ranking.js'
import { mae, mse, pearson, r2, rmse } from './metrics-regression.js'

/** Whether a smaller or a larger value is better. */
export type Direction = 'min' | 'max'

/** Values of a tensor in C order with their sizes. */
export interface Values {
  data: Float64Array
  shape: readonly number[]
}

/** `outputs` are the model's first ones, all batches one after another; `targets` lie in the same order. What cannot be computed is NaN. */
export type MetricCompute = (outputs: Values, targets: Values) => number | Promise<number>

/** Values of targets as a tensor gives them. */
export type TargetValues = ArrayLike<number | bigint>

/** A user's own metric. As a bare function it has no direction: whoever monitors it says `mode`. It gets copies, which it may change. */
export type MetricFunction = MetricCompute | { readonly mode: Direction; readonly compute: MetricCompute }

/** A metric of a run. */
export interface Metric {
  readonly name: string
  /** Null where nobody said. */
  readonly mode: Direction | null
  /**
   * Refuses shapes that the metric is not defined for and, where they are at hand, targets that are no class numbers.
   * @throws TorchkeepError `ERR_DATA`.
   */
  check(output: readonly number[], target: readonly number[], targets?: () => TargetValues): void
  readonly compute: MetricCompute
}

/** What a kind of metric takes. */
interface Shapes {
  readonly expected: string
  /** Whether the targets are class numbers. */
  readonly areLabels: boolean
  accepts(output: readonly number[], target: readonly number[]): boolean
}

const sameShape: Shapes = {
  expected: 'outputs and targets of one shape',
  areLabels: false,
  accepts: (output, target) => output.length > 0 && String(output) === String(target),
}

/** One number a sample: `[samples]` or `[samples, 1]`. */
const isColumn = (shape: readonly number[]): boolean => shape.length === 1 || (shape.length === 2 && shape[1] === 1)

const labelled: Shapes = {
  expected: 'outputs [samples, classes] and targets [samples], or one output and one target a sample',
  areLabels: true,
  accepts: (output, target) =>
    output[0] === target[0] && ((output.length === 2 && target.length === 1) || (isColumn(output) && isColumn(target))),
}

type Definition = readonly [mode: Direction, shapes: Shapes, compute: MetricCompute]

const definitions: ReadonlyMap<string, Definition> = new Map<string, Definition>([
  ['mse', ['min', sameShape, mse]],
  ['rmse', ['min', sameShape, rmse]],
  ['mae', ['min', sameShape, mae]],
  ['r2', ['max', sameShape, r2]],
  ['pearson', ['max', sameShape, pearson]],
  ['spearman', ['max', sameShape, spearman]],
  ['concordance_index', ['max', sameShape, concordanceIndex]],
  ['accuracy', ['max', labelled, accuracy]],
  ['macro_f1', ['max', labelled, macroF1]],
  ['auroc', ['max', labelled, auroc]],
  ['aupr', ['max', labelled, aupr]],
])

/** Names of the metrics that there are. */
export const metricNames: readonly string[] = [...definitions.keys()]

/** Direction of a monitor that exists in every run of that name; null for one that nobody has said anything about: it is never guessed. */
export function directionOf(monitor: string): Direction | null {
  if (monitor === 'train_loss' || monitor === 'val_loss') return 'min'
  return monitor.startsWith('val_') ? (definitions.get(monitor.slice('val_'.length))?.[0] ?? null) : null
}

/** A name of a user's own metric: it becomes a key of checkpoints and a column of `metrics.csv`. */
const ownName = /^[A-Za-z]\w*$/

/**
 * The metrics of a run, in the order of `names`.
 *
 * @param own the user's, by name.
 * @throws TorchkeepError `ERR_INVALID_ARGUMENT` for a name that does not exist, listing those that do, a name twice, or an own metric that is none.
 */
export function resolveMetrics(
  names: readonly string[],
  own: Readonly<Record<string, MetricFunction>> = {},
): readonly Metric[] {
  for (const name of Object.keys(own)) checkOwnName(name)
  const twice = names.find((name, index) => names.indexOf(name) < index)
  if (twice !== undefined) invalid(`metric '${twice}' is named twice`)
  return names.map((name) => (Object.hasOwn(own, name) ? ownMetric(name, own[name]) : knownMetric(name, own)))
}

function checkOwnName(name: string): void {
  if (definitions.has(name) || name === 'loss')
    invalid(`own metric '${name}' has the name of one that exists; call it something else`)
  if (!ownName.test(name))
    invalid(`own metric '${name}' should have a name of letters, digits and _ that begins with a letter`)
}

/**
 * Refuses metrics of one's own that a training configuration does not name: they would not be computed, and the checkpoints' configuration would not tell of them.
 *
 * @throws TorchkeepError `ERR_INVALID_ARGUMENT`.
 */
export function refuseUnusedMetrics(
  names: readonly string[],
  own: Readonly<Record<string, MetricFunction>> = {},
): void {
  const unused = Object.keys(own).find((name) => !names.includes(name))
  if (unused === undefined) return
  invalid(`own metric '${unused}' is not used: trainingConfig.metrics does not name it`, [
    `metrics: [${[...names, unused].map((each) => `'${each}'`).join(', ')}] in the training configuration`,
  ])
}

function ownMetric(name: string, given: MetricFunction | undefined): Metric {
  const compute = typeof given === 'object' ? given.compute : given
  const mode = typeof given === 'object' ? given.mode : null
  if (typeof compute !== 'function') invalid(`own metric '${name}' should be a function or { mode, compute }`)
  if (mode !== null && mode !== 'min' && mode !== 'max')
    invalid(`own metric '${name}' has mode ${JSON.stringify(mode)}; 'min' or 'max' was expected`)
  return { name, mode, check: () => undefined, compute: (outputs, targets) => callOwn(name, compute, outputs, targets) }
}

async function callOwn(name: string, compute: MetricCompute, outputs: Values, targets: Values): Promise<number> {
  const copy = ({ data, shape }: Values): Values => ({ data: data.slice(), shape: [...shape] })
  let value: unknown
  try {
    value = await compute(copy(outputs), copy(targets))
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error)
    throw new TorchkeepError('ERR_INVALID_ARGUMENT', `own metric '${name}' failed: ${reason}`, { cause: error })
  }
  if (typeof value !== 'number')
    invalid(`own metric '${name}' should return a number, but returned ${value === null ? 'null' : typeof value}`)
  return value
}

function knownMetric(name: string, own: Readonly<Record<string, MetricFunction>>): Metric {
  const definition = definitions.get(name)
  if (definition === undefined) {
    const known = [...metricNames, ...Object.keys(own)]
    const near = nearNames(name.replace(/^val_/, ''), known)
    const reason =
      name === 'loss' ? "'loss' is no metric to ask for: val_loss is always computed" : `there is no metric '${name}'`
    return invalid(`${reason}; there are ${known.join(', ')}`, near.length === 0 ? [] : [near.join(', ')])
  }
  const [mode, shapes, compute] = definition
  const check: Metric['check'] = (output, target, targets) => {
    checkShapes(name, shapes, output, target)
    if (shapes.areLabels && targets !== undefined) checkLabels(name, isColumn(output) ? 1 : (output[1] ?? 1), targets())
  }
  return { name, mode, check, compute }
}

function checkShapes(name: string, shapes: Shapes, output: readonly number[], target: readonly number[]): void {
  if (shapes.accepts(output, target)) return
  throw new TorchkeepError(
    'ERR_DATA',
    `metric '${name}' needs ${shapes.expected}; here outputs are [${output.join(', ')}] and targets [${target.join(', ')}]`,
  )
}

/** Class numbers: 0 and 1 for one output a sample; of several, those of the outputs and the label that cross-entropy ignores. */
function checkLabels(name: string, outputs: number, targets: TargetValues): void {
  const top = Math.max(1, outputs - 1)
  for (let index = 0; index < targets.length; index++) {
    const label = Number(targets[index])
    if ((Number.isInteger(label) && label >= 0 && label <= top) || (outputs > 1 && label === ignoredLabel)) continue
    throw new TorchkeepError(
      'ERR_DATA',
      `metric '${name}' needs class numbers from 0 to ${top} as targets; the one at position ${index} is ${label}`,
    )
  }
}

/**
 * Refuses metrics that the model's output and the target do not allow, before the first step.
 *
 * @param targets the values of as many targets as are at hand; asked for only if a metric looks at them.
 * @throws TorchkeepError `ERR_DATA`.
 */
export function checkMetrics(
  metrics: readonly Metric[],
  output: readonly number[],
  target: readonly number[],
  targets?: () => TargetValues,
): void {
  for (const metric of metrics) metric.check(output, target, targets)
}

/** Computes metrics, one after another. Shapes were checked by {@link checkMetrics}. The event loop goes on meanwhile. */
export async function computeMetrics(
  metrics: readonly Metric[],
  outputs: Values,
  targets: Values,
): Promise<Record<string, number>> {
  const values: Record<string, number> = {}
  for (const { name, compute } of metrics) values[name] = await compute(outputs, targets)
  return values
}

function invalid(message: string, suggestions: string[] = []): never {
  throw new TorchkeepError('ERR_INVALID_ARGUMENT', message, { suggestions })
}
