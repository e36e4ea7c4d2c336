/** What a folder can hold and lets be done in it, found out before a run of hours relies on it. */
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { TorchkeepError } from '../format/errors.js'
import { lacksLinks, type FileOperations, nodeFiles, temporaryName } from './store.js'
import { freeBytesIn, writeError } from './write-error.js'

/** What {@link probeFolder} found. */
export interface FolderFacts {
  /** Whether a file can have a second name there; without, further names of a checkpoint are copies of its size. */
  hasLinks: boolean
  /** Bytes that this process may still write there; null where the system does not tell. */
  freeBytes: number | null
}

/**
 * Does in a folder once what a save does: makes a file, flushes it, links it, renames it, removes it. Nothing is left.
 *
 * @param folder exists.
 * @throws TorchkeepError `ERR_CHECKPOINT_WRITE` or `ERR_DISK_FULL` naming the folder and what it refuses.
 */
export async function probeFolder(folder: string, files: FileOperations = nodeFiles): Promise<FolderFacts> {
  const [made, linked, renamed] = [temporaryName(), temporaryName(), temporaryName()].map((name) =>
    join(folder, name),
  ) as [string, string, string]
  let hasLinks = true
  try {
    await writeFile(made, 'torchkeep tries whether a checkpoint can be saved here', { flag: 'wx' })
    await files.syncFile(made)
    await files.link(made, linked).catch((error: unknown) => {
      if (!lacksLinks(error)) throw error
      hasLinks = false
    })
    await files.rename(made, renamed)
    await files.syncFolder(folder)
  } catch (error) {
    throw await writeError(renamed, `; no checkpoint can be saved in ${folder}`, error)
  } finally {
    for (const path of [made, linked, renamed]) await files.remove(path)
  }
  return { hasLinks, freeBytes: await freeBytesIn(folder) }
}

/**
 * @param sizeBytes of one checkpoint.
 * @param count of checkpoints that must find room, the temporary one that a save makes first included.
 * @throws TorchkeepError `ERR_DISK_FULL` with the bytes needed and free.
 */
export function requireSpace(folder: string, { freeBytes }: FolderFacts, sizeBytes: number, count: number): void {
  const neededBytes = sizeBytes * count
  if (freeBytes === null || freeBytes >= neededBytes) return
  throw new TorchkeepError(
    'ERR_DISK_FULL',
    `${folder} has room for ${freeBytes} bytes, and ${count} checkpoints of ${sizeBytes} bytes need ${neededBytes}`,
    { suggestions: ['Make room, keep fewer checkpoints, or save into a folder on another disk.'] },
  )
}
