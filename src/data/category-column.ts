/** A column of names: indices of a vocabulary. */
import { callTensor, type Tensor, tensor } from '../../lib/index.js'
import { TorchkeepError } from '../format/errors.js'
import { nearNames } from '../format/near-names.js'
import { type Column, type ColumnPlace, refuseField, type RowNumbers } from './column.js'
import { shortList } from './csv-file.js'
import { GrowingArray } from './growing-array.js'
import type { CategoryRecipe } from './recipe.js'

/** Of an empty field. */
const missingCode = -1

export class CategoryColumn implements Column<CategoryRecipe> {
  recipe: CategoryRecipe
  readonly #place: ColumnPlace
  /** Values by when they were first met: their codes, and the lines. */
  readonly #met = new Map<string, { code: number; line: number }>()
  readonly #growing = new GrowingArray(Int32Array)
  #codes = new Int32Array(0)
  #indices = new Map<string, number>()
  #names: string[] | null = null

  constructor(recipe: CategoryRecipe, file: string) {
    this.recipe = recipe
    this.#place = { file, column: recipe.column }
  }

  get indices(): number {
    const { values, unknown } = this.recipe
    return (values?.length ?? 0) + (unknown ? 1 : 0)
  }

  add(text: string, line: number): boolean {
    const { missing } = this.recipe
    if (text === '') {
      if (missing === 'refuse')
        refuseField(this.#place, line, 'a value', text, ['missing: unknown or drop says what an empty field means'])
      this.#growing.push(missingCode)
      return missing !== 'drop'
    }
    let entry = this.#met.get(text)
    if (entry === undefined) this.#met.set(text, (entry = { code: this.#met.size, line }))
    this.#growing.push(entry.code)
    return true
  }

  finish(): void {
    this.#codes = this.#growing.release()
  }

  /** The value in a row, or an empty text. */
  value(row: number): string {
    this.#names ??= [...this.#met.keys()]
    return this.#names[this.#codes[row] ?? missingCode] ?? ''
  }

  fit(rows: RowNumbers): void {
    if (this.recipe.values === null) {
      const present = new Set<number>()
      for (const row of rows) present.add(this.#codes[row] ?? missingCode)
      const values = [...this.#met].filter(([, { code }]) => present.has(code)).map(([value]) => value)
      this.recipe = { ...this.recipe, values: values.sort(byCodePoint) }
    }
    this.#indices = new Map((this.recipe.values ?? []).map((value, index) => [value, index]))
  }

  adopt(recipe: CategoryRecipe): void {
    this.recipe = recipe
    this.fit([])
  }

  report(): string[] {
    const { name, unknown, values } = this.recipe
    const strange = [...this.#met.keys()].filter((value) => !this.#indices.has(value))
    if (!unknown || strange.length === 0) return []
    return [
      `column '${name}': ${strange.length} values are not among its ${values?.length ?? 0}, and have the index of the unknown`,
    ]
  }

  compact(): Tensor {
    const { values, unknown } = this.recipe
    const unknownIndex = values?.length ?? 0
    const ofCode = Int32Array.from(this.#met, ([value]) => this.#indices.get(value) ?? (unknown ? unknownIndex : -1))
    const used = new Set(this.#codes)
    const strange = [...this.#met].find(([, { code }]) => ofCode[code] === -1 && used.has(code))
    if (strange !== undefined) this.#refuseStrange(...strange)
    return tensor(this.#codes.map((code) => (code === missingCode ? unknownIndex : (ofCode[code] ?? unknownIndex))))
  }

  expand(rows: Tensor, as: 'alone' | 'joined'): Tensor {
    const indices = rows.to('int64')
    return as === 'alone' ? indices : callTensor('one_hot', [indices, this.indices]).to('float32')
  }

  width(as: 'alone' | 'joined'): number | null {
    return as === 'alone' ? null : this.indices
  }

  #refuseStrange(value: string, { line }: { line: number }): never {
    const { file, column } = this.#place
    const values = this.recipe.values ?? []
    const near = values.length <= 5 ? [] : nearNames(value, values)
    const known = near.length > 0 ? `near: ${near.join(', ')}` : shortList(values)
    throw new TorchkeepError(
      'ERR_DATA',
      `${file}: line ${line}: column '${column}' has the value ${JSON.stringify(value)}, which is not among the ${values.length} known ones (${known})`,
      { suggestions: ['unknown: true gives values that no training row has an index of their own'] },
    )
  }
}

/** As Python's `sorted`: JavaScript compares UTF-16 units, which order otherwise beyond U+FFFF. */
export function byCodePoint(a: string, b: string): number {
  return Buffer.compare(Buffer.from(a), Buffer.from(b))
}
