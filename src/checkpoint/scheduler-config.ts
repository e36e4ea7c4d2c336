/** How the rates of a phase change: PyTorch's schedulers by their class names, with its options in camelCase; in files under PyTorch's own names. */
import { nearNames } from '../format/near-names.js'
import { flag, float, integer, list, oneOf, record, text, type Field, type Place, type Table } from './fields.js'

/** When a scheduler is stepped. */
export type SchedulerInterval = 'epoch' | 'step'

interface Interval {
  /** After each epoch (the default), or after each optimizer step (the default of OneCycleLR). */
  interval?: SchedulerInterval
}

/** Multiplies the rate by `gamma` every `stepSize` epochs. */
interface StepLR {
  name: 'StepLR'
  stepSize: number
  /** Default 0.1. */
  gamma?: number
}

/** Multiplies the rate by `gamma` at each milestone. */
interface MultiStepLR {
  name: 'MultiStepLR'
  milestones: readonly number[]
  /** Default 0.1. */
  gamma?: number
}

/** Multiplies the rate by `gamma` each epoch. */
interface ExponentialLR {
  name: 'ExponentialLR'
  gamma: number
}

/** Multiplies the rate by a factor that goes in a straight line from `startFactor` (default 1/3) to `endFactor` (1) in `totalIters` (5) epochs. */
interface LinearLR {
  name: 'LinearLR'
  startFactor?: number
  endFactor?: number
  totalIters?: number
}

/** Multiplies the rate by `factor` (default 1/3) for `totalIters` (5) epochs. */
interface ConstantLR {
  name: 'ConstantLR'
  factor?: number
  totalIters?: number
}

/** Lets the rate fall to 0 in `totalIters` (default 5) epochs, as a `power` (1) of those that are left. */
interface PolynomialLR {
  name: 'PolynomialLR'
  totalIters?: number
  power?: number
}

/** Lets the rate fall along half a cosine to `etaMin` (default 0) in `tMax` epochs. */
interface CosineAnnealingLR {
  name: 'CosineAnnealingLR'
  tMax: number
  etaMin?: number
}

/** The same, starting again at the top after `t0` epochs and then after stretches `tMult` (default 1) times longer each. */
interface CosineAnnealingWarmRestarts {
  name: 'CosineAnnealingWarmRestarts'
  t0: number
  tMult?: number
  etaMin?: number
}

/** One rise to `maxLr` and one fall to almost nothing, while the momentum does the reverse. */
interface OneCycleLR {
  name: 'OneCycleLR'
  maxLr: number | readonly number[]
  /** Default: the steps of the phase. */
  totalSteps?: number
  /** Default 0.3. */
  pctStart?: number
  /** Default `cos`. */
  annealStrategy?: 'cos' | 'linear'
  /** Default true. */
  cycleMomentum?: boolean
  /** Default 0.85. */
  baseMomentum?: number | readonly number[]
  /** Default 0.95. */
  maxMomentum?: number | readonly number[]
  /** Default 25. */
  divFactor?: number
  /** Default 1e4. */
  finalDivFactor?: number
  /** Default false. */
  threePhase?: boolean
}

/** Lowers the rate when a metric no longer improves. Judged after each epoch. */
interface ReduceLROnPlateau {
  name: 'ReduceLROnPlateau'
  /** Which metric; default the run's `monitor`. */
  monitor?: string
  /** Default: the direction of the monitored metric. */
  mode?: 'min' | 'max'
  /** Default 0.1. */
  factor?: number
  /** Default 10. */
  patience?: number
  /** Default 1e-4. */
  threshold?: number
  /** Default `rel`. */
  thresholdMode?: 'rel' | 'abs'
  /** Default 0. */
  cooldown?: number
  /** Default 0. */
  minLr?: number | readonly number[]
  /** Default 1e-8. */
  eps?: number
}

/** Schedulers one after another; each begins at its milestone, counted from the start of the phase. */
interface SequentialLR {
  name: 'SequentialLR'
  schedulers: readonly SchedulerPart[]
  milestones: readonly number[]
}

/** Schedulers that act together. */
interface ChainedScheduler {
  name: 'ChainedScheduler'
  schedulers: readonly SchedulerPart[]
}

