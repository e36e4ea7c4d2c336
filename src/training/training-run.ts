/** One call of `ProgressiveTrainer.train`: phases, epochs, chunks of steps, validation, checkpoints. */
import { getRngState, type Module, scope, setRngState, type Tensor } from '../../lib/index.js'
import type { Plain } from '../checkpoint/fields.js'
import type { TrainingMetrics } from '../checkpoint/schema.js'
import type { TrainingConfig } from '../checkpoint/training-config.js'
import { TorchkeepError } from '../format/errors.js'
import type { TrainerEvents } from './events.js'
import type { BatchFeed } from './feed.js'
import { computeMetrics, type Metric } from './metrics.js'
import type { ModelCheckpoint } from './model-checkpoint.js'
import { improvement, type Monitor } from './monitor.js'
import type { PhaseConfig } from './phase-config.js'
import type { PhaseNames } from './patterns.js'
import { PhaseSession } from './phase-session.js'
import type { LossFunction } from './recording.js'
import { takePicture } from './picture.js'
import { beginEpoch, release, type Restored, restoredPhase, restorePosition, restoreWeights } from './resume.js'
import { type EpochPosition, RunState } from './run-state.js'

/** What a run needs, checked. */
export interface RunParts {
  model: Module
  config: Plain
  trainingConfig: TrainingConfig
  loss: LossFunction
  monitor: Monitor
  metrics: readonly Metric[]
  training: BatchFeed
  validation: BatchFeed | null
  /** One entry a phase, as are the next. */
  phases: readonly PhaseConfig[]
  phaseNames: readonly PhaseNames[]
  checkpoints: ModelCheckpoint
  signal: AbortSignal | null
  threads: number
  emit: <Name extends keyof TrainerEvents>(name: Name, ...event: TrainerEvents[Name]) => void
}

/** Length of a chunk of steps: long enough that the hop between the threads is free, short enough that abort and progress feel immediate. */
const chunkDurationMs = 75

/** What a validation found. */
interface Validation {
  loss: number
  metrics: Record<string, number>
}

export class TrainingRun {
  readonly #parts: RunParts
  readonly #totalEpochs: number
  #state = new RunState()
  /** Until the phase that it belongs to has taken its optimizer state. */
  #restored: Restored | null = null
  #saved = false

  constructor(parts: RunParts) {
    this.#parts = parts
    this.#totalEpochs = parts.phases.reduce((sum, phase) => sum + phase.epochs, 0)
  }

  get state(): RunState {
    return this.#state
  }

  /** Takes up the run where a checkpoint left it. */
  restore(restored: Restored): void {
    restoreWeights(this.#parts.model, restored)
    this.#state = RunState.from(restored.checkpoint)
    this.#state.position = restorePosition(restored, this.#parts.training, this.#parts.validation)
    this.#state.forgetBestUnless(this.#parts.monitor)
    this.#restored = restored
    this.#parts.checkpoints.newestPath = restored.path
  }

  /** Runs all phases that are left. */
  async run(): Promise<void> {
    const { phases } = this.#parts
    const state = this.#state
    try {
      for (;;) {
        const phase = phases[state.phase - 1] as PhaseConfig
        if (state.phaseEpochsDone < phase.epochs) await this.#runPhase(phase)
        this.#forgetRestored()
        if (state.phase === phases.length) return
        state.nextPhase()
      }
    } finally {
      this.#forgetRestored()
      state.leaveEpoch()
    }
  }

  #forgetRestored(): void {
    if (this.#restored !== null) release(this.#restored)
    this.#restored = null
  }

  async #runPhase(config: PhaseConfig): Promise<void> {
    const phase = await this.#openPhase(config)
    try {
      while (this.#state.phaseEpochsDone < config.epochs) {
        await this.#trainEpoch(phase)
        const validation = await this.#validate(phase)
        await this.#finishEpoch(phase, validation)
      }
    } finally {
      phase.dispose()
    }
  }

