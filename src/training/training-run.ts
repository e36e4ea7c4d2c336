/** One call of `ProgressiveTrainer.train`: phase after phase, each with its session, and what happens between two of them. */
import type { Module } from '../../lib/index.js'
import type { Plain } from '../checkpoint/fields.js'
import type { TrainingConfig } from '../checkpoint/training-config.js'
import { TorchkeepError } from '../format/errors.js'
import { adoptBest, adoptRunBest, restoreBest } from './best-files.js'
import { EarlyStopping } from './early-stopping.js'
import type { Emission } from './emission.js'
import type { BatchFeed } from './feed.js'
import { effectiveThreads } from './metadata.js'
import type { Metric } from './metrics.js'
import type { ModelCheckpoint } from './model-checkpoint.js'
import { differingBuffers } from './model-graph.js'
import type { Monitor } from './monitor.js'
import type { PhaseNames } from './patterns.js'
import type { PhaseConfig } from './phase-config.js'
import { disposeState, type NamedState } from './phase-optimizer.js'
import { phaseEndReason, PhaseRun } from './phase-run.js'
import { PhaseSession, type RestoredPhase } from './phase-session.js'
import type { LossFunction } from './recording.js'
import { release, type Restored, restoredPhase, restorePosition, restoreWeights, takeStateOut } from './resume.js'
import { RunState } from './run-state.js'

/** A phase of a run, settled and checked. */
export interface PhasePlan {
  config: PhaseConfig
  names: PhaseNames
  /** What the phase's best is judged by, and its early stopping. */
  monitor: Monitor
  /** What the scheduler goes by, where it goes by a metric. */
  schedulerMonitor: Monitor
  /** The training data in the phase's batches. */
  training: BatchFeed
}

/** What a run needs, checked. */
export interface RunParts {
  model: Module
  config: Plain
  trainingConfig: TrainingConfig
  loss: LossFunction
  monitor: Monitor
  metrics: readonly Metric[]
  phases: readonly PhasePlan[]
  validation: BatchFeed | null
  checkpoints: ModelCheckpoint
  signal: AbortSignal | null
  threads: number
  /** Epochs of the whole run; null where the length of one is not known. */
  totalEpochs: number | null
  emission: Emission
}

export class TrainingRun {
  readonly #parts: RunParts
  #state = new RunState()
  /** Until the phase that it belongs to has taken what it needs. */
  #restored: Restored | null = null

  constructor(parts: RunParts) {
    this.#parts = parts
  }

  get state(): RunState {
    return this.#state
  }

  /** Takes up the run where a checkpoint left it. */
  async restore(restored: Restored): Promise<void> {
    const { model, monitor, validation, checkpoints, threads, emission } = this.#parts
    const { checkpoint, path } = restored
    restoreWeights(model, restored)
    this.#restored = restored
    const differing = differingBuffers(model, checkpoint.modelGraph)
    if (differing.length > 0)
      emission.warn(
        'buffers',
        `the run that wrote ${path} had other values in the buffers ${differing.join(', ')}, which are not persistent and so are not put back: this run does not go on with the same bits`,
      )
    const state = RunState.from(checkpoint)
    this.#state = state
    const plan = this.#plan
    state.position = await restorePosition(restored, plan.training, validation)
    const { best } = state
    state.judgeAgain(monitor, plan.monitor, restored.notHeld.length === 0)
    if (best !== null && state.best === null)
      emission.warn(
        'monitor',
        `the best of ${path} goes by ${best.monitor} (${best.mode}) and this run by ${monitor.name} (${monitor.mode}): it begins anew`,
      )
    checkpoints.newestPath = path
    const [then, now] = [checkpoint.metadata.threads, effectiveThreads(threads)]
    if (then !== undefined && then !== now)
      emission.warn(
        'threads',
        `${path} was made with ${then} threads, and this run has ${now}: its last bits may differ`,
      )
  }

