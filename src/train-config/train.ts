/** A run of `torchkeep train`: from a checked configuration to a trainer with its data. */
import { devices, manualSeed } from '../../lib/index.js'
import { differences, type Plain } from '../checkpoint/fields.js'
import type { TrainingConfig } from '../checkpoint/training-config.js'
import { findCheckpoint } from '../checkpoint/layout.js'
import { findNewestWhole } from '../checkpoint/newest-whole.js'
import { openData, type OpenedData } from '../data/open-data.js'
import { TorchkeepError } from '../format/errors.js'
import { nearNames } from '../format/near-names.js'
import type { TrainingData } from '../training/feed.js'
import { ProgressiveTrainer, type TrainerOptions, type TrainingSummary } from '../training/trainer.js'
import { loggingOptions, modelCheckpointOptions } from './options.js'
import { type DataSummary, makeLoss, makeMetrics, makeModel } from './models.js'
import { onDevice } from './on-device.js'
import type { TrainConfig } from './read-config.js'
import { modelDifferences, readRecorded, recordedConfig, refuseDifferences, runDifferences } from './recorded-config.js'

/** What the command line says besides the configuration. */
export interface RunOptions {
  /** `latest`, `best` or a path: goes on from that checkpoint. Where `latest.pth` is missing or broken, `latest` is the newest other one that is whole. */
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
 * @throws TorchkeepError `ERR_DATA`, `ERR_INVALID_ARGUMENT`, and `ERR_CHECKPOINT_*` where the run cannot go on from `resume`.
 */
export async function prepareRun(config: TrainConfig, options: RunOptions): Promise<PreparedRun> {
  const { settings, trainingConfig } = config
  const device = checkDevice(options.device ?? settings.device ?? 'cpu')
  const { seed = 0 } = settings
  const resumeFrom = options.resume === undefined ? null : await resumePath(options.checkpointDir, options.resume)
  const before = resumeFrom === null ? null : await readRecorded(resumeFrom)
  const { accept = [] } = options
  if (before !== null) refuseDifferences(resumeFrom as string, runDifferences(before, config, accept))
  const fitted = before?.recorded.data.fitted ?? null
  const baseFolder = config.resolve('.')
  const data = await openData(settings.data, { baseFolder, seed, ...(fitted === null ? {} : { fitted }) })
  manualSeed(seed)
  const model = await makeModel(config, summaryOf(data))
  if (before !== null)
    refuseDifferences(resumeFrom as string, modelDifferences(before.recorded.model, model.config, accept))
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
        accept: [...accept, ...(before === null ? [] : everythingThatDiffers(before.trainingConfig, trainingConfig))],
        // The trainer comes to the same file for `latest`, and tells what it passed over.
        ...(resumeFrom === null ? {} : { resumeFrom: options.resume === 'latest' ? 'latest' : resumeFrom }),
      }),
  }
}

/** The file that a run goes on from. What it says of data and model is needed before the trainer reads it, so for `latest` all of it is checked here. */
async function resumePath(checkpointDir: string, wanted: string): Promise<string> {
  return wanted === 'latest' ? (await findNewestWhole(checkpointDir)).path : findCheckpoint(checkpointDir, wanted)
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

function summaryOf({ inputs, target }: OpenedData): DataSummary {
  return {
    inputs: inputs.map(({ name, dtype, shape, indices }) => ({ name, dtype, shape, indices })),
    target: { name: target.name, dtype: target.dtype, shape: target.shape, indices: target.indices },
    classes: target.classes,
  }
}

/** For the trainer, which calls the same things by other names: what is not accepted was refused before. */
const everythingThatDiffers = (before: TrainingConfig, now: TrainingConfig): string[] => [
  'config',
  ...differences(before as unknown as Plain, now as unknown as Plain),
]
