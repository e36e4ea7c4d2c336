/** How the rates of a phase change. */
import { float, integer, oneOf, record, type Field } from './fields.js'

/** `torch.optim.lr_scheduler.StepLR`, stepped after each epoch of the phase. */
export interface SchedulerConfig {
  name: 'StepLR'
  /** Epochs between two decays. */
  stepSize: number
  /** Factor of a decay; default 0.1. */
  gamma?: number
}

/** `scheduler` of a phase's configuration. */
export const schedulerField: Field<SchedulerConfig> = record<SchedulerConfig>({
  name: ['name', oneOf('StepLR')],
  stepSize: ['step_size', integer(1)],
  gamma: ['gamma', float('a finite positive number', (value) => value > 0 && Number.isFinite(value)), 'optional'],
})
