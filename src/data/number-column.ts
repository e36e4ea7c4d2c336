/** A column of numbers: float32, normalised where that is wanted. */
import { type Tensor, tensor } from '../../lib/index.js'
import { TorchkeepError } from '../format/errors.js'
import { type Column, type ColumnPlace, refuseField, type RowNumbers } from './column.js'
import { GrowingArray } from './growing-array.js'
import type { NumberRecipe } from './recipe.js'

/** Decimal numbers as CSV files have them; JavaScript's own conversion would take an empty field, `0x10` and `Infinity` as well. */
const decimal = /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i

export class NumberColumn implements Column<NumberRecipe> {
  recipe: NumberRecipe
  readonly indices = null
  readonly #place: ColumnPlace
  readonly #missingTexts: ReadonlySet<string>
  readonly #growing = new GrowingArray(Float64Array)
  #values = new Float64Array(0)
  #missing = 0
  #isConstant = false

  constructor(recipe: NumberRecipe, file: string) {
    this.recipe = recipe
    this.#place = { file, column: recipe.column }
    this.#missingTexts = new Set(['', ...recipe.missing_values])
  }

  add(text: string, line: number): boolean {
    const trimmed = text.trim()
    if (this.#missingTexts.has(trimmed)) return this.#addMissing(text, line)
    const value = decimal.test(trimmed) ? Number(trimmed) : NaN
    if (!Number.isFinite(Math.fround(value)))
      refuseField(this.#place, line, Number.isNaN(value) ? 'a number' : 'a number that float32 can hold', text)
    this.#growing.push(value)
    return true
  }

  finish(): void {
    this.#values = this.#growing.release()
  }

  fit(rows: RowNumbers): void {
    const { normalize, missing, scale } = this.recipe
    if (scale !== null) return
    const found = summary(this.#values, rows)
    if (found.count === 0 && (normalize !== null || missing === 'mean'))
      throw new TorchkeepError(
        'ERR_DATA',
        `${this.#place.file}: column '${this.#place.column}' has no number in the training rows, so nothing can be learned from it`,
      )
    const fill = missing === 'mean' ? found.mean : missing === 'zero' ? 0 : null
    // The empty fields count as what they are filled with.
    const { mean, std, min, max } = fill === null ? found : summary(this.#values, rows, fill)
    const [shift, spread] = normalize === 'mean_std' ? [mean, std] : normalize === 'min_max' ? [min, max - min] : [0, 1]
    this.recipe = { ...this.recipe, shift, scale: spread === 0 ? 1 : spread, fill }
    if (spread === 0) this.#isConstant = true
  }

  adopt(recipe: NumberRecipe): void {
    this.recipe = recipe
    this.fit([])
  }

  report(): string[] {
    const { name, missing, normalize, fill } = this.recipe
    const sentences: string[] = []
    if (this.#missing > 0 && missing !== 'drop')
      sentences.push(`column '${name}': ${this.#missing} empty fields were filled with ${fill}`)
    if (this.#isConstant)
      sentences.push(`column '${name}': all training rows have the same value, so ${normalize} only shifts it`)
    return sentences
  }

  compact(): Tensor {
    const shift = this.recipe.shift ?? 0
    const scale = this.recipe.scale ?? 1
    const fill = this.recipe.fill ?? NaN
    const values = new Float32Array(this.#values.length)
    for (let row = 0; row < values.length; row++) {
      const value = this.#values[row] as number
      values[row] = ((Number.isNaN(value) ? fill : value) - shift) / scale
    }
    this.#values = new Float64Array(0)
    return tensor(values).reshape([values.length, 1])
  }

  expand(rows: Tensor): Tensor {
    return rows
  }

  width(): number {
    return 1
  }

  #addMissing(text: string, line: number): boolean {
    const { missing } = this.recipe
    if (missing === 'refuse')
      refuseField(this.#place, line, 'a number', text, ['missing: mean, zero or drop says what an empty field means'])
    this.#missing++
    this.#growing.push(NaN)
    return missing !== 'drop'
  }
}

/** Of the numbers in these rows, summed in order; NaN counts as `fill`, or not at all. */
function summary(values: Float64Array, rows: RowNumbers, fill: number | null = null) {
  let [count, sum, min, max] = [0, 0, Infinity, -Infinity]
  for (const row of rows) {
    const value = filled(values[row], fill)
    if (value === null) continue
    count++
    sum += value
    if (value < min) min = value
    if (value > max) max = value
  }
  const mean = sum / count
  let squares = 0
  for (const row of rows) {
    const value = filled(values[row], fill)
    if (value !== null) squares += (value - mean) * (value - mean)
  }
  return { count, mean, std: Math.sqrt(squares / count), min, max }
}

function filled(value: number | undefined, fill: number | null): number | null {
  return value === undefined || Number.isNaN(value) ? fill : value
}
