/** What an `EarlyStopping` remembers between two checks, and its form in a checkpoint. */
import { float, integer, list, nullable, oneOf, Place, record, text, type Plain } from '../checkpoint/fields.js'
import { isBetter, isWarmUp, type Settings } from './early-stopping-rules.js'
import type { CheckedAt } from './early-stopping.js'

/** A moment; null for what the caller does not count. */
interface Moment {
  epoch: number
  step: number | null
  seconds: number | null
}

/** A score with its moment. */
interface Check extends Moment {
  score: number
}

/** Scores that {@link StoppingState.recentScores} holds, as in the older system. */
const recentCount = 10

const epochField = integer(0)

export class StoppingState {
  /** Checks that patience has gone through since the last improvement. */
  counter = 0
  best: { score: number; epoch: number } | null = null
  /** Patience in steps and seconds counts from here: the last improvement, the last check of the warm-up, or the first check. */
  since: Moment | null = null
  last: Check | null = null
  /** The warm-up counts from it. */
  firstEpoch: number | null = null
  recentScores: readonly number[] = []

  /** Books a score. Returns whether it is the new best. */
  take(score: number, at: CheckedAt, settings: Settings): boolean {
    const moment: Moment = { epoch: at.epoch, step: at.step ?? null, seconds: at.seconds ?? null }
    checkMoment(score, moment, settings)
    this.firstEpoch ??= moment.epoch
    this.last = { score, ...moment }
    this.recentScores = [...this.recentScores, score].slice(-recentCount)
    const improved = isBetter(score, this.best?.score ?? null, settings)
    if (improved) this.best = { score, epoch: moment.epoch }
    if ((improved && isBetter(score, settings.baseline, settings)) || isWarmUp(this, settings)) {
      this.counter = 0
      this.since = moment
    } else {
      this.counter++
      this.since ??= moment
    }
    return improved
  }
}

function checkMoment(score: number, { epoch, step, seconds }: Moment, settings: Settings): void {
  const at = new Place('ERR_INVALID_ARGUMENT', '')
  float().encode(score, at.field('score'))
  epochField.encode(epoch, at.field('epoch'))
  if (settings.patienceSteps !== null && !Number.isInteger(step))
    at.field('step').refuse('an integer, since patienceSteps is set', step)
  if (settings.patienceSeconds !== null && !Number.isFinite(seconds))
    at.field('seconds').refuse('a number, since patienceSeconds is set', seconds)
}

interface StateInFile {
  monitor: string
  mode: 'min' | 'max'
  counter: number
  bestScore: number | null
  bestEpoch: number | null
  since: Moment | null
  last: Check | null
  firstEpoch: number | null
  recentScores: readonly number[]
}

const moment = {
  epoch: ['epoch', epochField],
  step: ['step', nullable(integer(0))],
  seconds: ['seconds', nullable(float())],
} as const

const stateField = record<StateInFile>({
  monitor: ['monitor', text],
  mode: ['mode', oneOf('min', 'max')],
  counter: ['counter', integer(0)],
  bestScore: ['best_score', nullable(float('a finite number', Number.isFinite))],
  bestEpoch: ['best_epoch', nullable(epochField)],
  since: ['since', nullable(record<Moment>(moment))],
  last: ['last', nullable(record<Check>({ score: ['score', float()], ...moment }))],
  firstEpoch: ['first_epoch', nullable(epochField)],
  recentScores: ['recent_scores', list(float())],
})

/** The plain form. */
export function encodeStoppingState(state: StoppingState, { monitor, mode }: Settings): Plain {
  const { counter, best, since, last, firstEpoch, recentScores } = state
  return {
    monitor,
    mode,
    counter,
    best_score: best?.score ?? null,
    best_epoch: best?.epoch ?? null,
    since: since === null ? null : { ...since },
    last: last === null ? null : { ...last },
    first_epoch: firstEpoch,
    recent_scores: recentScores,
  }
}

/** @throws TorchkeepError `ERR_INVALID_ARGUMENT` naming the field. */
export function decodeStoppingState(value: Plain): { monitor: string; mode: 'min' | 'max'; state: StoppingState } {
  const at = new Place('ERR_INVALID_ARGUMENT', '', 'earlyStopping')
  const { monitor, mode, bestScore, bestEpoch, ...rest } = stateField.decode(asDict(value), at)
  const state = new StoppingState()
  if ((bestScore === null) !== (bestEpoch === null)) at.fail('should have both best_score and best_epoch or neither')
  const best = bestScore === null ? null : { score: bestScore, epoch: bestEpoch as number }
  return { monitor, mode, state: Object.assign(state, rest, { best }) }
}

/** Objects as the dicts that fields read. */
function asDict(value: Plain): unknown {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return value
  return new Map(Object.entries(value).map(([key, item]) => [key, asDict(item as Plain)]))
}
