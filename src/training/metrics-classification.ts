/**
 * Metrics of classes. Outputs `[samples, classes]` with class numbers `[samples]`, or one output a sample with targets 0 and 1. One output is a logit, as `bce_with_logits` takes it: above 0 is
 * class 1; {@link atThreshold} serves outputs that are probabilities.
 */
import { blockSize, inBlocks, letOthersRun } from './event-loop.js'
import type { MetricFunction, Values } from './metrics.js'
import { ascending, concordance } from './metrics-ranking.js'

/** `ignore_index` of PyTorch's cross-entropy: the loss passes over these samples, and so do the metrics. */
export const ignoredLabel = -100

/** Decides a class for each sample: which one, and which one it is. Null where an output or a target is NaN or a target is no class number. */
interface Decisions {
  predicted: Float64Array
  actual: Float64Array
}

async function decide(outputs: Values, targets: Values, threshold: number): Promise<Decisions | null> {
  const classes = classesOf(outputs)
  const rows = await rowsOf(outputs, targets, classes)
  if (rows === null) return null
  const predicted = new Float64Array(rows.length)
  const actual = new Float64Array(rows.length)
  await inBlocks(rows.length, (from, to) => {
    for (let at = from; at < to; at++) {
      const row = rows[at] as number
      predicted[at] =
        classes > 1 ? argmax(outputs.data, row * classes, classes) : Number((outputs.data[row] as number) > threshold)
      actual[at] = targets.data[row] as number
    }
  })
  return { predicted, actual }
}

const classesOf = ({ shape }: Values): number => (shape.length === 2 ? (shape[1] as number) : 1)

/** The samples that count; null where one of them cannot be judged. */
async function rowsOf(outputs: Values, targets: Values, classes: number): Promise<Uint32Array | null> {
  const rows = new Uint32Array(targets.data.length)
  let [count, judged] = [0, true]
  await inBlocks(rows.length, (from, to) => {
    for (let row = from; row < to; row++) {
      const target = targets.data[row] as number
      if (classes > 1 && target === ignoredLabel) continue
      if (!Number.isInteger(target)) judged = false
      rows[count++] = row
    }
  })
  await inBlocks(count, (from, to) => {
    for (let at = from; at < to; at++) {
      const start = (rows[at] as number) * classes
      for (let index = start; index < start + classes; index++) if (Number.isNaN(outputs.data[index])) judged = false
    }
  })
  return judged ? rows.subarray(0, count) : null
}

/** Index of the largest value; the first of equal ones, as in PyTorch and numpy. */
function argmax(data: Float64Array, start: number, count: number): number {
  let best = start
  for (let index = start + 1; index < start + count; index++)
    if ((data[index] as number) > (data[best] as number)) best = index
  return best - start
}

async function accuracyAt(outputs: Values, targets: Values, threshold: number): Promise<number> {
  const decisions = await decide(outputs, targets, threshold)
  if (decisions === null) return NaN
  const { predicted, actual } = decisions
  let right = 0
  await inBlocks(actual.length, (from, to) => {
    for (let at = from; at < to; at++) if (predicted[at] === actual[at]) right++
  })
  return right / actual.length
}

/** F1 of each class that occurs among targets or decisions, then their mean. */
async function macroF1At(outputs: Values, targets: Values, threshold: number): Promise<number> {
  const decisions = await decide(outputs, targets, threshold)
  if (decisions === null) return NaN
  const { predicted, actual } = decisions
  const classes = new Map<number, { right: number; decided: number; there: number }>()
  const counts = (label: number) => {
    const known = classes.get(label)
    if (known !== undefined) return known
    const added = { right: 0, decided: 0, there: 0 }
    classes.set(label, added)
    return added
  }
  await inBlocks(actual.length, (from, to) => {
    for (let at = from; at < to; at++) {
      const [decision, truth] = [predicted[at] as number, actual[at] as number]
      counts(decision).decided++
      counts(truth).there++
      if (decision === truth) counts(truth).right++
    }
  })
  let sum = 0
  for (const [, { right, decided, there }] of [...classes].sort(([a], [b]) => a - b))
    sum += (2 * right) / (decided + there)
  return sum / classes.size
}

/** Share of right decisions. */
export const accuracy = (outputs: Values, targets: Values): Promise<number> => accuracyAt(outputs, targets, 0)

/** Unweighted mean of the classes' F1. */
export const macroF1 = (outputs: Values, targets: Values): Promise<number> => macroF1At(outputs, targets, 0)

