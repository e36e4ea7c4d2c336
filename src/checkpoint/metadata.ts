/** What a checkpoint says about itself. */
import { readTorchFile, type TorchFile } from '../format/read.js'
import { configHash } from './config-hash.js'
import { sizeOfFiles } from './file-size.js'
import { numberOf, validationLossOf } from './metrics.js'
import type { TopLevel } from './migrations.js'
import { normalizeCheckpoint } from './normalize.js'

/** What made a checkpoint, by version; null where it does not say. */
export interface LibraryVersions {
  torchkeep: string | null
  /** LibTorch, or the torch of a Python script. */
  libtorch: string | null
  node: string | null
}

/**
 * What a checkpoint says about itself. Title, description, tags, the model's type and the libraries lie under `metadata` in the file; version, timestamp, epoch, phase and loss are the labels at its top level,
 * kept once, so that they cannot contradict themselves. The hash is computed from the `config` in the file and the size is the file's.
 */
export interface CheckpointMetadata {
  /** Version of the layout, such as `3.0`; null where the file names none. */
  version: string | null
  /** ISO 8601, UTC; null where the file does not say. */
  createdAt: string | null
  /** The model's class, or what the older system called it; null likewise. */
  modelType: string | null
  /** See `configHash`; null without a `config`. */
  configHash: string | null
  /** Of 2^20 bytes. */
  fileSizeMb: number
  /** NaN where the weights were not validated; null where the file does not say. */
  validationLoss: number | null
  epoch: number | null
  phase: number | null
  isBest: boolean | null
  /** Empty where nobody gave one. */
  title: string
  description: string
  tags: readonly string[]
  libraries: LibraryVersions
}

/**
 * The metadata of a checkpoint of any layout and container; what it does not hold is null or empty.
 * @throws TorchkeepError what reading the file throws.
 */
export async function readMetadata(path: string): Promise<CheckpointMetadata> {
  const file = await readTorchFile(path)
  return metadataOf(file, await sizeOfFiles(file))
}

/** The metadata of a file that was read. */
export function metadataOf(file: TorchFile, sizeBytes: number): CheckpointMetadata {
  const { value, version } = normalizeCheckpoint(file)
  const metadata = metadataDict(file, value)
  const text = (key: string): string | null => textOf(metadata.get(key))
  return {
    version,
    createdAt: momentOf(value.get('timestamp')) ?? momentOf(value.get('export_timestamp')),
    modelType: text('model_type') ?? modelTypeOf(value),
    configHash: value.has('config') ? configHash(value.get('config')) : null,
    fileSizeMb: sizeBytes / 2 ** 20,
    validationLoss: validationLossOf(value),
    epoch: numberOf(value.get('epoch')),
    phase: numberOf(value.get('phase')),
    isBest: typeof value.get('is_best') === 'boolean' ? (value.get('is_best') as boolean) : null,
    title: text('title') ?? '',
    description: text('description') ?? '',
    tags: tagsOf(metadata.get('tags')),
    libraries: {
      torchkeep: text('torchkeep_version'),
      libtorch: text('libtorch_version') ?? text('torch_version'),
      node: text('node_version'),
    },
  }
}

/** `metadata` of the file, over `enhanced_metadata` of version "2.0"; of safetensors `__metadata__`, whose values are all texts. */
function metadataDict(file: TorchFile, value: TopLevel): TopLevel {
  const { metadata } = file.details
  if (file.container === 'safetensors' && typeof metadata === 'object' && metadata !== null) {
    return new Map<unknown, unknown>(Object.entries(metadata))
  }
  const parts = [value.get('enhanced_metadata'), value.get('metadata')]
  return new Map(parts.flatMap((dict) => (dict instanceof Map ? [...(dict as TopLevel)] : [])))
}

const textOf = (value: unknown): string | null => (typeof value === 'string' ? value : null)

/** A list of texts; where only texts can be stored, its JSON. */
function tagsOf(value: unknown): string[] {
  if (Array.isArray(value)) return value.filter((tag) => typeof tag === 'string')
  if (typeof value !== 'string' || !value.startsWith('[')) return []
  try {
    const parsed: unknown = JSON.parse(value)
    return Array.isArray(parsed) ? parsed.filter((tag) => typeof tag === 'string') : []
  } catch {
    return [] // Some other program's text that begins with a bracket: no tags of ours.
  }
}

/** Seconds since 1970, or a text that already is a moment. */
function momentOf(value: unknown): string | null {
  if (typeof value === 'string') return value
  const seconds = numberOf(value)
  const date = seconds === null ? null : new Date(seconds * 1000)
  return date === null || Number.isNaN(date.getTime()) ? null : date.toISOString()
}

/** What the older system's files say of the model: `model_class`, or the two encoders. */
function modelTypeOf(value: TopLevel): string | null {
  const named = textOf(value.get('model_class')) ?? textOf(value.get('arch'))
  if (named !== null) return named
  for (const key of ['model_info', 'config']) {
    const facts = value.get(key)
    if (!(facts instanceof Map)) continue
    const [protein, drug] = ['protein_encoder_type', 'drug_encoder_type'].map((name) => textOf(facts.get(name)))
    if (typeof protein === 'string' && typeof drug === 'string') return `${protein}_${drug}`
  }
  return null
}
