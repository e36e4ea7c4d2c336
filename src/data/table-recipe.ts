/** From a description to a recipe: defaults applied, alphabets read, names checked. */
import { readFile } from 'node:fs/promises'
import { isAbsolute, resolve } from 'node:path'
import { TorchkeepError } from '../format/errors.js'
import { nearNames } from '../format/near-names.js'
import type { ColumnRecipe, LookupRecipe, TextRecipe } from './recipe.js'
import type { AlphabetFile, ColumnSpec, CsvSpec, LookupSpec, TextColumnSpec } from './spec.js'

/** Everything of a {@link TableRecipe} but the inputs: their default order depends on the files. */
export interface TableColumns {
  columns: readonly ColumnRecipe[]
  lookups: readonly LookupRecipe[]
}

/**
 * The columns of a description.
 *
 * @throws TorchkeepError `ERR_INVALID_ARGUMENT` naming the place in the description; `ERR_DATA` for an alphabet's file.
 */
export async function tableColumns(spec: CsvSpec, baseFolder: string): Promise<TableColumns> {
  const columns = await columnRecipes(spec.columns, 'columns', baseFolder)
  const lookups: LookupRecipe[] = []
  for (const [index, lookup] of (spec.lookups ?? []).entries())
    lookups.push({
      ...lookupPlace(lookup, `lookups[${index}]`),
      columns: await columnRecipes(lookup.columns, `lookups[${index}].columns`, baseFolder),
    })
  const names = [columns, ...lookups.map((lookup) => lookup.columns)].flat().map(({ name }) => name)
  const twice = names.find((name, index) => names.indexOf(name) !== index)
  if (twice !== undefined)
    invalid(`columns`, `two columns are called '${twice}'`, [
      'give one another name, and say column: the name in its file',
    ])
  return { columns, lookups }
}

function lookupPlace(lookup: LookupSpec, at: string): Omit<LookupRecipe, 'columns'> {
  const { column, file, key, row_number: rowNumber, delimiter, header } = lookup
  if ((key === undefined) === (rowNumber !== true))
    invalid(
      at,
      `should say either key (a column of ${file}) or row_number: true, but says ${key === undefined ? 'neither' : 'both'}`,
    )
  return { by: column, file, key: key ?? null, delimiter: delimiter ?? null, header: header ?? true }
}

async function columnRecipes(
  columns: Readonly<Record<string, ColumnSpec>>,
  at: string,
  baseFolder: string,
): Promise<ColumnRecipe[]> {
  const recipes: ColumnRecipe[] = []
  for (const [name, spec] of Object.entries(columns)) {
    const recipe = await columnRecipe(name, spec, `${at}.${name}`, baseFolder)
    if (recipe !== null) recipes.push(recipe)
  }
  return recipes
}

async function columnRecipe(
  name: string,
  spec: ColumnSpec,
  at: string,
  baseFolder: string,
): Promise<ColumnRecipe | null> {
  if (spec.role === 'number') {
    const { column = name, missing = 'refuse', missing_values = [], normalize = null } = spec
    return { name, column, role: 'number', missing, missing_values, normalize, shift: null, scale: null, fill: null }
  }
  if (spec.role === 'category') {
    const { column = name, missing = 'refuse', unknown = false, values = null } = spec
    if (missing === 'unknown' && !unknown) invalid(at, 'has missing: unknown, but not unknown: true')
    const twice = values?.find((value, index) => values.indexOf(value) !== index)
    if (twice !== undefined) invalid(`${at}.values`, `has '${twice}' twice`)
    return { name, column, role: 'category', missing, unknown, values }
  }
  if (spec.role === 'text') return textRecipe(name, spec, at, baseFolder)
  if ((spec as { role: unknown }).role === 'ignore') return null
  return invalid(
    `${at}.role`,
    `should be number, category, text or ignore, but is ${String((spec as { role: unknown }).role)}`,
  )
}

