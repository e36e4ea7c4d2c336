/** Figures of a tensor's values, in constant memory. */
import { readDequantized, readElements } from '../format/elements.js'
import { TorchkeepError } from '../format/errors.js'
import type { TorchFile } from '../format/read.js'
import {
  elementCount,
  QuantizedTensorRecord,
  type AnyTensorRecord,
  type TensorRecord,
} from '../format/tensor-record.js'
import { strided } from '../format/walk.js'

/** Figures of the values. Complex numbers count as two values each, quantized ones as what they stand for, sparse ones as the values that are stored. */
export interface TensorStatistics {
  count: number
  /** Smallest finite value; null without any. */
  min: number | null
  max: number | null
  /** Of the finite values, summed in double precision with compensation. */
  mean: number | null
  /** Root of the mean squared distance from the mean (not Bessel's), of the finite values. */
  std: number | null
  zeros: number
  nan: number
  positiveInfinite: number
  negativeInfinite: number
  /** How many finite values fall into each of equal parts of [min, max]; empty where min and max are null. */
  histogram: number[]
}

const histogramParts = 16

/** How {@link tensorStatistics} reports and stops. */
export interface StatisticsOptions {
  signal?: AbortSignal
  /** Part of the work that is done, from 0 to 1. */
  onProgress?: (done: number) => void
}

/** Reads the values twice: once for the figures, once for the histogram, whose ends the first reading finds. Null for tensors without values (meta). */
export async function tensorStatistics(
  file: TorchFile,
  record: AnyTensorRecord,
  options: StatisticsOptions = {},
): Promise<TensorStatistics | null> {
  const parts = valueParts(record)
  if (parts.length === 0) return null
  const total = Math.max(1, parts.reduce((sum, { sizes }) => sum + elementCount(sizes), 0) * 2)
  let done = 0
  const values = async function* (checkCrc: boolean): AsyncGenerator<Float64Array> {
    for (const part of parts) {
      const chunks =
        record instanceof QuantizedTensorRecord
          ? readDequantized(file, record, { checkCrc })
          : readElements(file, part, { checkCrc })
      for await (const chunk of chunks) {
        if (options.signal?.aborted === true) throw new TorchkeepError('ERR_ABORTED', 'the statistics were stopped')
        yield chunk
        options.onProgress?.(Math.min(1, (done += chunk.length) / total))
      }
    }
  }
  const figures = new Figures()
  for await (const chunk of values(true)) figures.see(chunk)
  const { count, zeros, nan, positiveInfinite, negativeInfinite, finite, min, max } = figures
  const counts = { count, zeros, nan, positiveInfinite, negativeInfinite }
  if (finite === 0) return { ...counts, min: null, max: null, mean: null, std: null, histogram: [] }
  const spread = new Spread(figures.mean, min, max)
  for await (const chunk of values(false)) spread.see(chunk)
  return {
    ...counts,
    min,
    max,
    mean: figures.mean,
    std: Math.sqrt(spread.squares / finite),
    histogram: spread.histogram,
  }
}

/** The strided tensors that hold the values: of a tensor in chunks all, of a sparse tensor the last part, of the others the first. */
function valueParts(record: AnyTensorRecord): readonly TensorRecord[] {
  const parts = strided(record)
  if (record.kind === 'chunked') return parts
  return record.kind === 'sparse' ? parts.slice(-1) : parts.slice(0, 1)
}

/** What one reading tells. Sums are Neumaier's, so that their error does not grow with the number of values; the loops are plain for speed. */
class Figures {
  count = 0
  zeros = 0
  nan = 0
  positiveInfinite = 0
  negativeInfinite = 0
  min = Infinity
  max = -Infinity
  #sum = 0
  #lost = 0

  get finite(): number {
    return this.count - this.nan - this.positiveInfinite - this.negativeInfinite
  }

  get mean(): number {
    return (this.#sum + this.#lost) / this.finite
  }

  see(values: Float64Array): void {
    let [sum, lost, min, max, zeros] = [this.#sum, this.#lost, this.min, this.max, 0]
    for (let index = 0; index < values.length; index++) {
      const value = values[index] as number
      if (value - value !== 0) {
        this.#seeNonFinite(value)
        continue
      }
      if (value < min) min = value
      if (value > max) max = value
      if (value === 0) zeros++
      const next = sum + value
      lost += Math.abs(sum) >= Math.abs(value) ? sum - next + value : value - next + sum
      sum = next
    }
    this.count += values.length
    this.zeros += zeros
    this.#sum = sum
    this.#lost = lost
    this.min = min
    this.max = max
  }

  #seeNonFinite(value: number): void {
    if (value === Infinity) this.positiveInfinite++
    else if (value === -Infinity) this.negativeInfinite++
    else this.nan++
  }
}

/** What a second reading tells once mean and ends are known. */
class Spread {
  readonly histogram = new Array<number>(histogramParts).fill(0)
  squares = 0
  readonly #mean: number
  readonly #min: number
  /** Half of the span: the span itself may be too large for a double. */
  readonly #half: number

  constructor(mean: number, min: number, max: number) {
    this.#mean = mean
    this.#min = min
    this.#half = max / 2 - min / 2
  }

  see(values: Float64Array): void {
    const [mean, halfMin, half] = [this.#mean, this.#min / 2, this.#half]
    let squares = 0 // a sum of one piece after the other keeps the error small
    for (let index = 0; index < values.length; index++) {
      const value = values[index] as number
      if (value - value !== 0) continue
      squares += (value - mean) * (value - mean)
      const part = half === 0 ? 0 : Math.floor(((value / 2 - halfMin) / half) * histogramParts)
      this.histogram[part < histogramParts ? part : histogramParts - 1]!++
    }
    this.squares += squares
  }
}
