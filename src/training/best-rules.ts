/** Which metrics' bests a run saves and keeps. */
import { defaultMode } from '../checkpoint/best.js'
import type { RotationPolicy } from '../checkpoint/rotation.js'
import type { TrainingMetrics } from '../checkpoint/schema.js'
import { TorchkeepError } from '../format/errors.js'
import { type BestRule, defaultBestCount, defaultKeepLast } from './checkpoint-options.js'
import { type Monitor, monitoredValue } from './monitor.js'

/** A {@link BestRule}, settled. */
export interface SettledRule extends Monitor {
  count: number | null
}

/** What a run computes is not known: any name will do, with the direction that it suggests. */
export const guessMonitor = ({ monitor, mode }: Pick<BestRule, 'monitor' | 'mode'>): Monitor => ({
  name: monitor,
  mode: mode ?? defaultMode(monitor),
})

/** The rules with their directions and counts, the run's own monitor first. */
export function settleRules(
  listed: readonly BestRule[],
  primary: Monitor,
  resolve: (wanted: Pick<BestRule, 'monitor' | 'mode'>) => Monitor,
): SettledRule[] {
  const settled = listed.map(({ count = defaultBestCount, ...wanted }) => ({
    ...(wanted.monitor === primary.name ? { ...primary, mode: wanted.mode ?? primary.mode } : resolve(wanted)),
    count,
  }))
  const twice = settled.find(({ name }, index) => settled.findIndex((other) => other.name === name) < index)
  if (twice !== undefined) wrongRule(`lists the monitor '${twice.name}' twice`)
  const own = settled.find(({ name }) => name === primary.name) ?? { ...primary, count: defaultBestCount }
  if (own.mode !== primary.mode)
    wrongRule(`has the mode '${own.mode}' for '${own.name}', which the run monitors with '${primary.mode}'`)
  return [own, ...settled.filter(({ name }) => name !== primary.name)]
}

function wrongRule(what: string): never {
  throw new TorchkeepError('ERR_INVALID_ARGUMENT', `checkpoint.best ${what}`)
}

/** What stays in a run's folder under the rules. */
export function rotationPolicy(
  rules: readonly SettledRule[],
  keepLast: number | null = defaultKeepLast,
): RotationPolicy {
  const best = rules.flatMap(({ name, mode, count }) => (count === null ? [] : [{ metric: name, mode, count }]))
  return {
    regular: keepLast === null ? null : { keepLast },
    // A metric that keeps all of its bests leaves nothing for the others to take away.
    best: rules.length === 0 || best.length < rules.length ? null : { keepBest: best },
  }
}

/** Whether the last epoch of a history is among the best `count` so far, or with a count of null better than all before; NaN and infinite values never are, and a tie keeps the earlier. */
export function isAmongBest({ name, mode, count }: SettledRule, history: readonly TrainingMetrics[]): boolean {
  const scores = history.map((row) => monitoredValue(name, row))
  const last = scores.pop() ?? NaN
  if (!Number.isFinite(last)) return false
  const atLeastAsGood = scores.filter(
    (score) => Number.isFinite(score) && (mode === 'min' ? score <= last : score >= last),
  )
  return atLeastAsGood.length < (count ?? 1)
}
