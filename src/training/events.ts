/** What a trainer tells while it runs. Handlers run on the JavaScript thread between two chunks of steps. */
import type { TrainingMetrics } from '../checkpoint/schema.js'
import type { PhaseNames } from './patterns.js'

/** A phase begins, or goes on after a resume. */
export interface PhaseEvent extends PhaseNames {
  /** From 1. */
  phase: number
  phases: number
  name: string
  /** Epochs that the phase has at most; null where steps limit it and the length of an epoch is not known yet. */
  epochs: number | null
  /** Epochs of the phase that a resumed run had done before. */
  epochsDone: number
}

/** A chunk of steps (about 75 ms) is done. */
export interface StepEvent {
  phase: number
  phaseName: string
  /** Of the whole run, from 1. */
  epoch: number
  /** Epochs of the whole run at most; null where the length of one is not known. */
  epochs: number | null
  /** Optimizer steps of the whole run so far. */
  step: number
  /** Batches of the epoch so far. */
  batch: number
  /** Null in the first epoch of an iterable. */
  batches: number | null
  /** One for each batch of the chunk. */
  losses: Float64Array
  /** Mean over the epoch's samples so far. */
  meanLoss: number
  /** Over the chunk. */
  samplesPerSecond: number
  /** Of the first group, in the chunk's last step. */
  learningRate: number
}

/** An epoch is done and validated. */
export interface EpochEvent extends TrainingMetrics {
  phaseName: string
  /** Epochs of the whole run at most; null where the length of one is not known. */
  epochs: number | null
  isBest: boolean
}

/** A phase or the whole run has ended. */
export interface StopEvent {
  of: 'phase' | 'run'
  /** Of a phase `epochs`, `steps` or the reason of its early stopping; of a run `finished`, `aborted` or the code of the error that ended it. */
  reason: string
  /** For people: what stopped it, with the figures. */
  message: string
  phase: number
  phaseName: string
  epoch: number
  step: number
  /** The epoch whose weights the model holds again; null where none were put back. */
  restoredEpoch: number | null
}

/** Something that does not end the run but that its owner should know: a handler of an event threw, another thread count than the checkpoint's, batches passed over. */
export interface WarningEvent {
  /** For programs: `handler`, `threads`, `skipped`, `old_checkpoint`... */
  id: string
  message: string
}

/** A checkpoint is durable under all of its names. */
export interface CheckpointEvent {
  /** The file written. */
  path: string
  /** Its copies: `latest.pth` and, for the best, `best/...`. */
  copies: readonly string[]
  epoch: number
  phase: number
  step: number
  isBest: boolean
}

/** Events of a {@link ProgressiveTrainer}, by name. */
export interface TrainerEvents {
  phase: [PhaseEvent]
  step: [StepEvent]
  epoch: [EpochEvent]
  checkpoint: [CheckpointEvent]
  stop: [StopEvent]
  /** Without a listener, warnings go to `process.emitWarning`. */
  warning: [WarningEvent]
}
