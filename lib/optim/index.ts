/** `torch.optim`. */
export { Adam, AdamW, type AdamOptions } from './adam.js'
export * as lrScheduler from './lr-scheduler.js'
export {
  Optimizer,
  type OptimizerName,
  type OptionValue,
  type ParamGroup,
  type ParamGroupOptions,
} from './optimizer.js'
export { SGD, type SGDOptions } from './sgd.js'
