/** One phase of a run: its epochs, each trained in chunks, validated, booked and saved. */
import type { Best, TrainingMetrics } from '../checkpoint/schema.js'
import { TorchkeepError } from '../format/errors.js'
import type { EarlyStopping } from './early-stopping.js'
import type { FeedRunResult } from './feed.js'
import { improvement, monitoredValue } from './monitor.js'
import { type NextBatches, nextBatches } from './next-batches.js'
import type { PhaseConfig } from './phase-config.js'
import type { PhaseSession } from './phase-session.js'
import { disposePicture, takePicture } from './picture.js'
import { beginEpoch } from './resume.js'
import type { EpochPosition, RunState } from './run-state.js'
import { joinedLosses, nonFiniteError, skippedByLoss, skippedBatches } from './run-results.js'
import type { PhasePlan, RunParts } from './training-run.js'
import { validate, type Validation } from './validation.js'

/** Length of a chunk of steps: long enough that the hop between the threads is free, short enough that abort and progress feel immediate. */
const chunkDurationMs = 75

/** What a save is for. */
interface SaveReason {
  regular: boolean
  isBest?: boolean
  phaseBest?: boolean
  phaseEnd?: boolean
}

export class PhaseRun {
  #isSaved = false

  constructor(
    private readonly parts: RunParts,
    private readonly state: RunState,
    private readonly session: PhaseSession,
    private readonly plan: PhasePlan,
    private readonly earlyStopping: EarlyStopping | null,
  ) {}

  /** Trains until the phase is over; {@link RunState.phaseStopReason} then says why it is. */
  async run(): Promise<void> {
    const { state } = this
    for (;;) {
      const reason = phaseEndReason(state, this.plan.config, this.earlyStopping)
      if (reason !== null) {
        state.phaseStopReason = reason
        return
      }
      if (state.phaseStopReason !== null) state.reopenPhase()
      await this.#trainEpoch()
      await this.#finishEpoch(await this.#validate())
    }
  }