/** The older Python system's schedule: epoch n has `lr * n / warmupEpochs` up to `warmupEpochs` (default 5), later `lr * decayFactor ** (n - warmupEpochs)` (0.95). */
interface WarmupDecay {
  name: 'WarmupDecay'
  warmupEpochs?: number
  decayFactor?: number
  /** As that system did it: the first epoch at the full rate, the warm-up from the second on. Default false. */
  compatible?: boolean
}

/** What SequentialLR and ChainedScheduler may hold. Steps are counted by the interval of the whole. */
export type SchedulerPart =
  | StepLR
  | MultiStepLR
  | ExponentialLR
  | LinearLR
  | ConstantLR
  | PolynomialLR
  | CosineAnnealingLR
  | CosineAnnealingWarmRestarts
  | OneCycleLR
  | SequentialLR
  | ChainedScheduler

/** `torch.optim.lr_scheduler.*`, stepped after each epoch of the phase, or after each optimizer step. */
export type SchedulerConfig = (SchedulerPart | ReduceLROnPlateau | WarmupDecay) & Interval

export type SchedulerName = SchedulerConfig['name']

type Options<C> = Omit<C, 'name'>

const number = float('a finite number', Number.isFinite)
const positive = float('a finite positive number', (value) => value > 0 && Number.isFinite(value))
const notNegative = float('a finite number of at least 0', (value) => value >= 0 && Number.isFinite(value))
const fraction = float('a number from 0 to 1', (value) => value >= 0 && value <= 1)
const factor = float('a number above 0 and up to 1', (value) => value > 0 && value <= 1)
const belowOne = float('a number in [0, 1)', (value) => value >= 0 && value < 1)

/** One value for all parameter groups, or a list with one for each. */
function perGroup(item: Field<number>): Field<number | readonly number[]> {
  const each = list(item)
  return {
    encode: (value, at) => (Array.isArray(value) ? each.encode(value, at) : item.encode(value as number, at)),
    decode: (value, at) => (Array.isArray(value) ? each.decode(value, at) : item.decode(value, at)),
  }
}

/** A member of a composite; made late, since composites hold composites. */
const part: Field<SchedulerPart> = {
  encode: (value, at) => encodeNamed(partTables, value, at),
  decode: (value, at) => decodeNamed(partTables, value, at) as SchedulerPart,
}

const partTables: { readonly [N in SchedulerPart['name']]: Table<Options<Extract<SchedulerPart, { name: N }>>> } = {
  StepLR: { stepSize: ['step_size', integer(1)], gamma: ['gamma', positive, 'optional'] },
  MultiStepLR: { milestones: ['milestones', list(integer(0))], gamma: ['gamma', positive, 'optional'] },
  ExponentialLR: { gamma: ['gamma', positive] },
  LinearLR: {
    startFactor: ['start_factor', factor, 'optional'],
    endFactor: ['end_factor', fraction, 'optional'],
    totalIters: ['total_iters', integer(1), 'optional'],
  },
  ConstantLR: { factor: ['factor', factor, 'optional'], totalIters: ['total_iters', integer(0), 'optional'] },
  PolynomialLR: { totalIters: ['total_iters', integer(1), 'optional'], power: ['power', notNegative, 'optional'] },
  CosineAnnealingLR: { tMax: ['T_max', integer(1)], etaMin: ['eta_min', number, 'optional'] },
  CosineAnnealingWarmRestarts: {
    t0: ['T_0', integer(1)],
    tMult: ['T_mult', integer(1), 'optional'],
    etaMin: ['eta_min', number, 'optional'],
  },
  OneCycleLR: {
    maxLr: ['max_lr', perGroup(notNegative)],
    totalSteps: ['total_steps', integer(1), 'optional'],
    pctStart: ['pct_start', fraction, 'optional'],
    annealStrategy: ['anneal_strategy', oneOf('cos', 'linear'), 'optional'],
    cycleMomentum: ['cycle_momentum', flag, 'optional'],
    baseMomentum: ['base_momentum', perGroup(belowOne), 'optional'],
    maxMomentum: ['max_momentum', perGroup(belowOne), 'optional'],
    divFactor: ['div_factor', positive, 'optional'],
    finalDivFactor: ['final_div_factor', positive, 'optional'],
    threePhase: ['three_phase', flag, 'optional'],
  },
  SequentialLR: { schedulers: ['schedulers', list(part)], milestones: ['milestones', list(integer(1))] },
  ChainedScheduler: { schedulers: ['schedulers', list(part)] },
}

