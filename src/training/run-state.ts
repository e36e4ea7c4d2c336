/** Where a run stands, apart from the tensors. */
import type { Best, Checkpoint, DataPosition, TrainingMetrics, TrainingState } from '../checkpoint/schema.js'
import { bestPearson } from '../checkpoint/training-state.js'
import { improvement, type Monitor } from './monitor.js'
import type { SkippedBatches } from './run-results.js'
import type { Tensor } from '../../lib/index.js'

/** An epoch under way. */
export interface EpochPosition extends DataPosition<Tensor> {
  /** The rows of the epoch in order. */
  order: BigInt64Array
  /** Of the epoch; null where an iterable has not told yet. */
  batches: number | null
  /** Batches of the unfinished optimizer step whose gradients the session keeps. */
  accumulatedBatches: number
  accumulatedSkipped: number
  skippedBatches: number
  /** Seconds of the validation; a resumed run validates anew. */
  validationTime: number
}

/** What a chunk of batches came to. */
export interface ChunkBooking {
  /** One a batch. */
  losses: Float64Array
  /** Samples of each batch. */
  sizes: readonly number[]
  /** Whether a batch of the chunk was passed over because its loss is not finite: such losses are no part of the mean. */
  isSkipped: (batch: number) => boolean
  /** Batches whose gradients came to nothing, because of their loss or of their gradients. */
  skipped: SkippedBatches
  steps: number
  accumulatedBatches: number
  seconds: number
}

/** Changes with every step; a checkpoint's `training_state` and `data_position` are pictures of it. */
export class RunState {
  /** From 1. */
  phase = 1
  phaseEpochsDone = 0
  phaseStepsDone = 0
  /** Of the current phase, by its own monitor. */
  phaseBest: Best | null = null
  /** Null while the phase goes on. */
  phaseStopReason: string | null = null
  /** Of the whole run. */
  epochsDone = 0
  globalStep = 0
  bestValLoss = Infinity
  best: Best | null = null
  /** Seconds in finished epochs. */
  totalTrainingTime = 0
  history: TrainingMetrics[] = []
  /** Null between epochs. */
  position: EpochPosition | null = null

  static from({ trainingState, dataPosition }: Pick<Checkpoint, 'trainingState' | 'dataPosition'>): RunState {
    const state = new RunState()
    state.phase = trainingState.currentPhase
    state.phaseEpochsDone = trainingState.phaseEpochsDone
    state.epochsDone = trainingState.currentEpoch - (dataPosition === null ? 0 : 1)
    state.globalStep = trainingState.globalStep
    state.bestValLoss = trainingState.bestValLoss
    state.best = trainingState.best
    state.totalTrainingTime = trainingState.totalTrainingTime
    state.history = [...trainingState.metricsHistory]
    state.phaseStepsDone = trainingState.phaseStepsDone ?? state.globalStep - state.#stepsBefore(state.phase)
    state.phaseBest = trainingState.phaseBest ?? null
    state.phaseStopReason = trainingState.phaseStopReason ?? null
    return state
  }

  /** Epoch of the whole run that the weights belong to, from 1. */
  get epoch(): number {
    return this.epochsDone + (this.position === null ? 0 : 1)
  }

  /** Optimizer steps of the epoch under way. */
  get epochSteps(): number {
    return this.globalStep - (this.history.at(-1)?.step ?? 0)
  }

  /** Steps until the end of the phases before; files of Torchkeep 0.1 do not say, and none of their phases counts steps. */
  #stepsBefore(phase: number): number {
    return this.history.findLast((row) => row.phase < phase)?.step ?? 0
  }

  /** Books a chunk of batches. */
  recordBatches({ losses, sizes, isSkipped, skipped, steps, accumulatedBatches, seconds }: ChunkBooking): void {
    const position = this.position as EpochPosition
    for (const [batch, loss] of losses.entries()) {
      if (isSkipped(batch)) continue
      const size = sizes[batch] as number
      position.lossSum += loss * size
      position.samplesDone += size
    }
    position.batchesDone += losses.length
    position.accumulatedBatches = accumulatedBatches
    position.accumulatedSkipped = skipped.ofStep
    position.skippedBatches += skipped.skipped
    position.epochTime += seconds
    this.globalStep += steps
    this.phaseStepsDone += steps
  }

  /** Books a finished epoch, and whether it is the best of the run or of the phase. */
  recordEpoch(metrics: TrainingMetrics, best: Best | null, phaseBest: Best | null): void {
    this.leaveEpoch()
    this.epochsDone++
    this.phaseEpochsDone++
    this.totalTrainingTime += metrics.trainingTime
    this.history.push(metrics)
    if (metrics.valLoss !== null && metrics.valLoss < this.bestValLoss) this.bestValLoss = metrics.valLoss
    this.best = best ?? this.best
    this.phaseBest = phaseBest ?? this.phaseBest
  }

  /** The phase goes on after it had stopped: its settings were changed. */
  reopenPhase(): void {
    this.phaseStopReason = null
    const last = this.history.pop()
    if (last === undefined) return
    const { stopReason: _reason, ...row } = last
    this.history.push(row)
  }

  /**
   * Makes the bests fit what is monitored now. Scores of another metric or direction cannot be compared: the best begins anew. A checkpoint that does not say its best (one of the older system) has
   * a history that does.
   */
  judgeAgain(ofRun: Monitor, ofPhase: Monitor, hasBest: boolean): void {
    if (!hasBest) for (const row of this.history) this.best = improvement(ofRun, this.best, row) ?? this.best
    if (!isOf(ofRun, this.best)) this.best = null
    if (!isOf(ofPhase, this.phaseBest)) this.phaseBest = null
  }

  /** Forgets the position in the epoch. */
  leaveEpoch(): void {
    this.position?.epochRngState.dispose()
    this.position?.loaderRngState?.dispose()
    this.position = null
  }

  nextPhase(): void {
    this.phase++
    this.phaseEpochsDone = 0
    this.phaseStepsDone = 0
    this.phaseBest = null
    this.phaseStopReason = null
  }

  /** `data_position` of a checkpoint. */
  dataPosition(): DataPosition<Tensor> | null {
    if (this.position === null) return null
    const { order: _order, batches: _batches, validationTime: _time, accumulatedSkipped, ...position } = this.position
    return accumulatedSkipped === 0 ? position : { ...position, accumulatedSkipped }
  }

  /** `training_state` of a checkpoint. */
  trainingState(patienceCounter: number): TrainingState {
    const bestValPearson = bestPearson(this.history)
    return {
      currentEpoch: this.epoch,
      currentPhase: this.phase,
      phaseEpochsDone: this.phaseEpochsDone,
      globalStep: this.globalStep,
      bestValLoss: this.bestValLoss,
      best: this.best,
      totalTrainingTime: this.totalTrainingTime,
      metricsHistory: this.history,
      phaseStepsDone: this.phaseStepsDone,
      phaseBest: this.phaseBest,
      phaseStopReason: this.phaseStopReason,
      patienceCounter,
      ...(bestValPearson === undefined ? {} : { bestValPearson }),
    }
  }
}

const isOf = ({ name, mode }: Monitor, best: Best | null): boolean => best?.monitor === name && best.mode === mode
