/** Lists a checkpoint folder from the heads and tails of its files, and sums it up. */
import { basename, dirname, join, relative } from 'node:path'
import { TorchkeepError } from '../format/errors.js'
import { checkpointIdentity, chronological } from './chronology.js'
import { describeCheckpoint, type CheckpointDescription } from './describe.js'
import { findCheckpointFiles } from './find.js'
import { isLastingName } from './layout.js'
import type { RecoveryPotential } from './recovery-assess.js'
import { exists } from './store.js'

export type { RecoveryPotential }

/** What a list says of one file. */
export interface ListedCheckpoint extends CheckpointDescription {
  /** Path below the listed folder. */
  name: string
  /** Whether no other sound checkpoint of the list has a lower validation loss. Copies of the best one are all marked. */
  best: boolean
  /** Looked at where the structure of a checkpoint of a run is bad; null elsewhere. */
  recovery: RecoveryPotential | null
}

/** How {@link listCheckpoints} looks. */
export interface ListOptions {
  /** Whether all folders inside are searched. Otherwise (unless told) the folder itself and those in which checkpoints of a run lie: `regular/`, `best/`, `phases/`. */
  recursive?: boolean
  /** Tells how well a damaged file could be recovered; `assessRecovery` unless told. */
  assess?: (path: string) => Promise<{ potential: RecoveryPotential }>
  signal?: AbortSignal
  onProgress?: (done: number, total: number) => void
}

const ownFolders = ['regular', 'best', 'phases']

/** Files described at once: enough to keep the disk busy while others are parsed. */
const atOnce = 8

/** Which checkpoints of a run a list gives: all, or those in `regular/` or `best/`. */
export type CheckpointSelection = 'all' | 'regular' | 'best'

/**
 * Describes every file of a folder that could be a checkpoint, sorted by name. Nothing is created and no tensor is read.
 * @param how a {@link CheckpointSelection} instead of options gives what the older system's list gives, of all folders inside: only checkpoints of a run, newest first, see {@link selectCheckpoints}.
 * @throws TorchkeepError ERR_CHECKPOINT_MISSING where there is no such folder, ERR_CHECKPOINT_UNREADABLE where it cannot be listed, ERR_ABORTED; ERR_INVALID_ARGUMENT for a selection that is none.
 */
export async function listCheckpoints(
  folder: string,
  how: ListOptions | CheckpointSelection = {},
): Promise<ListedCheckpoint[]> {
  if (typeof how !== 'string') return listAll(folder, how)
  requireSelection(how)
  return selectCheckpoints(await listAll(folder, { recursive: true }), how)
}

async function listAll(folder: string, options: ListOptions): Promise<ListedCheckpoint[]> {
  const paths = await pathsOf(folder, options.recursive === true)
  const listed = new Array<ListedCheckpoint | null>(paths.length)
  let [next, done] = [0, 0]
  const describeSome = async (): Promise<void> => {
    for (let index = next++; index < paths.length; index = next++) {
      if (options.signal?.aborted === true) throw new TorchkeepError('ERR_ABORTED', `the list of ${folder} was stopped`)
      listed[index] = await describe(folder, paths[index] as string, options)
      options.onProgress?.(++done, paths.length)
    }
  }
  await Promise.all(Array.from({ length: atOnce }, describeSome))
  const there = listed.filter((file) => file !== null)
  markBest(there)
  return there
}

async function pathsOf(folder: string, recursive: boolean): Promise<string[]> {
  const paths = await findCheckpointFiles(folder, { recursive })
  if (recursive) return paths
  const inside = ownFolders.map((name) => join(folder, name))
  const there = await Promise.all(inside.map(exists))
  const more = await Promise.all(
    inside.filter((_, index) => there[index]).map((path) => findCheckpointFiles(path, { recursive: false })),
  )
  return [...paths, ...more.flat()].sort()
}

/** Null for a file that was removed meanwhile, as a rotation does. */
async function describe(folder: string, path: string, options: ListOptions): Promise<ListedCheckpoint | null> {
  const description = await unlessGone(path, () => describeCheckpoint(path, { folder }))
  if (description === null) return null
  const { structure } = description
  const recovery = structure === 'bad' && isOfRun(description) ? await potentialOf(path, options) : null
  return { ...description, name: relative(folder, path), best: false, recovery }
}

async function potentialOf(path: string, { assess }: ListOptions): Promise<RecoveryPotential | null> {
  // Loaded only where something is damaged.
  const look = assess ?? (await import('./recovery-assess.js')).assessRecovery
  return (await unlessGone(path, () => look(path)))?.potential ?? null
}

async function unlessGone<Result>(path: string, look: () => Promise<Result>): Promise<Result | null> {
  try {
    return await look()
  } catch (error) {
    if (error instanceof TorchkeepError && error.code === 'ERR_CHECKPOINT_MISSING' && !(await exists(path))) return null
    throw error
  }
}

/** The checkpoints of a run among those of a list, newest first; `latest.pth`, `latest_best.pth` and the files of `phases/` are left out where they are copies of others. */
export function selectCheckpoints(
  listed: readonly ListedCheckpoint[],
  selection: CheckpointSelection,
): ListedCheckpoint[] {
  requireSelection(selection)
  const inTime = chronological(listed.filter(isOfRun))
  const named = new Set(inTime.filter((file) => !isLastingName(file.filename)).map(checkpointIdentity))
  return inTime
    .filter((file) => !(isLastingName(file.filename) && named.has(checkpointIdentity(file))))
    .filter((file) => selection === 'all' || basename(dirname(file.path)) === selection)
    .reverse()
}

function requireSelection(selection: string): void {
  if (['all', 'regular', 'best'].includes(selection)) return
  throw new TorchkeepError(
    'ERR_INVALID_ARGUMENT',
    `the selection should be 'all', 'regular' or 'best', but is '${selection}'`,
  )
}

/** Whether a file is a checkpoint of a run, and not a backup, an export or foreign. */
export const isOfRun = ({ role }: CheckpointDescription): boolean => role === 'checkpoint' || role === 'recovered'

function markBest(listed: ListedCheckpoint[]): void {
  const candidates = listed.filter(
    (file) => isOfRun(file) && file.structure === 'ok' && Number.isFinite(file.validationLoss),
  )
  const lowest = candidates.reduce((least, { validationLoss }) => Math.min(least, validationLoss ?? least), Infinity)
  for (const file of candidates) file.best = file.validationLoss === lowest
}
