/** Metrics of the order that outputs bring the samples into. Infinite values have their place in it; a NaN has none, so it makes the metric NaN. */
import { blockSize, inBlocks, letOthersRun } from './event-loop.js'
import { correlation, perColumn } from './metrics-regression.js'

/** Values and where each stood before. */
interface Sorted {
  values: Float64Array
  indices: Uint32Array
}

/** Indices that bring `values` (no NaN among them) into ascending order, equal ones in their own: a merge sort that lets the event loop turn, which `sort()` does not. */
export async function ascending(values: Float64Array): Promise<Uint32Array> {
  const count = values.length
  // The values move with their indices: looking each up by its index would be a cache miss.
  let from: Sorted = { values: values.slice(), indices: new Uint32Array(count) }
  let to: Sorted = { values: new Float64Array(count), indices: new Uint32Array(count) }
  for (let index = 0; index < count; index++) from.indices[index] = index
  for (let width = 1; width < count; width *= 2) {
    const runs = new Runs(from, to, width)
    await inBlocks(count, (_, until) => runs.merge(until))
    ;[from, to] = [to, from]
  }
  return from.indices
}

/** One pass of the sort: neighbouring runs of `width` become runs of twice that. Goes on where it was left. */
class Runs {
  #at = 0
  #left = 0
  #right: number

  constructor(
    readonly from: Sorted,
    readonly to: Sorted,
    readonly width: number,
  ) {
    this.#right = width
  }

  /** Fills places up to `until`. */
  merge(until: number): void {
    const { width } = this
    while (this.#at < until) {
      const start = Math.floor(this.#at / (2 * width)) * 2 * width
      if (this.#at === start) [this.#left, this.#right] = [start, start + width]
      const end = Math.min(start + 2 * width, this.from.indices.length)
      this.#mergeTo(Math.min(end, until), start + width, end)
    }
  }

  #mergeTo(until: number, middle: number, end: number): void {
    const { from, to } = this
    let [at, left, right] = [this.#at, this.#left, this.#right]
    for (; at < until; at++) {
      const takesLeft =
        right >= end || (left < middle && (from.values[left] as number) <= (from.values[right] as number))
      const source = takesLeft ? left++ : right++
      to.values[at] = from.values[source] as number
      to.indices[at] = from.indices[source] as number
    }
    ;[this.#at, this.#left, this.#right] = [at, left, right]
  }
}

/** For each run of equal values in ascending order, its first and last place (excluded) in `order`. */
function* ties(values: Float64Array, order: Uint32Array): Generator<readonly [from: number, to: number]> {
  let from = 0
  for (let to = 1; to <= order.length; to++) {
    if (to < order.length && values[order[to] as number] === values[order[from] as number]) continue
    yield [from, to]
    from = to
  }
}

async function hasNan(values: Float64Array): Promise<boolean> {
  let found = false
  await inBlocks(values.length, (from, to) => {
    for (let index = from; index < to; index++) if (Number.isNaN(values[index])) found = true
  })
  return found
}

/** Ranks from 1; equal values share the mean of theirs, as with `scipy.stats.rankdata`. */
async function averageRanks(values: Float64Array): Promise<Float64Array> {
  const order = await ascending(values)
  const ranks = new Float64Array(values.length)
  let next = blockSize
  for (const [from, to] of ties(values, order)) {
    for (let at = from; at < to; at++) ranks[order[at] as number] = (from + 1 + to) / 2
    if (to >= next) {
      await letOthersRun()
      next = to + blockSize
    }
  }
  return ranks
}

/** Spearman's correlation: Pearson's of the ranks; NaN for fewer than two samples or where one side is constant. */
export const spearman = perColumn(async (outputs, targets) => {
  if ((await hasNan(outputs)) || (await hasNan(targets))) return NaN
  return correlation(await averageRanks(outputs), await averageRanks(targets))
})

/**
 * Of all pairs of samples with different targets, the share whose outputs are in the same order; equal outputs count half. NaN where all targets are equal.
 */
export async function concordance(outputs: Float64Array, targets: Float64Array): Promise<number> {
  if ((await hasNan(outputs)) || (await hasNan(targets))) return NaN
  const ranks = await denseRanks(outputs)
  const order = await ascending(targets)
  const seen = new RankCounts(ranks.distinct)
  let [concordant, tied, pairs, next] = [0, 0, 0, blockSize]
  // Samples by ascending target: each is compared with those of smaller targets, so a group of equal ones is counted before it is added.
  for (const [from, to] of ties(targets, order)) {
    for (let at = from; at < to; at++) {
      const rank = ranks.of[order[at] as number] as number
      concordant += seen.below(rank)
      tied += seen.at(rank)
      pairs += from
      if (at >= next) {
        await letOthersRun()
        next = at + blockSize
      }
    }
    await inBlocks(to - from, (first, last) => {
      for (let at = from + first; at < from + last; at++) seen.add(ranks.of[order[at] as number] as number)
    })
  }
  return pairs === 0 ? NaN : (concordant + tied / 2) / pairs
}

/** The concordance index (C-index). */
export const concordanceIndex = perColumn(concordance)

/** Ranks from 0 in which equal values are one. */
async function denseRanks(values: Float64Array): Promise<{ of: Uint32Array; distinct: number }> {
  const order = await ascending(values)
  const of = new Uint32Array(values.length)
  let [distinct, next] = [0, blockSize]
  for (const [from, to] of ties(values, order)) {
    for (let at = from; at < to; at++) of[order[at] as number] = distinct
    distinct++
    if (to >= next) {
      await letOthersRun()
      next = to + blockSize
    }
  }
  return { of, distinct }
}

/** How many samples of each rank were added (a Fenwick tree: both questions take the logarithm of the number of ranks). */
class RankCounts {
  readonly #tree: Uint32Array
  readonly #counts: Uint32Array

  constructor(ranks: number) {
    this.#tree = new Uint32Array(ranks + 1)
    this.#counts = new Uint32Array(ranks)
  }

  add(rank: number): void {
    this.#counts[rank] = this.at(rank) + 1
    for (let node = rank + 1; node < this.#tree.length; node += node & -node)
      this.#tree[node] = (this.#tree[node] as number) + 1
  }

  at(rank: number): number {
    return this.#counts[rank] as number
  }

  /** Samples of smaller ranks. */
  below(rank: number): number {
    let sum = 0
    for (let node = rank; node > 0; node -= node & -node) sum += this.#tree[node] as number
    return sum
  }
}
