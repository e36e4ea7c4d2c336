/** What a run learned from its training rows, taken over by another reading of a table. */
import type { Plain } from '../checkpoint/fields.js'
import { TorchkeepError } from '../format/errors.js'
import type { ColumnRecipe, TableRecipe } from './recipe.js'
import type { Table } from './table.js'

/**
 * The recipe that a checkpoint holds.
 *
 * @throws TorchkeepError `ERR_CHECKPOINT_INCOMPATIBLE` for what is none.
 */
export function recipeOf(fitted: Plain): TableRecipe {
  const recipe = fitted as unknown as Partial<TableRecipe> | null
  if (typeof recipe === 'object' && recipe?.format === 'csv' && recipe.version === 1 && Array.isArray(recipe.columns))
    return recipe as TableRecipe
  throw new TorchkeepError(
    'ERR_CHECKPOINT_INCOMPATIBLE',
    'the fitted preprocessing should be that of CSV data (format csv, version 1), but is something else',
    { suggestions: ['evaluate and predict on CSV files need a checkpoint that was trained on CSV files'] },
  )
}

/** A recipe with what its table has learned. */
export function fittedRecipe(recipe: TableRecipe, table: Table): TableRecipe {
  const columns = table.columns()
  const learned = (own: readonly ColumnRecipe[]): ColumnRecipe[] =>
    own.map((column) => columns.get(column.name)?.column.recipe ?? column)
  return {
    ...recipe,
    columns: learned(recipe.columns),
    lookups: recipe.lookups.map((lookup) => ({ ...lookup, columns: learned(lookup.columns) })),
  }
}

/** Hands what was learned to the columns of another table of the same kind. */
export function adoptRecipe(recipe: TableRecipe, table: Table): void {
  const columns = table.columns()
  for (const own of allColumns(recipe)) columns.get(own.name)?.column.adopt(own)
}

/**
 * Refuses a description that is not the one that `fitted` was learned with: the tensors would be others.
 *
 * @throws TorchkeepError `ERR_CHECKPOINT_INCOMPATIBLE` naming what differs.
 */
export function requireSameDescription(fitted: TableRecipe, now: TableRecipe): void {
  const differing = (['inputs', 'target', 'delimiter', 'header'] as const).filter(
    (key) => text(fitted[key]) !== text(now[key]),
  )
  const before = new Map(allColumns(fitted).map((column) => [column.name, column]))
  const names = [...new Set([...before.keys(), ...allColumns(now).map(({ name }) => name)])]
  const after = new Map(allColumns(now).map((column) => [column.name, column]))
  const columns = names.filter(
    (name) => asDescribed(before.get(name), after.get(name)) !== asDescribed(after.get(name), after.get(name)),
  )
  if (differing.length + columns.length === 0) return
  throw new TorchkeepError(
    'ERR_CHECKPOINT_INCOMPATIBLE',
    `the data are described in another way than in the run that goes on: ${[...differing.map((key) => `data.${key}`), ...columns.map((name) => `data.columns.${name}`)].join(', ')} differ`,
    { suggestions: ['describe them as before, or begin a new run'] },
  )
}

/** A column without what was learned. The values of a category count where the description now gives them. */
function asDescribed(column: ColumnRecipe | undefined, now: ColumnRecipe | undefined): string {
  if (column === undefined) return ''
  if (column.role === 'number') return text({ ...column, shift: null, scale: null, fill: null })
  if (column.role === 'category' && now?.role === 'category' && now.values === null)
    return text({ ...column, values: null })
  return text(column)
}

function allColumns(recipe: TableRecipe): ColumnRecipe[] {
  return [recipe.columns, ...recipe.lookups.map(({ columns }) => columns)].flat()
}

/** Keys in sorted order: a checkpoint may give them in another. */
function text(value: unknown): string {
  return JSON.stringify(value, (_key, item: unknown) =>
    typeof item === 'object' && item !== null && !Array.isArray(item)
      ? Object.fromEntries(Object.entries(item).sort(([a], [b]) => (a < b ? -1 : 1)))
      : item,
  )
}
