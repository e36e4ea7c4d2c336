/** OneCycleLR: the rate rises to its peak and falls to almost nothing, once, while the momentum does the reverse. */
import { TorchkeepError } from '../../src/format/errors.js'
import { PyFloat } from '../../src/format/values.js'
import { knownOptions } from '../options.js'
import { cos } from './cos.js'
import { CountingScheduler, type ScheduledOptimizer } from './lr-scheduler-base.js'
import { checkInteger, checkNumber, checkOption, perGroup } from './lr-scheduler-checks.js'
import { choice, flag, int, optional, readList, type Kind, type Kinds } from './lr-scheduler-state.js'
import type { ParamGroup } from './optimizer.js'

export interface OneCycleLROptions {
  /** The highest rate: one for all groups, or one a group. */
  maxLr: number | readonly number[]
  /** Steps of the whole cycle; by default `epochs * stepsPerEpoch`. */
  totalSteps?: number
  epochs?: number
  stepsPerEpoch?: number
  /** Fraction of the cycle in which the rate rises; 0.3 unless told. */
  pctStart?: number
  /** `cos` unless told. */
  annealStrategy?: 'cos' | 'linear'
  /** Whether momentum (SGD) or the first beta (Adam) moves against the rate; true unless told. */
  cycleMomentum?: boolean
  /** Momentum at the peak of the rate; 0.85 unless told. */
  baseMomentum?: number | readonly number[]
  /** Momentum at both ends; 0.95 unless told. */
  maxMomentum?: number | readonly number[]
  /** The first rate is `maxLr / divFactor`; 25 unless told. */
  divFactor?: number
  /** The last rate is the first one divided by this; 1e4 unless told. */
  finalDivFactor?: number
  /** Whether the rate falls as slowly as it rose, and then to the last rate, instead of straight to the last. */
  threePhase?: boolean
}

/** The names of {@link OneCycleLROptions}. */
const optionNames = [
  'maxLr',
  'totalSteps',
  'epochs',
  'stepsPerEpoch',
  'pctStart',
  'annealStrategy',
  'cycleMomentum',
  'baseMomentum',
  'maxMomentum',
  'divFactor',
  'finalDivFactor',
  'threePhase',
] as const

type Level = 'initial_lr' | 'max_lr' | 'min_lr' | 'max_momentum' | 'base_momentum'

/** A stretch of the cycle and what rates and momenta go from and to, by Python's names of what the groups hold. */
interface SchedulePhase {
  end_step: number
  start_lr: Level
  end_lr: Level
  start_momentum: Level
  end_momentum: Level
}

interface OneCycle {
  total_steps: number
  _schedule_phases: readonly SchedulePhase[]
  _anneal_func_type: 'cos' | 'linear'
  cycle_momentum: boolean
  use_beta1: boolean | undefined
}

const name = 'OneCycleLR'
const levels: Readonly<Record<Level, keyof ParamGroup>> = {
  initial_lr: 'initialLr',
  max_lr: 'maxLr',
  min_lr: 'minLr',
  max_momentum: 'maxMomentum',
  base_momentum: 'baseMomentum',
}
const phaseKeys = ['start_lr', 'end_lr', 'start_momentum', 'end_momentum'] as const

const phases: Kind<readonly SchedulePhase[]> = {
  expected: 'a list of phases',
  // Python's last phase ends at an int, the others at floats.
  write: (value) =>
    value.map(({ end_step, ...rest }, i) => {
      const end = i === value.length - 1 ? end_step : new PyFloat(end_step)
      return new Map<string, unknown>([['end_step', end], ...Object.entries(rest)])
    }),
  read: (value) => readList(value, readPhase),
}

function readPhase(value: unknown): SchedulePhase | undefined {
  if (!(value instanceof Map)) return undefined
  const end: unknown = value.get('end_step')
  const end_step = end instanceof PyFloat ? end.value : end
  const entries = phaseKeys.map((key) => [key, value.get(key) as unknown] as const)
  const isPhase = typeof end_step === 'number' && entries.every(([, level]) => Object.hasOwn(levels, String(level)))
  return isPhase ? ({ end_step, ...Object.fromEntries(entries) } as unknown as SchedulePhase) : undefined
}

/** The policy of one cycle (super-convergence). Meant to be stepped after every batch. */
export class OneCycleLR extends CountingScheduler<OneCycle> {
  constructor(optimizer: ScheduledOptimizer, options: OneCycleLROptions) {
    const given = knownOptions(name, options, optionNames)
    const { annealStrategy = 'cos', cycleMomentum = true, pctStart = 0.3, threePhase = false } = given
    checkOption(name, 'annealStrategy', annealStrategy, 'cos or linear', ['cos', 'linear'].includes(annealStrategy))
    checkNumber(name, 'pctStart', pctStart, 'a number from 0 to 1', (value) => value >= 0 && value <= 1)
    const totalSteps = totalOf(given)
    const schedule = schedulePhases(totalSteps, pctStart, threePhase)
    const groups = optimizer.paramGroups
    noteRates(groups, given)
    if (cycleMomentum) noteMomenta(groups, given)
    const kinds: Kinds<OneCycle> = {
      total_steps: int,
      _schedule_phases: phases,
      _anneal_func_type: optional(choice('cos', 'linear'), 'cos'),
      cycle_momentum: flag,
      use_beta1: optional(flag, undefined as unknown as boolean),
    }
    super(optimizer, kinds, {
      total_steps: totalSteps,
      _schedule_phases: schedule,
      _anneal_func_type: annealStrategy,
      cycle_momentum: cycleMomentum,
      use_beta1: cycleMomentum ? hasBetas(groups) : undefined,
    })
  }

