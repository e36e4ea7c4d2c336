/** `torchkeep evaluate`: a checkpoint's loss and metrics on other data. */
import { extname } from 'node:path'
import { type Evaluation, evaluateCheckpoint } from '../training/evaluation.js'
import { metricNames } from '../training/metrics.js'
import { openEvaluationData, type SplitName } from './evaluation-data.js'
import { makeLoss, makeMetrics } from './models.js'
import { readTrainConfig } from './read-config.js'
import type { RecordedConfig } from './recorded-config.js'

/** What is evaluated, and by what. */
export interface EvaluateOptions {
  checkpoint: string
  /** What the checkpoint holds of its configuration. */
  recorded: RecordedConfig
  /** Metrics of its training. */
  trainedMetrics: readonly string[]
  /** In place of those. */
  metrics?: readonly string[]
  split?: SplitName
  batchSize?: number
  device?: string
  threads?: number
  signal?: AbortSignal
}

/** The figures on one source of data. */
export interface EvaluatedData extends Omit<Evaluation, 'path'> {
  data: string
  split: SplitName
  /** Metrics of the training that are not computed, since a module of one's own has them. */
  withoutMetrics: readonly string[]
  report: readonly string[]
}

/**
 * Evaluates a checkpoint on a data file, or on a split of the data of a configuration (whose own loss and metrics then count as well).
 *
 * @throws TorchkeepError what `evaluateCheckpoint` and `openEvaluationData` throw.
 */
export async function evaluateOn(source: string, options: EvaluateOptions): Promise<EvaluatedData> {
  const { checkpoint, recorded, split, batchSize, device, threads, signal } = options
  const opened = await openEvaluationData(recorded, source, {
    ...(split === undefined ? {} : { split }),
    ...(batchSize === undefined ? {} : { batchSize }),
  })
  const own = await ownFunctions(source)
  const wanted = options.metrics ?? options.trainedMetrics
  const isThere = (name: string): boolean => metricNames.includes(name) || Object.hasOwn(own.ownMetrics, name)
  // What was asked for by name is refused where it is not there; what the training had may be in a module that is not.
  const names = options.metrics ?? wanted.filter(isThere)
  const used = Object.fromEntries(Object.entries(own.ownMetrics).filter(([name]) => names.includes(name)))
  const { path: _path, ...found } = await evaluateCheckpoint(checkpoint, opened.data, {
    metrics: names,
    ownMetrics: used,
    ...(own.loss === null ? {} : { loss: own.loss }),
    ...(device === undefined ? {} : { device }),
    ...(threads === undefined ? {} : { threads }),
    ...(signal === undefined ? {} : { signal }),
  })
  const withoutMetrics = wanted.filter((name) => !names.includes(name))
  return { data: source, split: opened.split, ...found, withoutMetrics, report: opened.report }
}

/** Loss and metrics that modules of a configuration export. */
async function ownFunctions(source: string) {
  if (!['.yaml', '.yml', '.json'].includes(extname(source))) return { loss: null, ownMetrics: {} }
  const config = await readTrainConfig(source)
  return { loss: await makeLoss(config), ownMetrics: await makeMetrics(config) }
}
