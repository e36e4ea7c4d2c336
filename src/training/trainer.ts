/** The trainer: the public face of `src/training`. */
import { EventEmitter } from 'node:events'
import { Module } from '../../lib/index.js'
import { Place, plain, type Plain } from '../checkpoint/fields.js'
import { latestBestPath } from '../checkpoint/layout.js'
import type { Best, TrainingMetrics } from '../checkpoint/schema.js'
import { type TrainingConfig, trainingConfigField } from '../checkpoint/training-config.js'
import { TorchkeepError } from '../format/errors.js'
import { hasRunBest } from './best-files.js'
import { Emission } from './emission.js'
import type { TrainerEvents } from './events.js'
import { type BatchFeed, feedOf, type TrainingData } from './feed.js'
import { leaveAfterFailure, leaveEpochs } from './leave-epochs.js'
import { runMetadata } from './metadata.js'
import type { MetricFunction } from './metrics.js'
import { ModelCheckpoint, type ModelCheckpointOptions } from './model-checkpoint.js'
import { initFromFile } from './old-checkpoint.js'
import { checkTrainOptions, checkTrainerOptions } from './options.js'
import { type ModelNames, namesOfPhase, type PhaseNames } from './patterns.js'
import { type PhaseConfig, settlePhase } from './phase-config.js'
import { checkKeptOptimizers, makeOptimizer } from './phase-optimizer.js'
import { lossFunction } from './phase-session.js'
import type { LossFunction } from './recording.js'
import { readCheckpoint, type Restored } from './resume.js'
import { type LogOptions, RunLogs } from './run-logs.js'
import { checkSaves, planRun, type RunPlan } from './run-plan.js'
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
  /** Logs beside the checkpoints: `events.jsonl` and `metrics.csv` unless told, TensorBoard's only when told; false for none. */
  logs?: boolean | LogOptions
}

