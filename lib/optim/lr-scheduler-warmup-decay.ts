/** The schedule of the older Python system, its `LearningRateScheduler`: a warm-up in a straight line, then exponential decay. */
import { knownOptions } from '../options.js'
import { LRScheduler, type ScheduledOptimizer } from './lr-scheduler-base.js'
import { checkInteger, checkNumber } from './lr-scheduler-checks.js'
import { flag, float, floats, int, optional, readState, writeState, type Kinds } from './lr-scheduler-state.js'
import { pow } from './pow.js'

export interface WarmupDecayOptions {
  /** Epochs until the full rate; 5 unless told. The first has a `warmupEpochs`-th of it. With 0 the decay begins in the first epoch. */
  warmupEpochs?: number
  /** Factor of each epoch after them; 0.95 unless told. */
  decayFactor?: number
  /** The older system's own rates: its first epoch ran at the full rate, and the warm-up began in the second. False unless told. */
  compatible?: boolean
}

/** The older system's keys, then ours. */
interface State {
  /** Steps made. */
  epoch: number
  /** What the older system called the phase whose rate counts. */
  current_phase: number
  phase1_lr: number
  phase2_lr: number
  warmup_epochs: number
  decay_factor: number
  compatible: boolean
  base_lrs: readonly number[] | undefined
  _last_lr: readonly number[] | undefined
}

const name = 'WarmupDecay'

/** Epoch n has `base * n / warmupEpochs` up to `warmupEpochs`, later `base * decayFactor ** (n - warmupEpochs)`. */
export class WarmupDecay extends LRScheduler {
  #state: State
  readonly #kinds: Kinds<State>

  constructor(optimizer: ScheduledOptimizer, options: WarmupDecayOptions = {}) {
    super(optimizer)
    const given = knownOptions(name, options, ['warmupEpochs', 'decayFactor', 'compatible'])
    const { warmupEpochs = 5, decayFactor = 0.95, compatible = false } = given
    checkInteger(name, 'warmupEpochs', warmupEpochs, 0)
    checkNumber(name, 'decayFactor', decayFactor, 'a positive number', (value) => value > 0)
    const base = this.rates()
    this.#kinds = kinds(compatible, () => this.groups.length)
    this.#state = {
      epoch: 0,
      current_phase: 1,
      phase1_lr: base[0] as number,
      phase2_lr: base[0] as number,
      warmup_epochs: warmupEpochs,
      decay_factor: decayFactor,
      compatible,
      base_lrs: base,
      _last_lr: base,
    }
    if (!compatible) this.#apply(1)
  }

  override step(): void {
    this.#state.epoch += 1
    this.#apply(this.#state.compatible ? this.#state.epoch : this.#state.epoch + 1)
  }

  override getLastLr(): number[] {
    return [...(this.#state._last_lr ?? this.rates())]
  }

  override stateDict(): Map<string, unknown> {
    return writeState(this.#kinds, this.#state)
  }

  /** Also takes a state of the older system, which has one rate for all groups. */
  override loadStateDict(dict: ReadonlyMap<unknown, unknown>): void {
    const state = readState(name, this.#kinds, dict)
    const ofPhase = state.current_phase === 1 ? state.phase1_lr : state.phase2_lr
    this.#state = {
      ...state,
      base_lrs: state.base_lrs ?? this.groups.map(() => ofPhase),
      _last_lr: state._last_lr ?? this.rates(),
    }
  }

  /** Sets the rates of the epoch `n`, counted from 1. */
  #apply(n: number): void {
    const { warmup_epochs, decay_factor, base_lrs } = this.#state
    const factor = n <= warmup_epochs ? n / warmup_epochs : pow(decay_factor, n - warmup_epochs)
    this.groups.forEach((group, i) => (group.lr = (base_lrs?.[i] as number) * factor))
    this.#state._last_lr = this.rates()
  }
}

function kinds(compatible: boolean, count: () => number): Kinds<State> {
  const missing = undefined as unknown as readonly number[]
  return {
    epoch: int,
    current_phase: int,
    phase1_lr: float,
    phase2_lr: float,
    warmup_epochs: int,
    decay_factor: float,
    compatible: optional(flag, compatible),
    base_lrs: optional(floats(count), missing),
    _last_lr: optional(floats(count), missing),
  }
}
