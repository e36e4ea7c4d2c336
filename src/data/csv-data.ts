/** CSV files as data: read, split, fitted on the training rows, made into loaders. */
import type { Dataset } from '../../lib/index.js'
import type { Plain } from '../checkpoint/fields.js'
import { TorchkeepError } from '../format/errors.js'
import { batchSettings, evalLoader, trainLoader } from './batches.js'
import { shortList } from './csv-file.js'
import { adoptRecipe, fittedRecipe, recipeOf, requireSameDescription } from './fitted.js'
import type { OpenedData, OpenOptions } from './open-data.js'
import type { TableRecipe } from './recipe.js'
import type { ColumnSplit, CsvSpec } from './spec.js'
import { namesOfColumnSplit, type Split, splitByFolds, splitByFraction } from './split.js'
import { Table, type TableSource } from './table.js'
import { TableDataset } from './table-dataset.js'
import { describeInputs, describeTarget, settleInputs, settleTarget, targetInput } from './table-inputs.js'
import { invalid, resolvePath, tableColumns } from './table-recipe.js'

/** Rows of a table that are for one purpose. */
interface Rows {
  table: Table
  rows: Int32Array
}

/** Which rows are for what, and how that came about. */
interface Parts {
  train: Rows
  val: Rows | null
  test: Rows | null
  sentence: string | null
}

type Source = Omit<TableSource, 'path'>

export async function openCsv(spec: CsvSpec, { baseFolder, seed = 0, fitted }: OpenOptions): Promise<OpenedData> {
  const settings = batchSettings(spec)
  const source = await sourceOf(spec, baseFolder)
  const main = await Table.read({ ...source, path: resolvePath(baseFolder, spec.file) })
  const target = settleTarget(spec.target, main)
  const inputs = settleInputs(spec.inputs, target, main)
  const parts = await partsOf(spec, main, source, { baseFolder, seed })
  const { delimiter, header, columns, lookups } = source
  const described: TableRecipe = { format: 'csv', version: 1, delimiter, header, columns, lookups, inputs, target }
  const recipe = learn(described, parts, fitted ?? null)
  const dataset = (part: Rows | null): Dataset | null => (part === null ? null : datasetOf(part, recipe))
  return {
    train: trainLoader(dataset(parts.train) as Dataset, settings),
    val: evalLoader(dataset(parts.val), settings),
    test: evalLoader(dataset(parts.test), settings),
    fitted: recipe as unknown as Plain,
    report: reportOf(parts),
    inputs: describeInputs(inputs, main),
    target: describeTarget(target, main),
  }
}

async function sourceOf(spec: CsvSpec, baseFolder: string): Promise<Source> {
  return {
    ...(await tableColumns(spec, baseFolder)),
    delimiter: spec.delimiter ?? null,
    header: spec.header ?? true,
    baseFolder,
    splitColumn: spec.split?.by === 'column' ? spec.split.column : null,
    optional: new Set(),
  }
}

/** Fits the columns on the training rows, or takes over what was learned before. */
function learn(described: TableRecipe, { train, val, test }: Parts, fitted: Plain): TableRecipe {
  if (fitted !== null) requireSameDescription(recipeOf(fitted), described)
  else train.table.fit(train.rows)
  const recipe = fitted === null ? fittedRecipe(described, train.table) : recipeOf(fitted)
  for (const table of new Set([train, val, test].flatMap((part) => part?.table ?? []))) adoptRecipe(recipe, table)
  return recipe
}

function datasetOf({ table, rows }: Rows, { inputs, target }: TableRecipe): Dataset {
  return new TableDataset(
    table.inputs([...inputs, targetInput(target, table)]),
    BigInt64Array.from(rows, BigInt),
  ).settled()
}

