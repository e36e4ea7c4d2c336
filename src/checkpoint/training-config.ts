/** How a run trains: the phases and what each needs. Plain values only, so that a checkpoint holds all of it. */
import { flag, float, integer, list, oneOf, record, text, type Field, type Table } from './fields.js'

/** One optimizer by PyTorch's class name; absent options take PyTorch's defaults. The rate is the phase's. */
export interface OptimizerConfig {
  name: 'SGD' | 'Adam' | 'AdamW'
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

/** `torch.optim.lr_scheduler.StepLR`, stepped after each epoch of the phase. */
export interface SchedulerConfig {
  name: 'StepLR'
  /** Epochs between two decays. */
  stepSize: number
  /** Factor of a decay; default 0.1. */
  gamma?: number
}

/** One stretch of a run. Each phase starts a fresh optimizer over the parameters that it trains. */
export interface Phase {
  /** For people: progress, events, checkpoints. */
  name: string
  epochs: number
  lr: number
  /**
   * Patterns of parameter names that stand still in this phase (`features.*`; `*` is any run of characters, dots included, `?` one). The parameters get no
   * gradient and no update, and batch norms all of whose parameters stand still keep their running statistics. What a phase does not name is as it was when the
   * trainer was made: phases do not add up.
   */
  freeze?: readonly string[]
  /** Exceptions to `freeze`, and parameters to train that the model itself had frozen. */
  unfreeze?: readonly string[]
  /** Default: the run's. */
  optimizer?: OptimizerConfig
  /** Default: the rate is constant. */
  scheduler?: SchedulerConfig
}

/** Names of the metrics of a validation, besides `loss`. */
export type MetricName = 'accuracy' | 'mse' | 'rmse'

export interface TrainingConfig {
  phases: readonly Phase[]
  /** `custom` where the trainer's `loss` option holds a function. */
  loss: 'mse' | 'cross_entropy' | 'custom'
  /** Optimizer of the phases that name none; default AdamW. */
  optimizer?: OptimizerConfig
  /** Computed after each epoch over the validation data. */
  metrics?: readonly MetricName[]
  /** What "best" means: `train_loss`, `val_loss` or `val_` and a metric. Default `val_loss`, without validation data `train_loss`. */
  monitor?: string
  /** Whether a smaller or a larger value is better; default `max` for `val_accuracy`, else `min`. */
  mode?: 'min' | 'max'
}

const positive = (value: number): boolean => value > 0 && Number.isFinite(value)
const optimizerFields: Table<OptimizerConfig> = {
  name: ['name', oneOf('SGD', 'Adam', 'AdamW')],
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
const schedulerFields: Table<SchedulerConfig> = {
  name: ['name', oneOf('StepLR')],
  stepSize: ['step_size', integer(1)],
  gamma: ['gamma', float('a finite positive number', positive), 'optional'],
}
const phaseFields: Table<Phase> = {
  name: ['name', text],
  epochs: ['epochs', integer(1)],
  lr: ['lr', float('a finite positive number', positive)],
  freeze: ['freeze', list(text), 'optional'],
  unfreeze: ['unfreeze', list(text), 'optional'],
  optimizer: ['optimizer', record(optimizerFields), 'optional'],
  scheduler: ['scheduler', record(schedulerFields), 'optional'],
}
const metricName: Field<MetricName> = oneOf('accuracy', 'mse', 'rmse')

/** `training_config` of a checkpoint. */
export const trainingConfigField: Field<TrainingConfig> = record<TrainingConfig>({
  phases: ['phases', list(record(phaseFields))],
  loss: ['loss', oneOf('mse', 'cross_entropy', 'custom')],
  optimizer: ['optimizer', record(optimizerFields), 'optional'],
  metrics: ['metrics', list(metricName), 'optional'],
  monitor: ['monitor', text, 'optional'],
  mode: ['mode', oneOf('min', 'max'), 'optional'],
})
