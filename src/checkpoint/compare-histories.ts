/** Compares the histories of two runs: how far they went together, and where they part. */
import type { Tolerance } from './compare-figures.js'
import { compareTrees, type ValueDifference } from './compare-values.js'
import { numberOf } from './metrics.js'
import { historyOf, type TopLevel } from './migrations.js'

/** Two histories, epoch by epoch. Times do not count. */
export interface HistoryComparison {
  /** Rows of each; null where the file has no history. */
  rowsA: number | null
  rowsB: number | null
  /** Rows that are equal from the beginning on. */
  commonRows: number
  /** The first row that both have and that differs; null where one history is the beginning of the other. */
  divergesAt: { row: number; epoch: number | null; phase: number | null; differences: ValueDifference[] } | null
  /** Which one goes on where the other ends; null where neither does. */
  continuedBy: 'a' | 'b' | null
}

export function compareHistories(
  a: TopLevel,
  b: TopLevel,
  ignored: ReadonlySet<string>,
  tolerance: Tolerance | null,
): HistoryComparison {
  const [left, right] = [historyOf(a), historyOf(b)]
  const result: HistoryComparison = {
    rowsA: left?.length ?? null,
    rowsB: right?.length ?? null,
    commonRows: 0,
    divergesAt: null,
    continuedBy: null,
  }
  if (left === undefined || right === undefined) return result
  const shared = Math.min(left.length, right.length)
  for (; result.commonRows < shared; result.commonRows++) {
    const [one, other] = [left[result.commonRows], right[result.commonRows]]
    const { differences } = compareTrees(one, other, { ignored, tolerance })
    if (differences.length === 0) continue
    const [epoch, phase] = ['epoch', 'phase'].map((key) => numberOf(one?.get(key)))
    result.divergesAt = { row: result.commonRows, epoch: epoch ?? null, phase: phase ?? null, differences }
    return result
  }
  if (left.length !== right.length) result.continuedBy = left.length > right.length ? 'a' : 'b'
  return result
}
