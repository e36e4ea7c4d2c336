/** A phase with everything that it does not say itself: what the training configuration says for all phases, then the defaults. */
import type {
  EarlyStoppingConfig,
  GroupConfig,
  OptimizerConfig,
  Phase,
  SchedulerConfig,
  TrainingConfig,
} from '../checkpoint/training-config.js'

/** The optimizer of phases that name none, where the run names none either. */
export const defaultOptimizer: OptimizerConfig = { name: 'AdamW' }

/** A {@link Phase}, settled. */
export interface PhaseConfig {
  name: string
  /** `Infinity` where `steps` limits the phase. */
  epochs: number
  /** `Infinity` where `epochs` limits the phase. */
  steps: number
  lr: number
  groups: readonly GroupConfig[]
  freeze: readonly string[]
  unfreeze: readonly string[]
  keepOptimizer: boolean
  optimizer: OptimizerConfig
  scheduler: SchedulerConfig | null
  /** Null: the loader's. */
  batchSize: number | null
  accumulateGradBatches: number
  clipGradNorm: number | null
  clipGradValue: number | null
  autocast: 'bfloat16' | null
  earlyStopping: EarlyStoppingConfig | null
  restoreBest: boolean
  frozenBatchNorm: 'eval' | 'train'
}

export function settlePhase(config: TrainingConfig, phase: Phase): PhaseConfig {
  const earlyStopping = settled(phase.earlyStopping, config.earlyStopping, null)
  return {
    name: phase.name,
    epochs: phase.epochs ?? Infinity,
    steps: phase.steps ?? Infinity,
    lr: phase.lr,
    groups: phase.groups ?? [],
    freeze: phase.freeze ?? [],
    unfreeze: phase.unfreeze ?? [],
    keepOptimizer: phase.keepOptimizer ?? false,
    optimizer: settled(phase.optimizer, config.optimizer, defaultOptimizer),
    scheduler: settled(phase.scheduler, config.scheduler, null),
    batchSize: settled(phase.batchSize, config.batchSize, null),
    accumulateGradBatches: settled(phase.accumulateGradBatches, config.accumulateGradBatches, 1),
    clipGradNorm: settled(phase.clipGradNorm, config.clipGradNorm, null),
    clipGradValue: settled(phase.clipGradValue, config.clipGradValue, null),
    autocast: settled(phase.autocast, config.autocast, null),
    earlyStopping,
    restoreBest: settled(phase.restoreBest, config.restoreBest, earlyStopping !== null),
    frozenBatchNorm: settled(phase.frozenBatchNorm, config.frozenBatchNorm, 'eval'),
  }
}

/** The phase's own value, null included; else the run's; else the default. */
function settled<T>(own: T | undefined, ofAll: T | undefined, fallback: T): T {
  if (own !== undefined) return own
  return ofAll === undefined ? fallback : ofAll
}
