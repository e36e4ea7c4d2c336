/** Reading a configuration file: parsed, changed by `--set`, checked whole. Nothing here needs LibTorch. */
import { readFile } from 'node:fs/promises'
import { dirname, isAbsolute, join, resolve } from 'node:path'
import { Place, type Plain } from '../checkpoint/fields.js'
import { type TrainingConfig, trainingConfigField } from '../checkpoint/training-config.js'
import { TorchkeepError } from '../format/errors.js'
import { crossChecks } from './cross-checks.js'
import { mistakesOf, refuseMistakes } from './mistakes.js'
import { type TrainFile, trainFile } from './schema.js'
import { type ConfigSource, parseSource } from './source.js'

/** A configuration, checked. */
export interface TrainConfig {
  /** The file, as it was named. */
  file: string
  /** What it says, under its own keys. */
  settings: TrainFile
  /** Its training part as the trainer takes it. */
  trainingConfig: TrainingConfig
  /** Folder of the checkpoints. */
  checkpointDir: string
  /** A path that the file names, which is relative to the file itself. */
  resolve: (path: string) => string
}

/**
 * Reads and checks a configuration of `torchkeep train`.
 *
 * @param changes `key=value`, as of `--set`.
 * @throws TorchkeepError `ERR_INVALID_ARGUMENT` with every mistake at once, each with its line, its path and, where one is near, what may have been meant.
 */
export async function readTrainConfig(file: string, changes: readonly string[] = []): Promise<TrainConfig> {
  const source = parseSource(file, await textOf(file), changes)
  const folder = dirname(resolve(file))
  const settings = checked(source, folder)
  return {
    file,
    settings,
    trainingConfig: trainingConfigOf(settings),
    checkpointDir: beside(file, settings.checkpoint_dir ?? 'checkpoints'),
    resolve: (path) => resolve(folder, path),
  }
}

/** A path as seen from here, short where the file is. */
const beside = (file: string, path: string): string => (isAbsolute(path) ? path : join(dirname(file), path))

async function textOf(file: string): Promise<string> {
  try {
    return await readFile(file, 'utf8')
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException
    const reason = code === 'ENOENT' ? `there is no file ${file}` : `${file} cannot be read: ${message}`
    throw new TorchkeepError('ERR_INVALID_ARGUMENT', reason, {
      cause: error,
      suggestions: ['torchkeep init writes a configuration to begin with'],
    })
  }
}

function checked(source: ConfigSource, folder: string): TrainFile {
  const { success, data, error } = trainFile.safeParse(source.value)
  const mistakes = success ? [] : mistakesOf(trainFile, source.value, error.issues)
  refuseMistakes(source, [...mistakes, ...crossChecks(source.value, folder)])
  return data as TrainFile
}

/** The keys that are not the trainer's. */
const otherKeys = new Set(['seed', 'device', 'threads', 'checkpoint_dir', 'model', 'data', 'checkpoint', 'logs'])

/** The trainer's part, through the same table of names as a checkpoint's `training_config`. */
function trainingConfigOf(settings: TrainFile): TrainingConfig {
  const { loss, metrics } = settings
  const own = Object.entries(settings).filter(([key]) => !otherKeys.has(key))
  const fields = toDicts({
    ...Object.fromEntries(own),
    loss: typeof loss === 'string' ? loss : 'custom',
    ...(metrics === undefined ? {} : { metrics: metrics.map(metricName) }),
  } as Plain)
  return trainingConfigField.decode(fields, new Place('ERR_INVALID_ARGUMENT', ''))
}

/** What a metric of the configuration is called: in `val_NAME`, in the history, in the logs. */
export function metricName(metric: NonNullable<TrainFile['metrics']>[number]): string {
  return typeof metric === 'string' ? metric : metric.export
}

/** Objects as the Maps that fields decode. */
export function toDicts(value: Plain): unknown {
  if (Array.isArray(value)) return (value as readonly Plain[]).map(toDicts)
  if (typeof value !== 'object' || value === null) return value
  return new Map(Object.entries(value).map(([key, item]) => [key, toDicts(item as Plain)]))
}
