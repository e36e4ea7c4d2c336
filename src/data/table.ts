/** A table: a CSV file with the files that it looks up, read into columns. */
import type { Tensor } from '../../lib/index.js'
import { tensor } from '../../lib/index.js'
import { CategoryColumn } from './category-column.js'
import type { Column } from './column.js'
import { Lookup } from './lookup.js'
import type { ColumnRecipe, LookupRecipe } from './recipe.js'
import type { Part } from './table-dataset.js'
import { type FieldTaker, readTableFile, type TableFile } from './table-file.js'
import { resolvePath } from './table-recipe.js'

/** What is read of a table. */
export interface TableSource {
  path: string
  delimiter: string | null
  header: boolean
  columns: readonly ColumnRecipe[]
  lookups: readonly LookupRecipe[]
  /** Of the paths of lookups. */
  baseFolder: string
  /** Column that says what a row is for, by its name in the file; null: none does. */
  splitColumn: string | null
  /** Names of columns that the file may lack: targets, where only predictions are wanted. */
  optional: ReadonlySet<string>
  /** Another table over the same looked-up files, which are then not read again. */
  sibling?: Table
}

/** Tensors of columns: those of a looked-up file are shared by the tables that refer to it. */
type Compacts = Map<Column, Tensor>

/** A column, and the rows of it that rows of the table refer to: null where they are the same. */
interface PlacedColumn {
  column: Column
  rows: Int32Array | null
}

export class Table {
  readonly #compacts: Compacts
  readonly #rows = new Map<Int32Array, Tensor>()
  readonly #columns = new Map<string, PlacedColumn>()

  /** @param lookups in the order of the recipe's. */
  private constructor(
    readonly file: TableFile,
    readonly lookups: readonly Lookup[],
    /** The values of the splitting column. */
    readonly parts: CategoryColumn | null,
    compacts: Compacts,
  ) {
    this.#compacts = compacts
    for (const column of inFileOrder(file)) this.#columns.set(column.recipe.name, { column, rows: null })
    for (const { file: other, rows } of lookups)
      for (const column of inFileOrder(other)) this.#columns.set(column.recipe.name, { column, rows })
  }

  static async read(source: TableSource): Promise<Table> {
    const { path, sibling, baseFolder, splitColumn } = source
    const lookups: Lookup[] = []
    for (const [index, recipe] of source.lookups.entries())
      lookups.push(
        sibling?.lookups[index]?.of(path) ?? (await Lookup.open(resolvePath(baseFolder, recipe.file), recipe, path)),
      )
    const takers = new Map<string, FieldTaker[]>()
    const add = (column: string, take: FieldTaker): void =>
      void takers.set(column, [...(takers.get(column) ?? []), take])
    for (const lookup of lookups) add(lookup.recipe.by, (text, line) => lookup.take(text, line))
    const parts = splitColumn === null ? null : partColumn(splitColumn, path)
    if (splitColumn !== null && parts !== null) add(splitColumn, (text, line) => parts.add(text, line))
    const file = await readTableFile(path, source, { takers, optional: source.optional })
    for (const lookup of lookups) lookup.finish()
    parts?.finish()
    const compacts: Compacts = sibling === undefined ? new Map<Column, Tensor>() : sibling.#compacts
    return new Table(file, lookups, parts, compacts)
  }

  /** Every column by name, in the order of the files, with the rows of it that rows of this table refer to. */
  columns(): ReadonlyMap<string, PlacedColumn> {
    return this.#columns
  }

  /** Rows that are not left out, in the order of the file. */
  keptRows(): Int32Array {
    const { isDropped, rows } = this.file
    return Int32Array.from({ length: rows }, (_, row) => row).filter((row) => isDropped[row] === 0)
  }

  /** Learns what the recipes leave open from these rows. */
  fit(rows: Int32Array): void {
    for (const { column, rows: there } of this.columns().values())
      column.fit(there === null ? rows : rows.map((row) => there[row] ?? 0))
  }

  /** The parts of inputs, each the names of its columns. A column is made into a tensor once, for all splits. */
  inputs(names: readonly (string | readonly string[])[]): Part[][] {
    const columns = this.columns()
    return names.map((input) =>
      [input].flat().map((name): Part => {
        const { column, rows } = columns.get(name) as PlacedColumn
        const compact = made(this.#compacts, column, () => column.compact())
        const there = rows === null ? null : made(this.#rows, rows, () => tensor(BigInt64Array.from(rows, BigInt)))
        return { column, compact, rows: there, as: typeof input === 'string' ? 'alone' : 'joined' }
      }),
    )
  }
}

/** What a map has for a key, made where it has nothing yet. */
function made<Key, Value>(map: Map<Key, Value>, key: Key, make: () => Value): Value {
  const value = map.get(key) ?? make()
  map.set(key, value)
  return value
}

/** The splitting column is read as a category of any values. */
function partColumn(column: string, file: string): CategoryColumn {
  return new CategoryColumn(
    { name: column, column, role: 'category', missing: 'refuse', unknown: false, values: null },
    file,
  )
}

function inFileOrder({ columns, names }: TableFile): Column[] {
  const places = new Map(names.map((name, index) => [name, index]))
  const place = ({ recipe }: Column): number => places.get(recipe.column) as number
  return [...columns.values()].sort((a, b) => place(a) - place(b))
}
