/** How a run trains: the phases and what each needs. Plain values only, so that a checkpoint holds all of it. */
import { flag, float, integer, list, nullable, oneOf, record, text, type Field, type Table } from './fields.js'
import { schedulerField, type SchedulerConfig } from './scheduler-config.js'

export type { SchedulerConfig } from './scheduler-config.js'

/** Hyperparameters that a parameter group may set for itself; absent ones take the optimizer's of the phase. */
export interface OptimizerOptions {
  momentum?: number
  dampening?: number
  nesterov?: boolean
  betas?: readonly number[]
  eps?: number
  weightDecay?: number
  amsgrad?: boolean
  maximize?: boolean
  /** The fast path that agrees with PyTorch's `fused=True` instead of its default one. */
  fused?: boolean
}

/** One optimizer by PyTorch's class name; absent options take PyTorch's defaults. The rate is the phase's. */
export interface OptimizerConfig extends OptimizerOptions {
  name: 'SGD' | 'Adam' | 'AdamW'
}

/** Parameters with a rate or hyperparameters of their own. */
export interface GroupConfig extends OptimizerOptions {
  /** Patterns of parameter names, as in `freeze`. A parameter may be in one group only; those in none form the last group, with the phase's own rate. */
  params: readonly string[]
  /** Default: the phase's. */
  lr?: number
}

/** When a phase ends before its epochs do. Exactly as {@link EarlyStopping} takes it, but for the restoring of weights, which is the phase's `restoreBest`. */
export interface EarlyStoppingConfig {
  /** Default: the run's `monitor`. */
  monitor?: string
  /** Default: the run's, for its monitor; else by the metric's own direction. */
  mode?: 'min' | 'max'
  /** Checks (validations) without improvement until the stop; default 10 where neither of the next two is given. */
  patience?: number
  /** Optimizer steps without improvement, noticed at the next check. */
  patienceSteps?: number
  /** Seconds of training without improvement, noticed at the next check. */
  patienceSeconds?: number
  /** Changes no larger than this are no improvement; default 0. */
  minDelta?: number
  /** Whether `minDelta` is absolute or a fraction of the best score; default `abs`. */
  minDeltaMode?: 'abs' | 'rel'
  /** Epochs of the phase in which nothing is counted; default 0. */
  warmupEpochs?: number
  /** A score that counts as the best before the first: without reaching it within the patience the phase stops. */
  baseline?: number
  /** Stops as soon as the score is at least this good. */
  stoppingThreshold?: number
  /** Stops as soon as the score is at least this bad. */
  divergenceThreshold?: number
  /** Stops at a score that is NaN or infinite; default true. */
  checkFinite?: boolean
}

/** What a phase may set; set in the {@link TrainingConfig} itself, for all phases that do not. Null takes away what the configuration sets for all. */
export interface PhaseDefaults {
  /** Default AdamW. */
  optimizer?: OptimizerConfig
  /** Default: the rates are constant. */
  scheduler?: SchedulerConfig | null
  /** Samples of a batch of training; default the loader's. */
  batchSize?: number | null
  /** Batches whose gradients are averaged for one optimizer step; default 1. What is left at the end of an epoch makes a step of its own. */
  accumulateGradBatches?: number
  /** Largest 2-norm of all gradients together (`torch.nn.utils.clip_grad_norm_`). */
  clipGradNorm?: number | null
  /** Largest absolute value of a gradient's elements (`torch.nn.utils.clip_grad_value_`). */
  clipGradValue?: number | null
  /** Runs model and loss under `torch.autocast` of this dtype; parameters, gradients and optimizer stay as they are. */
  autocast?: 'bfloat16' | null
  earlyStopping?: EarlyStoppingConfig | null
  /** Puts back the best weights of the phase when it ends, whatever ended it; default true with early stopping, else false. */
  restoreBest?: boolean
  /** Whether batch norms all of whose parameters are frozen keep their running statistics (`eval`, the default) or go on updating them (`train`). */
  frozenBatchNorm?: 'eval' | 'train'
}

/** One stretch of a run. It ends after `epochs` epochs or `steps` optimizer steps, of which it has exactly one, or at an early stop. */
export interface Phase extends PhaseDefaults {
  /** For people: progress, events, checkpoints. */
  name: string
  epochs?: number
  /** Optimizer steps. The last epoch ends where they do. */
  steps?: number
  lr: number
  /** Parameters with rates of their own; default: one group of all that train. */
  groups?: readonly GroupConfig[]
  /**
   * Patterns of parameter names that stand still in this phase (`features.*`; `*` is any run of characters, dots included, `?` one). The parameters get no
   * gradient and no update. What a phase does not name is as it was when the trainer was made: phases do not add up.
   */
  freeze?: readonly string[]
  /** Exceptions to `freeze`, and parameters to train that the model itself had frozen. */
  unfreeze?: readonly string[]
  /** Goes on with the optimizer state (moments, step counts) of the phase before, for the parameters that have one; default false: a fresh optimizer. The optimizer must be the same. */
  keepOptimizer?: boolean
}

