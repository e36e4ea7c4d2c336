/** What made a checkpoint. */
import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { versions } from '../../lib/index.js'
import type { Plain } from '../checkpoint/fields.js'
import type { Metadata } from '../checkpoint/schema.js'
import type { TrainingConfig } from '../checkpoint/training-config.js'

const { version: torchkeepVersion } = JSON.parse(
  readFileSync(new URL('../../../package.json', import.meta.url), 'utf8'),
) as { version: string }

/** The metadata of a run's checkpoints. */
export function runMetadata(config: Plain, trainingConfig: TrainingConfig): Metadata {
  return {
    title: '',
    description: '',
    tags: [],
    configHash: createHash('sha256')
      .update(canonicalJson({ config, trainingConfig: trainingConfig as unknown as Plain }))
      .digest('hex'),
    torchkeepVersion,
    libtorchVersion: versions().libtorchRuntime,
  }
}

/** JSON with sorted keys, so that equal values have equal texts; bigints and non-finite numbers as strings. */
function canonicalJson(value: Plain): string {
  return JSON.stringify(value, (_key, item: unknown) => {
    if (typeof item === 'bigint' || (typeof item === 'number' && !Number.isFinite(item))) return String(item)
    if (typeof item !== 'object' || item === null || Array.isArray(item)) return item
    return Object.fromEntries(Object.entries(item).sort(([left], [right]) => (left < right ? -1 : 1)))
  })
}
