/** Schedulers that hold the rates down by a factor for a while: ConstantLR and LinearLR, usually as a warm-up. */
import { knownOptions } from '../options.js'
import { CountingScheduler, type ScheduledOptimizer } from './lr-scheduler-base.js'
import { checkInteger, checkNumber } from './lr-scheduler-checks.js'
import { float, int } from './lr-scheduler-state.js'

const third = 1 / 3
const checkFactor = (scheduler: string, name: string, value: number): void =>
  checkNumber(scheduler, name, value, 'a number above 0 and up to 1', (factor) => factor > 0 && factor <= 1)

export interface ConstantLROptions {
  /** What the rates are multiplied by; 1/3 unless told. Not 0, which could not be undone (Python divides by it). */
  factor?: number
  /** Steps until the rates are whole again; 5 unless told. */
  totalIters?: number
}

/** Multiplies the rate of every group by `factor` until `totalIters` steps are done. */
export class ConstantLR extends CountingScheduler<{ factor: number; total_iters: number }> {
  constructor(optimizer: ScheduledOptimizer, options: ConstantLROptions = {}) {
    const { factor = third, totalIters = 5 } = knownOptions('ConstantLR', options, ['factor', 'totalIters'])
    checkFactor('ConstantLR', 'factor', factor)
    checkInteger('ConstantLR', 'totalIters', totalIters, 0)
    super(optimizer, { factor: float, total_iters: int }, { factor, total_iters: totalIters })
  }

  protected override getLr(): readonly number[] {
    const { last_epoch, factor, total_iters } = this.state
    if (last_epoch === 0) return this.rates().map((lr) => lr * factor)
    return last_epoch === total_iters ? this.rates().map((lr) => lr * (1 / factor)) : this.rates()
  }

  protected override getClosedFormLr(): readonly number[] {
    const { base_lrs, last_epoch, factor, total_iters } = this.state
    const rest = last_epoch >= total_iters ? 1 - factor : 0
    return base_lrs.map((base) => base * (factor + rest))
  }
}

export interface LinearLROptions {
  /** What the rates are multiplied by at first; 1/3 unless told. */
  startFactor?: number
  /** What they are multiplied by in the end; 1 unless told. */
  endFactor?: number
  /** Steps from the first factor to the last; 5 unless told. */
  totalIters?: number
}

/** Multiplies the rate of every group by a factor that goes in a straight line from `startFactor` to `endFactor`. */
export class LinearLR extends CountingScheduler<{ start_factor: number; end_factor: number; total_iters: number }> {
  constructor(optimizer: ScheduledOptimizer, options: LinearLROptions = {}) {
    const given = knownOptions('LinearLR', options, ['startFactor', 'endFactor', 'totalIters'])
    const { startFactor = third, endFactor = 1, totalIters = 5 } = given
    checkFactor('LinearLR', 'startFactor', startFactor)
    const isFraction = (value: number): boolean => value >= 0 && value <= 1
    checkNumber('LinearLR', 'endFactor', endFactor, 'a number from 0 to 1', isFraction)
    checkInteger('LinearLR', 'totalIters', totalIters, 1)
    super(
      optimizer,
      { start_factor: float, end_factor: float, total_iters: int },
      { start_factor: startFactor, end_factor: endFactor, total_iters: totalIters },
    )
  }

  protected override getLr(): readonly number[] {
    const { last_epoch, start_factor, end_factor, total_iters, _is_initial } = this.state
    if (last_epoch === 0) return this.rates().map((lr) => lr * start_factor)
    if (_is_initial || last_epoch > total_iters) return this.rates()
    const rise = end_factor - start_factor
    const factor = 1 + rise / (total_iters * start_factor + (last_epoch - 1) * rise)
    return this.rates().map((lr) => lr * factor)
  }

  protected override getClosedFormLr(): readonly number[] {
    const { base_lrs, last_epoch, start_factor, end_factor, total_iters } = this.state
    const done = Math.min(total_iters, last_epoch)
    const factor = start_factor + ((end_factor - start_factor) * done) / total_iters
    return base_lrs.map((base) => base * factor)
  }
}
