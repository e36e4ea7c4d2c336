/** What a checkpoint's `config` holds of a run of `torchkeep train`: all that evaluation and prediction need besides the weights, and all that a resumed run must agree with. */
import { differences, type Plain } from '../checkpoint/fields.js'
import { TorchkeepError } from '../format/errors.js'
import { readTorchFile } from '../format/read.js'
import { decodeCheckpoint } from '../checkpoint/schema.js'
import type { DataSpec } from '../data/spec.js'
import type { TrainFile } from './schema.js'

/** `config` of a checkpoint of `torchkeep train`. Keys outside `model` do not decide the configuration's hash. */
export interface RecordedConfig {
  /** What decides the build of the model: as in the configuration, with the sizes that came from the data. */
  model: Plain
  data: {
    /** As in the configuration. */
    spec: DataSpec
    /** What was learned from the training rows: vocabularies, means, alphabets. */
    fitted: Plain
  }
  /** Where a module exports it. */
  loss?: Plain
  metrics?: Plain
  seed: number
}

/** The configuration as checkpoints hold it. */
export function recordedConfig(settings: TrainFile, model: Plain, fitted: Plain): Plain {
  const { data, loss, metrics, seed = 0 } = settings
  return {
    model,
    data: { spec: data as unknown as Plain, fitted },
    ...(typeof loss === 'string' ? {} : { loss: loss as Plain }),
    ...(metrics?.some((metric) => typeof metric !== 'string') ? { metrics: metrics as Plain } : {}),
    seed,
  }
}

/**
 * What a checkpoint holds of the configuration that it was trained with; null where it was not made by `torchkeep train`.
 *
 * @throws TorchkeepError `ERR_CHECKPOINT_*` for a file that cannot be read.
 */
export async function readRecordedConfig(path: string): Promise<RecordedConfig | null> {
  const { value } = await readTorchFile(path)
  if (!(value instanceof Map) || value.get('format') !== 'torchkeep') return null
  return asRecorded(decodeCheckpoint(value, path).config)
}

/** A checkpoint's `config` where it has the form of `torchkeep train`. */
export function asRecorded(config: Plain): RecordedConfig | null {
  const isObject = (value: unknown): value is Readonly<Record<string, Plain>> =>
    typeof value === 'object' && value !== null && !Array.isArray(value)
  if (!isObject(config) || !isObject(config['data']) || !isObject(config['data']['spec'])) return null
  return typeof config['seed'] === 'number' && 'fitted' in config['data'] ? (config as unknown as RecordedConfig) : null
}

/**
 * Refuses to go on with other data, another seed or other modules than the checkpoint's. (Model and training part are the trainer's to compare.)
 *
 * @param accepted paths that may differ, such as `data.batch_size`, or `data` for all of it.
 * @throws TorchkeepError `ERR_CHECKPOINT_INCOMPATIBLE` with all paths that differ.
 */
export function checkSameRun(
  path: string,
  saved: RecordedConfig,
  settings: TrainFile,
  accepted: readonly string[],
): void {
  const comparable = ({ data: { spec }, loss, metrics, seed }: RecordedConfig): Plain => ({
    data: spec as unknown as Plain,
    ...(loss === undefined ? {} : { loss }),
    ...(metrics === undefined ? {} : { metrics }),
    seed,
  })
  const now = recordedConfig(settings, null, null) as unknown as RecordedConfig
  const differing = differences(comparable(saved), comparable(now))
  const refused = differing.filter((place) => !accepted.some((part) => isWithin(place, part)))
  if (refused.length === 0) return
  throw new TorchkeepError(
    'ERR_CHECKPOINT_INCOMPATIBLE',
    `${path} was made with another configuration; these differ: ${refused.join(', ')}`,
    { suggestions: [`${refused.map((place) => `--accept ${place}`).join(' ')} goes on with the new values`] },
  )
}

const isWithin = (place: string, part: string): boolean =>
  place === part || place.startsWith(`${part}.`) || place.startsWith(`${part}[`)
