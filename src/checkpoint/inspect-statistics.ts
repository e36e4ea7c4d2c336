/** Figures of a tensor's values, in constant memory. */
import { readDequantized, readElements } from '../format/elements.js'
import { TorchkeepError } from '../format/errors.js'
import type { TorchFile } from '../format/read.js'
import { QuantizedTensorRecord, type AnyTensorRecord } from '../format/tensor-record.js'
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

/** Reads the values twice: once for the figures, once for the histogram, whose ends the first reading finds. Null for tensors without values (meta). */
export async function tensorStatistics(
  file: TorchFile,
  record: AnyTensorRecord,
  signal?: AbortSignal,
): Promise<TensorStatistics | null> {
  const values = valuesOf(file, record)
  if (values === null) return null
  const sum = new CompensatedSum()
  const result = { count: 0, zeros: 0, nan: 0, positiveInfinite: 0, negativeInfinite: 0 }
  let [min, max] = [Infinity, -Infinity]
  for await (const chunk of values(true)) {
    stopIfAborted(signal)
    result.count += chunk.length
    for (const value of chunk) {
      if (Number.isFinite(value)) {
        if (value < min) min = value
        if (value > max) max = value
        if (value === 0) result.zeros++
        sum.add(value)
      } else if (value === Infinity) result.positiveInfinite++
      else if (value === -Infinity) result.negativeInfinite++
      else result.nan++
    }
  }
  const finite = result.count - result.nan - result.positiveInfinite - result.negativeInfinite
  if (finite === 0) return { ...result, min: null, max: null, mean: null, std: null, histogram: [] }
  const mean = sum.value / finite
  const squares = new CompensatedSum()
  const histogram = new Array<number>(histogramParts).fill(0)
  // Halved, since the span itself may be too large for a double.
  const half = max / 2 - min / 2
  for await (const chunk of values(false)) {
    stopIfAborted(signal)
    for (const value of chunk) {
      if (!Number.isFinite(value)) continue
      squares.add((value - mean) ** 2)
      const part = half === 0 ? 0 : Math.floor(((value / 2 - min / 2) / half) * histogramParts)
      histogram[Math.min(part, histogramParts - 1)]!++
    }
  }
  return { ...result, min, max, mean, std: Math.sqrt(squares.value / finite), histogram }
}

/** A reader of the values; the first reading also checks the CRC-32. */
function valuesOf(
  file: TorchFile,
  record: AnyTensorRecord,
): ((checkCrc: boolean) => AsyncIterable<Float64Array>) | null {
  if (record instanceof QuantizedTensorRecord) return (checkCrc) => readDequantized(file, record, { checkCrc })
  // Of a sparse tensor the values come last, of a nested one the buffer comes first.
  const part = record.kind === 'sparse' ? strided(record).at(-1) : strided(record)[0]
  return part === undefined ? null : (checkCrc) => readElements(file, part, { checkCrc })
}

function stopIfAborted(signal: AbortSignal | undefined): void {
  if (signal?.aborted === true) throw new TorchkeepError('ERR_ABORTED', 'the statistics were stopped')
}

/** Neumaier's sum: its error does not grow with the number of values. */
class CompensatedSum {
  #sum = 0
  #lost = 0

  add(value: number): void {
    const next = this.#sum + value
    this.#lost += Math.abs(this.#sum) >= Math.abs(value) ? this.#sum - next + value : value - next + this.#sum
    this.#sum = next
  }

  get value(): number {
    return this.#sum + this.#lost
  }
}
