/** The `data` of a configuration: `DataSpec` of `src/data/spec.ts`, which docs/data.md explains. */
import * as z from 'zod'
import { count, fraction, name, path, whole } from './schema-parts.js'

const batches = {
  batch_size: count.optional().describe('Samples of a batch; default 32.'),
  eval_batch_size: count.optional().describe('Samples of a batch of validation and test; default `batch_size`.'),
  shuffle: z.boolean().optional().describe('Whether each epoch of training has an order of its own; default true.'),
  drop_last: z
    .boolean()
    .optional()
    .describe('Whether a last batch of training that is not full is left out; default false.'),
}

const inFile = { column: name.optional().describe('Its name in the file, where another one is wanted here.') }

const columnForms = [
  z.strictObject({
    role: z.literal('number'),
    normalize: z
      .enum(['mean_std', 'min_max'])
      .nullable()
      .optional()
      .describe('Fitted on the training rows, not for targets: `mean_std`, `min_max`, or none (the default).'),
    missing: z
      .enum(['refuse', 'mean', 'zero', 'drop'])
      .optional()
      .describe(
        'What an empty field means: an error (`refuse`, the default), the training mean, 0, or that the row is left out.',
      ),
    missing_values: z.array(z.string()).optional().describe('Further texts that mean an empty field, such as `NA`.'),
    ...inFile,
  }),
  z.strictObject({
    role: z.literal('category'),
    values: z
      .array(z.string())
      .min(1)
      .optional()
      .describe('The values in the order of their indices; default those of the training rows, sorted.'),
    unknown: z
      .boolean()
      .optional()
      .describe('Whether other values have an index of their own, the last; default false: an error.'),
    missing: z
      .enum(['refuse', 'unknown', 'drop'])
      .optional()
      .describe('What an empty field means: an error (`refuse`, the default), `unknown`, or that the row is left out.'),
    ...inFile,
  }),
  z.strictObject({
    role: z.literal('text'),
    alphabet: z
      .union([name, z.strictObject({ file: path, key: name.optional() }), z.record(z.string(), z.int())])
      .describe(
        'The letters (indices 1, 2, 3...), letters with indices, or `{file, key}` of a JSON file that holds such.',
      ),
    length: count.describe('Letters of a text: longer ones are cut, shorter ones padded.'),
    padding: whole.optional().describe('Index of padding; default 0.'),
    pad: z.enum(['right', 'left']).optional().describe('Where padding goes; default `right`.'),
    unknown: whole
      .nullable()
      .optional()
      .describe('Index of letters that the alphabet lacks; default: they are an error.'),
    too_long: z.enum(['cut', 'refuse']).optional().describe('Default `cut`.'),
    missing: z
      .enum(['refuse', 'empty', 'drop'])
      .optional()
      .describe(
        'What an empty field means: an error (`refuse`, the default), all padding, or that the row is left out.',
      ),
    ...inFile,
  }),
  z.strictObject({ role: z.literal('ignore') }),
] as const
const column = z.discriminatedUnion('role', columnForms)
const columns = z.record(name, column)

const values = z.union([z.string(), z.array(z.string())])
const fractionSplit = z.strictObject({
  by: z.literal('fraction'),
  val: fraction.optional().describe('Part of the rows for validation; default 0.'),
  test: fraction.optional().describe('Part of the rows for the test; default 0.'),
  seed: whole.optional().describe("Default: the run's."),
})
const columnSplit = z.strictObject({
  by: z.literal('column'),
  column: name,
  train: values.optional().describe('Values of training rows; default `train`.'),
  val: values.optional().describe('Default `val`.'),
  test: values.optional().describe('Default `test`.'),
})
const foldSplit = z.strictObject({
  by: z.literal('folds'),
  file: path.describe('JSON: `{train, val, test}` of row numbers, or folds of them.'),
  fold: whole.optional().describe('Which fold is for validation; default 0.'),
})
const rowSplit = z.discriminatedUnion('by', [fractionSplit, foldSplit])

const table = {
  delimiter: z.string().length(1).optional().describe('Default a tab for .tsv and .tab, else a comma.'),
  header: z
    .boolean()
    .optional()
    .describe('Whether the first line names the columns; default true. Without, they are `0`, `1`...'),
}
const otherFiles = {
  val_file: path.optional().describe('Validation rows in a file of their own.'),
  test_file: path.optional().describe('Test rows in a file of their own.'),
}

const lookup = z.strictObject({
  column: name.describe('The column of the table that says which row.'),
  file: path,
  key: name.optional().describe('The column of `file` with the same values, each once; this or `row_number`.'),
  row_number: z.literal(true).optional().describe('`column` holds row numbers of `file`, from 0.'),
  ...table,
  columns,
})

const csv = z.strictObject({
  format: z.literal('csv'),
  file: path.describe('The table.'),
  ...otherFiles,
  ...table,
  columns: columns.describe(
    'The columns that are used, by name, each with its role: number, category, text or ignore.',
  ),
  lookups: z.array(lookup).optional().describe('Columns that lie in other files, found by a column of this one.'),
  inputs: z
    .array(z.union([name, z.array(name).min(1)]))
    .min(1)
    .optional()
    .describe(
      "The model's inputs in order: columns, or lists of number and category columns that are joined. Default: all number and category columns joined, then each text column.",
    ),
  target: z.union([name, z.array(name).min(1)]).describe('Number columns, or one category column.'),
  split: z
    .discriminatedUnion('by', [fractionSplit, columnSplit, foldSplit])
    .optional()
    .describe('Which rows are for validation and test; default none.'),
  ...batches,
})

const tensors = z.strictObject({
  format: z.literal('tensors'),
  file: path.describe('A .safetensors or .pth file, or any other that load() reads.'),
  ...otherFiles,
  inputs: z.array(name).min(1).describe("Names of the tensors that are the model's inputs, in order."),
  target: name.describe('Name of the tensor that is the target.'),
  split: rowSplit.optional().describe('Which rows are for validation and test; default none.'),
  ...batches,
})

const fromModule = z.strictObject({
  format: z.literal('module'),
  file: path.describe(
    'A module that exports a Dataset, a DataLoader, an iterable of batches, `{train, val, test}` of those, or a function that gives one.',
  ),
  export: name.optional().describe('Default `default`.'),
  options: z.record(z.string(), z.unknown()).optional().describe('For the function.'),
  split: rowSplit.optional().describe('Of a Dataset; default none.'),
  ...batches,
})

/** `data` of a configuration. */
export const data = z.discriminatedUnion('format', [csv, tensors, fromModule]).describe('What is trained on.')
