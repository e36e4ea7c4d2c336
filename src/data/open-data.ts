/** Data by their description: the main entry for `torchkeep train`, and for programs. */
import { TorchkeepError } from '../format/errors.js'
import type { Plain } from '../checkpoint/fields.js'
import type { TrainingData } from '../training/feed.js'
import type { DataSpec } from './spec.js'

/** One tensor of a batch, without the batch's own dimension. */
export interface TensorDescription {
  /** Column, columns joined by `+`, or name of the tensor; of a module's data its place: `input 1`. */
  name: string
  dtype: string
  /** `[width]` of joined columns, `[length]` of texts, `[]` of indices. */
  shape: readonly number[]
  /** How many indices there are (padding and unknown included), for an embedding or the last layer of a classifier; null where values are no indices. */
  indices: number | null
}

export interface OpenedData {
  train: TrainingData
  val: TrainingData | null
  test: TrainingData | null
  /** What was learned from the training rows, with all that is needed to make the same tensors of other files; null where there is nothing of the kind. Belongs into a checkpoint's `config.data`. */
  fitted: Plain
  /** For people: rows, splits, what was left out, cut, padded, or filled in. One sentence each. */
  report: readonly string[]
  inputs: readonly TensorDescription[]
  target: TensorDescription & {
    /** The classes by index, of a category column; null of numbers. */
    classes: readonly string[] | null
    /** Names of the target columns. */
    columns: readonly string[]
  }
}

export interface OpenOptions {
  /** Folder that the paths are relative to. */
  baseFolder: string
  /** Of splits that have none; default 0. */
  seed?: number
  /** Of the run that goes on: used in place of fitting, so that the tensors are the same. */
  fitted?: Plain
}

export async function openData(spec: DataSpec, options: OpenOptions): Promise<OpenedData> {
  if (spec.format === 'csv') return (await import('./csv-data.js')).openCsv(spec, options)
  if (spec.format === 'tensors') return (await import('./tensor-data.js')).openTensors(spec, options)
  if (spec.format === 'module') return (await import('./module-data.js')).openModule(spec, options)
  throw new TorchkeepError(
    'ERR_INVALID_ARGUMENT',
    `data.format should be 'csv', 'tensors' or 'module', but is ${String((spec as { format: unknown }).format)}`,
  )
}