/**
 * `accuracy` or `macro_f1` as a metric of one's own with another threshold, for models whose one output a sample is a probability:
 * `metrics: { accuracy_at_half: atThreshold('accuracy', 0.5) }`. An output above the threshold is class 1.
 */
export function atThreshold(metric: 'accuracy' | 'macro_f1', threshold: number): MetricFunction {
  const compute = metric === 'accuracy' ? accuracyAt : macroF1At
  return { mode: 'max', compute: (outputs, targets) => compute(outputs, targets, threshold) }
}

/** Scores one class against the rest: `isClass` holds 1 for its samples and 0 for others. */
type BinaryScore = (scores: Float64Array, isClass: Float64Array) => Promise<number>

/** Of one output a sample, its score; of two, that of class 1; of more, the mean over the classes, each against the rest. */
function oneVersusRest(score: BinaryScore): (outputs: Values, targets: Values) => Promise<number> {
  return async (outputs, targets) => {
    const classes = classesOf(outputs)
    const rows = await rowsOf(outputs, targets, classes)
    const top = Math.max(1, classes - 1)
    if (
      rows === null ||
      rows.some((row) => !((targets.data[row] as number) >= 0 && (targets.data[row] as number) <= top))
    )
      return NaN
    const scores = await classScores(outputs.data, rows, classes)
    let sum = 0
    for (const [index, column] of scores.entries()) {
      const label = scores.length === 1 ? 1 : index
      const isClass = new Float64Array(rows.length)
      await inBlocks(rows.length, (from, to) => {
        for (let at = from; at < to; at++) isClass[at] = Number(targets.data[rows[at] as number] === label)
      })
      sum += await score(column, isClass)
    }
    return sum / scores.length
  }
}

/** A column of scores a class; a single one, of class 1, where there are two classes or one output. */
async function classScores(data: Float64Array, rows: Uint32Array, classes: number): Promise<Float64Array[]> {
  const columns = Array.from({ length: classes > 2 ? classes : 1 }, () => new Float64Array(rows.length))
  const asTheyAre = classes === 1 || (await areProbabilities(data, rows, classes))
  await inBlocks(rows.length, (from, to) => {
    for (let at = from; at < to; at++) {
      const start = (rows[at] as number) * classes
      if (classes === 1) (columns[0] as Float64Array)[at] = data[start] as number
      else if (classes === 2)
        (columns[0] as Float64Array)[at] = (data[start + 1] as number) - (asTheyAre ? 0 : (data[start] as number))
      else if (asTheyAre) columns.forEach((column, index) => (column[at] = data[start + index] as number))
      else softmax(data, start, columns, at)
    }
  })
  return columns
}

/** Whether every sample's outputs lie from 0 to 1 and sum to 1, up to the rounding of float32: then they are probabilities, else logits. */
async function areProbabilities(data: Float64Array, rows: Uint32Array, classes: number): Promise<boolean> {
  let all = true
  await inBlocks(rows.length, (from, to) => {
    for (let at = from; at < to && all; at++) {
      const start = (rows[at] as number) * classes
      let sum = 0
      for (let index = start; index < start + classes; index++) {
        const value = data[index] as number
        if (value < 0 || value > 1) all = false
        sum += value
      }
      if (Math.abs(sum - 1) > 1e-4) all = false
    }
  })
  return all
}

/** Writes the probabilities of one sample into row `at` of the columns. */
function softmax(data: Float64Array, start: number, columns: readonly Float64Array[], at: number): void {
  let largest = -Infinity
  for (let index = 0; index < columns.length; index++) largest = Math.max(largest, data[start + index] as number)
  let sum = 0
  for (const [index, column] of columns.entries())
    sum += column[at] = Math.exp((data[start + index] as number) - largest)
  for (const column of columns) column[at] = (column[at] as number) / sum
}

/** Area under the ROC curve: the share of pairs of a sample of the class and one of the rest that the scores order rightly, ties half. NaN without either. */
export const auroc = oneVersusRest(concordance)

/** Area under the precision-recall curve as average precision: each step of recall times the precision there. NaN without a sample of the class. */
export const aupr = oneVersusRest(async (scores, isClass) => {
  const order = await ascending(scores)
  let [hits, taken, hitsBefore, sum] = [0, 0, 0, 0]
  for (let at = order.length - 1; at >= 0; at--) {
    const sample = order[at] as number
    taken++
    hits += isClass[sample] as number
    // Equal scores enter together: between them there is no threshold.
    if (at > 0 && scores[order[at - 1] as number] === scores[sample]) continue
    sum += (hits - hitsBefore) * (hits / taken)
    hitsBefore = hits
    if (taken % blockSize === 0) await letOthersRun()
  }
  return sum / hits
})
