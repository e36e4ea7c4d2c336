/** Which rows are for training, validation and test. */
import { Generator, randperm, scope } from '../../lib/index.js'
import { TorchkeepError } from '../format/errors.js'
import { invalid, readJson } from './table-recipe.js'
import type { ColumnSplit, FractionSplit } from './spec.js'

/** Numbers of rows, in the order in which they become samples. */
export interface Split {
  train: Int32Array
  val: Int32Array
  test: Int32Array
  /** For the report. */
  sentence: string
}

/**
 * `torch.utils.data.random_split(rows, [n - n_val - n_test, n_val, n_test], torch.Generator().manual_seed(seed))` with `n_val = int(n * val)` and `n_test = int(n * test)`: the same rows in the same order.
 *
 * @param rows the rows that there are to split.
 */
export function splitByFraction(rows: Int32Array, { val = 0, test = 0, seed }: FractionSplit, runSeed: number): Split {
  for (const [name, fraction] of Object.entries({ val, test }))
    if (!(fraction >= 0 && fraction < 1))
      invalid(`split.${name}`, `should be at least 0 and less than 1, but is ${fraction}`)
  const [valCount, testCount] = [Math.floor(rows.length * val), Math.floor(rows.length * test)]
  const trainCount = rows.length - valCount - testCount
  if (trainCount <= 0)
    invalid('split', `leaves nothing for training: val ${val} and test ${test} of ${rows.length} rows`)
  const usedSeed = seed ?? runSeed
  const empty = Object.entries({ val, test }).filter(([, fraction]) => fraction > 0 && rows.length * fraction < 1)
  const none = empty.map(([name, fraction]) => `; ${name} ${fraction} of ${rows.length} rows is none`).join('')
  const order = scope(() => randperm(rows.length, { generator: new Generator(usedSeed) }).data() as BigInt64Array)
  const drawn = Int32Array.from(order, (index) => rows[Number(index)] ?? 0)
  return {
    train: drawn.subarray(0, trainCount),
    val: drawn.subarray(trainCount, trainCount + valCount),
    test: drawn.subarray(trainCount + valCount),
    sentence: `split by fraction with seed ${usedSeed}${none}`,
  }
}

/** The names that a value of the splitting column may have, and what they mean. */
export function namesOfColumnSplit({
  train = 'train',
  val = 'val',
  test = 'test',
}: ColumnSplit): Map<string, 'train' | 'val' | 'test'> {
  const names = new Map<string, 'train' | 'val' | 'test'>()
  for (const [part, values] of Object.entries({ train, val, test }) as ['train' | 'val' | 'test', string | string[]][])
    for (const value of [values].flat()) {
      if (names.has(value)) invalid(`split.${part}`, `has '${value}', which means ${names.get(value)} already`)
      names.set(value, part)
    }
  return names
}

const partNames = ['train', 'val', 'test'] as const

/**
 * The folds of a JSON file.
 *
 * @param count rows of the file that the numbers are of.
 * @throws TorchkeepError `ERR_DATA` for what is no list of row numbers, numbers that are too large, and rows that are there twice.
 */
export async function splitByFolds(path: string, fold: number, count: number): Promise<Split> {
  const lists = foldLists(await readJson(path), fold, path)
  const owner = new Map<number, string>()
  for (const [name, rows] of lists.all)
    for (const row of rows) {
      if (!Number.isSafeInteger(row) || row < 0 || row >= count)
        fail(path, `${name} should hold row numbers from 0 to ${count - 1}, but has ${JSON.stringify(row)}`)
      const other = owner.get(row)
      if (other !== undefined) fail(path, `row ${row} is in ${name} and in ${other}`)
      owner.set(row, name)
    }
  const unused = count - owner.size
  const left = unused === 0 ? '' : `; ${unused} rows are in none and are left out`
  const [train, val, test] = partNames.map((name) => Int32Array.from(lists[name])) as [
    Int32Array,
    Int32Array,
    Int32Array,
  ]
  return {
    train,
    val,
    test,
    sentence: `split by ${path}${lists.folds === 0 ? '' : `, fold ${fold} of ${lists.folds} for validation`}${left}`,
  }
}

interface FoldLists {
  train: readonly number[]
  val: readonly number[]
  test: readonly number[]
  /** Every list with its name in the file. */
  all: [name: string, rows: readonly number[]][]
  /** How many folds there are; 0 where the file names the parts themselves. */
  folds: number
}

function foldLists(value: unknown, fold: number, path: string): FoldLists {
  const named =
    typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Record<string, unknown>) : {}
  const folds = Array.isArray(value) ? value : named.train_folds
  if (folds === undefined) {
    const known = Object.keys(named).filter((name) => (partNames as readonly string[]).includes(name))
    if (!known.includes('train'))
      fail(
        path,
        `should be a list of folds, { "train_folds": [...] } or { "train": [...] }, but has ${Object.keys(named).join(', ') || 'no keys'}`,
      )
    const [train, val, test] = partNames.map((name) => rowList(named[name] ?? [], name, path)) as [
      number[],
      number[],
      number[],
    ]
    return {
      train,
      val,
      test,
      all: [
        ['train', train],
        ['val', val],
        ['test', test],
      ],
      folds: 0,
    }
  }
  const base = Array.isArray(value) ? '' : 'train_folds'
  if (!Array.isArray(folds) || folds.length < 2) fail(path, `${base || 'the list'} should hold at least two folds`)
  const rows = (folds as unknown[]).map((list, index) => rowList(list, `${base}[${index}]`, path))
  const val = rows[fold]
  if (val === undefined) return invalid('split.fold', `is ${fold}, but ${path} has folds 0 to ${rows.length - 1}`)
  const test = rowList(named.test ?? [], 'test', path)
  const all: [string, number[]][] = [
    ...rows.map((list, index): [string, number[]] => [`${base}[${index}]`, list]),
    ['test', test],
  ]
  return { train: rows.filter((_, index) => index !== fold).flat(), val, test, all, folds: rows.length }
}

function rowList(value: unknown, name: string, path: string): number[] {
  if (Array.isArray(value)) return value as number[]
  return fail(path, `${name} should be a list of row numbers, but is ${value === null ? 'null' : typeof value}`)
}

function fail(path: string, what: string): never {
  throw new TorchkeepError('ERR_DATA', `${path}: ${what}`)
}