/** Splits the table, or reads the files of validation and test. */
async function partsOf(
  spec: CsvSpec,
  main: Table,
  source: Source,
  { baseFolder, seed }: { baseFolder: string; seed: number },
): Promise<Parts> {
  const split = await splitOf(spec, main, { baseFolder, seed })
  const other = async (name: 'val' | 'test', file: string | undefined): Promise<Rows | null> => {
    const rows = split?.[name] ?? new Int32Array(0)
    if (file === undefined) return rows.length === 0 ? null : { table: main, rows }
    if (rows.length > 0)
      invalid(`${name}_file`, `is given, but the split has ${rows.length} rows of ${spec.file} for ${name} too`)
    const path = resolvePath(baseFolder, file)
    const table = await Table.read({ ...source, path, splitColumn: null, sibling: main })
    return { table, rows: table.keptRows() }
  }
  const train = { table: main, rows: split?.train ?? main.keptRows() }
  if (train.rows.length === 0) throw new TorchkeepError('ERR_DATA', `${main.file.path} has no rows for training`)
  return {
    train,
    val: await other('val', spec.val_file),
    test: await other('test', spec.test_file),
    sentence: split?.sentence ?? null,
  }
}

async function splitOf(
  { split }: CsvSpec,
  table: Table,
  { baseFolder, seed }: { baseFolder: string; seed: number },
): Promise<Split | null> {
  if (split === undefined) return null
  if (split.by === 'fraction') {
    const rows = table.keptRows()
    return rows.length === 0 ? null : splitByFraction(rows, split, seed)
  }
  if (split.by === 'column') return splitByColumn(table, split)
  if ((split as { by: unknown }).by !== 'folds')
    invalid('split.by', `should be fraction, column or folds, but is ${String((split as { by: unknown }).by)}`)
  const found = await splitByFolds(resolvePath(baseFolder, split.file), split.fold ?? 0, table.file.rows)
  const isKept = (row: number): boolean => table.file.isDropped[row] === 0
  return { ...found, train: found.train.filter(isKept), val: found.val.filter(isKept), test: found.test.filter(isKept) }
}

function splitByColumn(table: Table, split: ColumnSplit): Split {
  const names = namesOfColumnSplit(split)
  const rows: Record<'train' | 'val' | 'test', number[]> = { train: [], val: [], test: [] }
  for (const row of table.keptRows()) {
    const value = table.parts?.value(row) ?? ''
    const part = names.get(value)
    if (part === undefined)
      throw new TorchkeepError(
        'ERR_DATA',
        `${table.file.path}: row ${row} (from 0): column '${split.column}' should be one of ${[...names.keys()].join(', ')}, but is ${JSON.stringify(value)}`,
      )
    rows[part].push(row)
  }
  const { train, val, test } = rows
  const sentence = `split by column '${split.column}'`
  return { train: Int32Array.from(train), val: Int32Array.from(val), test: Int32Array.from(test), sentence }
}

function reportOf({ train, val, test, sentence }: Parts): string[] {
  const counts = `${train.rows.length} rows for training, ${val?.rows.length ?? 0} for validation, ${test?.rows.length ?? 0} for test`
  const tables = new Set([train, val, test].flatMap((part) => part?.table ?? []))
  const columns = new Set([...tables].flatMap((table) => [...table.columns().values()].map(({ column }) => column)))
  return [
    sentence === null ? counts : `${counts} (${sentence})`,
    ...[...tables].flatMap(reportOfTable),
    ...[...columns].flatMap((column) => column.report()),
  ]
}

/** What was left out of a table. */
export function reportOfTable({ file, lookups, parts }: Table): string[] {
  const sentences: string[] = []
  const dropped = file.isDropped.reduce((sum, flag) => sum + flag, 0)
  if (dropped > 0)
    sentences.push(`${file.path}: ${dropped} of ${file.rows} rows were left out, since fields of theirs are empty`)
  if (file.emptyLines > 0) sentences.push(`${file.path}: ${file.emptyLines} empty lines were passed over`)
  const used = new Set([...file.columns.values()].map(({ recipe }) => recipe.column))
  for (const { recipe } of lookups) used.add(recipe.by)
  if (parts !== null) used.add(parts.recipe.column)
  const unused = file.names.filter((name) => !used.has(name))
  if (unused.length > 0) sentences.push(`${file.path}: columns that are not used: ${shortList(unused)}`)
  return sentences
}
