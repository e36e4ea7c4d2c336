/** Gives a whole folder its final name at once, by the rules of `store.ts`: made under a temporary name beside it, durable, renamed, the parent durable. */
import { mkdir, readdir, rm } from 'node:fs/promises'
import { dirname, join, resolve } from 'node:path'
import { TorchkeepError } from '../format/errors.js'
import { writeError } from './write-error.js'
import { exists, makeFolder, nodeFiles, removeStaleTemporaries, temporaryName, type FileOperations } from './store.js'

/** How {@link publishFolder} is ended and tested. */
export interface PublishFolderOptions {
  /** Looked at before the folder gets its name; then nothing is left. */
  signal?: AbortSignal | undefined
  files?: FileOperations
}

/**
 * Publishes a folder: `write` fills the temporary folder that it is given; every file and folder in it is flushed, then it is renamed to `path`, or to `path-2`, `path-3`... where that is taken: nothing is ever replaced.
 * What was begun is removed when anything fails; what a killed process left is removed by the next one.
 *
 * @returns the name that it got.
 * @throws TorchkeepError `ERR_CHECKPOINT_WRITE` naming `path`; `ERR_ABORTED`; any TorchkeepError of `write` unchanged.
 */
export async function publishFolder(
  path: string,
  write: (temporaryFolder: string) => Promise<void>,
  { signal, files = nodeFiles }: PublishFolderOptions = {},
): Promise<string> {
  const parent = dirname(resolve(path))
  await makeFolder(parent)
  await removeStaleTemporaries(parent)
  const temporary = join(parent, temporaryName())
  let placed: string
  try {
    await mkdir(temporary)
    await write(temporary)
    await syncTree(temporary, files)
    requireNotAborted(signal)
    placed = await place(temporary, path, files)
  } catch (error) {
    throw await abandoned(temporary, path, error)
  }
  try {
    await files.syncFolder(parent)
  } catch (cause) {
    throw await writeError(
      placed,
      '; the folder is in place and whole, but its name may not survive a power cut',
      cause,
    )
  }
  return placed
}

/**
 * Renames to the first free name. A rename onto a folder with anything in it fails, so of two exports at once both keep theirs; an empty folder that somebody makes between the look and the rename is taken.
 */
async function place(temporary: string, path: string, files: FileOperations): Promise<string> {
  for (let count = 1; ; count++) {
    const free = count === 1 ? path : `${path}-${count}`
    if (await exists(free)) continue
    try {
      await files.rename(temporary, free)
      return free
    } catch (error) {
      const { code = '' } = error as NodeJS.ErrnoException
      if (!['EEXIST', 'ENOTEMPTY', 'ENOTDIR', 'EPERM'].includes(code) || !(await exists(free))) throw error
    }
  }
}

/** Flushes all files and folders in a folder, the innermost first. */
async function syncTree(folder: string, files: FileOperations): Promise<void> {
  for (const entry of await readdir(folder, { withFileTypes: true })) {
    const path = join(folder, entry.name)
    if (entry.isDirectory()) await syncTree(path, files)
    else await files.syncFile(path)
  }
  await files.syncFolder(folder)
}

async function abandoned(temporary: string, path: string, error: unknown): Promise<TorchkeepError> {
  let leftOver = ''
  try {
    await rm(temporary, { recursive: true, force: true })
    if (await exists(temporary)) leftOver = `; ${temporary} could not be removed`
  } catch (failure) {
    leftOver = `; ${temporary} could not be removed either (${(failure as Error).message})`
  }
  if (error instanceof TorchkeepError && error.code !== 'ERR_CHECKPOINT_WRITE' && leftOver === '') return error
  return writeError(path, `${leftOver}; nothing has that name`, error)
}

/** @throws TorchkeepError `ERR_ABORTED`. */
export function requireNotAborted(signal: AbortSignal | undefined): void {
  if (signal?.aborted === true)
    throw new TorchkeepError('ERR_ABORTED', 'the export was interrupted; nothing of it is left', {
      cause: signal.reason,
    })
}