  protected override getLr(): readonly number[] {
    const { last_epoch, total_steps, cycle_momentum, use_beta1 } = this.state
    if (last_epoch > total_steps) {
      throw new TorchkeepError(
        'ERR_INVALID_ARGUMENT',
        `${name}: step ${last_epoch} is past totalSteps, which is ${total_steps}`,
      )
    }
    const { phase, annealed } = phaseNow(this.state)
    return this.groups.map((group) => {
      const level = (of: Level): number => group[levels[of]] as number
      if (cycle_momentum) {
        const momentum = annealed(level(phase.start_momentum), level(phase.end_momentum))
        if (use_beta1 === true) group['betas'] = [momentum, (group['betas'] as readonly number[])[1] as number]
        else group['momentum'] = momentum
      }
      return annealed(level(phase.start_lr), level(phase.end_lr))
    })
  }
}

/** The phase of the present step, and what lies between two ends of it. */
function phaseNow(state: OneCycle & { last_epoch: number }): {
  phase: SchedulePhase
  annealed: (start: number, end: number) => number
} {
  const { last_epoch, _schedule_phases, _anneal_func_type } = state
  const found = _schedule_phases.findIndex(({ end_step }) => last_epoch <= end_step)
  const index = found < 0 ? _schedule_phases.length - 1 : found
  const phase = _schedule_phases[index] as SchedulePhase
  const start = _schedule_phases[index - 1]?.end_step ?? 0
  const part = (last_epoch - start) / (phase.end_step - start)
  if (_anneal_func_type === 'linear') return { phase, annealed: (from, to) => (to - from) * part + from }
  const height = cos(Math.PI * part) + 1
  return { phase, annealed: (from, to) => to + ((from - to) / 2) * height }
}

function totalOf({ totalSteps, epochs, stepsPerEpoch }: OneCycleLROptions): number {
  if (totalSteps !== undefined) {
    checkInteger(name, 'totalSteps', totalSteps, 1)
    return totalSteps
  }
  if (epochs === undefined || stepsPerEpoch === undefined)
    throw new TorchkeepError('ERR_INVALID_ARGUMENT', `${name}: expected totalSteps, or epochs and stepsPerEpoch`)
  checkInteger(name, 'epochs', epochs, 1)
  checkInteger(name, 'stepsPerEpoch', stepsPerEpoch, 1)
  return epochs * stepsPerEpoch
}

function schedulePhases(totalSteps: number, pctStart: number, threePhase: boolean): SchedulePhase[] {
  const phase = (end_step: number, lr: readonly [Level, Level], momentum: readonly [Level, Level]): SchedulePhase => ({
    end_step,
    start_lr: lr[0],
    end_lr: lr[1],
    start_momentum: momentum[0],
    end_momentum: momentum[1],
  })
  const rise = phase(pctStart * totalSteps - 1, ['initial_lr', 'max_lr'], ['max_momentum', 'base_momentum'])
  const falls = threePhase
    ? [
        phase(2 * pctStart * totalSteps - 2, ['max_lr', 'initial_lr'], ['base_momentum', 'max_momentum']),
        phase(totalSteps - 1, ['initial_lr', 'min_lr'], ['max_momentum', 'max_momentum']),
      ]
    : [phase(totalSteps - 1, ['max_lr', 'min_lr'], ['base_momentum', 'max_momentum'])]
  // Python divides by the length of these two, at the first step and after the last.
  const before = falls.at(-2) ?? rise
  if (rise.end_step !== 0 && falls.at(-1)?.end_step !== before.end_step) return [rise, ...falls]
  throw new TorchkeepError(
    'ERR_INVALID_ARGUMENT',
    `${name}: pctStart ${pctStart} of ${totalSteps} steps makes a part of the cycle 0 steps long`,
    { suggestions: ['Choose a slightly different pctStart.'] },
  )
}

function noteRates(groups: readonly ParamGroup[], options: OneCycleLROptions): void {
  const { maxLr, divFactor = 25, finalDivFactor = 1e4 } = options
  const isPositive = (value: number): boolean => value > 0
  checkNumber(name, 'divFactor', divFactor, 'a positive number', isPositive)
  checkNumber(name, 'finalDivFactor', finalDivFactor, 'a positive number', isPositive)
  const peaks = perGroup(name, 'maxLr', maxLr, groups.length)
  for (const peak of peaks) checkNumber(name, 'maxLr', peak, 'a number of at least 0', (value) => value >= 0)
  groups.forEach((group, i) => {
    group['initialLr'] = (peaks[i] as number) / divFactor
    group['maxLr'] = peaks[i]
    group['minLr'] = group['initialLr'] / finalDivFactor
  })
}

function noteMomenta(groups: readonly ParamGroup[], options: OneCycleLROptions): void {
  const { baseMomentum = 0.85, maxMomentum = 0.95 } = options
  const usesBeta1 = hasBetas(groups)
  const lows = perGroup(name, 'baseMomentum', baseMomentum, groups.length)
  const highs = perGroup(name, 'maxMomentum', maxMomentum, groups.length)
  const isMomentum = (value: number): boolean => value >= 0 && value < 1
  for (const low of lows) checkNumber(name, 'baseMomentum', low, 'a number in [0, 1)', isMomentum)
  for (const high of highs) checkNumber(name, 'maxMomentum', high, 'a number in [0, 1)', isMomentum)
  groups.forEach((group, i) => {
    if (usesBeta1) group['betas'] = [highs[i] as number, (group['betas'] as readonly number[])[1] as number]
    else group['momentum'] = highs[i]
    group['maxMomentum'] = highs[i]
    group['baseMomentum'] = lows[i]
  })
}

const hasBetas = (groups: readonly ParamGroup[]): boolean => groups[0]?.['betas'] !== undefined
