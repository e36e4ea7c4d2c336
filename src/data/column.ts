/** What the columns of a table have in common: they take fields as text, learn from the training rows, and become tensors. */
import type { Tensor } from '../../lib/index.js'
import { TorchkeepError } from '../format/errors.js'
import type { CategoryRecipe, ColumnRecipe, NumberRecipe, TextRecipe } from './recipe.js'

/** Goes through the rows of the table that the training rows refer to, in order, each as often as it is referred to. */
export type RowNumbers = Iterable<number>

/** Where a column stands, for messages. */
export interface ColumnPlace {
  file: string
  /** Its name in the file. */
  column: string
}

/** A column while its file is read, and afterwards. */
export interface Column<Recipe extends ColumnRecipe = ColumnRecipe> {
  /** What is known of it; with what was learned once {@link fit} was called. */
  readonly recipe: Recipe
  /** Takes the field of the next row. False: the row is to be left out. */
  add(text: string, line: number): boolean
  /** No more rows come. */
  finish(): void
  /** Learns from training rows what the recipe leaves open. */
  fit(rows: RowNumbers): void
  /** Takes what another column learned from the training rows. */
  adopt(recipe: Recipe): void
  /** Sentences for the report, once fitted. */
  report(): string[]
  /** A tensor with one row for each row of the file, small: what becomes of rows of it is {@link expand}'s. Made once: what was read is then given up. */
  compact(): Tensor
  /** Rows of {@link compact} as an input or a target takes them. Must be called inside a scope. */
  expand(rows: Tensor, as: 'alone' | 'joined'): Tensor
  /** Numbers of a row as {@link expand} gives them: null for one index a row. */
  width(as: 'alone' | 'joined'): number | null
  /** How many indices there are; null of numbers. */
  readonly indices: number | null
}

export type { CategoryRecipe, NumberRecipe, TextRecipe }

/** Refuses a field. */
export function refuseField(
  { file, column }: ColumnPlace,
  line: number,
  expected: string,
  text: string,
  suggestions: string[] = [],
): never {
  const shown = text.length > 60 ? `${text.slice(0, 60)}...` : text
  const found = text === '' ? 'empty' : JSON.stringify(shown)
  throw new TorchkeepError(
    'ERR_DATA',
    `${file}: line ${line}: column '${column}' should be ${expected}, but is ${found}`,
    {
      suggestions,
    },
  )
}
