/** What an export says of the checkpoint that it was made from. */
import { basename } from 'node:path'
import type { Plain } from '../checkpoint/fields.js'
import { metadataOf } from '../checkpoint/metadata.js'
import { metricsOf } from '../checkpoint/metrics.js'
import type { TopLevel } from '../checkpoint/migrations.js'
import { wholePlainValue } from '../checkpoint/plain-values.js'
import { elementCount, type AnyTensorRecord } from '../format/tensor-record.js'
import { sizesOf, uniqueTensors } from '../checkpoint/tensor-roles.js'
import type { ExportSource } from './model-source.js'

export { packageVersion as torchkeepVersion } from '../checkpoint/package-version.js'

/** The checkpoint of an export, for `metadata.json` and the README. Its folder is not told: it may name people and machines. */
export interface SourceFacts {
  /** Its name without its folder. */
  file: string
  sha256: string
  epoch: number | null
  phase: number | null
  validation_loss: number | null
  /** Of the weights' epoch, by name. */
  metrics: Record<string, number>
  config_hash: string | null
  model_type: string | null
  title: string
  description: string
  tags: string[]
}

/** Title, description and tags are what `torchkeep tag` set. */
export function sourceFacts({ path, fileSha256, file, normalized }: ExportSource): SourceFacts {
  const { epoch, phase, validationLoss, configHash, modelType, title, description, tags } = metadataOf(file, 0)
  return {
    file: basename(path),
    sha256: fileSha256,
    epoch,
    phase,
    validation_loss: validationLoss,
    metrics: modelMetrics(normalized),
    config_hash: configHash,
    model_type: modelType,
    title,
    description,
    tags: [...tags],
  }
}

/** Numbers of a history's row that tell of the run's progress and not of the model. */
const bookkeeping = new Set(['step', 'samples_per_second', 'skipped_batches'])

/** What the run measured of these weights, by name. */
export function modelMetrics(normalized: TopLevel): Record<string, number> {
  return Object.fromEntries(Object.entries(metricsOf(normalized)).filter(([name]) => !bookkeeping.has(name)))
}

/** The `config` of a checkpoint as plain values; null without one. */
export function configOf(normalized: TopLevel): Plain | null {
  const config: unknown = normalized.get('config')
  return config === undefined || config === null ? null : wholePlainValue(config)
}

/** Numbers in a model's tensors, each tensor once. */
export function countElements(stateDict: ReadonlyMap<string, AnyTensorRecord>): number {
  return uniqueTensors(stateDict).reduce((sum, { names }) => {
    const record = stateDict.get(names[0] ?? '')
    return sum + (record === undefined ? 0 : elementCount(sizesOf(record)))
  }, 0)
}
