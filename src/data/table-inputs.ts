/** Which columns make the inputs and the target, and what tensors they are. */
import { nearNames } from '../format/near-names.js'
import type { Column } from './column.js'
import type { OpenedData, TensorDescription } from './open-data.js'
import type { CsvSpec } from './spec.js'
import type { Table } from './table.js'
import { invalid } from './table-recipe.js'

/** The target columns: numbers, or one category. */
export function settleTarget(target: CsvSpec['target'], table: Table): string[] {
  const names = [target].flat()
  if (names.length === 0) invalid('target', 'names no column')
  for (const name of names) {
    const { recipe } = columnAt(name, 'target', table)
    if (recipe.role === 'text')
      invalid('target', `has the text column '${name}'; number or category columns were expected`)
    if (recipe.role === 'category' && names.length > 1)
      invalid('target', `has the category column '${name}' among others; one category, or number columns were expected`)
    if (recipe.role === 'number' && recipe.normalize !== null)
      invalid(
        `columns.${name}.normalize`,
        'is not for targets: the model would learn, and be judged by, other units than the file has',
      )
    if (recipe.missing !== 'refuse' && recipe.missing !== 'drop')
      invalid(`columns.${name}.missing`, `is ${recipe.missing}, but '${name}' is a target: refuse or drop was expected`)
  }
  return names
}

/** The inputs that a description names, or those of the default. */
export function settleInputs(
  inputs: CsvSpec['inputs'],
  target: readonly string[],
  table: Table,
): (string | readonly string[])[] {
  const settled = inputs === undefined ? defaultInputs(target, table) : [...inputs]
  if (settled.length === 0 || settled.some((input) => input.length === 0))
    invalid('inputs', 'has an input without columns')
  for (const [index, input] of settled.entries())
    for (const name of [input].flat()) {
      const { recipe } = columnAt(name, `inputs[${index}]`, table)
      if (target.includes(name)) invalid(`inputs[${index}]`, `has '${name}', which is a target`)
      if (typeof input !== 'string' && recipe.role === 'text')
        invalid(`inputs[${index}]`, `joins the text column '${name}' with others; a text is an input of its own`)
    }
  return settled
}

/** All numbers and categories joined, then each text. */
function defaultInputs(target: readonly string[], table: Table): (string | readonly string[])[] {
  const columns = [...table.columns()].filter(([name]) => !target.includes(name))
  const isText = ([, { column }]: (typeof columns)[number]): boolean => column.recipe.role === 'text'
  const joined = columns.filter((entry) => !isText(entry)).map(([name]) => name)
  const texts = columns.filter(isText).map(([name]) => name)
  if (joined.length + texts.length === 0) invalid('columns', 'has no column besides the target')
  return joined.length === 0 ? texts : [joined, ...texts]
}

export function describeInputs(inputs: readonly (string | readonly string[])[], table: Table): TensorDescription[] {
  return inputs.map((input): TensorDescription => {
    const names = [input].flat()
    const columns = names.map((name) => columnAt(name, 'inputs', table))
    if (typeof input !== 'string') {
      const width = columns.reduce((sum, column) => sum + (column.width('joined') ?? 0), 0)
      return { name: names.join('+'), dtype: 'float32', shape: [width], indices: null }
    }
    const [column] = columns as [Column]
    const width = column.width('alone')
    const dtype = column.recipe.role === 'number' ? 'float32' : 'int64'
    return { name: input, dtype, shape: width === null ? [] : [width], indices: column.indices }
  })
}

export function describeTarget(target: readonly string[], table: Table): OpenedData['target'] {
  const { recipe, indices } = columnAt(target[0] as string, 'target', table)
  const name = target.join('+')
  if (recipe.role === 'category') {
    const classes = [...(recipe.values ?? []), ...(recipe.unknown ? ['(unknown)'] : [])]
    return { name, dtype: 'int64', shape: [], indices, classes, columns: target }
  }
  return { name, dtype: 'float32', shape: [target.length], indices: null, classes: null, columns: target }
}

/** The target as the parts of a tensor take names: a category alone, numbers joined. */
export function targetInput(target: readonly string[], table: Table): string | readonly string[] {
  const [name] = target as [string]
  return table.columns().get(name)?.column.recipe.role === 'category' ? name : target
}

function columnAt(name: string, at: string, table: Table): Column {
  const columns = table.columns()
  const found = columns.get(name)
  if (found !== undefined) return found.column
  const names = [...columns.keys()]
  return invalid(
    at,
    `has '${name}', but columns describes no column of that name (${names.join(', ')})`,
    nearNames(name, names).map((near) => `is '${near}' meant?`),
  )
}