  /** Makes sure that the best weights of a resumed run, and of the phase that it stands in, are at hand. Needs the run's folders. */
  async adoptBests(): Promise<void> {
    const { checkpoints, emission } = this.#parts
    const { best, phaseBest } = this.#state
    if (this.#restored === null) return
    const { path, notHeld } = this.#restored
    // What the older system calls its best is only that by name.
    const isThere =
      best === null ||
      !checkpoints.saveBest ||
      notHeld.length > 0 ||
      (await adoptRunBest(checkpoints.folder, path, best, await checkpoints.runId()))
    if (!isThere)
      emission.warn(
        'best_missing',
        `no file holds the best weights so far (epoch ${best.epoch}) beside ${path}: latest_best.pth will only be those of a better epoch`,
      )
    if (phaseBest === null || !this.#plan.config.restoreBest) return
    if (await adoptBest(checkpoints.folder, path, phaseBest)) return
    this.#state.phaseBest = null
    emission.warn(
      'phase_best_missing',
      `no file holds the best weights so far of phase ${phaseBest.phase} (epoch ${phaseBest.epoch}) beside ${path}: the best of what is left of the phase will be put back at its end`,
    )
  }

  /** Runs all phases that are left. Whatever ends it, the model then holds the best weights where the phase wants them back. */
  async run(): Promise<void> {
    try {
      await this.#runPhases()
      this.#emitStop('run', 'finished', `${this.#state.epochsDone} epochs are done`, null)
    } catch (error) {
      await this.#leaveAfter(error)
      throw error
    } finally {
      if (this.#restored !== null) release(this.#restored)
      this.#state.leaveEpoch()
    }
  }

  get #plan(): PhasePlan {
    return this.#parts.phases[this.#state.phase - 1] as PhasePlan
  }

  async #runPhases(): Promise<void> {
    const state = this.#state
    const { phases } = this.#parts
    let carried: NamedState | null = null
    for (;;) {
      const keepsNext = phases[state.phase]?.config.keepOptimizer === true
      const earlyStopping = this.#openEarlyStopping()
      const left = await this.#runPhase(earlyStopping, carried, keepsNext)
      if (carried !== null) disposeState(carried)
      const { restoredEpoch, state: bestState } = await this.#putBestBack(keepsNext)
      if (bestState !== null && left !== null) disposeState(left)
      carried = bestState ?? left
      const reason = state.phaseStopReason as string
      this.#emitStop('phase', reason, endMessage(this.#plan, state, earlyStopping), restoredEpoch)
      if (state.phase === phases.length) return
      state.nextPhase()
    }
  }

  /** Runs the phase to its end. Resolves to its optimizer state where the next phase wants that. */
  async #runPhase(
    earlyStopping: EarlyStopping | null,
    carried: NamedState | null,
    keepsNext: boolean,
  ): Promise<NamedState | null> {
    const plan = this.#plan
    const over = phaseEndReason(this.#state, plan.config, earlyStopping)
    if (over !== null) {
      this.#state.phaseStopReason = over
      return this.#takeRestored((restored) => (keepsNext ? takeStateOut(restored) : null))
    }
    const session = await this.#openSession(plan, carried)
    try {
      const phase = new PhaseRun(this.#parts, this.#state, session, plan, earlyStopping)
      await phase.run()
      return keepsNext ? session.takeState() : null
    } finally {
      session.dispose()
    }
  }

  async #openSession(plan: PhasePlan, carried: NamedState | null): Promise<PhaseSession> {
    const { model, loss, validation, threads, phases, emission } = this.#parts
    const { config, names, training, schedulerMonitor } = plan
    const example = training.example()
    const open = (restored: RestoredPhase | null): Promise<PhaseSession> =>
      PhaseSession.open({
        model,
        config,
        names,
        loss,
        threads,
        example,
        batchSizes: { training: training.batchSizes, validation: validation?.batchSizes ?? [] },
        length: phaseLength(plan),
        restored,
        carried,
      })
    const session = await this.#takeRestored((restored) =>
      open(restored === null ? null : restoredPhase(restored, names, schedulerMonitor.name)),
    ).finally(() => {
      for (const tensor of example) tensor.dispose()
    })
    emission.emit('phase', {
      ...names,
      phase: this.#state.phase,
      phases: phases.length,
      name: config.name,
      epochs: epochsOf(plan),
      epochsDone: this.#state.phaseEpochsDone,
    })
    return session
  }

