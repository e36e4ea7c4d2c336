/** ReduceLROnPlateau: lowers the rates when a metric no longer improves. */
import { TorchkeepError } from '../../src/format/errors.js'
import { knownOptions } from '../options.js'
import { LRScheduler, type ScheduledOptimizer } from './lr-scheduler-base.js'
import { checkInteger, checkNumber, checkOption, perGroup } from './lr-scheduler-checks.js'
import {
  choice,
  float,
  floats,
  int,
  nullable,
  number,
  numbers,
  readState,
  writeState,
  type Kinds,
} from './lr-scheduler-state.js'

export interface ReduceLROnPlateauOptions {
  /** Whether the metric should fall (`min`, the default) or rise. */
  mode?: 'min' | 'max'
  /** What the rates are multiplied by; 0.1 unless told. */
  factor?: number
  /** Steps without improvement that are let pass; 10 unless told. */
  patience?: number
  /** Smallest change that counts as improvement; 1e-4 unless told. */
  threshold?: number
  /** Whether `threshold` is a fraction of the best value (`rel`, the default) or absolute. */
  thresholdMode?: 'rel' | 'abs'
  /** Steps after a reduction in which nothing is counted; 0 unless told. */
  cooldown?: number
  /** No rate goes below this: one for all groups, or one a group; 0 unless told. */
  minLr?: number | readonly number[]
  /** Smaller changes of a rate are left out; 1e-8 unless told. */
  eps?: number
}

interface Plateau {
  factor: number
  default_min_lr: number | null
  min_lrs: readonly number[]
  patience: number
  cooldown: number
  eps: number
  last_epoch: number
  _last_lr: readonly number[]
  mode_worse: number
  mode: 'min' | 'max'
  threshold: number
  threshold_mode: 'rel' | 'abs'
  best: number
  cooldown_counter: number
  num_bad_epochs: number
}

const name = 'ReduceLROnPlateau'
const optionNames = ['mode', 'factor', 'patience', 'threshold', 'thresholdMode', 'cooldown', 'minLr', 'eps'] as const

/** Multiplies the rates by `factor` after more than `patience` steps in which the metric did not improve. NaN is no improvement. */
export class ReduceLROnPlateau extends LRScheduler {
  #state: Plateau
  readonly #kinds: Kinds<Plateau>

  constructor(optimizer: ScheduledOptimizer, options: ReduceLROnPlateauOptions = {}) {
    super(optimizer)
    const given = knownOptions(name, options, optionNames)
    const { mode = 'min', thresholdMode = 'rel', factor = 0.1, threshold = 1e-4, eps = 1e-8, minLr = 0 } = given
    const { patience = 10, cooldown = 0 } = given
    checkOption(name, 'mode', mode, 'min or max', mode === 'min' || mode === 'max')
    checkOption(name, 'thresholdMode', thresholdMode, 'rel or abs', thresholdMode === 'rel' || thresholdMode === 'abs')
    checkNumber(name, 'factor', factor, 'a number in [0, 1)', (value) => value >= 0 && value < 1)
    for (const [option, value] of Object.entries({ threshold, eps }))
      checkNumber(name, option, value, 'a finite number of at least 0', (one) => one >= 0)
    checkInteger(name, 'patience', patience, 0)
    checkInteger(name, 'cooldown', cooldown, 0)
    const lowest = perGroup(name, 'minLr', minLr, this.groups.length)
    for (const value of lowest) checkNumber(name, 'minLr', value, 'a finite number of at least 0', (one) => one >= 0)
    this.#kinds = kinds(() => this.groups.length)
    const modeWorse = worst(mode)
    this.#state = {
      factor,
      default_min_lr: typeof minLr === 'number' ? minLr : null,
      min_lrs: lowest,
      patience,
      cooldown,
      eps,
      last_epoch: 0,
      _last_lr: this.rates(),
      mode_worse: modeWorse,
      mode,
      threshold,
      threshold_mode: thresholdMode,
      best: modeWorse,
      cooldown_counter: 0,
      num_bad_epochs: 0,
    }
  }

  /** @throws TorchkeepError `ERR_INVALID_ARGUMENT` without a metric. */
  override step(metric?: number): void {
    if (typeof metric !== 'number')
      throw new TorchkeepError('ERR_INVALID_ARGUMENT', `${name}: step() needs the metric, found ${String(metric)}`)
    const state = this.#state
    state.last_epoch += 1
    if (this.#isBetter(metric)) {
      state.best = metric
      state.num_bad_epochs = 0
    } else {
      state.num_bad_epochs += 1
    }
    if (state.cooldown_counter > 0) {
      state.cooldown_counter -= 1
      state.num_bad_epochs = 0
    }
    if (state.num_bad_epochs > state.patience) {
      this.#reduce()
      state.cooldown_counter = state.cooldown
      state.num_bad_epochs = 0
    }
    state._last_lr = this.rates()
  }

  override getLastLr(): number[] {
    return [...this.#state._last_lr]
  }

  override stateDict(): Map<string, unknown> {
    return writeState(this.#kinds, this.#state)
  }

  override loadStateDict(dict: ReadonlyMap<unknown, unknown>): void {
    const state = readState(name, this.#kinds, dict)
    this.#state = { ...state, mode_worse: worst(state.mode) }
  }

  #isBetter(metric: number): boolean {
    const { mode, threshold, threshold_mode, best } = this.#state
    if (threshold_mode === 'rel')
      return mode === 'min' ? metric < best * (1 - threshold) : metric > best * (threshold + 1)
    return mode === 'min' ? metric < best - threshold : metric > best + threshold
  }

  #reduce(): void {
    const { factor, min_lrs, eps } = this.#state
    this.groups.forEach((group, i) => {
      const reduced = Math.max(group.lr * factor, min_lrs[i] as number)
      if (group.lr - reduced > eps) group.lr = reduced
    })
  }
}

const worst = (mode: 'min' | 'max'): number => (mode === 'min' ? Infinity : -Infinity)

function kinds(count: () => number): Kinds<Plateau> {
  return {
    factor: float,
    default_min_lr: nullable(number),
    min_lrs: numbers(count),
    patience: int,
    cooldown: int,
    eps: float,
    last_epoch: int,
    _last_lr: floats(count),
    mode_worse: float,
    mode: choice('min', 'max'),
    threshold: float,
    threshold_mode: choice('rel', 'abs'),
    best: float,
    cooldown_counter: int,
    num_bad_epochs: int,
  }
}
