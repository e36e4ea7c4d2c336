/** `torchkeep`: the public API. Nothing else is public but `torchkeep/checkpoint`, `torchkeep/export` and `torchkeep/format`, which need no LibTorch. */
export * from '../lib/index.js'
export * from './checkpoint/index.js'
export * from './export/index.js'
export { OrderedDict, PyFloat, Tuple } from './format/index.js'
export { type OpenedData, openData, type OpenOptions, type TensorDescription } from './data/open-data.js'
export { type OpenedRows, openRows, type RowsOptions } from './data/rows-data.js'
export type * from './data/spec.js'
export { load, type LoadOptions, save, saveArchive } from './serialization.js'
export { loadCheckpoint, type LoadCheckpointOptions, type LoadedCheckpoint } from './training/load-checkpoint.js'
export {
  ModelCheckpoint,
  type BestRule,
  type ModelCheckpointOptions,
  type RunFacts,
  type SavedCheckpoint,
  type SaveReasons,
  type SaveWarning,
} from './training/model-checkpoint.js'
export type {
  CheckpointEvent,
  EpochEvent,
  PhaseEvent,
  StepEvent,
  StopEvent,
  TrainerEvents,
  WarningEvent,
} from './training/events.js'
export {
  EarlyStopping,
  type CheckedAt,
  type EarlyStoppingOptions,
  type PatienceInfo,
  type StopReason,
} from './training/early-stopping.js'
export { atThreshold } from './training/metrics-classification.js'
export {
  type Direction,
  type MetricCompute,
  type MetricFunction,
  metricNames,
  type Values,
} from './training/metrics.js'
export {
  evaluateCheckpoint,
  type Evaluation,
  type EvaluationOptions,
  predictCheckpoint,
  type PredictionOptions,
} from './training/evaluation.js'
export { type Interrupt, interruptSignal } from './training/interrupt.js'
export type { LogOptions } from './training/run-logs.js'
export { ProgressReporter } from './training/progress-reporter.js'
export type { BatchIterable, TrainingData } from './training/feed.js'
export type { LossFunction } from './training/recording.js'
export { ProgressiveTrainer, type TrainerOptions, type TrainingSummary, type TrainOptions } from './training/trainer.js'
export { loadForInference } from './inference/load.js'
export type { InferenceModel, InferenceOptions, NestedNumbers, PredictOptions } from './inference/types.js'