  async #openPhase(config: PhaseConfig): Promise<PhaseSession> {
    const { model, loss, training, validation, phaseNames, threads, trainingConfig, emit } = this.#parts
    const names = phaseNames[this.#state.phase - 1] as PhaseNames
    const example = training.example(training.rowsOfBatch(0))
    const phase = await PhaseSession.open({
      model,
      config,
      names,
      loss,
      threads,
      example,
      batchSizes: { training: training.batchSizes, validation: validation?.batchSizes ?? [] },
      restored: this.#restored === null ? null : restoredPhase(this.#restored, names),
    })
    for (const tensor of example) tensor.dispose()
    this.#forgetRestored()
    const { name, epochs } = config
    emit('phase', {
      ...names,
      phase: this.#state.phase,
      phases: trainingConfig.phases.length,
      name,
      epochs,
      epochsDone: this.#state.phaseEpochsDone,
    })
    return phase
  }

  /** Trains what is left of the epoch. */
  async #trainEpoch(phase: PhaseSession): Promise<void> {
    const { checkpoints, training } = this.#parts
    const state = this.#state
    const position = (state.position ??= beginEpoch(training))
    while (position.batchesDone < position.batches) {
      await this.#stopIfAborted(phase)
      const count = Math.min(position.batches - position.batchesDone, checkpoints.stepsUntilDue(state.globalStep))
      await this.#trainChunk(phase, position, count)
      if (checkpoints.dueAfterStep(state.globalStep)) await this.#save(phase, { regular: true })
    }
  }

  /** Trains on at most `count` batches, as many as the time of a chunk allows. */
  async #trainChunk(phase: PhaseSession, position: EpochPosition, count: number): Promise<void> {
    const state = this.#state
    const start = performance.now()
    const samplesBefore = position.samplesDone
    const result = await this.#pausable(phase, () =>
      this.#parts.training.train(phase.session, position.order, position.batchesDone, count, chunkDurationMs),
    )
    const losses = result.losses.subarray(0, result.steps)
    const seconds = (performance.now() - start) / 1000
    state.recordSteps(losses, seconds)
    this.#saved = false
    if (result.reason === 'non_finite') throw nonFinite(result.losses[result.steps] ?? NaN, state)
    this.#parts.emit('step', {
      phase: state.phase,
      phaseName: phase.config.name,
      epoch: state.epoch,
      epochs: this.#totalEpochs,
      step: state.globalStep,
      batch: position.batchesDone,
      batches: position.batches,
      losses,
      meanLoss: position.lossSum / position.samplesDone,
      samplesPerSecond: (position.samplesDone - samplesBefore) / seconds,
    })
  }

  async #validate(phase: PhaseSession): Promise<Validation | null> {
    const { validation } = this.#parts
    if (validation === null) return null
    await this.#stopIfAborted(phase)
    const position = this.#state.position as EpochPosition
    const states = { default: getRngState(), own: validation.generatorState() }
    const start = performance.now()
    const order = validation.loader.epochOrder()
    const result = await this.#pausable(phase, () => validation.evaluate(phase.session, order))
    position.epochTime += (performance.now() - start) / 1000
    if (result.reason !== 'end') {
      // A resumed run validates again from the start, so the checkpoint must hold the random state from before.
      setRngState(states.default)
      validation.setGeneratorState(states.own)
      await this.#stopIfAborted(phase)
      throw new TorchkeepError('ERR_DISPOSED', `the session was stopped while it validated epoch ${this.#state.epoch}`)
    }
    states.default.dispose()
    states.own?.dispose()
    const { metrics: wanted } = this.#parts
    const metrics =
      wanted.length === 0 ? {} : await measure(wanted, result.outputs[0] as Tensor, validation.targetsInOrder(order))
    for (const output of result.outputs) output.dispose()
    return { loss: result.loss, metrics }
  }

  async #finishEpoch(phase: PhaseSession, validation: Validation | null): Promise<void> {
    const { checkpoints, emit, monitor, trainingConfig } = this.#parts
    const state = this.#state
    const { lossSum, samplesDone, epochTime } = state.position as EpochPosition
    const metrics: TrainingMetrics = {
      epoch: state.epoch,
      phase: state.phase,
      trainLoss: lossSum / samplesDone,
      valLoss: validation?.loss ?? null,
      valMetrics: validation?.metrics ?? {},
      learningRate: phase.learningRate,
      trainingTime: epochTime,
    }
    const best = improvement(monitor, state.best, metrics)
    state.recordEpoch(metrics, best)
    phase.stepScheduler()
    this.#saved = false
    emit('epoch', { ...metrics, phaseName: phase.config.name, epochs: this.#totalEpochs, isBest: best !== null })
    const last = state.phase === trainingConfig.phases.length && state.phaseEpochsDone === phase.config.epochs
    const regular = last || checkpoints.dueAfterEpoch(state.epochsDone)
    if (regular || (best !== null && checkpoints.saveBest))
      await this.#save(phase, { regular, isBest: best !== null, validationLoss: metrics.valLoss ?? NaN })
    if (!last) await this.#stopIfAborted(phase)
  }

  /** Saves and rejects once the signal has fired; between two chunks only, so the weights are those of a whole step. */
  async #stopIfAborted(phase: PhaseSession): Promise<void> {
    const { signal, checkpoints } = this.#parts
    if (signal?.aborted !== true) return
    if (!this.#saved) await this.#save(phase, { regular: true })
    const { epoch, globalStep } = this.#state
    throw new TorchkeepError(
      'ERR_ABORTED',
      `training was interrupted in epoch ${epoch} after step ${globalStep}; it goes on from ${checkpoints.newestPath}`,
      {
        cause: signal.reason,
        suggestions: ["train(..., { resumeFrom: 'latest' }) goes on with the same bits"],
      },
    )
  }

  /** Runs a session operation that the signal ends after its current step. */
  async #pausable<Result>(phase: PhaseSession, operation: () => Promise<Result>): Promise<Result> {
    const pause = (): void => phase.session.pause()
    this.#parts.signal?.addEventListener('abort', pause, { once: true })
    try {
      return await operation()
    } finally {
      this.#parts.signal?.removeEventListener('abort', pause)
    }
  }

  async #save(
    phase: PhaseSession,
    label: { regular: boolean; isBest?: boolean; validationLoss?: number },
  ): Promise<void> {
    const state = this.#state
    const isBest = label.isBest ?? false
    const picture = takePicture(this.#parts, state, phase, isBest, label.validationLoss ?? NaN)
    const saved = await this.#parts.checkpoints.write(picture, { regular: label.regular, isBest })
    for (const tensor of [...picture.modelStateDict.values(), ...Object.values(picture.rngState)])
      (tensor as Tensor | null)?.dispose()
    this.#saved = true
    this.#parts.emit('checkpoint', { ...saved, epoch: state.epoch, phase: state.phase, step: state.globalStep, isBest })
  }
}

/** The metrics of a validation; disposes the targets. */
async function measure(wanted: readonly Metric[], output: Tensor, targets: Tensor): Promise<Record<string, number>> {
  const values = (tensor: Tensor) => ({
    data: scope(() => tensor.to('float64').data() as Float64Array),
    shape: tensor.shape,
  })
  const metrics = await computeMetrics(wanted, values(output), values(targets))
  targets.dispose()
  return metrics
}

function nonFinite(loss: number, { globalStep, epoch, phase }: RunState): TorchkeepError {
  return new TorchkeepError(
    'ERR_NON_FINITE',
    `the loss of step ${globalStep + 1} (epoch ${epoch}, phase ${phase}) is ${loss}; the weights were not changed by it`,
    {
      suggestions: ['a smaller lr', 'look for NaN in the data of this batch'],
    },
  )
}
