/** Other files than those that a run learned from, made into the same tensors: for evaluation and prediction. */
import { DataLoader } from '../../lib/index.js'
import type { Plain } from '../checkpoint/fields.js'
import { TorchkeepError } from '../format/errors.js'
import { reportOfTable } from './csv-data.js'
import { adoptRecipe, recipeOf } from './fitted.js'
import type { OpenedData, TensorDescription } from './open-data.js'
import type { ColumnRecipe } from './recipe.js'
import { Table } from './table.js'
import { TableDataset } from './table-dataset.js'
import { describeInputs, describeTarget, targetInput } from './table-inputs.js'
import { resolvePath } from './table-recipe.js'

export interface RowsOptions {
  /** The CSV file, with the columns of the training file; those of the target may be missing. Relative to the working folder. */
  file: string
  /** Folder that the looked-up files are relative to; default that of `file`. */
  baseFolder?: string
  /** Other files than those of the description, by the column that refers to them. */
  lookupFiles?: Readonly<Record<string, string>>
  batchSize?: number
  /** `ignore` leaves the target columns unread, whatever they hold; default `read`. */
  target?: 'read' | 'ignore'
}

export interface OpenedRows {
  /** All rows, in the order of the file: inputs and then the target; without it where the file has none. */
  data: DataLoader
  hasTarget: boolean
  /** The 0-based row of the file for each sample: some may have been left out, since fields of theirs are empty. */
  rows: Int32Array
  report: readonly string[]
  inputs: readonly TensorDescription[]
  /** Names and classes, for the columns of predictions. */
  target: Pick<OpenedData['target'], 'columns' | 'classes'>
}

/**
 * Opens a CSV file with what a run had learned (`fitted` of {@link openData}).
 *
 * @throws TorchkeepError `ERR_CHECKPOINT_INCOMPATIBLE` where `fitted` is not of CSV data; `ERR_DATA` as {@link openData}, also where the file has some but not all of the target columns.
 */
export async function openRows(fitted: Plain, options: RowsOptions): Promise<OpenedRows> {
  const recipe = recipeOf(fitted)
  const { file, lookupFiles = {}, batchSize = 32 } = options
  const isRead = ({ name }: ColumnRecipe): boolean => options.target !== 'ignore' || !recipe.target.includes(name)
  const path = resolvePath(process.cwd(), file)
  const table = await Table.read({
    path,
    delimiter: recipe.delimiter,
    header: recipe.header,
    columns: recipe.columns.filter(isRead),
    lookups: recipe.lookups.map((lookup) => ({
      ...lookup,
      columns: lookup.columns.filter(isRead),
      file: lookupFiles[lookup.by] ?? lookup.file,
    })),
    baseFolder: options.baseFolder ?? resolvePath(path, '..'),
    splitColumn: null,
    optional: new Set(recipe.target),
  })
  adoptRecipe(recipe, table)
  const present = recipe.target.filter((name) => table.columns().has(name))
  const hasTarget = present.length === recipe.target.length
  if (!hasTarget && present.length > 0)
    throw new TorchkeepError(
      'ERR_DATA',
      `${path} has the target column '${present[0]}', but not ${recipe.target.filter((name) => !present.includes(name)).join(', ')}`,
    )
  const rows = table.keptRows()
  if (rows.length === 0) throw new TorchkeepError('ERR_DATA', `${path} has no rows`)
  const inputs = table.inputs(hasTarget ? [...recipe.inputs, targetInput(recipe.target, table)] : recipe.inputs)
  return {
    data: new DataLoader(new TableDataset(inputs, BigInt64Array.from(rows, BigInt)).settled(), { batchSize }),
    hasTarget,
    rows,
    report: [...reportOfTable(table), ...[...table.columns().values()].flatMap(({ column }) => column.report())],
    inputs: describeInputs(recipe.inputs, table),
    target: { columns: recipe.target, classes: classesOf(recipe.target, fitted, hasTarget ? table : null) },
  }
}

/** The classes of a category target, also where the file has no target. */
function classesOf(target: readonly string[], fitted: Plain, table: Table | null): readonly string[] | null {
  if (table !== null) return describeTarget(target, table).classes
  const recipe = recipeOf(fitted)
  const columns = [recipe.columns, ...recipe.lookups.map((lookup) => lookup.columns)].flat()
  const column = columns.find(({ name }) => name === target[0])
  if (column?.role !== 'category') return null
  return [...(column.values ?? []), ...(column.unknown ? ['(unknown)'] : [])]
}
