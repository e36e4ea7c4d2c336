/**
 * Which files of a checkpoint folder stay and which may go: one pure function of facts and policy. It reads no file and removes none (`cleanup.ts` does), so that every choice can be
 * tested, shown beforehand and explained.
 *
 * What holds under every policy: only checkpoints of a run are ever chosen (no backup, export, foreign or recovered file, no link, nothing in several files, nothing whose state is unknown);
 * `latest.pth`, `latest_best.pth` and the files of `phases/` stay while they are valid, and what the caller holds always; each run keeps a valid checkpoint if it has one, and its damaged ones that can be
 * recovered if it has none; the choice does not depend on the order of the files.
 */
import { basename } from 'node:path'
import type { Container } from '../format/index.js'
import { TorchkeepError } from '../format/errors.js'
import { checkpointIdentity, chronological, type Moment } from './chronology.js'
import type { CheckpointRole } from './describe.js'
import type { CheckpointKind } from './kind.js'
import { isLastingName } from './layout.js'

/** The facts of one file that a plan looks at. */
export interface RetentionFile extends Moment {
  role: CheckpointRole
  /** Null where the file could not be read. */
  container: Container | null
  kind: CheckpointKind | null
  /** The run it belongs to (its folder). Ranks count within a run, so that one run's good checkpoints do not push out another's. */
  run: string
  /** `invalid` only where that is proven; `unknown` for what could not be read or is not understood. */
  verdict: 'valid' | 'invalid' | 'unknown'
  /** Why it is not valid, in words. */
  reason: string
  /** Whether a recovery would give back tensors; looked at where the verdict is `invalid`. */
  recoverable: boolean
  /** By name; a metric that is absent was not computed. */
  metrics: Readonly<Record<string, number>>
  sizeBytes: number
  /** Files with equal ids are one content under several names (hard links, and what links point to). */
  content: string
  /** A symbolic link. */
  isLink: boolean
  /** Why the file stays under every policy, in words; it keeps its rank all the same. Absent where nothing says so. */
  held?: string
}

/** Keeps the best by one metric. */
export interface KeepBest {
  /** How many checkpoints of each run; at least 1. */
  count: number
  metric: string
  mode: 'min' | 'max'
}

/** What may go. What several keeping rules name stays if any of them keeps it. */
export interface RetentionPolicy {
  /** Removes what is provably invalid. */
  invalid?: boolean
  /**
   * Removes all valid checkpoints but the best of each run; of several rules each keeps its own. NaN is never among the best; of equal ones the earlier is better; what has not got the metric stays.
   */
  keepBest?: KeepBest | readonly KeepBest[]
  /** Removes all valid checkpoints but the newest of each run; at least 1. */
  keepLast?: number
  /** Treats recovered files like other checkpoints; otherwise they stay. */
  recovered?: boolean
}

/** The rules by which a file stays or goes. */
export type RetentionRule =
  /** A backup, an export, a foreign file... */
  | 'role'
  /** A symbolic link. */
  | 'link'
  /** A sharded or distributed checkpoint. */
  | 'several-files'
  /** Nothing is known for sure. */
  | 'unknown'
  /** Goes: proven to be invalid. */
  | 'invalid'
  /** Invalid, and nobody asked for those to go. */
  | 'invalid-not-asked'
  /** Damaged but recoverable, in a run that has nothing valid. */
  | 'last-hope'
  /** `latest.pth`, `latest_best.pth`, `phase_1_end.pth`... */
  | 'name'
  /** The caller holds it. */
  | 'held'
  /** Valid, and no rule looks at valid ones. */
  | 'valid'
  /** Valid, but no training checkpoint: has no rank. */
  | 'kind'
  | 'keep-best'
  | 'keep-last'
  /** The only valid one that would be left of its run. */
  | 'last-valid'
  /** Another name of a file that stays. */
  | 'same-content'
  /** Goes: no keeping rule names it. */
  | 'surplus'

/** The choice for one file. */
export interface RetentionChoice {
  path: string
  keep: boolean
  rule: RetentionRule
  /** The rule applied to this file, in words. */
  reason: string
}

/**
 * Chooses what stays, in the order of `files`.
 *
 * Copies of one checkpoint (see {@link checkpointIdentity}; the trainer writes them under several names) share one rank, and hard links stay or go together: a name
 * whose content stays anyway frees nothing.
 *
 * @throws TorchkeepError ERR_INVALID_ARGUMENT for a policy that is none.
 */
