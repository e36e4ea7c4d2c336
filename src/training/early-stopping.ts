/** When training has gone on for long enough: `EarlyStopping`, for the trainer and for loops of one's own. */
import type { Module } from '../../lib/index.js'
import type { Plain } from '../checkpoint/fields.js'
import type { EarlyStoppingConfig } from '../checkpoint/training-config.js'
import { decodeStoppingState, encodeStoppingState, StoppingState } from './early-stopping-state.js'
import { judge, type Settings, settle, type StopReason, type Verdict } from './early-stopping-rules.js'
import { KeptWeights } from './kept-weights.js'

export type { StopReason } from './early-stopping-rules.js'

/** Options of {@link EarlyStopping}. */
export interface EarlyStoppingOptions extends EarlyStoppingConfig {
  /** Whether {@link EarlyStopping.check} keeps a copy of the best weights of the model that it is given and puts them back when it stops; default true. */
  restoreBestWeights?: boolean
}

/** Where a run stands when a score is checked. All three go on through a resumption. */
export interface CheckedAt {
  epoch: number
  /** Optimizer steps of the run; needed for `patienceSteps`. */
  step?: number
  /** Seconds of training; needed for `patienceSeconds`. */
  seconds?: number
}

/** How far patience has gone. */
export interface PatienceInfo {
  /** Checks without improvement. */
  counter: number
  /** Null where only steps or seconds are counted, as is the next. */
  patience: number | null
  remainingPatience: number | null
  /** Null before the first finite score, as is the next. */
  bestScore: number | null
  bestEpoch: number | null
  earlyStop: boolean
  /** The last 10 that were checked, oldest first, NaN included. */
  recentScores: readonly number[]
}

/**
 * Watches one score and tells when to stop.
 *
 * ```js
 * const stopping = new EarlyStopping({ patience: 5, minDelta: 1e-4 })
 * for (let epoch = 1; epoch <= 100; epoch++) {
 *   // train, validate...
 *   if (stopping.check(valLoss, { epoch }, model)) break
 * }
 * console.log(stopping.message)
 * stopping.restoreBest(model)
 * stopping.dispose()
 * ```
 *
 * A score is an improvement if it is better than the best by more than `minDelta`. NaN and infinite scores never are, and never become the best, so the first finite one after them does.
 */
export class EarlyStopping {
  readonly #settings: Settings
  #state: StoppingState = new StoppingState()
  #verdict: Verdict | null = null
  #weights: KeptWeights | null = null

  /** @throws TorchkeepError `ERR_INVALID_ARGUMENT` naming the option. */
  constructor(options: EarlyStoppingOptions = {}) {
    this.#settings = settle(options)
  }

  /** Why it stops, or null while it does not. */
  get reason(): StopReason | null {
    return this.#verdict?.reason ?? null
  }

  /** For people: the reason with its figures; empty while it does not stop. */
  get message(): string {
    return this.#verdict?.message ?? ''
  }

  /** Name of the score. */
  get monitor(): string {
    return this.#settings.monitor
  }

  get mode(): 'min' | 'max' {
    return this.#settings.mode
  }

  /** Null before the first finite score. */
  get bestScore(): number | null {
    return this.#state.best?.score ?? null
  }

  /** Epoch of {@link bestScore}. */
  get bestEpoch(): number | null {
    return this.#state.best?.epoch ?? null
  }

  getBestScore(): number | null {
    return this.bestScore
  }

  getBestEpoch(): number | null {
    return this.bestEpoch
  }

  /**
   * Takes a score in.
   *
   * @param model whose weights to copy at an improvement and to put back when this stops. The trainer passes none: it has the best weights in a checkpoint.
   * @returns whether to stop; {@link reason} says why.
   * @throws TorchkeepError `ERR_INVALID_ARGUMENT` where `step` or `seconds` is missing and needed.
   */
  check(score: number, at: CheckedAt, model?: Module): boolean {
    const improved = this.#state.take(score, at, this.#settings)
    if (improved && model !== undefined && this.#settings.restoreBestWeights) this.#keep(model)
    this.#verdict = judge(this.#state, this.#settings)
    if (this.#verdict !== null && model !== undefined) this.restoreBest(model)
    return this.#verdict !== null
  }

  #keep(model: Module): void {
    const weights = new KeptWeights(model)
    this.#weights?.dispose()
    this.#weights = weights
  }

  /**
   * Puts the best weights seen by {@link check} into a model, whatever ended the loop.
   * @returns their epoch, or null where none were kept.
   */
  restoreBest(model: Module): number | null {
    if (this.#weights === null) return null
    this.#weights.restore(model)
    return this.bestEpoch
  }

  getPatienceInfo(): PatienceInfo {
    const { patience } = this.#settings
    const { counter, recentScores } = this.#state
    return {
      counter,
      patience,
      remainingPatience: patience === null ? null : Math.max(0, patience - counter),
      bestScore: this.bestScore,
      bestEpoch: this.bestEpoch,
      earlyStop: this.#verdict !== null,
      recentScores: [...recentScores],
    }
  }

  /** Forgets all scores and frees the copy of the weights. */
  reset(): void {
    this.#state = new StoppingState()
    this.#verdict = null
    this.dispose()
  }

  /** Frees the copy of the weights. */
  dispose(): void {
    this.#weights?.dispose()
    this.#weights = null
  }

  /** What a checkpoint holds of it: plain values. The settings are not among them, but for the name and the direction of the score, by which a state is recognised. Weights are not either. */
  stateDict(): Plain {
    return encodeStoppingState(this.#state, this.#settings)
  }

  /**
   * Goes on from a {@link stateDict}: counters, best and last score. The settings stay those of this object, and whether it stops is judged anew under them, at once: {@link reason}.
   *
   * @returns false where the state is of another monitor or direction: its scores cannot be compared, so everything begins anew.
   * @throws TorchkeepError `ERR_INVALID_ARGUMENT` naming the field that is missing or wrong.
   */
  loadStateDict(state: Plain): boolean {
    const decoded = decodeStoppingState(state)
    this.reset()
    const fits = decoded.monitor === this.#settings.monitor && decoded.mode === this.#settings.mode
    if (!fits) return false
    this.#state = decoded.state
    this.#verdict = judge(this.#state, this.#settings)
    return true
  }
}