  /** Lets something take what it needs from the checkpoint that the run was resumed from (null after the first time), and frees the rest. */
  async #takeRestored<Result>(take: (restored: Restored | null) => Result | Promise<Result>): Promise<Result> {
    const restored = this.#restored
    try {
      return await take(restored)
    } finally {
      if (restored !== null) release(restored)
      this.#restored = null
    }
  }

  #openEarlyStopping(): EarlyStopping | null {
    const { config, monitor } = this.#plan
    if (config.earlyStopping === null) return null
    const stopping = new EarlyStopping({ ...config.earlyStopping, monitor: monitor.name, mode: monitor.mode })
    const saved = this.#restored?.checkpoint.earlyStopping ?? null
    if (saved !== null && !stopping.loadStateDict(saved))
      this.#parts.emission.warn(
        'early_stopping',
        `early stopping of phase '${config.name}' goes by ${monitor.name} (${monitor.mode}) now, which the checkpoint's did not: it counts from here`,
      )
    return stopping
  }

  /** Puts the phase's best weights back where it wants that and they are not there already. The session is closed. */
  async #putBestBack(wantsState: boolean): Promise<{ restoredEpoch: number | null; state: NamedState | null }> {
    const { model, checkpoints } = this.#parts
    const { phaseBest, position, epochsDone } = this.#state
    const isThere = position === null && phaseBest?.epoch === epochsDone
    if (!this.#plan.config.restoreBest || phaseBest === null || isThere) return { restoredEpoch: null, state: null }
    const state = await restoreBest(model, checkpoints.folder, phaseBest, wantsState)
    return { restoredEpoch: phaseBest.epoch, state }
  }

  /** After an abort or a failure: puts the best weights back if it can, and tells why the run ended. The failure itself is what counts. */
  async #leaveAfter(failure: unknown): Promise<void> {
    const message = failure instanceof Error ? failure.message : String(failure)
    const code = failure instanceof TorchkeepError ? failure.code : 'error'
    let restoredEpoch: number | null = null
    try {
      restoredEpoch = (await this.#putBestBack(false)).restoredEpoch
    } catch (error) {
      this.#parts.emission.warn(
        'best_not_restored',
        `the model does not hold the best weights of the phase, since they could not be put back: ${(error as Error).message}`,
      )
    }
    this.#emitStop('run', code === 'ERR_ABORTED' ? 'aborted' : code, message, restoredEpoch)
  }

  #emitStop(of: 'phase' | 'run', reason: string, message: string, restoredEpoch: number | null): void {
    const { phase, epoch, globalStep } = this.#state
    this.#parts.emission.emit('stop', {
      of,
      reason,
      message,
      phase,
      phaseName: this.#plan.config.name,
      epoch,
      step: globalStep,
      restoredEpoch,
    })
  }
}

/** Epochs that a phase has at most; null where the length of one is not known. */
export function epochsOf({ config, training }: PhasePlan): number | null {
  if (config.steps === Infinity) return config.epochs
  const perEpoch = stepsPerEpoch(config, training)
  return perEpoch === null ? null : Math.ceil(config.steps / perEpoch)
}

function stepsPerEpoch({ accumulateGradBatches }: PhaseConfig, { batches }: BatchFeed): number | null {
  return batches === null ? null : Math.ceil(batches / accumulateGradBatches)
}

/** What a scheduler may want to know of its phase. */
export function phaseLength(plan: PhasePlan) {
  const { config, training, schedulerMonitor } = plan
  return {
    epochs: epochsOf(plan) ?? Infinity,
    stepsPerEpoch: stepsPerEpoch(config, training) ?? Infinity,
    ...(config.steps === Infinity ? {} : { totalSteps: config.steps }),
    mode: schedulerMonitor.mode,
  }
}

function endMessage({ config }: PhasePlan, state: RunState, earlyStopping: EarlyStopping | null): string {
  if (earlyStopping !== null && earlyStopping.reason !== null) return earlyStopping.message
  return state.phaseStopReason === 'steps'
    ? `all ${config.steps} steps are done`
    : `all ${config.epochs} epochs are done`
}
