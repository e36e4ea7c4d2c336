/** `torch.optim.lr_scheduler`: same names, defaults, rates to the last bit, and state dicts. */
export { LRScheduler, type ScheduledOptimizer } from './lr-scheduler-base.js'
export {
  CosineAnnealingLR,
  CosineAnnealingWarmRestarts,
  type CosineAnnealingLROptions,
  type CosineAnnealingWarmRestartsOptions,
} from './lr-scheduler-cosine.js'
export {
  ExponentialLR,
  MultiStepLR,
  PolynomialLR,
  StepLR,
  type ExponentialLROptions,
  type MultiStepLROptions,
  type PolynomialLROptions,
  type StepLROptions,
} from './lr-scheduler-decay.js'
export { ConstantLR, LinearLR, type ConstantLROptions, type LinearLROptions } from './lr-scheduler-factor.js'
export { OneCycleLR, type OneCycleLROptions } from './lr-scheduler-one-cycle.js'
export { ReduceLROnPlateau, type ReduceLROnPlateauOptions } from './lr-scheduler-plateau.js'
export {
  ChainedScheduler,
  SequentialLR,
  type ChainedSchedulerOptions,
  type SequentialLROptions,
} from './lr-scheduler-sequence.js'
export { WarmupDecay, type WarmupDecayOptions } from './lr-scheduler-warmup-decay.js'
