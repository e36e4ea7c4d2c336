/**
 * The one place that gives a checkpoint file its final name.
 *
 * Whatever happens at any instant (a kill, a power cut, a full disk), the path holds the old file whole or the new file whole: the new one is
 * written under a temporary name in the same folder, made durable, and only then renamed over the old one.
 */
import { randomBytes } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { access, copyFile, constants, link, mkdir, open, readdir, rename, rm } from 'node:fs/promises'
import { hostname } from 'node:os'
import { dirname, join, parse, resolve } from 'node:path'
import { TorchkeepError } from '../format/errors.js'

/** The file operations of {@link publish}, in the order of their use; tests put failures between them. */
export interface FileOperations {
  /** Flushes a file's data and size to the device. */
  syncFile(path: string): Promise<void>
  rename(from: string, to: string): Promise<void>
  /** Gives a file a second name, which nothing may have (`EEXIST`). */
  link(path: string, name: string): Promise<void>
  /** Flushes a folder's names to the device. */
  syncFolder(path: string): Promise<void>
  remove(path: string): Promise<void>
}

/** The real ones. */
export const nodeFiles: FileOperations = {
  syncFile: (path) => sync(path, 'r+'),
  rename,
  link,
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
  await publishAs(path, write, files, async (temporaryPath) => {
    await files.rename(temporaryPath, path)
    return path
  })
}

/**
 * Publishes a file as {@link publish} does, but never over another one: where `path` is taken it gets the first free of `stem-2.ext`, `stem-3.ext`...
 * Two processes that publish under one name at once both keep their files.
 *
 * @returns the name it got.
 */
export function publishNew(
  path: string,
  write: (temporaryPath: string) => Promise<void>,
  files: FileOperations = nodeFiles,
): Promise<string> {
  return publishAs(path, write, files, async (temporaryPath) => {
    const { dir, name, ext } = parse(path)
    for (let count = 1; ; count++) {
      const free = join(dir, `${name}${count === 1 ? '' : `-${count}`}${ext}`)
      if (!(await takeName(temporaryPath, free, files))) continue
      await files.remove(temporaryPath)
      return free
    }
  })
}

/** Gives the file a name that nothing has; false where something has it. The file keeps its former name too, except on file systems without hard links. */
export async function takeName(temporaryPath: string, name: string, files: FileOperations): Promise<boolean> {
  try {
    await files.link(temporaryPath, name)
    return true
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code === 'EEXIST') return false
    if (code === undefined || !noHardLinks.has(code)) throw error
    // A file system without hard links, such as FAT. Here two processes at once could still meet between the look and the rename.
    if (await exists(name)) return false
    await files.rename(temporaryPath, name)
    return true
  }
}

/** What systems answer where a file system has no hard links. */
const noHardLinks = new Set(['EPERM', 'ENOTSUP', 'EOPNOTSUPP', 'ENOSYS', 'EMLINK'])

/** Writes the temporary file, makes it durable, has `place` give it its name, and makes the name durable. Returns the name. */
async function publishAs(
  path: string,
  write: (temporaryPath: string) => Promise<void>,
  files: FileOperations,
  place: (temporaryPath: string) => Promise<string>,
): Promise<string> {
  const folder = dirname(resolve(path))
  const temporaryPath = join(folder, temporaryName())
  let placed: string
  try {
    await write(temporaryPath)
    await files.syncFile(temporaryPath)
    placed = await place(temporaryPath)
  } catch (error) {
    const leftOver = await removeAfterFailure(temporaryPath, files)
    if (error instanceof TorchkeepError && error.code !== 'ERR_CHECKPOINT_WRITE' && leftOver === '') throw error
    throw writeError(path, `${leftOver}; what was there before is untouched`, error)
  }
  try {
    await files.syncFolder(folder)
  } catch (error) {
    throw writeError(placed, '; the file is in place and whole, but its name may not survive a power cut', error)
  }
  return placed
}

/**
 * Publishes a copy of a file that is itself durable (`latest.pth`, `best/latest_best.pth`). A copy and not a hard link: Python's `torch.save` onto one of two
 * linked names would overwrite both.
 */
export function publishCopy(source: string, path: string, files: FileOperations = nodeFiles): Promise<void> {
  return publish(path, copyOf(source), files)
}

/** {@link publishCopy} under a free name, as {@link publishNew} finds it. Returns the name. */
export function publishNewCopy(source: string, path: string, files: FileOperations = nodeFiles): Promise<string> {
  return publishNew(path, copyOf(source), files)
}

function copyOf(source: string): (temporaryPath: string) => Promise<void> {
  return (temporaryPath) => copyFile(source, temporaryPath, constants.COPYFILE_EXCL | constants.COPYFILE_FICLONE)
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
 * Removes the temporary files and folders that processes of this machine left in a folder when they died. Files of living processes, of other machines and every other
 * file stay.
 *
 * @returns the names removed.
 */
export async function removeStaleTemporaries(folder: string): Promise<string[]> {
  const stale = (await readdir(folder)).filter((name) => {
    const match = temporaryPattern.exec(name)
    return match?.[1] !== undefined && isOfDeadProcess(match[1])
  })
  for (const name of stale) await rm(join(folder, name), { force: true, recursive: true })
  return stale
}

const host = hostname()
  .replace(/[^A-Za-z0-9]/g, '_')
  .slice(0, 64)
const temporaryPattern = /^\.torchkeep-tmp-(\w+-\d+-\d+)-[0-9a-f]+$/

/** A name in the folder of what is to be published, by which {@link removeStaleTemporaries} knows whose it is. */
export function temporaryName(): string {
  return `.torchkeep-tmp-${processTag()}-${randomBytes(8).toString('hex')}`
}

/** `HOST-PID-START`, for the names of what this process makes for a moment: the start time tells it from a later one with the same id (always 1 in a container). */
export function processTag(): string {
  return `${host}-${process.pid}-${processStart(process.pid)}`
}

/** Whether a {@link processTag} is of a process of this machine that lives no more. */
export function isOfDeadProcess(tag: string): boolean {
  const [, itsHost, pid, start] = /^(\w+)-(\d+)-(\d+)$/.exec(tag) ?? []
  return itsHost === host && processStart(Number(pid)) !== start
}

/** When a process started (clock ticks since boot on Linux, `0` where the system does not tell), or null when no such process lives. */
export function processStart(pid: number): string | null {
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