export function plan(files: readonly RetentionFile[], policy: RetentionPolicy): RetentionChoice[] {
  checkPolicy(policy)
  const choices = new Map<RetentionFile, RetentionChoice>()
  const ranked: RetentionFile[] = []
  const runsWithValid = new Set(
    files.filter((file) => file.verdict === 'valid' && isCandidate(file, policy)).map(({ run }) => run),
  )
  for (const file of files) {
    const choice = chooseAlone(file, policy, runsWithValid.has(file.run))
    if (choice === null) ranked.push(file)
    else choices.set(file, choice)
  }
  for (const run of groupBy(ranked, ({ run }) => run)) {
    for (const [file, choice] of chooseByRank(run, files, policy)) choices.set(file, choice)
  }
  keepSharedContent(files, choices)
  return files.map((file) => choices.get(file) as RetentionChoice)
}

/** The rules of `keepBest`, one or several. */
export const keepBestRules = ({ keepBest = [] }: RetentionPolicy): readonly KeepBest[] =>
  Array.isArray(keepBest) ? (keepBest as readonly KeepBest[]) : [keepBest as KeepBest]

function checkPolicy(policy: RetentionPolicy): void {
  for (const [name, count] of [
    ...keepBestRules(policy).map((rule) => ['keepBest.count', rule.count] as const),
    ['keepLast', policy.keepLast] as const,
  ]) {
    if (count !== undefined && !(Number.isSafeInteger(count) && count >= 1))
      throw new TorchkeepError('ERR_INVALID_ARGUMENT', `${name} should be an integer of at least 1, but is ${count}`)
  }
}

const stay = (file: RetentionFile, rule: RetentionRule, reason: string) => ({
  path: file.path,
  keep: true,
  rule,
  reason,
})
const go = (file: RetentionFile, rule: RetentionRule, reason: string) => ({
  path: file.path,
  keep: false,
  rule,
  reason,
})

/** Whether a file may be chosen at all. */
function isCandidate(file: RetentionFile, policy: RetentionPolicy): boolean {
  return aloof(file, policy) === null
}

/** Why a file is none of those that may be chosen; null where it is one. */
function aloof(file: RetentionFile, policy: RetentionPolicy): RetentionChoice | null {
  const { role, isLink, container, verdict, kind } = file
  if (role === 'recovered' && policy.recovered !== true)
    return stay(file, 'role', 'a recovered file, which only goes when asked for')
  if (role !== 'checkpoint' && role !== 'recovered') return stay(file, 'role', roleWords[role])
  if (kind === 'inference_export' || kind === 'shared_export') return stay(file, 'role', roleWords.export)
  if (isLink) return stay(file, 'link', 'a symbolic link')
  if (container === 'sharded' || container === 'distributed')
    return stay(file, 'several-files', 'a checkpoint in several files, which are not taken apart')
  if (verdict === 'unknown') return stay(file, 'unknown', file.reason)
  return null
}

const roleWords: Readonly<Record<Exclude<CheckpointRole, 'checkpoint' | 'recovered'>, string>> = {
  backup: 'a backup',
  export: 'an export',
  promoted: 'promoted',
  trash: 'in the trash already',
  quarantine: 'in quarantine',
  foreign: 'no checkpoint of a run',
}

/** The choice that needs no comparison with other files; null for what is ranked. */
function chooseAlone(file: RetentionFile, policy: RetentionPolicy, runHasValid: boolean): RetentionChoice | null {
  const excluded = aloof(file, policy)
  if (excluded !== null) return excluded
  if (file.verdict === 'invalid') {
    if (file.held !== undefined) return stay(file, 'held', file.held)
    if (policy.invalid !== true)
      return stay(file, 'invalid-not-asked', `invalid, which this policy leaves alone: ${file.reason}`)
    if (file.recoverable && !runHasValid)
      return stay(file, 'last-hope', `invalid, but can be recovered, and nothing of this run is valid: ${file.reason}`)
    return go(file, 'invalid', `invalid: ${file.reason}`)
  }
  if (keepBestRules(policy).length === 0 && policy.keepLast === undefined) return stay(file, 'valid', 'valid')
  if (file.kind !== 'training_checkpoint')
    return stay(file, 'kind', `no training checkpoint (${file.kind ?? 'unknown kind'}), so it has no rank`)
  return null
}

/** One checkpoint under all of its names in one run. */
type Checkpoint = [RetentionFile, ...RetentionFile[]]

/** What a keeping rule says of a checkpoint. */
interface Opinion {
  rule: RetentionRule
  keeps: boolean
  words: string
}

