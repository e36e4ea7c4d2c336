/** The trainer: the public face of `src/training`. */
import { EventEmitter } from 'node:events'
import { type DataLoader, Module } from '../../lib/index.js'
import { Place, plain, type Plain } from '../checkpoint/fields.js'
import { latestBestPath } from '../checkpoint/layout.js'
import type { Best, TrainingMetrics } from '../checkpoint/schema.js'
import { type TrainingConfig, trainingConfigField } from '../checkpoint/training-config.js'
import { TorchkeepError } from '../format/errors.js'
import { checkFeed, checkLastBatch } from './data-check.js'
import type { TrainerEvents } from './events.js'
import { BatchFeed } from './feed.js'
import { type MetricFunction, resolveMetrics } from './metrics.js'
import { ModelCheckpoint, type ModelCheckpointOptions } from './model-checkpoint.js'
import { resolveMonitor } from './monitor.js'
import { type ModelNames, namesOfPhase } from './patterns.js'
import { settlePhase } from './phase-config.js'
import { checkTrainOptions, checkTrainerOptions } from './options.js'
import { lossFunction, makeOptimizer } from './phase-session.js'
import type { LossFunction } from './recording.js'
import { readCheckpoint } from './resume.js'
import { TrainingRun } from './training-run.js'

export interface TrainerOptions {
  /** Folder of the checkpoints, made when missing; default `checkpoints`. */
  checkpointDir?: string
  /** When to save; default: after every epoch, and the best. */
  checkpoint?: ModelCheckpointOptions
  /** The loss, where `trainingConfig.loss` is `custom`: from the model's outputs and the target to a scalar. */
  loss?: LossFunction
  /** Metrics of one's own by name; `trainingConfig.metrics` names those to compute. */
  metrics?: Readonly<Record<string, MetricFunction>>
  /** Threads of an operator; default LibTorch's own choice. Other numbers of threads may give other last bits. */
  threads?: number
}

export interface TrainOptions {
  /** `latest`, `best` or a path: goes on from that checkpoint. Without it the run starts anew. */
  resumeFrom?: 'latest' | 'best' | (string & {})
  /** Paths of the training configuration that may differ from the checkpoint's, such as `phases[1].epochs`, and of the model's, such as `config.width`. */
  accept?: readonly string[]
  /** Whether `resumeFrom` may be a checkpoint that was recovered from a damaged file. False unless told: its weights or labels may not be those of the run. */
  acceptRecovered?: boolean
  /** Ends the run after the current step with a durable checkpoint; `train` then rejects with `ERR_ABORTED`. */
  signal?: AbortSignal
}

/** What a finished run comes to. */
export interface TrainingSummary {
  totalEpochs: number
  totalSteps: number
  /** Seconds in epochs. */
  totalTrainingTime: number
  /** `Infinity` without validation data. */
  bestValLoss: number
  /** Null where no epoch had a finite score. */
  best: Best | null
  finalPhase: number
  metricsHistory: readonly TrainingMetrics[]
  /** The best checkpoint, or null where none was saved. */
  bestCheckpointPath: string | null
  latestCheckpointPath: string
}

/**
 * Trains a model in phases on a thread of LibTorch's own and keeps checkpoints that resume with the same bits, in Node or in Python.
 *
 * ```js
 * const trainer = new ProgressiveTrainer(model, { hidden: 64 }, { loss: 'mse', phases: [{ name: 'all', epochs: 10, lr: 1e-3 }] })
 * const summary = await trainer.train(trainLoader, valLoader, { resumeFrom: 'latest' })
 * ```
 *
 * Events: see {@link TrainerEvents}.
 */
export class ProgressiveTrainer extends EventEmitter<TrainerEvents> {
  readonly #model: Module
  readonly #config: Plain
  readonly #trainingConfig: TrainingConfig
  readonly #options: TrainerOptions
  readonly #names: ModelNames
  readonly #loss: LossFunction
  #running = false

  /**
   * @param config what the user wants to remember of the model; plain values.
   * @throws TorchkeepError `ERR_INVALID_ARGUMENT` naming the field that is wrong, or the pattern that matches no parameter.
   */
  constructor(model: Module, config: Plain, trainingConfig: TrainingConfig, options: TrainerOptions = {}) {
    super()
    const invalid = new Place('ERR_INVALID_ARGUMENT', '')
    if (!((model as unknown) instanceof Module)) invalid.field('model').refuse('a Module', model)
    checkTrainerOptions(options)
    plain.encode(config, invalid.field('config'))
    trainingConfigField.encode(trainingConfig, invalid.field('trainingConfig'))
    if (trainingConfig.phases.length === 0)
      throw new TorchkeepError(
        'ERR_INVALID_ARGUMENT',
        'trainingConfig.phases is empty: at least one phase was expected',
      )
    this.#model = model
    this.#config = config
    this.#trainingConfig = trainingConfig
    this.#options = options
    this.#loss = chosenLoss(trainingConfig, options)
    const parameters = [...model.namedParameters()]
    this.#names = {
      parameters: parameters.map(([name]) => name),
      buffers: [...model.namedBuffers().keys()],
      frozen: new Set(parameters.filter(([, parameter]) => !parameter.requiresGrad).map(([name]) => name)),
    }
    for (const phase of trainingConfig.phases) {
      namesOfPhase(phase, this.#names)
      makeOptimizer(model.parameters(), settlePhase(trainingConfig, phase))
    }
  }

