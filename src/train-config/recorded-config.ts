/** What a checkpoint's `config` holds of a run of `torchkeep train`: all that evaluation and prediction need besides the weights, and all that a resumed run must agree with. */
import { differences, Place, type Plain } from '../checkpoint/fields.js'
import { TorchkeepError } from '../format/errors.js'
import { readTorchFile } from '../format/read.js'
import { PyFloat } from '../format/values.js'
import { decodeCheckpoint } from '../checkpoint/schema.js'
import { type TrainingConfig, trainingConfigField } from '../checkpoint/training-config.js'
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

/** What a checkpoint of `torchkeep train` holds of its run. */
export interface RecordedRun {
  recorded: RecordedConfig
  trainingConfig: TrainingConfig
}

/**
 * What a checkpoint holds of the configuration that it was trained with; null where it was not made by `torchkeep train`.
 *
 * @throws TorchkeepError `ERR_CHECKPOINT_*` for a file that cannot be read.
 */
export async function readRecorded(path: string): Promise<RecordedRun | null> {
  const { value } = await readTorchFile(path)
  if (!(value instanceof Map) || value.get('format') !== 'torchkeep') return null
  const { config, trainingConfig } = decodeCheckpoint(value, path)
  const recorded = asRecorded(config)
  return recorded === null ? null : { recorded, trainingConfig }
}

/**
 * The same for commands that cannot do without.
 *
 * @throws TorchkeepError `ERR_CHECKPOINT_UNSUPPORTED` where the checkpoint was not made by `torchkeep train`.
 */
export async function requireRecorded(path: string): Promise<RecordedRun> {
  const run = await readRecorded(path)
  if (run !== null) return run
  throw new TorchkeepError(
    'ERR_CHECKPOINT_UNSUPPORTED',
    `${path} does not say how its data became tensors (config.data): it was not made by torchkeep train`,
    { suggestions: ['evaluateCheckpoint() and predictCheckpoint() of the API take tensors of your own'] },
  )
}

/** A checkpoint's `config` where it has the form of `torchkeep train`. */
export function asRecorded(config: Plain): RecordedConfig | null {
  const isObject = (value: unknown): value is Readonly<Record<string, Plain>> =>
    typeof value === 'object' && value !== null && !Array.isArray(value)
  if (!isObject(config) || !isObject(config['data']) || !isObject(config['data']['spec'])) return null
  return typeof config['seed'] === 'number' && 'fitted' in config['data'] ? (config as unknown as RecordedConfig) : null
}

/** Where a run differs from the one that it goes on from, by the names of the configuration file: `data.batch_size`, `phases[0].early_stopping.patience`, `model.hidden[1]`. */
export interface RunDifferences {
  refused: string[]
  accepted: string[]
}

/**
 * Compares what a checkpoint holds with what the configuration says now: data, loss, metrics, seed and training. (Of the model, what came from the data is known later.)
 *
 * @param accepted paths that may differ, such as `data.batch_size`, or `data` for all of it.
 */
export function runDifferences(
  saved: { recorded: RecordedConfig; trainingConfig: TrainingConfig },
  now: { settings: TrainFile; trainingConfig: TrainingConfig },
  accepted: readonly string[],
): RunDifferences {
  const own = ({ data: { spec }, loss, metrics, seed }: RecordedConfig): Plain => ({
    data: spec as unknown as Plain,
    ...(loss === undefined ? {} : { loss }),
    ...(metrics === undefined ? {} : { metrics }),
    seed,
  })
  const before = own(saved.recorded)
  const after = own(recordedConfig(now.settings, null, null) as unknown as RecordedConfig)
  const places = [
    ...differences(before, after),
    ...differences(inFile(saved.trainingConfig), inFile(now.trainingConfig)),
  ]
  return splitByAcceptance(places, accepted)
}

/** The same for the model, once it is made. */
export function modelDifferences(saved: Plain, now: Plain, accepted: readonly string[]): RunDifferences {
  return splitByAcceptance(differences(saved, now, 'model'), accepted)
}

/** @throws TorchkeepError `ERR_CHECKPOINT_INCOMPATIBLE` with all paths that differ and are not accepted. */
export function refuseDifferences(path: string, { refused }: RunDifferences): void {
  if (refused.length === 0) return
  throw new TorchkeepError(
    'ERR_CHECKPOINT_INCOMPATIBLE',
    `${path} was made with another configuration; these differ: ${refused.join(', ')}`,
    { suggestions: [`${refused.map((place) => `--accept ${place}`).join(' ')} goes on with the new values`] },
  )
}

function splitByAcceptance(places: readonly string[], accepted: readonly string[]): RunDifferences {
  const isAccepted = (place: string): boolean => accepted.some((part) => isWithin(place, part))
  return { refused: places.filter((place) => !isAccepted(place)), accepted: places.filter(isAccepted) }
}

const isWithin = (place: string, part: string): boolean =>
  place === part || place.startsWith(`${part}.`) || place.startsWith(`${part}[`)

/** A training configuration under the keys of files. */
function inFile(config: TrainingConfig): Plain {
  return plainOf(trainingConfigField.encode(config, new Place('ERR_INVALID_ARGUMENT', '')))
}

function plainOf(value: unknown): Plain {
  if (value instanceof Map) return Object.fromEntries([...value].map(([key, item]) => [String(key), plainOf(item)]))
  if (Array.isArray(value)) return value.map(plainOf)
  return value instanceof PyFloat ? value.value : (value as Plain)
}
