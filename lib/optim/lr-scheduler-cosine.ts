/** Schedulers that follow a cosine: CosineAnnealingLR and CosineAnnealingWarmRestarts. */
import { knownOptions } from '../options.js'
import { cos } from './cos.js'
import { CountingScheduler, type ScheduledOptimizer } from './lr-scheduler-base.js'
import { checkInteger, checkNumber } from './lr-scheduler-checks.js'
import { float, int } from './lr-scheduler-state.js'

export interface CosineAnnealingLROptions {
  /** PyTorch's `T_max`: steps from the highest rate to the lowest. */
  tMax: number
  /** The lowest rate; 0 unless told. */
  etaMin?: number
}

/** Lets the rate of every group fall along half a cosine to `etaMin` in `tMax` steps, and then rise again. */
export class CosineAnnealingLR extends CountingScheduler<{ T_max: number; eta_min: number }> {
  constructor(optimizer: ScheduledOptimizer, options: CosineAnnealingLROptions) {
    const { tMax, etaMin = 0 } = knownOptions('CosineAnnealingLR', options, ['tMax', 'etaMin'])
    checkInteger('CosineAnnealingLR', 'tMax', tMax, 1)
    checkNumber('CosineAnnealingLR', 'etaMin', etaMin)
    super(optimizer, { T_max: int, eta_min: float }, { T_max: tMax, eta_min: etaMin })
  }

  protected override getLr(): readonly number[] {
    const { _is_initial, _step_count, last_epoch, T_max, eta_min, base_lrs } = this.state
    if (_is_initial) return this.rates()
    if (_step_count === 1 && last_epoch > 0) return this.getClosedFormLr()
    if ((last_epoch - 1 - T_max) % (2 * T_max) === 0) {
      const rise = 1 - cos(Math.PI / T_max)
      return this.rates().map((lr, i) => lr + (((base_lrs[i] as number) - eta_min) * rise) / 2)
    }
    const ratio = (1 + cos((Math.PI * last_epoch) / T_max)) / (1 + cos((Math.PI * (last_epoch - 1)) / T_max))
    return this.rates().map((lr) => ratio * (lr - eta_min) + eta_min)
  }

  protected override getClosedFormLr(): readonly number[] {
    const { base_lrs, last_epoch, T_max, eta_min } = this.state
    return cosine(base_lrs, eta_min, (Math.PI * last_epoch) / T_max)
  }
}

export interface CosineAnnealingWarmRestartsOptions {
  /** PyTorch's `T_0`: steps until the first restart. */
  t0: number
  /** PyTorch's `T_mult`: how many times longer each next stretch is, an integer; 1 unless told. */
  tMult?: number
  /** The lowest rate; 0 unless told. */
  etaMin?: number
}

interface Restarts {
  T_0: number
  T_i: number
  T_mult: number
  eta_min: number
  T_cur: number
}

/** Lets the rate of every group fall along half a cosine to `etaMin` and start again at the top. */
export class CosineAnnealingWarmRestarts extends CountingScheduler<Restarts> {
  constructor(optimizer: ScheduledOptimizer, options: CosineAnnealingWarmRestartsOptions) {
    const name = 'CosineAnnealingWarmRestarts'
    const { t0, tMult = 1, etaMin = 0 } = knownOptions(name, options, ['t0', 'tMult', 'etaMin'])
    checkInteger(name, 't0', t0, 1)
    checkInteger(name, 'tMult', tMult, 1)
    checkNumber(name, 'etaMin', etaMin)
    const kinds = { T_0: int, T_i: int, T_mult: int, eta_min: float, T_cur: int }
    super(optimizer, kinds, { T_0: t0, T_i: t0, T_mult: tMult, eta_min: etaMin, T_cur: -1 })
  }

  protected override getLr(): readonly number[] {
    const { base_lrs, eta_min, T_cur, T_i } = this.state
    return cosine(base_lrs, eta_min, (Math.PI * T_cur) / T_i)
  }

  /** As in Python, the first step sets the count to 0 whatever it was, and `_step_count` stands still. */
  override step(): void {
    const { state } = this
    if (state.last_epoch < 0) {
      Object.assign(state, { last_epoch: 0, T_i: state.T_0, T_cur: 0 })
    } else {
      state.last_epoch += 1
      state.T_cur += 1
      if (state.T_cur >= state.T_i) {
        state.T_cur %= state.T_i
        state.T_i *= state.T_mult
      }
    }
    this.apply(this.getLr())
  }
}

function cosine(baseLrs: readonly number[], etaMin: number, angle: number): number[] {
  const height = 1 + cos(angle)
  return baseLrs.map((base) => etaMin + ((base - etaMin) * height) / 2)
}
