/** Splits of data sets that are no tables. */
import { type Dataset, Subset } from '../../lib/index.js'
import { splitByFolds, splitByFraction } from './split.js'
import type { FoldSplit, FractionSplit } from './spec.js'
import { invalid, resolvePath } from './table-recipe.js'

/** The parts of a data set; null where a part has no samples. */
export async function splitDataset(
  dataset: Dataset,
  split: FractionSplit | FoldSplit | undefined,
  { baseFolder, seed }: { baseFolder: string; seed: number },
): Promise<{ train: Dataset; val: Dataset | null; test: Dataset | null; sentence: string | null }> {
  if (split === undefined) return { train: dataset, val: null, test: null, sentence: null }
  if (!['fraction', 'folds'].includes(split.by))
    invalid('split.by', `should be fraction or folds, but is ${String(split.by)}`)
  const rows = Int32Array.from({ length: dataset.length }, (_, row) => row)
  const found =
    split.by === 'fraction'
      ? splitByFraction(rows, split, seed)
      : await splitByFolds(resolvePath(baseFolder, split.file), split.fold ?? 0, dataset.length)
  const part = (indices: Int32Array): Dataset | null =>
    indices.length === 0 ? null : new Subset(dataset, BigInt64Array.from(indices, BigInt)).settled()
  const train = part(found.train)
  if (train === null) return invalid('split', `leaves nothing for training: there are ${dataset.length} samples`)
  return { train, val: part(found.val), test: part(found.test), sentence: found.sentence }
}
