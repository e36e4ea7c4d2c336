/** The data that `torchkeep evaluate` is given: a file like the one of the training, or a configuration with its splits. */
import { dirname, extname, resolve } from 'node:path'
import { DataLoader } from '../../lib/index.js'
import { openData, type OpenedData } from '../data/open-data.js'
import { openRows } from '../data/rows-data.js'
import type { DataSpec } from '../data/spec.js'
import { TorchkeepError } from '../format/errors.js'
import type { TrainingData } from '../training/feed.js'
import { readTrainConfig } from './read-config.js'
import type { RecordedConfig } from './recorded-config.js'

/** Which rows: a split of the training, or all that the file has. */
export type SplitName = 'train' | 'val' | 'test' | 'all'

/** How data are to be opened. */
export interface EvaluationDataOptions {
  /** Default `all` of a data file; of a configuration `test` where it has one, else `val`. */
  split?: SplitName
  /** Default that of the training's validation. */
  batchSize?: number
}

/** Data, and which rows they are. */
export interface EvaluationData {
  data: TrainingData
  split: SplitName
  report: readonly string[]
}

/**
 * Opens data with what the run had learned, in their own order.
 *
 * @param source a data file of the kind that the run was trained on, or a configuration of `torchkeep train` (.yaml, .yml, .json).
 * @throws TorchkeepError `ERR_INVALID_ARGUMENT`, `ERR_DATA`, `ERR_CHECKPOINT_INCOMPATIBLE`.
 */
export async function openEvaluationData(
  recorded: RecordedConfig,
  source: string,
  options: EvaluationDataOptions = {},
): Promise<EvaluationData> {
  const { spec, fitted } = recorded.data
  const batchSize = options.batchSize ?? spec.eval_batch_size ?? spec.batch_size ?? 32
  if (['.yaml', '.yml', '.json'].includes(extname(source))) {
    const { settings, resolve: inConfig } = await readTrainConfig(source)
    const opened = await openData(settings.data, { baseFolder: inConfig('.'), seed: recorded.seed, fitted })
    return splitOf(opened, options.split ?? (opened.test === null ? 'val' : 'test'), batchSize, source)
  }
  const { split = 'all' } = options
  if (split === 'all' && spec.format === 'csv') {
    const rows = await openRows(fitted, { file: source, batchSize })
    if (!rows.hasTarget)
      throw new TorchkeepError(
        'ERR_DATA',
        `${source} has no column ${rows.target.columns.join(', ')}, so there is nothing to compare predictions with`,
        { suggestions: ['torchkeep predict needs no target'] },
      )
    return { data: rows.data, split, report: rows.report }
  }
  const path = resolve(source)
  const opened = await openData(oneFile(spec, path, split === 'all'), {
    baseFolder: dirname(path),
    seed: recorded.seed,
    fitted,
  })
  return splitOf(opened, split === 'all' ? 'train' : split, batchSize, source)
}

/** The description for one other file; for all of its rows without the splits. */
function oneFile(spec: DataSpec, file: string, whole: boolean): DataSpec {
  const { val_file: _val, test_file: _test, ...rest } = { val_file: '', test_file: '', ...spec, file }
  if (!whole) return rest as DataSpec
  const { split: _split, ...all } = { split: null, ...rest }
  return all as unknown as DataSpec
}

function splitOf(opened: OpenedData, split: SplitName, batchSize: number, source: string): EvaluationData {
  const parts = { train: opened.train, val: opened.val, test: opened.test }
  const data = split === 'all' ? null : parts[split]
  if (data !== null) return { data: inOrder(data, batchSize), split, report: opened.report }
  const present = Object.entries(parts).flatMap(([name, part]) => (part === null ? [] : [name]))
  throw new TorchkeepError('ERR_INVALID_ARGUMENT', `${source} has no split '${split}'; there are ${present.join(', ')}`)
}

/** In the data's own order, and none left out. An iterable is as it is. */
function inOrder(data: TrainingData, batchSize: number): TrainingData {
  return data instanceof DataLoader ? new DataLoader(data.dataset, { batchSize }) : data
}
