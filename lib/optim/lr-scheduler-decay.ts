/** Schedulers that multiply the rates by a factor now and then: StepLR, MultiStepLR, ExponentialLR, PolynomialLR. */
import { Counter } from '../../src/format/values.js'
import { knownOptions } from '../options.js'
import { CountingScheduler, type ScheduledOptimizer } from './lr-scheduler-base.js'
import { checkInteger, checkNumber, checkOption } from './lr-scheduler-checks.js'
import { float, int, type Kind } from './lr-scheduler-state.js'
import { pow } from './pow.js'

export interface StepLROptions {
  /** Steps of the scheduler (usually epochs) between two changes. */
  stepSize: number
  /** Factor of each change; 0.1 unless told. */
  gamma?: number
}

/** Multiplies the rate of every group by `gamma` every `stepSize` steps. */
export class StepLR extends CountingScheduler<{ step_size: number; gamma: number }> {
  constructor(optimizer: ScheduledOptimizer, options: StepLROptions) {
    const { stepSize, gamma = 0.1 } = knownOptions('StepLR', options, ['stepSize', 'gamma'])
    checkInteger('StepLR', 'stepSize', stepSize, 1)
    checkNumber('StepLR', 'gamma', gamma)
    super(optimizer, { step_size: int, gamma: float }, { step_size: stepSize, gamma })
  }

  protected override getLr(): readonly number[] {
    const { last_epoch, step_size, gamma } = this.state
    if (last_epoch === 0 || last_epoch % step_size !== 0) return this.rates()
    return this.rates().map((lr) => lr * gamma)
  }

  protected override getClosedFormLr(): readonly number[] {
    const { base_lrs, last_epoch, step_size, gamma } = this.state
    return base_lrs.map((base) => base * pow(gamma, Math.floor(last_epoch / step_size)))
  }
}

export interface MultiStepLROptions {
  /** Steps after which the rate changes; one that occurs twice counts twice. */
  milestones: readonly number[]
  /** Factor of each change; 0.1 unless told. */
  gamma?: number
}

const counts: Kind<ReadonlyMap<number, number>> = {
  expected: 'a Counter of integers',
  write: (value) => new Counter<number>(value),
  read(value) {
    if (!(value instanceof Map)) return undefined
    const entries = [...(value as Map<unknown, unknown>)].map(
      ([key, count]) => [int.read(key), int.read(count)] as const,
    )
    const isCounter = entries.every((entry): entry is [number, number] => !entry.includes(undefined))
    return isCounter ? new Map(entries) : undefined
  },
}

/** Multiplies the rate of every group by `gamma` at each milestone. */
export class MultiStepLR extends CountingScheduler<{ milestones: ReadonlyMap<number, number>; gamma: number }> {
  constructor(optimizer: ScheduledOptimizer, options: MultiStepLROptions) {
    const { milestones, gamma = 0.1 } = knownOptions('MultiStepLR', options, ['milestones', 'gamma'])
    checkMilestones('MultiStepLR', milestones, 0)
    checkNumber('MultiStepLR', 'gamma', gamma)
    const counter = new Map<number, number>()
    for (const milestone of milestones) counter.set(milestone, (counter.get(milestone) ?? 0) + 1)
    super(optimizer, { milestones: counts, gamma: float }, { milestones: counter, gamma })
  }

  protected override getLr(): readonly number[] {
    const count = this.state.milestones.get(this.state.last_epoch)
    if (count === undefined) return this.rates()
    const factor = pow(this.state.gamma, count)
    return this.rates().map((lr) => lr * factor)
  }

  protected override getClosedFormLr(): readonly number[] {
    const { base_lrs, milestones, last_epoch, gamma } = this.state
    const passed = [...milestones].filter(([milestone]) => milestone <= last_epoch)
    const factor = pow(
      gamma,
      passed.reduce((sum, [, count]) => sum + count, 0),
    )
    return base_lrs.map((base) => base * factor)
  }
}

/** Refuses what is no list of integers of at least `smallest`. */
export function checkMilestones(scheduler: string, milestones: readonly number[], smallest: number): void {
  const isFine =
    Array.isArray(milestones) && milestones.every((value) => Number.isSafeInteger(value) && value >= smallest)
  checkOption(scheduler, 'milestones', milestones, `a list of integers of at least ${smallest}`, isFine)
}

export interface ExponentialLROptions {
  /** Factor of each step. */
  gamma: number
}

/** Multiplies the rate of every group by `gamma` each step. */
export class ExponentialLR extends CountingScheduler<{ gamma: number }> {
  constructor(optimizer: ScheduledOptimizer, options: ExponentialLROptions) {
    const { gamma } = knownOptions('ExponentialLR', options, ['gamma'])
    checkNumber('ExponentialLR', 'gamma', gamma)
    super(optimizer, { gamma: float }, { gamma })
  }

  protected override getLr(): readonly number[] {
    const { _is_initial, gamma } = this.state
    return _is_initial ? this.rates() : this.rates().map((lr) => lr * gamma)
  }

  protected override getClosedFormLr(): readonly number[] {
    const { base_lrs, gamma, last_epoch } = this.state
    return base_lrs.map((base) => base * pow(gamma, last_epoch))
  }
}

export interface PolynomialLROptions {
  /** Steps until the rate is 0; 5 unless told. */
  totalIters?: number
  /** 1 (a straight line) unless told. */
  power?: number
}

/** Lets the rate of every group fall to 0 as a power of the steps that are left. */
export class PolynomialLR extends CountingScheduler<{ total_iters: number; power: number }> {
  constructor(optimizer: ScheduledOptimizer, options: PolynomialLROptions = {}) {
    const { totalIters = 5, power = 1 } = knownOptions('PolynomialLR', options, ['totalIters', 'power'])
    checkInteger('PolynomialLR', 'totalIters', totalIters, 1)
    checkNumber('PolynomialLR', 'power', power, 'a finite number of at least 0', (value) => value >= 0)
    super(optimizer, { total_iters: int, power: float }, { total_iters: totalIters, power })
  }

  protected override getLr(): readonly number[] {
    const { _is_initial, last_epoch, total_iters, power } = this.state
    if (_is_initial || last_epoch > total_iters) return this.rates()
    const factor = pow((1 - last_epoch / total_iters) / (1 - (last_epoch - 1) / total_iters), power)
    return this.rates().map((lr) => lr * factor)
  }

  protected override getClosedFormLr(): readonly number[] {
    const { base_lrs, last_epoch, total_iters, power } = this.state
    const factor = pow(1 - Math.min(total_iters, last_epoch) / total_iters, power)
    return base_lrs.map((base) => base * factor)
  }
}
