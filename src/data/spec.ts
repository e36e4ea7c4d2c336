/**
 * What `data` of a configuration file says: plain values under the names that stand in the file. The schema of the file (`src/train-config`) is written after these types; `docs/data.md` explains them.
 * Paths are relative to the folder of the file that names them.
 */

export type DataSpec = CsvSpec | TensorFileSpec | ModuleSpec

/** How samples become batches. */
export interface BatchSpec {
  /** Samples of a batch; default 32. */
  batch_size?: number
  /** Samples of a batch of validation and test; default `batch_size`. */
  eval_batch_size?: number
  /** Whether each epoch of training has an order of its own; default true. */
  shuffle?: boolean
  /** Whether a last batch of training that is not full is left out; default false. */
  drop_last?: boolean
}

/** Tables in CSV (RFC 4180, UTF-8). */
export interface CsvSpec extends BatchSpec {
  format: 'csv'
  file: string
  /** Validation rows in a file of their own, with the same columns. */
  val_file?: string
  test_file?: string
  /** One character; default a tab for `.tsv` and `.tab`, else a comma. */
  delimiter?: string
  /** Whether the first line names the columns; default true. Without, columns are called `0`, `1`... */
  header?: boolean
  /** The columns that are used, by name. Others are left alone, and named in the report. */
  columns: Readonly<Record<string, ColumnSpec>>
  /** Columns that lie in other files, found by a column of this one. */
  lookups?: readonly LookupSpec[]
  /**
   * The model's inputs, in the order of its `forward`: the name of a column (text: int64 [n, length]; category: int64 [n], for an embedding; number: float32 [n, 1]), or a list of names
   * of number and category columns, which are joined to one float32 [n, width], categories one-hot. Default: all number and category columns but the targets, joined, if there are any;
   * then each text column. The order is that of the columns in the file, then of the lookups.
   */
  inputs?: readonly (string | readonly string[])[]
  /** Number columns: float32 [n, k]; or one category column: its index, int64 [n]. */
  target: string | readonly string[]
  split?: SplitSpec
}

export type ColumnSpec = NumberColumnSpec | CategoryColumnSpec | TextColumnSpec | IgnoredColumnSpec

/** What all columns with a role may say. */
interface NamedColumn {
  /** Its name in the file, where another one is wanted here (both files of two lookups may have a `sequence`). */
  column?: string
}

export interface NumberColumnSpec extends NamedColumn {
  role: 'number'
  /** `mean_std`: (x - mean) / standard deviation (of n, as scikit-learn's StandardScaler); `min_max`: (x - min) / (max - min); default none. Fitted on the training rows. Not for targets. */
  normalize?: 'mean_std' | 'min_max' | null
  /** What an empty field means: `refuse` (default) is an error; `mean` of the training rows; `zero` (before normalisation); `drop` leaves the row out. */
  missing?: 'refuse' | 'mean' | 'zero' | 'drop'
  /** Further texts that mean an empty field, such as `NA`. */
  missing_values?: readonly string[]
}

export interface CategoryColumnSpec extends NamedColumn {
  role: 'category'
  /** The values, in the order of their indices; default those of the training rows, sorted by code point (as Python's `sorted`). */
  values?: readonly string[]
  /** Whether other values have an index of their own, the last one; default false: they are an error. */
  unknown?: boolean
  /** What an empty field means: `refuse` (default); `unknown` (which `unknown` must allow); `drop`. */
  missing?: 'refuse' | 'unknown' | 'drop'
}

export interface TextColumnSpec extends NamedColumn {
  role: 'text'
  /** The letters: their indices are 1, 2, 3... in this order; or a dictionary of letters and indices; or a JSON file that holds one. */
  alphabet: string | Readonly<Record<string, number>> | AlphabetFile
  /** Letters of a text: longer ones are cut (and counted in the report), shorter ones padded. */
  length: number
  /** Index of padding; default 0. */
  padding?: number
  /** Where padding goes; default `right`. A text that is too long loses its letters on the right in both cases. */
  pad?: 'right' | 'left'
  /** Index of letters that the alphabet does not have; default: they are an error. */
  unknown?: number | null
  /** Whether texts that are too long are cut (the default) or an error. */
  too_long?: 'cut' | 'refuse'
  /** What an empty field means: `refuse` (default); `empty`: all padding; `drop`. */
  missing?: 'refuse' | 'empty' | 'drop'
}

export interface AlphabetFile {
  file: string
  /** Where in the file the dictionary stands, keys joined by dots; default the whole file. */
  key?: string
}

export interface IgnoredColumnSpec {
  role: 'ignore'
}

/** Columns of another file: each row of the table has those of one row there. The file is kept once, however many rows refer to it. */
export interface LookupSpec {
  /** The column of the table that says which row. */
  column: string
  file: string
  /** The column of `file` that has the same values, each once; this or `row_number`. */
  key?: string
  /** True: `column` holds 0-based numbers of rows of `file`. */
  row_number?: true
  delimiter?: string
  header?: boolean
  columns: Readonly<Record<string, ColumnSpec>>
}

/** Which rows are for training, validation and test. */
export type SplitSpec = FractionSplit | ColumnSplit | FoldSplit

/**
 * `torch.utils.data.random_split(rows, [n - n_val - n_test, n_val, n_test], torch.Generator().manual_seed(seed))` of the n rows, with `n_val = int(n * val)` and `n_test = int(n * test)`.
 */
export interface FractionSplit {
  by: 'fraction'
  /** Default 0, as is the next: none. */
  val?: number
  test?: number
  /** Default: the run's. */
  seed?: number
}

/** By the values of a column. Rows with other values are an error. */
export interface ColumnSplit {
  by: 'column'
  column: string
  /** Values of training rows; default `train`, and of the others `val` and `test`. */
  train?: string | readonly string[]
  val?: string | readonly string[]
  test?: string | readonly string[]
}

/**
 * By a JSON file of 0-based row numbers: `{"train": [...], "val": [...], "test": [...]}`; or folds, as a list of lists or `{"train_folds": [[...], ...], "test": [...]}`, of which `fold` is for
 * validation and the others, one after another, for training. Rows keep the order of the file. Rows in none are left out, and counted in the report.
 */
export interface FoldSplit {
  by: 'folds'
  file: string
  /** From 0; default 0. */
  fold?: number
}

/** Tensors of `.safetensors`, `.pth` or any other file that `load` reads. */
export interface TensorFileSpec extends BatchSpec {
  format: 'tensors'
  file: string
  val_file?: string
  test_file?: string
  /** Names of the tensors that are the model's inputs, in order; their first sizes are the samples. A name inside nested dicts is joined by dots. */
  inputs: readonly string[]
  target: string
  split?: FractionSplit | FoldSplit
}

/**
 * A module (`.js`, `.mjs`, `.cjs`, `.ts`...) whose export is a `Dataset`, a `DataLoader`, an (async) iterable of batches, `{ train, val, test }` of those, or a function (async or not) that
 * gives one of these from `(options, { seed, folder })`.
 */
export interface ModuleSpec extends BatchSpec {
  format: 'module'
  file: string
  /** Default `default`. */
  export?: string
  /** For the function. */
  options?: Readonly<Record<string, unknown>>
  /** For a `Dataset`. */
  split?: FractionSplit | FoldSplit
}
