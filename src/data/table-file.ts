/** One CSV file, read into columns. */
import { TorchkeepError } from '../format/errors.js'
import { nearNames } from '../format/near-names.js'
import { CategoryColumn } from './category-column.js'
import type { Column } from './column.js'
import { type CsvOptions, readCsv, shortList } from './csv-file.js'
import { NumberColumn } from './number-column.js'
import type { ColumnRecipe, FileRecipe } from './recipe.js'
import { TextColumn } from './text-column.js'

/** Takes the field of a column in the next row. False: the row is to be left out. */
export type FieldTaker = (text: string, line: number) => boolean

/** A file that has been read. */
export interface TableFile {
  path: string
  /** Rows, those left out included. */
  rows: number
  emptyLines: number
  /** Whether each row is to be left out, since a field that may not be empty is. */
  isDropped: Uint8Array
  /** By their names in the description; those of an optional column that the file lacks are not there. */
  columns: ReadonlyMap<string, Column>
  /** All names in the file, in order. */
  names: readonly string[]
}

/** A column of this recipe that takes fields of a file. */
export function columnOf(recipe: ColumnRecipe, file: string): Column {
  if (recipe.role === 'number') return new NumberColumn(recipe, file)
  return recipe.role === 'category' ? new CategoryColumn(recipe, file) : new TextColumn(recipe, file)
}

/**
 * Reads the columns of a recipe from a file.
 *
 * @param takers what takes the fields of further columns, by their names in the file.
 * @param optional names in the description of columns that the file may lack.
 * @throws TorchkeepError `ERR_DATA` for what {@link readCsv} and the columns refuse, and for columns that the file lacks, with those that it has.
 */
export async function readTableFile(
  path: string,
  recipe: FileRecipe,
  {
    takers = new Map(),
    optional = new Set(),
  }: { takers?: ReadonlyMap<string, FieldTaker[]>; optional?: ReadonlySet<string> } = {},
): Promise<TableFile> {
  const columns = new Map<string, Column>()
  let names: readonly string[] = []
  let fields: { at: number; take: FieldTaker }[] = []
  const dropped: number[] = []
  const options: CsvOptions = { delimiter: recipe.delimiter ?? undefined, header: recipe.header }
  const counts = await readCsv(path, options, {
    columns(found) {
      names = found
      for (const column of recipe.columns)
        if (found.includes(column.column) || !optional.has(column.name))
          columns.set(column.name, columnOf(column, path))
      const wanted = [...columns.values()].map((column): [string, FieldTaker] => [
        column.recipe.column,
        (text, line) => column.add(text, line),
      ])
      const others = [...takers].flatMap(([name, each]) => each.map((take): [string, FieldTaker] => [name, take]))
      fields = [...wanted, ...others].map(([name, take]) => ({ at: indexOf(found, name, path), take }))
    },
    row(texts, line, row) {
      let isKept = true
      for (const { at, take } of fields) isKept = take(texts[at] ?? '', line) && isKept
      if (!isKept) dropped.push(row)
    },
  })
  for (const column of columns.values()) column.finish()
  const isDropped = new Uint8Array(counts.rows)
  for (const row of dropped) isDropped[row] = 1
  return { path, ...counts, isDropped, columns, names }
}

function indexOf(names: readonly string[], name: string, path: string): number {
  const index = names.indexOf(name)
  if (index !== -1) return index
  const near = nearNames(name, names)
  const suggestions = near.length > 0 ? [`is ${near.map((one) => `'${one}'`).join(' or ')} meant?`] : []
  const other = [';', '\t', '|', ','].find((delimiter) => names.length === 1 && names[0]?.includes(delimiter))
  if (other !== undefined) suggestions.push(`delimiter: ${JSON.stringify(other)} seems to be what separates its fields`)
  throw new TorchkeepError('ERR_DATA', `${path} has no column '${name}'; it has ${shortList(names)}`, { suggestions })
}
