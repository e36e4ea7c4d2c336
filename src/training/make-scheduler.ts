/** Schedulers out of a run's configuration. */
import { lrScheduler, type optim } from '../../lib/index.js'
import {
  intervalOf,
  type SchedulerConfig,
  type SchedulerInterval,
  type SchedulerPart,
} from '../checkpoint/scheduler-config.js'
import { TorchkeepError } from '../format/errors.js'

export { intervalOf }

/** What a scheduler may want to know of its phase; what is not known (an iterable without a length) is absent or not finite. */
export interface PhaseLength {
  /** Epochs of the phase. */
  epochs?: number | undefined
  /** Optimizer steps of an epoch. */
  stepsPerEpoch?: number | undefined
  /** Optimizer steps of the phase; default `epochs * stepsPerEpoch`. */
  totalSteps?: number | undefined
  /** Whether the metric of ReduceLROnPlateau should fall or rise, where its configuration does not say; default `min`. */
  mode?: 'min' | 'max' | undefined
}

/**
 * The scheduler of a phase. Sets the optimizer's first rates, so it is made before the session, and before a state is loaded into the optimizer.
 *
 * When to step it: {@link intervalOf}; with which metric: `config.monitor` (ReduceLROnPlateau only).
 *
 * @throws TorchkeepError `ERR_INVALID_ARGUMENT` naming the option that is out of range or does not go with the phase.
 */
export function makeScheduler(
  optimizer: optim.Optimizer,
  config: SchedulerConfig,
  phase: PhaseLength = {},
): lrScheduler.LRScheduler {
  const interval = intervalOf(config)
  const steps = stepsOf(interval, phase)
  if (config.name === 'ReduceLROnPlateau') {
    if (interval === 'step')
      throw new TorchkeepError(
        'ERR_INVALID_ARGUMENT',
        'ReduceLROnPlateau: interval is step, expected epoch, since its metric is computed once an epoch',
      )
    const { name: _name, interval: _interval, monitor: _monitor, mode = phase.mode ?? 'min', ...options } = config
    return new lrScheduler.ReduceLROnPlateau(optimizer, { mode, ...options })
  }
  if (config.name === 'WarmupDecay') {
    const { name: _name, interval: _interval, ...options } = config
    return new lrScheduler.WarmupDecay(optimizer, options)
  }
  const { interval: _interval, ...part } = config
  return makePart(optimizer, part as SchedulerPart, interval, steps)
}

function makePart(
  optimizer: optim.Optimizer,
  { name, ...options }: SchedulerPart,
  interval: SchedulerInterval,
  steps: number | undefined,
): lrScheduler.LRScheduler {
  if (name === 'OneCycleLR') return makeOneCycle(optimizer, options as OptionsOf<'OneCycleLR'>, interval, steps)
  if (name === 'SequentialLR' || name === 'ChainedScheduler') {
    const { schedulers: parts, ...rest } = options as OptionsOf<'SequentialLR'>
    const schedulers = parts.map((part) => makePart(optimizer, part, interval, steps))
    return name === 'SequentialLR'
      ? new lrScheduler.SequentialLR(optimizer, { ...rest, schedulers })
      : new lrScheduler.ChainedScheduler(optimizer, { ...rest, schedulers })
  }
  const Scheduler = lrScheduler[name] as new (optimizer: optim.Optimizer, options: object) => lrScheduler.LRScheduler
  return new Scheduler(optimizer, options)
}

type OptionsOf<N extends SchedulerPart['name']> = Omit<Extract<SchedulerPart, { name: N }>, 'name'>

/** The cycle takes the whole phase unless told. A shorter one would end the run in its middle, since no step may follow. */
function makeOneCycle(
  optimizer: optim.Optimizer,
  options: OptionsOf<'OneCycleLR'>,
  interval: SchedulerInterval,
  steps: number | undefined,
): lrScheduler.LRScheduler {
  const totalSteps = options.totalSteps ?? steps
  if (totalSteps === undefined) {
    throw new TorchkeepError(
      'ERR_INVALID_ARGUMENT',
      `OneCycleLR: totalSteps is missing, and how many ${interval}s the phase has is not known`,
    )
  }
  if (steps !== undefined && totalSteps < steps) {
    throw new TorchkeepError(
      'ERR_INVALID_ARGUMENT',
      `OneCycleLR: totalSteps is ${totalSteps}, but the phase has ${steps} ${interval}s`,
      { suggestions: ['Leave totalSteps out: the cycle then takes the whole phase.'] },
    )
  }
  return new lrScheduler.OneCycleLR(optimizer, { ...options, totalSteps })
}

/** How often the scheduler is stepped in the phase. */
function stepsOf(interval: SchedulerInterval, { epochs, stepsPerEpoch, totalSteps }: PhaseLength): number | undefined {
  const known = (value: number | undefined): number | undefined => (Number.isFinite(value) ? value : undefined)
  if (interval === 'epoch') return known(epochs)
  return (
    known(totalSteps) ?? (known(epochs) === undefined ? undefined : known((epochs as number) * (stepsPerEpoch ?? NaN)))
  )
}