/** A keeping rule gives its opinion of each checkpoint of a run, which come from the oldest to the newest. */
type KeepingRule = (run: readonly Checkpoint[]) => Opinion[]

function keepingRules(policy: RetentionPolicy): KeepingRule[] {
  const { keepLast: last } = policy
  return [...keepBestRules(policy).map(keepBest), ...(last === undefined ? [] : [keepLast(last)])]
}

function keepBest({ count, metric, mode }: KeepBest): KeepingRule {
  const rule = 'keep-best'
  return (run) => {
    const value = ([{ metrics }]: Checkpoint): number | undefined =>
      Object.hasOwn(metrics, metric) ? metrics[metric] : undefined
    const sign = mode === 'min' ? 1 : -1
    // The sort is stable, so that of equal ones the earlier comes first.
    const order = run
      .filter((checkpoint) => !Number.isNaN(value(checkpoint) ?? NaN))
      .sort((left, right) => sign * compare(value(left) as number, value(right) as number))
    return run.map((checkpoint) => {
      const score = value(checkpoint)
      if (score === undefined) return { rule, keeps: true, words: `has no ${metric} to be ranked by` }
      if (Number.isNaN(score))
        return { rule, keeps: false, words: `its ${metric} is NaN, which is never among the best` }
      const rank = order.indexOf(checkpoint) + 1
      return {
        rule,
        keeps: rank <= count,
        words: `number ${rank} of ${order.length} by ${metric} (${Number(score.toPrecision(6))}); keeping ${count}`,
      }
    })
  }
}

function keepLast(count: number): KeepingRule {
  return (run) =>
    run.map((_checkpoint, index) => {
      const rank = run.length - index
      return {
        rule: 'keep-last',
        keeps: rank <= count,
        words: `number ${rank} of ${run.length} from the newest; keeping ${count}`,
      }
    })
}

function compare(left: number, right: number): number {
  return left < right ? -1 : left > right ? 1 : 0
}

/** Choices for the valid training checkpoints of one run. */
function chooseByRank(
  run: readonly RetentionFile[],
  all: readonly RetentionFile[],
  policy: RetentionPolicy,
): [RetentionFile, RetentionChoice][] {
  const checkpoints = groupBy(chronological(run), (file) => checkpointIdentity(file) ?? file.content) as Checkpoint[]
  const opinions = keepingRules(policy).map((rule) => rule(checkpoints))
  const choices = checkpoints.flatMap((names, index) => {
    const ofThis = opinions.map((opinion) => opinion[index] as Opinion)
    const kept = ofThis.filter(({ keeps }) => keeps)
    const words = (kept.length > 0 ? kept : ofThis).map((opinion) => opinion.words).join('; ')
    return names.map((file): [RetentionFile, RetentionChoice] => {
      if (kept[0] !== undefined) return [file, stay(file, kept[0].rule, words)]
      if (file.held !== undefined) return [file, stay(file, 'held', file.held)]
      if (isLastingName(basename(file.path)))
        return [file, stay(file, 'name', `${basename(file.path)} stays while it is valid`)]
      return [file, go(file, 'surplus', words)]
    })
  })
  const newest = checkpoints.at(-1)?.[0]
  if (newest === undefined || choices.some(([, { keep }]) => keep)) return choices
  return choices.map(([file, choice]) =>
    file === newest
      ? [
          file,
          stay(
            file,
            'last-valid',
            `the newest, and nothing valid would be left of its run; otherwise: ${choice.reason}`,
          ),
        ]
      : [file, choice],
  )
}

/** A name that goes although its content stays under another one would free nothing: it stays too. */
function keepSharedContent(files: readonly RetentionFile[], choices: Map<RetentionFile, RetentionChoice>): void {
  const keeper = new Map<string, string>()
  for (const file of files) {
    const known = keeper.get(file.content)
    if (choices.get(file)?.keep === true && (known === undefined || file.path < known))
      keeper.set(file.content, file.path)
  }
  for (const file of files) {
    const other = keeper.get(file.content)
    if (other !== undefined && choices.get(file)?.keep === false)
      choices.set(file, stay(file, 'same-content', `the same file as ${other}, which stays`))
  }
}

function groupBy<T>(items: readonly T[], key: (item: T) => string): T[][] {
  const groups = new Map<string, T[]>()
  for (const item of items) {
    const group = groups.get(key(item))
    if (group === undefined) groups.set(key(item), [item])
    else group.push(item)
  }
  return [...groups.values()]
}