  /** Trains what is left of the epoch. */
  async #trainEpoch(): Promise<void> {
    const { state } = this
    const { checkpoints } = this.parts
    const { training } = this.plan
    const position = (state.position ??= beginEpoch(training))
    for (;;) {
      await this.#stopIfAborted()
      const start = performance.now()
      const next = await this.#next(position)
      if (next === null && this.parts.signal?.aborted !== true) break
      if (next === null) continue
      const stepsBefore = state.globalStep
      await this.#trainChunk(position, next, start)
      const isStepDone = position.accumulatedBatches === 0 && state.globalStep > stepsBefore
      if (isStepDone && checkpoints.dueAfterStep(state.globalStep, performance.now() / 1000))
        await this.#save({ regular: true })
    }
    await training.leaveEpoch()
  }

  /** Optimizer steps until a save is due or the phase's steps are done. */
  get #stepsLeft(): number {
    const { globalStep, phaseStepsDone } = this.state
    return Math.min(this.session.config.steps - phaseStepsDone, this.parts.checkpoints.stepsUntilDue(globalStep))
  }

  /** The batches that come next; null where the epoch ends here. Waiting for them is time of the epoch. */
  async #next(position: EpochPosition): Promise<NextBatches | null> {
    const left = this.#stepsLeft
    if (left <= 0) return null
    const { accumulateGradBatches } = this.session.config
    const start = performance.now()
    const steps = this.session.changesEachStep ? 1 : left
    const next = await nextBatches(this.plan.training, position, accumulateGradBatches, steps)
    position.epochTime += (performance.now() - start) / 1000
    return next
  }

  /**
   * Trains for the time of a chunk.
   *
   * @param waitedFrom when the chunk began to wait for its first batches: that counts for its rate.
   */
  async #trainChunk(position: EpochPosition, first: NextBatches, waitedFrom: number): Promise<void> {
    const { state, session } = this
    const start = performance.now()
    const stopsAt = state.globalStep + this.#stepsLeft
    const losses: Float64Array[] = []
    let rows = 0
    let learningRate = NaN
    for (let next: NextBatches | null = first; next !== null;) {
      learningRate = session.learningRates[0] as number
      const result = await this.#train(position, next, chunkDurationMs - (performance.now() - start))
      losses.push(result.losses)
      for (const size of result.rows) rows += size
      const mayGoOn = result.reason === 'end' && performance.now() - start < chunkDurationMs
      // Only where each step has a rate of its own is there more than one run in a chunk.
      next = session.changesEachStep && mayGoOn && state.globalStep < stopsAt ? await this.#next(position) : null
    }
    this.parts.emission.emit('step', {
      phase: state.phase,
      phaseName: session.config.name,
      epoch: state.epoch,
      epochs: this.parts.totalEpochs,
      step: state.globalStep,
      batch: position.batchesDone,
      batches: position.batches,
      losses: joinedLosses(losses),
      meanLoss: position.lossSum / position.samplesDone,
      samplesPerSecond: rows / ((performance.now() - waitedFrom) / 1000),
      learningRate,
    })
  }

  /** Trains on batches that have one rate, and books them. */
  async #train(position: EpochPosition, next: NextBatches, maxDurationMs: number): Promise<FeedRunResult> {
    const { state, session } = this
    const { training } = this.plan
    const { clipGradNorm, clipGradValue } = session.config
    const onNonFinite = this.parts.trainingConfig.onNonFinite ?? 'stop'
    const start = performance.now()
    const result = await this.#pausable(() =>
      training.train(session.session, position, next.count, Math.max(1, maxDurationMs), {
        accumulate: next.accumulate,
        accumulated: position.accumulatedBatches,
        clipGradNorm,
        clipGradValue,
        onNonFinite,
      }),
    )
    this.#isSaved = false
    const begun = { batches: position.accumulatedBatches, skipped: position.accumulatedSkipped }
    state.recordBatches({
      losses: result.losses.subarray(0, result.batches),
      sizes: result.rows,
      isSkipped: skippedByLoss(result),
      skipped: skippedBatches(result, next.accumulate, begun),
      steps: result.steps,
      accumulatedBatches: result.accumulated,
      seconds: (performance.now() - start) / 1000,
    })
    if (result.reason === 'non_finite') throw nonFiniteError(result, state)
    for (let step = 0; step < result.steps; step++) session.stepScheduler('step')
    return result
  }

  async #validate(): Promise<Validation | null> {
    const { validation, metrics } = this.parts
    if (validation === null) return null
    await this.#stopIfAborted()
    const position = this.state.position as EpochPosition
    const start = performance.now()
    const found = await validate(this.session, validation, metrics, (operation) => this.#pausable(operation)).catch(
      (error: unknown) => this.#keepEpoch(error),
    )
    position.validationTime = (performance.now() - start) / 1000
    if (found !== null) return found
    await this.#stopIfAborted()
    throw new TorchkeepError('ERR_DISPOSED', `the session was stopped while it validated epoch ${this.state.epoch}`)
  }

  /** Saves what the epoch has trained before a failed validation (of its data, of a metric of the user's) ends the run: a resumed one validates anew. The failure itself is what counts. */
  async #keepEpoch(failure: unknown): Promise<never> {
    try {
      if (!this.#isSaved) await this.#save({ regular: true })
    } catch (error) {
      this.parts.emission.warn(
        'not_saved',
        `epoch ${this.state.epoch} could not be saved after its validation had failed: ${(error as Error).message}`,
      )
    }
    throw failure
  }

  /** Books the epoch, moves the rates on, decides whether the phase goes on, and saves. */
  async #finishEpoch(validation: Validation | null): Promise<void> {
    const { state, session, parts, plan } = this
    const metrics = this.#metricsOf(validation)
    const best = improvement(parts.monitor, state.best, metrics)
    const phaseBest = improvement(plan.monitor, state.phaseBest, metrics)
    const stopReason = this.#checkEarlyStopping(metrics)
    const row = stopReason === null ? metrics : { ...metrics, stopReason }
    const skipped = state.position?.skippedBatches ?? 0
    state.recordEpoch(row, best, phaseBest)
    session.stepScheduler('epoch', monitoredValue(plan.schedulerMonitor.name, metrics))
    this.#isSaved = false
    this.#warnOfSkipped(skipped, row)
    state.phaseStopReason = phaseEndReason(state, plan.config, this.earlyStopping)
    parts.emission.emit('epoch', {
      ...row,
      phaseName: session.config.name,
      epochs: parts.totalEpochs,
      isBest: best !== null,
    })
    await this.#saveEpoch(best, phaseBest)
    if (!this.#isLastOfRun) await this.#stopIfAborted()
  }

  #metricsOf(validation: Validation | null): TrainingMetrics {
    const { state, session } = this
    const { lossSum, samplesDone, epochTime, validationTime, skippedBatches } = state.position as EpochPosition
    const rates = session.learningRates
    return {
      epoch: state.epoch,
      phase: state.phase,
      // Batches whose gradients came to nothing have trained nothing, whatever their losses were.
      trainLoss: state.epochSteps === 0 ? NaN : lossSum / samplesDone,
      valLoss: validation?.loss ?? null,
      valMetrics: validation?.metrics ?? {},
      learningRate: rates[0] as number,
      trainingTime: epochTime + validationTime,
      step: state.globalStep,
      samplesPerSecond: samplesDone / epochTime,
      memoryUsageMb: process.memoryUsage.rss() / 1e6,
      ...(skippedBatches === 0 ? {} : { skippedBatches }),
      ...(rates.length === 1 ? {} : { learningRates: rates }),
    }
  }

  #checkEarlyStopping(metrics: TrainingMetrics): string | null {
    const { earlyStopping, state } = this
    if (earlyStopping === null) return null
    earlyStopping.check(monitoredValue(this.plan.monitor.name, metrics), {
      epoch: metrics.epoch,
      step: state.globalStep,
      seconds: state.totalTrainingTime + metrics.trainingTime,
    })
    return earlyStopping.reason
  }

  #warnOfSkipped(skipped: number, metrics: TrainingMetrics): void {
    if (skipped === 0) return
    const { phaseName, epoch } = { phaseName: this.session.config.name, epoch: metrics.epoch }
    const consequence = Number.isNaN(metrics.trainLoss)
      ? ': all of them, so it trained nothing and is never the best'
      : ''
    this.parts.emission.warn(
      'skipped',
      `${skipped} batches of epoch ${epoch} (phase '${phaseName}') were passed over since their loss or gradients were not finite${consequence}`,
    )
    if (Number.isNaN(metrics.trainLoss) && this.session.config.steps !== Infinity)
      throw new TorchkeepError(
        'ERR_NON_FINITE',
        `phase '${phaseName}' should make ${this.session.config.steps} steps, but epoch ${epoch} made none: no batch has a finite loss and gradients`,
      )
  }

  get #isLastOfRun(): boolean {
    return this.state.phase === this.parts.phases.length && this.state.phaseStopReason !== null
  }

  async #saveEpoch(best: Best | null, phaseBest: Best | null): Promise<void> {
    const { checkpoints } = this.parts
    const { state } = this
    const reason = {
      regular: this.#isLastOfRun || checkpoints.dueAfterEpoch(state.epochsDone),
      isBest: best !== null,
      phaseBest: phaseBest !== null && this.session.config.restoreBest,
      phaseEnd: state.phaseStopReason !== null,
    }
    const isBestDue = checkpoints.saveBest && (reason.isBest || checkpoints.bestBy(state.history).length > 0)
    if (reason.regular || isBestDue || reason.phaseBest || reason.phaseEnd) await this.#save(reason)
  }

  /** Saves and rejects once the signal has fired; between two chunks only, so the weights are those of a whole step. */
  async #stopIfAborted(): Promise<void> {
    const { signal, checkpoints } = this.parts
    if (signal?.aborted !== true) return
    if (!this.#isSaved) await this.#save({ regular: true })
    const { epoch, globalStep } = this.state
    throw new TorchkeepError(
      'ERR_ABORTED',
      `training was interrupted in epoch ${epoch} after step ${globalStep}; it goes on from ${checkpoints.newestPath}`,
      {
        cause: signal.reason,
        suggestions: ["train(..., { resumeFrom: 'latest' }) goes on with the same bits"],
      },
    )
  }

  /** Runs a session operation that the signal ends after its current batch. */
  async #pausable<Result>(operation: () => Promise<Result>): Promise<Result> {
    const pause = (): void => this.session.session.pause()
    this.parts.signal?.addEventListener('abort', pause, { once: true })
    try {
      return await operation()
    } finally {
      this.parts.signal?.removeEventListener('abort', pause)
    }
  }

  async #save({ regular, isBest = false, phaseBest = false, phaseEnd = false }: SaveReason): Promise<void> {
    const { state } = this
    // Between epochs the weights are those that the last epoch was validated with.
    const validationLoss = (state.position === null ? state.history.at(-1)?.valLoss : null) ?? NaN
    const { checkpoints, emission } = this.parts
    const picture = takePicture(this.parts, this.plan.training, state, this.session, this.earlyStopping, {
      isBest,
      validationLoss,
    })
    const saved = await checkpoints
      .write(picture, { regular, isBest, phaseBest, phaseEnd })
      .finally(() => disposePicture(picture))
    this.#isSaved = true
    emission.emit('checkpoint', {
      path: saved.path,
      copies: saved.copies,
      epoch: state.epoch,
      phase: state.phase,
      step: state.globalStep,
      isBest,
    })
    for (const { id, message } of saved.warnings) emission.warn(id, message)
  }
}

/** Why a phase is over between two epochs, or null. Judged under the settings of now: one that had stopped may go on after a resume. */
export function phaseEndReason(
  state: RunState,
  config: PhaseConfig,
  earlyStopping: EarlyStopping | null,
): string | null {
  if (state.position !== null) return null
  if (earlyStopping !== null && earlyStopping.reason !== null) return earlyStopping.reason
  if (state.phaseEpochsDone >= config.epochs) return 'epochs'
  return state.phaseStepsDone >= config.steps ? 'steps' : null
}
