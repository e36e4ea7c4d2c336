/** Where a run stands, apart from the tensors. */
import type { Best, Checkpoint, DataPosition, TrainingMetrics, TrainingState } from '../checkpoint/schema.js'
import type { Monitor } from './monitor.js'
import type { Tensor } from '../../lib/index.js'

/** An epoch under way. */
export interface EpochPosition extends DataPosition<Tensor> {
  /** The rows of the epoch in order. */
  order: BigInt64Array
  batches: number
}

/** Changes with every step; a checkpoint's `training_state` and `data_position` are pictures of it. */
export class RunState {
  /** From 1. */
  phase = 1
  phaseEpochsDone = 0
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

  static from({ trainingState, dataPosition }: Checkpoint): RunState {
    const state = new RunState()
    state.phase = trainingState.currentPhase
    state.phaseEpochsDone = trainingState.phaseEpochsDone
    state.epochsDone = trainingState.currentEpoch - (dataPosition === null ? 0 : 1)
    state.globalStep = trainingState.globalStep
    state.bestValLoss = trainingState.bestValLoss
    state.best = trainingState.best
    state.totalTrainingTime = trainingState.totalTrainingTime
    state.history = [...trainingState.metricsHistory]
    return state
  }

  /** Epoch of the whole run that the weights belong to, from 1. */
  get epoch(): number {
    return this.epochsDone + (this.position === null ? 0 : 1)
  }

  /** Books a chunk of steps. */
  recordSteps(losses: Float64Array, seconds: number): void {
    const position = this.position as EpochPosition
    for (const loss of losses) {
      const size = Math.min(position.batchSize, position.numSamples - position.samplesDone)
      position.lossSum += loss * size
      position.samplesDone += size
    }
    position.batchesDone += losses.length
    position.epochTime += seconds
    this.globalStep += losses.length
  }

  /** Books a finished epoch. */
  recordEpoch(metrics: TrainingMetrics, best: Best | null): void {
    this.leaveEpoch()
    this.epochsDone++
    this.phaseEpochsDone++
    this.totalTrainingTime += metrics.trainingTime
    this.history.push(metrics)
    if (metrics.valLoss !== null && metrics.valLoss < this.bestValLoss) this.bestValLoss = metrics.valLoss
    this.best = best ?? this.best
  }

  /** Scores of another metric or direction cannot be compared: the best begins anew. */
  forgetBestUnless({ name, mode }: Monitor): void {
    if (this.best?.monitor !== name || this.best.mode !== mode) this.best = null
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
  }

  /** `data_position` of a checkpoint. */
  dataPosition(): DataPosition<Tensor> | null {
    if (this.position === null) return null
    const { order: _order, batches: _batches, ...position } = this.position
    return position
  }

  /** `training_state` of a checkpoint. */
  trainingState(): TrainingState {
    return {
      currentEpoch: this.epoch,
      currentPhase: this.phase,
      phaseEpochsDone: this.phaseEpochsDone,
      globalStep: this.globalStep,
      bestValLoss: this.bestValLoss,
      best: this.best,
      totalTrainingTime: this.totalTrainingTime,
      metricsHistory: this.history,
    }
  }
}