  /**
   * Trains all phases, or what is left of them, and resolves when the last checkpoint is durable.
   *
   * @param valLoader validation data, or null (the default) for none.
   * @throws TorchkeepError `ERR_ABORTED` after `signal` fired and the checkpoint was durable; `ERR_DATA`, `ERR_MONITOR_MISSING` and `ERR_CHECKPOINT_*` before the first
   *   step; `ERR_NON_FINITE`, `ERR_CHECKPOINT_WRITE`, `ERR_OUT_OF_MEMORY`, `ERR_TORCH` in mid-run. The message says which checkpoint is the last; the files that were durable stay so.
   */
  async train(
    trainLoader: DataLoader,
    valLoader: DataLoader | null = null,
    options: TrainOptions = {},
  ): Promise<TrainingSummary> {
    checkTrainOptions(options)
    if (this.#running)
      throw new TorchkeepError('ERR_BUSY', 'this trainer is training already; make another one or wait')
    if (options.signal?.aborted === true)
      throw new TorchkeepError('ERR_ABORTED', 'the signal had fired before training began', {
        cause: options.signal.reason,
      })
    this.#running = true
    const gradients = [...this.#model.namedParameters().values()].map(
      (parameter) => [parameter, parameter.requiresGrad] as const,
    )
    try {
      return await this.#train(trainLoader, valLoader, options)
    } finally {
      for (const [parameter, requiresGrad] of gradients) if (!parameter.disposed) parameter.requiresGrad = requiresGrad
      this.#running = false
    }
  }

  async #train(trainLoader: DataLoader, valLoader: DataLoader | null, options: TrainOptions): Promise<TrainingSummary> {
    const trainingConfig = this.#trainingConfig
    const training = new BatchFeed(trainLoader, 'training')
    const validation = valLoader === null ? null : new BatchFeed(valLoader, 'validation')
    const metrics = resolveMetrics(trainingConfig.metrics ?? [], this.#options.metrics)
    const monitor = resolveMonitor(trainingConfig, { validates: validation !== null, metrics })
    const phaseNames = trainingConfig.phases.map((phase) => namesOfPhase(phase, this.#names))
    checkFeed(this.#model, trainingConfig.loss, this.#loss, [], training)
    if (validation !== null)
      checkFeed(this.#model, trainingConfig.loss, this.#loss, metrics, validation)
    checkLastBatch(this.#model, phaseNames, training)
    const checkpoints = new ModelCheckpoint(this.#options.checkpointDir ?? 'checkpoints', this.#options.checkpoint)
    const run = new TrainingRun({
      model: this.#model,
      config: this.#config,
      trainingConfig,
      loss: this.#loss,
      monitor,
      metrics,
      training,
      validation,
      phases: trainingConfig.phases.map((phase) => settlePhase(trainingConfig, phase)),
      phaseNames,
      checkpoints,
      signal: options.signal ?? null,
      threads: this.#options.threads ?? 0,
      emit: (name, ...event) => void (this as EventEmitter).emit(name, ...event),
    })
    if (options.resumeFrom !== undefined) {
      const configs = { modelConfig: this.#config, trainingConfig }
      const { resumeFrom, accept = [], acceptRecovered = false } = options
      run.restore(await readCheckpoint(checkpoints.folder, resumeFrom, configs, accept, acceptRecovered))
    }
    await checkpoints.prepare()
    try {
      await run.run()
    } catch (error) {
      throw withLastCheckpoint(error, checkpoints.newestPath)
    }
    return summary(run, checkpoints)
  }
}

function chosenLoss({ loss }: TrainingConfig, options: TrainerOptions): LossFunction {
  if ((loss === 'custom') === (options.loss !== undefined)) return options.loss ?? lossFunction(loss as 'mse')
  throw new TorchkeepError(
    'ERR_INVALID_ARGUMENT',
    loss === 'custom'
      ? "trainingConfig.loss is 'custom', but the trainer's loss option is missing"
      : `the trainer's loss option needs trainingConfig.loss 'custom', but it is '${loss}'`,
  )
}

/** Adds to an error of mid-run where the last checkpoint is. */
function withLastCheckpoint(error: unknown, path: string | null): unknown {
  if (!(error instanceof TorchkeepError) || error.code === 'ERR_ABORTED') return error
  const where = path === null ? 'no checkpoint had been written yet' : `the last checkpoint is ${path}`
  return new TorchkeepError(error.code, `${error.message}; ${where}`, { cause: error, suggestions: error.suggestions })
}

function summary({ state }: TrainingRun, checkpoints: ModelCheckpoint): TrainingSummary {
  return {
    totalEpochs: state.epochsDone,
    totalSteps: state.globalStep,
    totalTrainingTime: state.totalTrainingTime,
    bestValLoss: state.bestValLoss,
    best: state.best,
    finalPhase: state.phase,
    metricsHistory: state.history,
    bestCheckpointPath: state.best === null || !checkpoints.saveBest ? null : latestBestPath(checkpoints.folder),
    latestCheckpointPath: checkpoints.newestPath as string,
  }
}
