/** What a folder holds in numbers. */
import { isOfRun, type ListedCheckpoint } from './listing.js'
import type { CheckpointRole } from './roles.js'

/** One file that a summary names. */
export interface SummarizedCheckpoint {
  path: string
  sizeBytes: number
  /** Binary megabytes (2^20 bytes), as the older system counts. */
  sizeMb: number
  /** Seconds since 1970, of the file. */
  modifiedTime: number
  validationLoss: number | null
  epoch: number | null
}

/** Totals of a folder. Every checkpoint of a run is in one of valid, invalid, recoverable and unreadable; other files are only in `otherFiles`. */
export interface CheckpointSummary {
  totalCheckpoints: number
  /** Of sound structure. */
  validCheckpoints: number
  /** Damaged beyond recovery. */
  invalidCheckpoints: number
  /** Damaged, with something that a recovery would give back. */
  recoverableCheckpoints: number
  /** Not readable for reasons outside the file, such as permissions. */
  unreadableCheckpoints: number
  totalSizeBytes: number
  totalSizeMb: number
  /** Backups, exports, foreign files...: how many, and their size. */
  otherFiles: Partial<Record<CheckpointRole, { count: number; sizeBytes: number }>>
  /** Lowest validation loss; of equal ones the earliest. Null where no sound checkpoint says one. */
  bestCheckpoint: SummarizedCheckpoint | null
  oldestCheckpoint: SummarizedCheckpoint | null
  newestCheckpoint: SummarizedCheckpoint | null
}

const mebi = 1 << 20

/** Sums up a list. */
export function summarizeCheckpoints(listed: readonly ListedCheckpoint[]): CheckpointSummary {
  const ofRun = listed.filter(isOfRun)
  const count = (predicate: (file: ListedCheckpoint) => boolean): number => ofRun.filter(predicate).length
  const totalSizeBytes = ofRun.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0)
  const byAge = [...ofRun].sort((a, b) => a.modifiedMs - b.modifiedMs || (a.path < b.path ? -1 : 1))
  const best = byAge.filter((file) => file.best).sort((a, b) => (a.timestamp ?? 0) - (b.timestamp ?? 0))[0]
  return {
    totalCheckpoints: ofRun.length,
    validCheckpoints: count(({ structure }) => structure === 'ok'),
    invalidCheckpoints: count((file) => file.structure === 'bad' && !isRecoverable(file)),
    recoverableCheckpoints: count(isRecoverable),
    unreadableCheckpoints: count(({ structure }) => structure === 'unreadable'),
    totalSizeBytes,
    totalSizeMb: totalSizeBytes / mebi,
    otherFiles: othersOf(listed),
    bestCheckpoint: brief(best),
    oldestCheckpoint: brief(byAge[0]),
    newestCheckpoint: brief(byAge.at(-1)),
  }
}

/** Whether a recovery would give something of a damaged file back. */
const isRecoverable = ({ recovery }: Pick<ListedCheckpoint, 'recovery'>): boolean =>
  recovery !== null && recovery !== 'none'

function brief(file: ListedCheckpoint | undefined): SummarizedCheckpoint | null {
  if (file === undefined) return null
  const { path, sizeBytes, modifiedMs, validationLoss, epoch } = file
  return { path, sizeBytes, sizeMb: sizeBytes / mebi, modifiedTime: modifiedMs / 1000, validationLoss, epoch }
}

function othersOf(listed: readonly ListedCheckpoint[]): CheckpointSummary['otherFiles'] {
  const others: CheckpointSummary['otherFiles'] = {}
  for (const file of listed) {
    if (isOfRun(file)) continue
    const sum = (others[file.role] ??= { count: 0, sizeBytes: 0 })
    sum.count++
    sum.sizeBytes += file.sizeBytes
  }
  return others
}
