/** Which checkpoints `list` shows and in what order. */
import type { ListedCheckpoint } from '../checkpoint/listing.js'
import { TorchkeepError } from '../format/errors.js'
import { nearNames } from '../format/near-names.js'
import { madeAt } from './print-list.js'

/** Conditions of `list`; all that are given must hold. */
export interface ListConditions {
  kind?: string | undefined
  phase?: number | undefined
  /** Every one of them. */
  tags?: readonly string[] | undefined
  /** Sound structure only, or everything else only. */
  valid?: boolean | undefined
}

/** Those that meet all conditions. */
export function selectCheckpoints(listed: readonly ListedCheckpoint[], wanted: ListConditions): ListedCheckpoint[] {
  return listed.filter(
    (file) =>
      (wanted.kind === undefined || file.kind === wanted.kind) &&
      (wanted.phase === undefined || file.phase === wanted.phase) &&
      (wanted.tags ?? []).every((tag) => file.tags.includes(tag)) &&
      (wanted.valid === undefined || (file.structure === 'ok') === wanted.valid),
  )
}

/** Orders by name; a larger number is later. Any other word is a metric. */
const orders: Readonly<Record<string, (file: ListedCheckpoint) => number | null>> = {
  epoch: ({ epoch }) => epoch,
  loss: ({ validationLoss }) => validationLoss,
  size: ({ sizeBytes }) => sizeBytes,
  age: (file) => -madeAt(file),
}

/** Words that `--sort` takes beside metrics. */
const sortWords: readonly string[] = [...Object.keys(orders), 'name']

/**
 * Sorts from small to large (epochs up, losses up, youngest first); what has no value or NaN comes last either way, and equal ones are in the order of the phase, then the name with numbers counted as such.
 * @throws TorchkeepError ERR_INVALID_ARGUMENT for a word that is no order and no metric of these files.
 */
export function sortCheckpoints(listed: readonly ListedCheckpoint[], by: string, reverse: boolean): ListedCheckpoint[] {
  const value = orders[by] ?? (by === 'name' ? () => 0 : metricOrder(listed, by))
  const sign = reverse ? -1 : 1
  const key = (file: ListedCheckpoint): number => value(file) ?? NaN
  return [...listed].sort((a, b) => {
    const [left, right] = [key(a), key(b)]
    if (Number.isNaN(left) || Number.isNaN(right)) {
      if (Number.isNaN(left) !== Number.isNaN(right)) return Number.isNaN(left) ? 1 : -1
    } else if (left !== right) return sign * (left < right ? -1 : 1)
    const phases = by === 'name' ? 0 : (a.phase ?? 0) - (b.phase ?? 0)
    return sign * (phases || byName(a.name, b.name))
  })
}

/** `epoch_2` before `epoch_10`. One collator: making one a comparison is slow. */
const { compare: byName } = new Intl.Collator('en', { numeric: true })

function metricOrder(listed: readonly ListedCheckpoint[], metric: string): (file: ListedCheckpoint) => number | null {
  const names = new Set(listed.flatMap(({ metrics }) => Object.keys(metrics)))
  // An empty list has nothing to sort, so no word is wrong.
  if (listed.length > 0 && !names.has(metric)) {
    const known = [...new Set([...sortWords, ...[...names].sort()])]
    throw new TorchkeepError('ERR_INVALID_ARGUMENT', `--sort ${metric}: expected one of ${known.join(', ')}`, {
      suggestions: nearNames(metric, known).map((name) => `--sort ${name}`),
    })
  }
  return ({ metrics }) => metrics[metric] ?? null
}
