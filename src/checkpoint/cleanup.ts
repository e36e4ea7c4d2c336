/** Carries out retention plans: shows them first, then moves or deletes. */
import { join, relative, sep } from 'node:path'
import { TorchkeepError } from '../format/errors.js'
import { requireMetric } from './best.js'
import { deleteFile, type FileState, moveToTrash, stateOf } from './removal.js'
import { keepBestRules, plan, type RetentionChoice, type RetentionPolicy } from './retention.js'
import { sidecarsOf } from './sidecar.js'
import { type FileOperations, nodeFiles } from './store.js'
import { type SurveyedFile, type SurveyOptions, surveyFolder } from './survey.js'

/** How {@link cleanCheckpoints} works. */
export interface CleanupOptions extends SurveyOptions {
  /** Without it nothing is changed: the plan is only shown. */
  confirm?: boolean
  /** Deletes instead of moving into `trash/` of the folder. */
  delete?: boolean
  /** The file operations; tests put failures between them. */
  files?: FileOperations
}

/** A plan and what became of it. */
export interface CleanupResult {
  folder: string
  /** False for a dry run. */
  confirmed: boolean
  /** What becomes of each file and why, sorted by path. */
  plan: (RetentionChoice & { sizeBytes: number })[]
  /** Paths that are gone from their place, sidecars included. */
  removed: string[]
  /** Where each of them lies now; empty where they were deleted. */
  trash: Record<string, string>
  failedToRemove: { path: string; error: string }[]
  /** MiB of the files that the plan removes, sidecars not counted. */
  plannedSpaceMb: number
  /** MiB that the disk has more now: 0 after moving into the trash (delete that folder to have them), and hard links count when the last name goes. */
  totalSpaceFreedMb: number
}

/**
 * Removes the checkpoints that a policy does not keep: nothing without `confirm`, into `trash/` of the folder without `delete`. A file that was replaced or changed after it was judged stays. Files of the same name
 * (`metrics/*.json`) go along. A file that cannot be removed is reported, and the others are removed all the same.
 *
 * @throws TorchkeepError ERR_CHECKPOINT_MISSING, `_UNREADABLE` for the folder; ERR_INVALID_ARGUMENT for a policy that is none or a metric that no checkpoint has; ERR_ABORTED, between two files.
 */
export async function cleanCheckpoints(
  folder: string,
  policy: RetentionPolicy,
  options: CleanupOptions = {},
): Promise<CleanupResult> {
  plan([], policy) // Wrong policies are refused before the files are read.
  const files = await surveyFolder(folder, options)
  for (const { metric } of keepBestRules(policy)) requireMetric(files.filter(isRanked), metric)
  const choices = plan(files, policy)
  const going = files.filter((_file, index) => choices[index]?.keep === false)
  const result: CleanupResult = {
    folder,
    confirmed: options.confirm === true,
    plan: choices.map((choice, index) => ({ ...choice, sizeBytes: files[index]?.sizeBytes ?? 0 })),
    removed: [],
    trash: {},
    failedToRemove: [],
    plannedSpaceMb: mebibytes(going.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0)),
    totalSpaceFreedMb: 0,
  }
  if (options.confirm !== true) return result
  const staying = await sidecarsOfAll(
    files.filter((_file, index) => choices[index]?.keep !== false),
    folder,
  )
  for (const file of going) {
    if (options.signal?.aborted === true)
      throw new TorchkeepError(
        'ERR_ABORTED',
        `interrupted after ${result.removed.length} files were removed from ${folder}`,
      )
    await remove(file, staying, options, result)
  }
  return result
}

/** Whether a plan ranks the file by its metrics. */
const isRanked = ({ role, kind, verdict }: SurveyedFile): boolean =>
  role === 'checkpoint' && kind === 'training_checkpoint' && verdict === 'valid'

const mebibytes = (sizeBytes: number): number => sizeBytes / (1 << 20)

/** Its sidecars in the folder that is cleaned. Those of a run above it may be of checkpoints that were not looked at. */
async function sidecarsOfFile({ path, timestamp, role }: SurveyedFile, folder: string): Promise<string[]> {
  if (role !== 'checkpoint') return []
  return (await sidecarsOf(path, timestamp)).filter((sidecar) => {
    const inside = relative(folder, sidecar)
    return inside !== '..' && !inside.startsWith(`..${sep}`)
  })
}

async function sidecarsOfAll(files: readonly SurveyedFile[], folder: string): Promise<ReadonlySet<string>> {
  const paths = new Set<string>()
  for (const file of files) for (const path of await sidecarsOfFile(file, folder)) paths.add(path)
  return paths
}

/** Removes a file and then its sidecars, but for those that a staying file has too. */
async function remove(
  file: SurveyedFile,
  staying: ReadonlySet<string>,
  options: CleanupOptions,
  result: CleanupResult,
): Promise<void> {
  const sidecars = (await sidecarsOfFile(file, result.folder)).filter((path) => !staying.has(path))
  for (const path of [file.path, ...sidecars]) {
    try {
      await removeOne(path, path === file.path ? file.state : await stateOf(path), options, result)
    } catch (error) {
      // Failures of the system have a code as ours have; anything else is a mistake in this code.
      if ((error as NodeJS.ErrnoException).code === undefined) throw error
      result.failedToRemove.push({ path, error: (error as Error).message })
      return // A checkpoint that stays keeps its sidecars.
    }
  }
}

async function removeOne(
  path: string,
  judged: FileState,
  options: CleanupOptions,
  result: CleanupResult,
): Promise<void> {
  const files = options.files ?? nodeFiles
  if (options.delete === true) {
    result.totalSpaceFreedMb += mebibytes(await deleteFile(path, judged, files))
  } else {
    const { folder } = result
    result.trash[path] = await moveToTrash(path, join(folder, 'trash', relative(folder, path)), judged, files)
  }
  result.removed.push(path)
}
