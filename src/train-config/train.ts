/** A run of `torchkeep train`: from a checked configuration to a trainer with its data. */
import { devices, manualSeed, versions } from '../../lib/index.js'
import type { Plain } from '../checkpoint/fields.js'
import { findCheckpoint } from '../checkpoint/layout.js'
import { openData, type OpenedData } from '../data/open-data.js'
import { TorchkeepError } from '../format/errors.js'
import { nearNames } from '../format/near-names.js'
import type { TrainingData } from '../training/feed.js'
import { ProgressiveTrainer, type TrainerOptions, type TrainingSummary } from '../training/trainer.js'
import { loggingOptions, modelCheckpointOptions } from './options.js'
import { type DataSummary, makeLoss, makeMetrics, makeModel } from './models.js'
import { onDevice } from './on-device.js'
import type { TrainConfig } from './read-config.js'
import { checkSameRun, readRecordedConfig, recordedConfig } from './recorded-config.js'

/** What the command line says besides the configuration. */
export interface RunOptions {
  /** `latest`, `best` or a path: goes on from that checkpoint. */
  resume?: string
  /** Paths of the configuration that may differ from the checkpoint's. */
  accept?: readonly string[]
  acceptRecovered?: boolean
  checkpointDir: string
  /** In place of the configuration's, as the next. */
  device?: string
  threads?: number
  tensorboard?: boolean
}

/** A run that is ready to begin. */
export interface PreparedRun {
  trainer: ProgressiveTrainer
  /** For people: what the data are. */
  report: readonly string[]
  train(signal: AbortSignal): Promise<TrainingSummary>
}

/**
 * Reads the data, makes the model and its trainer. The seed is set before the model is made, so the run is the one that Python's `torch.manual_seed(seed); model = ...` begins.
 *
 * @throws TorchkeepError `ERR_LIBTORCH_MISSING` before anything is read; `ERR_DATA`, `ERR_INVALID_ARGUMENT`, and `ERR_CHECKPOINT_*` where the run cannot go on from `resume`.
 */
export async function prepareRun(config: TrainConfig, options: RunOptions): Promise<PreparedRun> {
  requireLibTorch()
  const { settings, trainingConfig } = config
  const device = checkDevice(options.device ?? settings.device ?? 'cpu')
  const { seed = 0 } = settings
  const resumeFrom = options.resume === undefined ? null : await findCheckpoint(options.checkpointDir, options.resume)
  const fitted = resumeFrom === null ? null : await fittedOf(resumeFrom, config, options.accept ?? [])
  const baseFolder = config.resolve('.')
  const data = await openData(settings.data, { baseFolder, seed, ...(fitted === null ? {} : { fitted }) })
  manualSeed(seed)
  const model = await makeModel(config, summaryOf(data))
  model.module.to(device)
  const loss = await makeLoss(config)
  const threads = options.threads ?? settings.threads
  const trainerOptions: TrainerOptions = {
    checkpointDir: options.checkpointDir,
    metrics: await makeMetrics(config),
    ...(settings.checkpoint === undefined ? {} : { checkpoint: modelCheckpointOptions(settings.checkpoint) }),
    ...(loss === null ? {} : { loss }),
    ...(threads === undefined ? {} : { threads }),
    ...loggingOptions(settings.logs, options.tensorboard ?? false),
  }
  const recorded = recordedConfig(settings, model.config, data.fitted)
  const trainer = new ProgressiveTrainer(model.module, recorded, trainingConfig, trainerOptions)
  const place = (part: TrainingData | null): TrainingData | null => (part === null ? null : onDevice(part, device))
  return {
    trainer,
    report: data.report,
    train: (signal) =>
      trainer.train(place(data.train) as TrainingData, place(data.val), {
        signal,
        acceptRecovered: options.acceptRecovered ?? false,
        accept: (options.accept ?? []).flatMap((path) => [path, camelCased(path)]),
        ...(resumeFrom === null ? {} : { resumeFrom }),
      }),
  }
}

/** Loads the addon, so that its absence is told before data are read for minutes. */
function requireLibTorch(): void {
  try {
    versions()
  } catch (error) {
    if (!(error instanceof TorchkeepError)) throw error
    throw new TorchkeepError(error.code, `training needs LibTorch: ${error.message}`, {
      cause: error,
      suggestions: [...error.suggestions, 'torchkeep doctor says what is missing'],
    })
  }
}

function checkDevice(device: string): string {
  if (device === 'cpu') return device
  const { devices: present, cudaUnavailable } = devices()
  const names = present.map(({ device: name }) => name)
  if (names.includes(device) || names.some((name) => name === `${device}:0`)) return device
  const why = cudaUnavailable === null || !device.startsWith('cuda') ? '' : ` (${cudaUnavailable})`
  throw new TorchkeepError(
    'ERR_INVALID_ARGUMENT',
    `there is no device '${device}'${why}; there are ${names.join(', ')}`,
    {
      suggestions: [
        ...nearNames(device, names).map((name) => `--device ${name}`),
        'torchkeep doctor says why a device is off',
      ],
    },
  )
}

/** What the run to go on with had learned from its training rows; null where the checkpoint is none of `torchkeep train`. */
async function fittedOf(path: string, { settings }: TrainConfig, accepted: readonly string[]): Promise<Plain> {
  const saved = await readRecordedConfig(path)
  if (saved === null) return null
  checkSameRun(path, saved, settings, accepted)
  return saved.data.fitted
}

function summaryOf({ inputs, target }: OpenedData): DataSummary {
  return {
    inputs: inputs.map(({ name, dtype, shape, indices }) => ({ name, dtype, shape, indices })),
    target: { name: target.name, dtype: target.dtype, shape: target.shape, indices: target.indices },
    classes: target.classes,
  }
}

/** `phases[0].early_stopping` as the trainer calls it. */
const camelCased = (path: string): string =>
  path.replaceAll(/_([a-z0-9])/g, (_, letter: string) => letter.toUpperCase())
