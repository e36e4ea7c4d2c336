/** `torchkeep/checkpoint`: what looks at checkpoint files. Nothing here loads the addon. */
export { TorchkeepError, type ErrorCode } from '../format/errors.js'
export { type Plain } from './fields.js'
export {
  bestPath,
  findCheckpoint,
  latestBestPath,
  latestPath,
  phasePath,
  regularPath,
  type CheckpointName,
} from './layout.js'
export {
  checkpointVersion,
  decodeCheckpoint,
  encodeCheckpoint,
  type Checkpoint,
  type DataPosition,
  type Dict,
  type Metadata,
  type ModelGraph,
  type PhaseState,
  type RngState,
} from './schema.js'
export { listCheckpoints, type CheckpointSelection, type ListedCheckpoint, type ListOptions } from './listing.js'
export { publish, publishCopy } from './store.js'
export { type OptimizerConfig, type Phase, type SchedulerConfig, type TrainingConfig } from './training-config.js'
export * as retention from './retention.js'
export type { KeepBest, RetentionChoice, RetentionFile, RetentionPolicy, RetentionRule } from './retention.js'
export { describeCheckpoint, type CheckpointDescription, type DescribeOptions } from './describe.js'
export { findCheckpointFiles, type FindOptions } from './find.js'
export { finding, findings, type FindingId } from './findings.js'
export { isStateDict, kindOf, type CheckpointKind } from './kind.js'
export { layoutOf, layouts, type Layout } from './layouts.js'
export { metricsOf, numberOf } from './metrics.js'
export { type Best, type Conversions, TrainingMetrics, TrainingState } from './training-state.js'
export { migrations, type Migration } from './migrations.js'
export { normalizeCheckpoint, type NormalizedCheckpoint } from './normalize.js'
export { roleOf, type CheckpointRole } from './roles.js'
export { tensorRoles, type TensorRole } from './tensor-roles.js'
export { CheckpointValidator, type ValidateOptions, type ValidationReport } from './validator.js'
export { summarizeCheckpoints, type CheckpointSummary, type SummarizedCheckpoint } from './summary.js'
export { inspectCheckpoint, type ContainerFacts, type Inspection, type InspectOptions } from './inspect.js'
export type { InspectedOptimizer } from './inspect-optimizer.js'
export type { TensorStatistics } from './inspect-statistics.js'
export type { InspectedTensor } from './inspect-tensors.js'
export type { TreeNode } from './inspect-tree.js'
export { bestOf, defaultMode, findBestCheckpoint, type BestCheckpoint, type BestOptions } from './best.js'
export { cleanCheckpoints, type CleanupOptions, type CleanupResult } from './cleanup.js'
export { readHistory, type HistoryRow, type RunHistory } from './history.js'
export {
  compareCheckpoints,
  type Comparison,
  type CompareOptions,
  type ModelComparison,
  type PartName,
} from './compare.js'
export { type ComparedFile } from './compare-sides.js'
export { type TensorFigures, type Tolerance } from './compare-figures.js'
export { type TensorComparison } from './compare-tensors.js'
export { type LayerComparison } from './compare-layers.js'
export { type HistoryComparison } from './compare-histories.js'
export { type PartComparison } from './compare-parts.js'
export { type ValueDifference } from './compare-values.js'
export { configHash, decidingConfig, keysOutsideHash } from './config-hash.js'
export { readMetadata, type CheckpointMetadata, type LibraryVersions } from './metadata.js'
export { architectureOf, type ModuleNode, type ModuleTensor } from './architecture.js'
export { compatibilityOf, type Compatibility, type CompatibilityTarget } from './compatibility.js'
export { validateAll, type UnreadableFile, type ValidateAllOptions, type ValidationRun } from './validate-all.js'
export { promoteCheckpoint, type PromoteOptions, type PromoteResult } from './promote.js'
export { promotionsIn, readPromotion, type FormerPromotion, type Promotion } from './promotions.js'
export { tagCheckpoint, type TagChanges, type TagResult } from './tag.js'
export {
  CheckpointManager,
  exportCheckpointSummary,
  getBestCheckpointPath,
  type CategorizedCheckpoints,
  type ExportedSummary,
  type JudgedCheckpoint,
} from './manager.js'
export {
  assessRecovery,
  CheckpointRecovery,
  recoveryRecordOf,
  type DamagedPolicy,
  type NonFinitePolicy,
  type RecoverableCheckpoint,
  type RecoveryAssessment,
  type RecoveryOptions,
  type RecoveryPotential,
  type RecoveryRecord,
  type RecoveryResult,
} from './recovery.js'
export { followRun, readRun, type FollowOptions } from './follow-run.js'
export type {
  CheckpointLine,
  EpochLine,
  PhaseLine,
  RunEvent,
  RunLine,
  StepLine,
  StopLine,
  WarningLine,
} from './run-events.js'
export type { EventFields, PlannedPhase, RunEpoch, RunState, RunStatus } from './run-picture.js'