export interface TrainOptions {
  /**
   * `latest`, `best` or a path: goes on from that checkpoint, also from one of the older Python system (then with a warning that says what it did not hold). Without it the run starts anew. Where `latest.pth` is missing or
   * damaged, `latest` is the newest other checkpoint of the folder that is whole, and warnings say what was passed over.
   */
  resumeFrom?: 'latest' | 'best' | (string & {})
  /** A file whose weights the run begins with, at epoch 0: a checkpoint of any layout, a state dict, an export, safetensors. Nothing else of it is taken. */
  initFrom?: string
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
  /** Why the last phase ended: `epochs`, `steps`, or the reason of its early stopping. */
  stopReason: string
  /** What the run's warnings said. */
  notes: readonly string[]
  metricsHistory: readonly TrainingMetrics[]
  /** The best checkpoint, or null where none was saved, or where it could not be found beside the checkpoint that the run was resumed from. */
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
  readonly #phases: readonly PhaseConfig[]
  readonly #phaseNames: readonly PhaseNames[]
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
    this.#phases = trainingConfig.phases.map((phase) => settlePhase(trainingConfig, phase))
    this.#phaseNames = this.#phases.map((phase) => namesOfPhase(phase, this.#names))
    for (const [index, phase] of this.#phases.entries())
      makeOptimizer(model.namedParameters(), this.#phaseNames[index] as PhaseNames, phase)
    checkKeptOptimizers(this.#phases, this.#phaseNames)
    checkSaves(this.#phases, options.checkpoint ?? {})
  }

  /**
   * Trains all phases, or what is left of them, and resolves when the last checkpoint is durable.
   *
   * @param trainData a loader, or an (async) iterable of batches: see {@link TrainingData}.
   * @param valData validation data, or null (the default) for none.
   * @throws TorchkeepError `ERR_ABORTED` after `signal` fired and the checkpoint was durable; `ERR_DATA`, `ERR_MONITOR_MISSING` and `ERR_CHECKPOINT_*` before the first
   *   step; `ERR_NON_FINITE`, `ERR_CHECKPOINT_WRITE`, `ERR_OUT_OF_MEMORY`, `ERR_TORCH` in mid-run. The message says which checkpoint is the last; the files that were durable stay so.
   */
  async train(
    trainData: TrainingData,
    valData: TrainingData | null = null,
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
      return await this.#train(trainData, valData, options)
    } finally {
      for (const [parameter, requiresGrad] of gradients) if (!parameter.disposed) parameter.requiresGrad = requiresGrad
      this.#running = false
    }
  }

  async #train(trainData: TrainingData, valData: TrainingData | null, options: TrainOptions): Promise<TrainingSummary> {
    const signal = options.signal ?? null
    const feeds: BatchFeed[] = []
    let result: TrainingSummary
    try {
      const training = await feedOf(trainData, 'training', signal)
      feeds.push(training)
      const validation = valData === null ? null : await feedOf(valData, 'validation', signal)
      if (validation !== null) feeds.push(validation)
      result = await this.#trainOn(training, validation, options)
    } catch (error) {
      await leaveAfterFailure(feeds)
      throw error
    }
    await leaveEpochs(feeds)
    return result
  }

  async #trainOn(training: BatchFeed, validation: BatchFeed | null, options: TrainOptions): Promise<TrainingSummary> {
    const plan = this.#plan(training, validation)
    const { metrics, monitor, phases, totalEpochs, resolve } = plan
    const checkpoints = new ModelCheckpoint(this.#options.checkpointDir ?? 'checkpoints', this.#options.checkpoint, {
      primary: monitor,
      resolve,
    })
    const emission = new Emission(this)
    const run = new TrainingRun({
      model: this.#model,
      config: this.#config,
      trainingConfig: this.#trainingConfig,
      loss: this.#loss,
      monitor,
      metrics,
      phases,
      validation,
      checkpoints,
      signal: options.signal ?? null,
      threads: this.#options.threads ?? 0,
      totalEpochs,
      emission,
    })
    const resumedFrom = await this.#begin(run, checkpoints.folder, validation !== null, emission, options)
    await checkpoints.prepare()
    await run.adoptBests()
    const logs = await this.#openLogs(run, plan, checkpoints, resumedFrom, emission)
    try {
      await run.run()
    } catch (error) {
      throw withLastCheckpoint(error, checkpoints.newestPath)
    } finally {
      await logs.close()
    }
    return summary(run, checkpoints, emission.notes)
  }

  #plan(training: BatchFeed, validation: BatchFeed | null): RunPlan {
    return planRun({
      model: this.#model,
      trainingConfig: this.#trainingConfig,
      loss: this.#loss,
      ownMetrics: this.#options.metrics,
      phases: this.#phases,
      phaseNames: this.#phaseNames,
      training,
      validation,
    })
  }

  /** Takes up a checkpoint, or the weights to begin with. Resolves to the path of the former. */
  async #begin(
    run: TrainingRun,
    folder: string,
    validates: boolean,
    emission: Emission,
    { resumeFrom, initFrom, accept = [], acceptRecovered = false }: TrainOptions,
  ): Promise<string | null> {
    if (initFrom !== undefined) {
      const { layout } = await initFromFile(this.#model, initFrom)
      if (layout !== null && layout !== 'torchkeep')
        emission.warn(
          'old_checkpoint',
          `${initFrom} (layout ${layout}) gave its weights, and nothing else of it counts`,
        )
    }
    if (resumeFrom === undefined) return null
    const restored = await readCheckpoint(folder, resumeFrom, {
      modelConfig: this.#config,
      trainingConfig: this.#trainingConfig,
      parameters: this.#model.namedParameters(),
      validates,
      accepted: accept,
      acceptRecovered,
    })
    warnOfPassedOver(restored, emission)
    await run.restore(restored)
    if (restored.notHeld.length > 0)
      emission.warn(
        'old_checkpoint',
        `${restored.path} is a checkpoint of the older system; it did not hold ${restored.notHeld.join('; ')}`,
      )
    return restored.path
  }

  async #openLogs(
    { state }: TrainingRun,
    { monitor, phases }: RunPlan,
    checkpoints: ModelCheckpoint,
    resumedFrom: string | null,
    emission: Emission,
  ): Promise<RunLogs> {
    const runId = await checkpoints.runId()
    const logs = await RunLogs.open(
      checkpoints.folder,
      this.#options.logs ?? true,
      {
        metadata: { ...runMetadata(this.#model, this.#config, this.#options.threads ?? 0), runId },
        config: this.#config,
        trainingConfig: this.#trainingConfig,
        monitor,
        numGroups: Math.max(...phases.map(({ names }) => names.groups.length)),
        resumedFrom,
        epochsDone: state.epochsDone,
        globalStep: state.globalStep,
        history: state.history,
      },
      ({ id, message }) => emission.warn(id, message),
    )
    emission.recordIn(logs)
    return logs
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

/** Says what is newer than the checkpoint that a run goes on from but missing or broken. */
function warnOfPassedOver({ path, checkpoint, passedOver }: Restored, emission: Emission): void {
  for (const reason of passedOver) emission.warn('fallback', `passed over: ${reason}`)
  if (passedOver.length === 0) return
  const { epoch, phase, trainingState } = checkpoint
  emission.warn(
    'fallback',
    `the run goes on from ${path} (epoch ${epoch}, phase ${phase}, step ${trainingState.globalStep}), the newest checkpoint that is whole`,
  )
}

/** Adds to an error of mid-run where the last checkpoint is. */
function withLastCheckpoint(error: unknown, path: string | null): unknown {
  if (!(error instanceof TorchkeepError) || error.code === 'ERR_ABORTED') return error
  const where = path === null ? 'no checkpoint had been written yet' : `the last checkpoint is ${path}`
  return new TorchkeepError(error.code, `${error.message}; ${where}`, { cause: error, suggestions: error.suggestions })
}

async function summary(
  { state }: TrainingRun,
  checkpoints: ModelCheckpoint,
  notes: readonly string[],
): Promise<TrainingSummary> {
  const { folder, saveBest } = checkpoints
  const isSaved = saveBest && state.best !== null && (await hasRunBest(folder, state.best, await checkpoints.runId()))
  return {
    totalEpochs: state.epochsDone,
    totalSteps: state.globalStep,
    totalTrainingTime: state.totalTrainingTime,
    bestValLoss: state.bestValLoss,
    best: state.best,
    finalPhase: state.phase,
    stopReason: state.phaseStopReason as string,
    notes: [...notes],
    metricsHistory: state.history,
    bestCheckpointPath: isSaved ? latestBestPath(folder) : null,
    latestCheckpointPath: checkpoints.newestPath as string,
  }
}
