/** How the samples of a description become batches. */
import { DataLoader, type Dataset } from '../../lib/index.js'
import type { BatchSpec } from './spec.js'
import { invalid } from './table-recipe.js'

/** {@link BatchSpec} with its defaults. */
export interface BatchSettings {
  batchSize: number
  evalBatchSize: number
  shuffle: boolean
  dropLast: boolean
}

export function batchSettings({
  batch_size: batchSize = 32,
  eval_batch_size: evalBatchSize = batchSize,
  shuffle = true,
  drop_last: dropLast = false,
}: BatchSpec): BatchSettings {
  for (const [name, size] of Object.entries({ batch_size: batchSize, eval_batch_size: evalBatchSize }))
    if (!Number.isSafeInteger(size) || size < 1)
      invalid(name, `should be an integer of at least 1, but is ${String(size)}`)
  return { batchSize, evalBatchSize, shuffle, dropLast }
}

export function trainLoader(dataset: Dataset, { batchSize, shuffle, dropLast }: BatchSettings): DataLoader {
  return new DataLoader(dataset, { batchSize, shuffle, dropLast })
}

/** In the order of the data set; null without samples. */
export function evalLoader(dataset: Dataset | null, { evalBatchSize }: BatchSettings): DataLoader | null {
  return dataset === null || dataset.length === 0 ? null : new DataLoader(dataset, { batchSize: evalBatchSize })
}
