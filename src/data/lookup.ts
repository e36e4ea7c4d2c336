/** Columns that lie in another file: which row of it belongs to a row of the table. */
import { TorchkeepError } from '../format/errors.js'
import { nearNames } from '../format/near-names.js'
import { GrowingArray } from './growing-array.js'
import type { LookupRecipe } from './recipe.js'
import { readTableFile, type FieldTaker, type TableFile } from './table-file.js'

export class Lookup {
  readonly #growing = new GrowingArray(Int32Array)
  readonly #rowOf: ReadonlyMap<string, number> | null
  #rows = new Int32Array(0)

  private constructor(
    readonly recipe: LookupRecipe,
    /** The file that is referred to. */
    readonly file: TableFile,
    /** The file that refers. */
    readonly table: string,
    keys: ReadonlyMap<string, number> | null,
  ) {
    this.#rowOf = keys
  }

  /**
   * Reads the file that a table refers to.
   *
   * @throws TorchkeepError `ERR_DATA` for keys that are twice there, and what reading throws.
   */
  static async open(path: string, recipe: LookupRecipe, table: string): Promise<Lookup> {
    const { key } = recipe
    const keys = new Map<string, number>()
    const takeKey: FieldTaker = (text, line) => {
      if (text === '' || keys.has(text))
        throw new TorchkeepError(
          'ERR_DATA',
          `${path}: line ${line}: the key column '${key}' ${text === '' ? 'is empty' : `has ${JSON.stringify(text)} a second time`}`,
        )
      keys.set(text, keys.size)
      return true
    }
    const file = await readTableFile(path, recipe, key === null ? {} : { takers: new Map([[key, [takeKey]]]) })
    return new Lookup(recipe, file, table, key === null ? null : keys)
  }

  /** The same file, for another table. */
  of(table: string): Lookup {
    return new Lookup(this.recipe, this.file, table, this.#rowOf)
  }

  /** Takes the field of the referring column. A row that is to be left out there is left out here. */
  take(text: string, line: number): boolean {
    const row = this.#rowOf === null ? rowNumber(text, this.file.rows) : this.#rowOf.get(text)
    if (row === undefined) this.#refuse(text, line)
    this.#growing.push(row)
    return this.file.isDropped[row] !== 1
  }

  finish(): void {
    this.#rows = this.#growing.release()
  }

  /** The row of the file for each row of the table. */
  get rows(): Int32Array {
    return this.#rows
  }

  #refuse(text: string, line: number): never {
    const { by, key } = this.recipe
    const keys = this.#rowOf
    const expected =
      keys === null
        ? `the number of a row of ${this.file.path}, 0 to ${this.file.rows - 1}`
        : `one of the ${keys.size} values of '${key}' in ${this.file.path}`
    const near = keys === null ? [] : nearNames(text, keys.keys())
    throw new TorchkeepError(
      'ERR_DATA',
      `${this.table}: line ${line}: column '${by}' should be ${expected}, but is ${text === '' ? 'empty' : JSON.stringify(text)}`,
      { suggestions: near.map((one) => `is '${one}' meant?`) },
    )
  }
}

function rowNumber(text: string, rows: number): number | undefined {
  const row = /^\d+$/.test(text) ? Number(text) : NaN
  return row < rows ? row : undefined
}
