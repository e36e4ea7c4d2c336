/** The rules of early stopping: its settings, what counts as an improvement, and what ends the training. */
import { flag, Place } from '../checkpoint/fields.js'
import { type EarlyStoppingConfig, earlyStoppingField } from '../checkpoint/training-config.js'
import { TorchkeepError } from '../format/errors.js'
import type { EarlyStoppingOptions } from './early-stopping.js'
import type { StoppingState } from './early-stopping-state.js'
import { directionOf } from './metrics.js'

/** Why an early stopping stops. */
export type StopReason =
  'patience' | 'patience_steps' | 'patience_seconds' | 'stopping_threshold' | 'divergence_threshold' | 'non_finite'

/** A decision to stop. */
export interface Verdict {
  reason: StopReason
  /** For people, with the figures. */
  message: string
}

/** Options with every default applied; null is none. */
export interface Settings {
  monitor: string
  mode: 'min' | 'max'
  patience: number | null
  patienceSteps: number | null
  patienceSeconds: number | null
  minDelta: number
  minDeltaMode: 'abs' | 'rel'
  warmupEpochs: number
  baseline: number | null
  stoppingThreshold: number | null
  divergenceThreshold: number | null
  checkFinite: boolean
  restoreBestWeights: boolean
}

/** @throws TorchkeepError `ERR_INVALID_ARGUMENT` naming the option. */
export function settle({ restoreBestWeights = true, ...config }: EarlyStoppingOptions): Settings {
  const at = new Place('ERR_INVALID_ARGUMENT', '', 'earlyStopping')
  earlyStoppingField.encode(config, at)
  flag.encode(restoreBestWeights, at.field('restoreBestWeights'))
  const countsChecks = config.patienceSteps === undefined && config.patienceSeconds === undefined
  return {
    monitor: config.monitor ?? 'val_loss',
    mode: config.mode ?? modeOf(config),
    patience: config.patience ?? (countsChecks ? 10 : null),
    patienceSteps: config.patienceSteps ?? null,
    patienceSeconds: config.patienceSeconds ?? null,
    minDelta: config.minDelta ?? 0,
    minDeltaMode: config.minDeltaMode ?? 'abs',
    warmupEpochs: config.warmupEpochs ?? 0,
    baseline: config.baseline ?? null,
    stoppingThreshold: config.stoppingThreshold ?? null,
    divergenceThreshold: config.divergenceThreshold ?? null,
    checkFinite: config.checkFinite ?? true,
    restoreBestWeights,
  }
}

function modeOf({ monitor = 'val_loss' }: EarlyStoppingConfig): 'min' | 'max' {
  const mode = directionOf(monitor)
  if (mode !== null) return mode
  throw new TorchkeepError(
    'ERR_INVALID_ARGUMENT',
    `earlyStopping.mode is missing: nothing says whether a smaller or a larger '${monitor}' is better`,
    { suggestions: ["mode: 'min' or mode: 'max'"] },
  )
}

/** Whether `score` is better than `best` by more than the smallest change that counts. Anything finite is better than null; what is not finite is never better. */
export function isBetter(score: number, best: number | null, { mode, minDelta, minDeltaMode }: Settings): boolean {
  if (!Number.isFinite(score)) return false
  if (best === null) return true
  // A fraction of the size of the best: of a negative best, too, a change for the better is asked for.
  const delta = minDeltaMode === 'rel' ? minDelta * Math.abs(best) : minDelta
  return mode === 'min' ? score < best - delta : score > best + delta
}

/** Whether the last check was within the warm-up. */
export function isWarmUp({ last, firstEpoch }: StoppingState, { warmupEpochs }: Settings): boolean {
  return last !== null && last.epoch - (firstEpoch ?? last.epoch) < warmupEpochs
}

/** What the state comes to under the settings: a decision to stop after the last check, or null. */
export function judge(state: StoppingState, settings: Settings): Verdict | null {
  const { last } = state
  if (last === null || isWarmUp(state, settings)) return null
  const { monitor, mode, checkFinite, stoppingThreshold, divergenceThreshold } = settings
  const score = `${monitor} is ${figure(last.score)} in epoch ${last.epoch}`
  if (checkFinite && !Number.isFinite(last.score)) return { reason: 'non_finite', message: score }
  const isAtLeast = (value: number, limit: number): boolean => (mode === 'min' ? value <= limit : value >= limit)
  if (stoppingThreshold !== null && isAtLeast(last.score, stoppingThreshold))
    return {
      reason: 'stopping_threshold',
      message: `${score}: as good as the stopping threshold ${figure(stoppingThreshold)}`,
    }
  if (divergenceThreshold !== null && isAtLeast(divergenceThreshold, last.score))
    return {
      reason: 'divergence_threshold',
      message: `${score}: as bad as the divergence threshold ${figure(divergenceThreshold)}`,
    }
  return outOfPatience(state, settings)
}

function outOfPatience(state: StoppingState, settings: Settings): Verdict | null {
  const { counter, since, last } = state
  const { patience, patienceSteps, patienceSeconds } = settings
  if (since === null || last === null || counter === 0) return null
  const steps = (last.step ?? NaN) - (since.step ?? NaN)
  const seconds = (last.seconds ?? NaN) - (since.seconds ?? NaN)
  const verdict = (reason: StopReason, span: string, limit: string): Verdict => ({
    reason,
    message: `${standstill(state, settings)} for ${span} (patience ${limit}); ${bestSoFar(state)}`,
  })
  if (patience !== null && counter >= patience) return verdict('patience', counted(counter, 'check'), String(patience))
  if (patienceSteps !== null && steps >= patienceSteps)
    return verdict('patience_steps', counted(steps, 'step'), String(patienceSteps))
  if (patienceSeconds !== null && seconds >= patienceSeconds)
    return verdict('patience_seconds', `${figure(seconds)} s`, `${figure(patienceSeconds)} s`)
  return null
}

function standstill({ best }: StoppingState, settings: Settings): string {
  const { monitor, baseline, minDelta, minDeltaMode } = settings
  const delta = minDeltaMode === 'rel' ? `${figure(minDelta * 100)} %` : figure(minDelta)
  const by = minDelta === 0 ? '' : ` by more than ${delta}`
  const isBelowBaseline = baseline !== null && (best === null || !isBetter(best.score, baseline, settings))
  return isBelowBaseline
    ? `${monitor} has not been better${by} than the baseline ${figure(baseline)}`
    : `${monitor} has not improved${by}`
}

function bestSoFar({ best, last }: StoppingState): string {
  const now = last === null ? '' : `, now ${figure(last.score)} in epoch ${last.epoch}`
  return best === null ? `no finite score yet${now}` : `best ${figure(best.score)} in epoch ${best.epoch}${now}`
}

const counted = (count: number, noun: string): string => `${count} ${noun}${count === 1 ? '' : 's'}`

/** A number for people: six digits. */
const figure = (value: number): string => String(Number(value.toPrecision(6)))
