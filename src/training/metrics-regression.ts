/** Metrics of numbers against numbers. Several numbers a sample are scored position by position; the metric is the mean of the scores, scikit-learn's `uniform_average`. */
import { inBlocks } from './event-loop.js'
import type { Values } from './metrics.js'

/** Scores one position of all samples. */
export type ColumnScore = (outputs: Float64Array, targets: Float64Array) => Promise<number>

/** A metric of one shape `[samples, ...]` for outputs and targets: the mean over the positions of a sample. */
export function perColumn(score: ColumnScore): (outputs: Values, targets: Values) => Promise<number> {
  return async (outputs, targets) => {
    const samples = targets.shape[0] ?? 0
    const columns = targets.shape.slice(1).reduce((product, size) => product * size, 1)
    if (samples === 0 || columns === 0) return NaN
    let sum = 0
    for (let column = 0; column < columns; column++)
      sum += await score(await columnOf(outputs.data, column, columns), await columnOf(targets.data, column, columns))
    return sum / columns
  }
}

/** Values of one position of all samples. */
export async function columnOf(data: Float64Array, column: number, columns: number): Promise<Float64Array> {
  if (columns === 1) return data
  const values = new Float64Array(data.length / columns)
  await inBlocks(values.length, (from, to) => {
    for (let row = from; row < to; row++) values[row] = data[row * columns + column] as number
  })
  return values
}

/** Sum over 0 to `count` with what rounding lost added again at the end (Neumaier), so that it is good to the last bits however many are added. */
async function sumOf(count: number, term: (index: number) => number): Promise<number> {
  let sum = 0
  let lost = 0
  await inBlocks(count, (from, to) => {
    for (let index = from; index < to; index++) {
      const value = term(index)
      const next = sum + value
      lost += Math.abs(sum) >= Math.abs(value) ? sum - next + value : value - next + sum
      sum = next
    }
  })
  return Number.isFinite(sum) ? sum + lost : sum
}

const at = (values: Float64Array, index: number): number => values[index] as number

const meanSquare: ColumnScore = async (outputs, targets) =>
  (await sumOf(targets.length, (row) => (at(targets, row) - at(outputs, row)) ** 2)) / targets.length

/** Mean squared error. */
export const mse = perColumn(meanSquare)

/** Root of the mean squared error of each position, then their mean. */
export const rmse = perColumn(async (outputs, targets) => Math.sqrt(await meanSquare(outputs, targets)))

/** Mean absolute error. */
export const mae = perColumn(
  async (outputs, targets) =>
    (await sumOf(targets.length, (row) => Math.abs(at(targets, row) - at(outputs, row)))) / targets.length,
)

/** Coefficient of determination; NaN for fewer than two samples or constant targets. */
export const r2 = perColumn(async (outputs, targets) => {
  if (await isConstant(targets)) return NaN
  const mean = (await sumOf(targets.length, (row) => at(targets, row))) / targets.length
  const residual = await sumOf(targets.length, (row) => (at(targets, row) - at(outputs, row)) ** 2)
  const total = await sumOf(targets.length, (row) => (at(targets, row) - mean) ** 2)
  return 1 - residual / total
})

/** Pearson's correlation; NaN for fewer than two samples or where one side is constant. */
export const pearson = perColumn(correlation)

/** Pearson's r of two columns. */
export async function correlation(left: Float64Array, right: Float64Array): Promise<number> {
  if ((await isConstant(left)) || (await isConstant(right))) return NaN
  const [x, y] = [await standardized(left), await standardized(right)]
  if (left.length === 2) return Math.sign(at(x, 1) - at(x, 0)) * Math.sign(at(y, 1) - at(y, 0))
  const r = await sumOf(x.length, (row) => at(x, row) * at(y, row))
  return Math.max(-1, Math.min(1, r))
}

/** Less its mean and of length 1; scaled by the largest value before it is squared, so that large and tiny values neither overflow nor vanish, as in scipy. */
async function standardized(values: Float64Array): Promise<Float64Array> {
  const mean = (await sumOf(values.length, (row) => at(values, row))) / values.length
  const centred = new Float64Array(values.length)
  let largest = 0
  await inBlocks(values.length, (from, to) => {
    for (let row = from; row < to; row++) {
      centred[row] = at(values, row) - mean
      largest = Math.max(largest, Math.abs(at(centred, row)))
    }
  })
  const norm = largest * Math.sqrt(await sumOf(values.length, (row) => (at(centred, row) / largest) ** 2))
  await inBlocks(values.length, (from, to) => {
    for (let row = from; row < to; row++) centred[row] = at(centred, row) / norm
  })
  return centred
}

/** Told by the values themselves: the rounded mean of equal values may differ from them, and a correlation of that is noise. */
async function isConstant(values: Float64Array): Promise<boolean> {
  let constant = true
  const first = values[0]
  await inBlocks(values.length, (from, to) => {
    for (let row = from; row < to && constant; row++) constant = values[row] === first
  })
  return constant
}
