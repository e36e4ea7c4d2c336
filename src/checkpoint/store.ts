/**
 * The one place that gives a checkpoint file its final name.
 *
 * Whatever happens at any instant (a kill, a power cut, a full disk), the path holds the old file whole or the new file whole: the new one is
 * written under a temporary name in the same folder, made durable, and only then renamed over the old one.
 */
import { randomBytes } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { access, copyFile, constants, mkdir, open, readdir, rename, rm } from 'node:fs/promises'
import { hostname } from 'node:os'
import { dirname, join, resolve } from 'node:path'
import { TorchkeepError } from '../format/errors.js'

/** The file operations of {@link publish}, in the order of their use; tests put failures between them. */
export interface FileOperations {
  /** Flushes a file's data and size to the device. */
  syncFile(path: string): Promise<void>
  rename(from: string, to: string): Promise<void>
  /** Flushes a folder's names to the device. */
  syncFolder(path: string): Promise<void>
  remove(path: string): Promise<void>
}

/** The real ones. */
export const nodeFiles: FileOperations = {
  syncFile: (path) => sync(path, 'r+'),
  rename,
  // Windows has no way to flush a folder and needs none: its file systems journal the rename.
  syncFolder: (path) => (process.platform === 'win32' ? Promise.resolve() : sync(path, 'r')),
  remove: (path) => rm(path, { force: true }),
}

/**
 * Publishes a file: `write` makes it under the temporary path it is given (which does not exist yet: create it exclusively), then it is flushed,
 * renamed to `path` and the folder is flushed. When this resolves, the file survives a power cut. A failed flush is never tried again, since
 * the system may have dropped the pages it could not write.
 *
 * @throws TorchkeepError `ERR_CHECKPOINT_WRITE` naming `path`, with the failure as `cause`; any other TorchkeepError of `write` passes unchanged.
 *   The file that was at `path` before is untouched unless the message says otherwise, and the temporary file is gone.
 */
export async function publish(
  path: string,
  write: (temporaryPath: string) => Promise<void>,
  files: FileOperations = nodeFiles,
): Promise<void> {
  const folder = dirname(resolve(path))
  const temporaryPath = join(folder, temporaryName())
  try {
    await write(temporaryPath)
    await files.syncFile(temporaryPath)
    await files.rename(temporaryPath, path)
  } catch (error) {
    const leftOver = await removeAfterFailure(temporaryPath, files)
    if (error instanceof TorchkeepError && error.code !== 'ERR_CHECKPOINT_WRITE' && leftOver === '') throw error
    throw writeError(path, `${leftOver}; what was there before is untouched`, error)
  }
  try {
    await files.syncFolder(folder)
  } catch (error) {
    throw writeError(path, '; the file is in place and whole, but its name may not survive a power cut', error)
  }
}

/**
 * Publishes a copy of a file that is itself durable (`latest.pth`, `best/latest_best.pth`). A copy and not a hard link: Python's `torch.save` onto one of two
 * linked names would overwrite both.
 */
export function publishCopy(source: string, path: string): Promise<void> {
  return publish(path, (temporaryPath) =>
    copyFile(source, temporaryPath, constants.COPYFILE_EXCL | constants.COPYFILE_FICLONE),
  )
}

/** Makes a folder with its missing parents, each made durable. */
export async function makeFolder(folder: string): Promise<void> {
  try {
    const first = await mkdir(folder, { recursive: true })
    if (first === undefined) return
    const top = dirname(resolve(first))
    for (let made = resolve(folder); made !== top; made = dirname(made)) await nodeFiles.syncFolder(dirname(made))
  } catch (error) {
    throw writeError(folder, '', error)
  }
}

/**
 * The first of `stem.ext`, `stem-2.ext`, `stem-3.ext`... that does not exist.
 *
 * @throws TorchkeepError `ERR_CHECKPOINT_WRITE` where the folder cannot be looked at.
 */
export async function freePath(stem: string, extension: string): Promise<string> {
  for (let count = 1; ; count++) {
    const path = `${stem}${count === 1 ? '' : `-${count}`}${extension}`
    const taken = await exists(path).catch((error: unknown) => {
      throw writeError(path, '', error)
    })
    if (!taken) return path
  }
}

/** Whether anything has this name. A failure other than "no such file" is thrown: it must not look like absence. */
export async function exists(path: string): Promise<boolean> {
  try {
    await access(path)
    return true
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return false
    throw error
  }
}

/**
 * Removes the temporary files that processes of this machine left in a folder when they died. Files of living processes, of other machines and every other
 * file stay.
 *
 * @returns the names removed.
 */
export async function removeStaleTemporaries(folder: string): Promise<string[]> {
  const stale = (await readdir(folder)).filter((name) => {
    const match = temporaryPattern.exec(name)
    return match !== null && match[1] === host && processStart(Number(match[2])) !== match[3]
  })
  for (const name of stale) await rm(join(folder, name), { force: true })
  return stale
}

const host = hostname()
  .replace(/[^A-Za-z0-9]/g, '_')
  .slice(0, 64)
/** `.torchkeep-tmp-HOST-PID-START-RANDOM`: the start time tells a process from a later one with the same id (always 1 in a container). */
const temporaryPattern = /^\.torchkeep-tmp-(\w+)-(\d+)-(\d+)-[0-9a-f]+$/

function temporaryName(): string {
  return `.torchkeep-tmp-${host}-${process.pid}-${processStart(process.pid)}-${randomBytes(8).toString('hex')}`
}

/** When a process started (clock ticks since boot on Linux, `0` where the system does not tell), or null when no such process lives. */
function processStart(pid: number): string | null {
  try {
    if (process.platform === 'linux') {
      const stat = readFileSync(`/proc/${pid}/stat`, 'latin1')
      // The second field is the program's name in parentheses and may hold blanks; field 22 is the start time.
      return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19] ?? '0'
    }
    process.kill(pid, 0)
    return '0'
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code === 'ENOENT' || code === 'ESRCH') return null
    if (code === 'EPERM') return '0'
    throw error
  }
}

async function sync(path: string, flags: 'r' | 'r+'): Promise<void> {
  const file = await open(path, flags)
  try {
    await file.sync()
  } finally {
    await file.close()
  }
}

/** Removes the temporary file; returns what to add to the message where even that failed. */
async function removeAfterFailure(temporaryPath: string, files: FileOperations): Promise<string> {
  try {
    await files.remove(temporaryPath)
    return ''
  } catch (error) {
    return `; the temporary file ${temporaryPath} could not be removed either (${(error as Error).message})`
  }
}

function writeError(path: string, consequence: string, cause: unknown): TorchkeepError {
  const reason = cause instanceof Error ? cause.message : String(cause)
  return new TorchkeepError('ERR_CHECKPOINT_WRITE', `could not write ${path}: ${reason}${consequence}`, { cause })
}