async function textRecipe(name: string, spec: TextColumnSpec, at: string, baseFolder: string): Promise<TextRecipe> {
  const {
    column = name,
    length,
    padding = 0,
    pad = 'right',
    unknown = null,
    too_long = 'cut',
    missing = 'refuse',
  } = spec
  if (!Number.isSafeInteger(length) || length < 1)
    invalid(`${at}.length`, `should be an integer of at least 1, but is ${String(length)}`)
  const letters = await lettersOf(spec.alphabet, `${at}.alphabet`, baseFolder)
  checkIndices(letters, { padding, unknown }, at)
  return { name, column, role: 'text', letters, length, padding, pad, unknown, too_long, missing }
}

async function lettersOf(
  alphabet: TextColumnSpec['alphabet'],
  at: string,
  baseFolder: string,
): Promise<[string, number][]> {
  if (typeof alphabet === 'string') {
    const letters = Array.from(alphabet)
    const twice = letters.find((letter, index) => letters.indexOf(letter) !== index)
    if (twice !== undefined) invalid(at, `has the letter ${JSON.stringify(twice)} twice`)
    return letters.map((letter, index) => [letter, index + 1])
  }
  if (typeof alphabet.file !== 'string') return dictionary(alphabet, at)
  const { file, key } = alphabet as AlphabetFile
  return dictionary(
    await readJson(resolvePath(baseFolder, file), key),
    `${file}${key === undefined ? '' : ` (${key})`}`,
  )
}

function dictionary(value: unknown, at: string): [string, number][] {
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    return invalid(at, 'should be a dictionary of letters and indices')
  return Object.entries(value).map(([letter, index]) => {
    if (Array.from(letter).length !== 1) invalid(at, `has the key ${JSON.stringify(letter)}, which is not one letter`)
    return [letter, index as number]
  })
}

function checkIndices(
  letters: readonly (readonly [string, number])[],
  { padding, unknown }: { padding: number; unknown: number | null },
  at: string,
): void {
  if (letters.length === 0) invalid(`${at}.alphabet`, 'has no letter')
  // The unknown may share the index of padding: some models are trained so.
  if (unknown !== null) checkIndex(unknown, `${at}.unknown`)
  checkIndex(padding, `${at}.padding`)
  const used = new Map<number, string>([[padding, 'padding']])
  for (const [letter, index] of letters) {
    const name = JSON.stringify(letter)
    checkIndex(index, `${at}.alphabet: the index of ${name}`)
    const other = used.get(index)
    if (other !== undefined) invalid(`${at}.alphabet`, `gives ${name} the index ${index}, which is that of ${other}`)
    used.set(index, name)
  }
}

function checkIndex(index: unknown, at: string): void {
  if (!Number.isSafeInteger(index) || (index as number) < 0 || (index as number) > maxIndex)
    invalid(at, `should be an integer from 0 to ${maxIndex}, but is ${String(index)}`)
}

/** Of letters: what an int32 holds. */
const maxIndex = 2 ** 31 - 1

/**
 * The value of a JSON file, or what stands in it under `key`.
 *
 * @throws TorchkeepError `ERR_DATA` with the keys that exist.
 */
export async function readJson(path: string, key?: string): Promise<unknown> {
  let value: unknown
  try {
    value = JSON.parse(await readFile(path, 'utf8'))
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException
    const reason = code === 'ENOENT' ? 'there is no such file' : message
    throw new TorchkeepError('ERR_DATA', `${path} cannot be read as JSON: ${reason}`, { cause: error })
  }
  for (const part of key?.split('.') ?? []) {
    const here = typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {}
    if (!Object.hasOwn(here, part)) {
      const names = Object.keys(here)
      throw new TorchkeepError(
        'ERR_DATA',
        `${path} has no '${part}' of ${key}; it has ${names.join(', ') || 'no keys'}`,
        {
          suggestions: nearNames(part, names).map((near) => `is '${near}' meant?`),
        },
      )
    }
    value = here[part]
  }
  return value
}

export function resolvePath(baseFolder: string, file: string): string {
  return isAbsolute(file) ? file : resolve(baseFolder, file)
}

/** Refuses a place of the description. */
export function invalid(at: string, what: string, suggestions: string[] = []): never {
  throw new TorchkeepError('ERR_INVALID_ARGUMENT', `data.${at} ${what}`, { suggestions })
}
