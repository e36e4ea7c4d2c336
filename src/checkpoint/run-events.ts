/** `events.jsonl`: what a run told of itself, one object of strict JSON a line. docs/logs.md explains the fields. */

/** Name of the file in the run's folder. */
export const eventsName = 'events.jsonl'

/** A number; those that JSON does not have are strings. */
export type JsonNumber = number | 'NaN' | 'Infinity' | '-Infinity'

/** What every line has. */
interface Stamp {
  /** When it was, as ISO 8601 in UTC. */
  time: string
  /** Seconds since the process began the run, by a clock that never goes back. */
  seconds: number
}

/** A process begins a run (`run`) or goes on with one (`resume`). Several of them follow each other in the file of a folder. */
export interface RunLine extends Stamp {
  event: 'run' | 'resume'
  /** The same for all processes of a run. */
  run_id?: string
  /** The checkpoint that a resumed run goes on from: what earlier lines say of epochs and steps after it did not count. */
  resumed_from: string | null
  /** Finished epochs and steps of the whole run. */
  epochs_done: number
  step: number
  pid: number
  host: string
  /** When the process started, as the system tells it (clock ticks since boot on Linux, else "0"): a later process may get the same id. */
  process_start: string
  torchkeep_version: string
  libtorch_version: string
  node_version: string
  /** Class of the model. */
  model_type: string
  config_hash: string
  monitor: string
  mode: 'min' | 'max'
  /** Of epochs and steps one is null: the other limits the phase. */
  phases: readonly { name: string; epochs: number | null; steps: number | null }[]
  /** Of the whole run; null where steps limit a phase. */
  epochs: number | null
}

export interface PhaseLine extends Stamp {
  event: 'phase'
  phase: number
  phases: number
  name: string
  epochs: number | null
  epochs_done: number
  trained_tensors: number
  frozen_tensors: number
}

/** Where an epoch is; at most one a second, and the last of each epoch. */
export interface StepLine extends Stamp {
  event: 'step'
  phase: number
  phase_name: string
  epoch: number
  epochs: number | null
  step: number
  batch: number
  /** Null where the number is not known before the epoch has ended. */
  batches: number | null
  /** Of the last batch. */
  loss: JsonNumber
  /** Over the epoch's samples so far. */
  mean_loss: JsonNumber
  samples_per_second: JsonNumber
  /** Of the first group. */
  learning_rate: JsonNumber
}

/** A finished epoch: the row of `metrics.csv`, the validation's metrics as `val_` and their names. */
export interface EpochLine extends Stamp {
  event: 'epoch'
  epoch: number
  epochs: number | null
  phase: number
  phase_name: string
  train_loss: JsonNumber
  val_loss: JsonNumber | null
  learning_rate: JsonNumber
  training_time: JsonNumber
  is_best: boolean
  [more: string]: unknown
}

/** A checkpoint is durable. Paths are relative to the run's folder. */
export interface CheckpointLine extends Stamp {
  event: 'checkpoint'
  path: string
  copies: readonly string[]
  epoch: number
  phase: number
  step: number
  is_best: boolean
}

/** A phase or the run has ended. */
export interface StopLine extends Stamp {
  event: 'stop'
  of: 'phase' | 'run'
  reason: string
  message: string
  phase: number
  phase_name: string
  epoch: number
  step: number
  restored_epoch: number | null
}

export interface WarningLine extends Stamp {
  event: 'warning'
  id: string
  message: string
}

/** One line of the file. */
export type RunEvent = RunLine | PhaseLine | StepLine | EpochLine | CheckpointLine | StopLine | WarningLine