const interval: Table<Interval> = { interval: ['interval', oneOf('epoch', 'step'), 'optional'] }

/** The options of each scheduler: name in the API, name in files (PyTorch's), kind. */
export const schedulerTables: { readonly [N in SchedulerName]: Table<Options<Extract<SchedulerConfig, { name: N }>>> } =
  {
    StepLR: { ...partTables.StepLR, ...interval },
    MultiStepLR: { ...partTables.MultiStepLR, ...interval },
    ExponentialLR: { ...partTables.ExponentialLR, ...interval },
    LinearLR: { ...partTables.LinearLR, ...interval },
    ConstantLR: { ...partTables.ConstantLR, ...interval },
    PolynomialLR: { ...partTables.PolynomialLR, ...interval },
    CosineAnnealingLR: { ...partTables.CosineAnnealingLR, ...interval },
    CosineAnnealingWarmRestarts: { ...partTables.CosineAnnealingWarmRestarts, ...interval },
    OneCycleLR: { ...partTables.OneCycleLR, ...interval },
    ReduceLROnPlateau: {
      monitor: ['monitor', text, 'optional'],
      mode: ['mode', oneOf('min', 'max'), 'optional'],
      factor: ['factor', belowOne, 'optional'],
      patience: ['patience', integer(0), 'optional'],
      threshold: ['threshold', notNegative, 'optional'],
      thresholdMode: ['threshold_mode', oneOf('rel', 'abs'), 'optional'],
      cooldown: ['cooldown', integer(0), 'optional'],
      minLr: ['min_lr', perGroup(notNegative), 'optional'],
      eps: ['eps', notNegative, 'optional'],
      // The metric is there once an epoch.
      interval: ['interval', oneOf('epoch'), 'optional'] as Table<Interval>['interval'],
    },
    SequentialLR: { ...partTables.SequentialLR, ...interval },
    ChainedScheduler: { ...partTables.ChainedScheduler, ...interval },
    WarmupDecay: {
      warmupEpochs: ['warmup_epochs', integer(0), 'optional'],
      decayFactor: ['decay_factor', positive, 'optional'],
      compatible: ['compatible', flag, 'optional'],
      ...interval,
    },
  }

/** `scheduler` of a phase's configuration. */
export const schedulerField: Field<SchedulerConfig> = {
  encode: (value, at) => encodeNamed(schedulerTables, value, at),
  decode: (value, at) => decodeNamed(schedulerTables, value, at) as SchedulerConfig,
}

/** When a scheduler with this configuration is stepped. */
export function intervalOf(config: SchedulerConfig): SchedulerInterval {
  return config.interval ?? (config.name === 'OneCycleLR' ? 'step' : 'epoch')
}

type Tables = Readonly<Record<string, Table<object>>>

function encodeNamed(tables: object, value: unknown, at: Place): Map<string, unknown> {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return at.refuse('an object', value)
  const { name, ...options } = value as Readonly<Record<string, unknown>>
  const table = tableOf(tables as Tables, name, at)
  return new Map([['name', name], ...(record(table).encode(options, at) as Map<string, unknown>)])
}

function decodeNamed(tables: object, value: unknown, at: Place): object {
  if (!(value instanceof Map)) return at.refuse('a dict', value)
  const name: unknown = value.get('name')
  return { name, ...record(tableOf(tables as Tables, name, at)).decode(value, at) }
}

function tableOf(tables: Tables, name: unknown, at: Place): Table<object> {
  const table = typeof name === 'string' && Object.hasOwn(tables, name) ? tables[name] : undefined
  if (table !== undefined) return table
  const names = Object.keys(tables)
  const [near] = typeof name === 'string' ? nearNames(name, names) : []
  const hint = near === undefined ? '' : `; did you mean '${near}'?`
  return at.field('name').fail(`is ${JSON.stringify(name) ?? 'missing'}, expected one of ${names.join(', ')}${hint}`)
}
