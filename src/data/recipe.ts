/**
 * How a table becomes tensors, with all defaults applied and, once fitted, all that was learned from the training rows. Plain values under the names of the checkpoint's
 * `config.data`: the same recipe makes the same tensors of any other file.
 */

export interface NumberRecipe {
  /** Its name in the description. */
  name: string
  /** Its name in the file. */
  column: string
  role: 'number'
  missing: 'refuse' | 'mean' | 'zero' | 'drop'
  missing_values: readonly string[]
  normalize: 'mean_std' | 'min_max' | null
  /** The value becomes (value - shift) / scale; null until fitted. */
  shift: number | null
  scale: number | null
  /** What an empty field means, before normalisation; null until fitted, and where there can be none. */
  fill: number | null
}

export interface CategoryRecipe {
  name: string
  column: string
  role: 'category'
  missing: 'refuse' | 'unknown' | 'drop'
  unknown: boolean
  /** By index; null until fitted. */
  values: readonly string[] | null
}

export interface TextRecipe {
  name: string
  column: string
  role: 'text'
  /** Letters and their indices. */
  letters: readonly (readonly [letter: string, index: number])[]
  length: number
  padding: number
  pad: 'right' | 'left'
  unknown: number | null
  too_long: 'cut' | 'refuse'
  missing: 'refuse' | 'empty' | 'drop'
}

export type ColumnRecipe = NumberRecipe | CategoryRecipe | TextRecipe

/** How a file is read. */
export interface FileRecipe {
  delimiter: string | null
  header: boolean
  columns: readonly ColumnRecipe[]
}

export interface LookupRecipe extends FileRecipe {
  /** The column of the table that refers to rows of the file. */
  by: string
  file: string
  /** Null: row numbers. */
  key: string | null
}

export interface TableRecipe extends FileRecipe {
  format: 'csv'
  version: 1
  lookups: readonly LookupRecipe[]
  /** Names of columns: alone, or joined. */
  inputs: readonly (string | readonly string[])[]
  target: readonly string[]
}