export interface TrainingConfig extends PhaseDefaults {
  phases: readonly Phase[]
  /** `custom` where the trainer's `loss` option holds a function. */
  loss: 'mse' | 'l1' | 'cross_entropy' | 'bce_with_logits' | 'custom'
  /** Computed after each epoch over the validation data: names of metrics, and of the trainer's `metrics` option. */
  metrics?: readonly string[]
  /** What "best" means: `train_loss`, `val_loss` or `val_` and a metric. Default `val_loss`, without validation data `train_loss`. */
  monitor?: string
  /** Whether a smaller or a larger value is better; default by the metric's own direction. */
  mode?: 'min' | 'max'
  /** What happens at a loss or a gradient that is NaN or infinite: `stop` (the default) ends the run, `skip` passes over the batch. No weight is changed by it in either case. */
  onNonFinite?: 'stop' | 'skip'
}

const positive = (value: number): boolean => value > 0 && Number.isFinite(value)
const positiveFloat = float('a finite positive number', positive)
const notNegative = float('a finite number of at least 0', (value) => value >= 0 && Number.isFinite(value))
const notNan = float('a number', (value) => !Number.isNaN(value))

const optimizerOptions: Table<OptimizerOptions> = {
  momentum: ['momentum', float(), 'optional'],
  dampening: ['dampening', float(), 'optional'],
  nesterov: ['nesterov', flag, 'optional'],
  betas: ['betas', list(float('a number from 0 to 1', (value) => value >= 0 && value <= 1)), 'optional'],
  eps: ['eps', float(), 'optional'],
  weightDecay: ['weight_decay', float(), 'optional'],
  amsgrad: ['amsgrad', flag, 'optional'],
  maximize: ['maximize', flag, 'optional'],
  fused: ['fused', flag, 'optional'],
}
const optimizerField: Field<OptimizerConfig> = record<OptimizerConfig>({
  name: ['name', oneOf('SGD', 'Adam', 'AdamW')],
  ...optimizerOptions,
})
const groupField: Field<GroupConfig> = record<GroupConfig>({
  params: ['params', list(text)],
  lr: ['lr', positiveFloat, 'optional'],
  ...optimizerOptions,
})

/** `early_stopping` of a phase's configuration. */
export const earlyStoppingField: Field<EarlyStoppingConfig> = record<EarlyStoppingConfig>({
  monitor: ['monitor', text, 'optional'],
  mode: ['mode', oneOf('min', 'max'), 'optional'],
  patience: ['patience', integer(1), 'optional'],
  patienceSteps: ['patience_steps', integer(1), 'optional'],
  patienceSeconds: ['patience_seconds', positiveFloat, 'optional'],
  minDelta: ['min_delta', notNegative, 'optional'],
  minDeltaMode: ['min_delta_mode', oneOf('abs', 'rel'), 'optional'],
  warmupEpochs: ['warmup_epochs', integer(0), 'optional'],
  baseline: ['baseline', notNan, 'optional'],
  stoppingThreshold: ['stopping_threshold', notNan, 'optional'],
  divergenceThreshold: ['divergence_threshold', notNan, 'optional'],
  checkFinite: ['check_finite', flag, 'optional'],
})

const phaseDefaults: Table<PhaseDefaults> = {
  optimizer: ['optimizer', optimizerField, 'optional'],
  scheduler: ['scheduler', nullable(schedulerField), 'optional'],
  batchSize: ['batch_size', nullable(integer(1)), 'optional'],
  accumulateGradBatches: ['accumulate_grad_batches', integer(1), 'optional'],
  clipGradNorm: ['clip_grad_norm', nullable(positiveFloat), 'optional'],
  clipGradValue: ['clip_grad_value', nullable(positiveFloat), 'optional'],
  autocast: ['autocast', nullable(oneOf('bfloat16')), 'optional'],
  earlyStopping: ['early_stopping', nullable(earlyStoppingField), 'optional'],
  restoreBest: ['restore_best', flag, 'optional'],
  frozenBatchNorm: ['frozen_batch_norm', oneOf('eval', 'train'), 'optional'],
}
const phaseRecord = record<Phase>({
  name: ['name', text],
  epochs: ['epochs', integer(1), 'optional'],
  steps: ['steps', integer(1), 'optional'],
  lr: ['lr', positiveFloat],
  groups: ['groups', list(groupField), 'optional'],
  freeze: ['freeze', list(text), 'optional'],
  unfreeze: ['unfreeze', list(text), 'optional'],
  keepOptimizer: ['keep_optimizer', flag, 'optional'],
  ...phaseDefaults,
})
const phaseField: Field<Phase> = {
  encode(value, at) {
    const fields = phaseRecord.encode(value, at)
    if ((value.epochs === undefined) === (value.steps === undefined))
      at.fail(`should have either epochs or steps, but has ${value.epochs === undefined ? 'neither' : 'both'}`)
    return fields
  },
  decode: (value, at) => phaseRecord.decode(value, at),
}

/** `training_config` of a checkpoint. */
export const trainingConfigField: Field<TrainingConfig> = record<TrainingConfig>({
  phases: ['phases', list(phaseField)],
  loss: ['loss', oneOf('mse', 'l1', 'cross_entropy', 'bce_with_logits', 'custom')],
  metrics: ['metrics', list(text), 'optional'],
  monitor: ['monitor', text, 'optional'],
  mode: ['mode', oneOf('min', 'max'), 'optional'],
  onNonFinite: ['on_non_finite', oneOf('stop', 'skip'), 'optional'],
  ...phaseDefaults,
})
