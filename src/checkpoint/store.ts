/**
 * The one place that gives a checkpoint file its final name.
 *
 * Whatever happens at any instant (a kill, a power cut, a full disk), the path holds the old file whole or the new file whole: the new one is
 * written under a temporary name in the same folder, made durable, and only then renamed over the old one.
 */
import { randomBytes } from 'node:crypto'
import { readFileSync } from 'node:fs'
import {
  access,
  chmod,
  chown,
  copyFile,
  constants,
  link,
  mkdir,
  open,
  readdir,
  rename,
  rm,
  stat,
} from 'node:fs/promises'
import { hostname } from 'node:os'
import { dirname, join, parse, resolve } from 'node:path'
import { TorchkeepError } from '../format/errors.js'
import { writeError } from './write-error.js'

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

/** How a file is published. */
export interface PublishOptions {
  /** Looks at the flushed file before it gets its name: where this throws, nothing gets it. Default: no look. */
  check?: ((temporaryPath: string) => Promise<void>) | undefined
  /** The file operations; tests put failures between them. */
  files?: FileOperations | undefined
}

/**
 * Publishes a file: `write` makes it under the temporary path it is given (which does not exist yet: create it exclusively), then it is flushed, checked,
 * renamed to `path` and the folder is flushed. When this resolves, the file survives a power cut. A failed flush is never tried again, since
 * the system may have dropped the pages it could not write. A file that is replaced leaves its mode to the new one, and its owner where the system lets this process give it.
 *
 * @throws TorchkeepError `ERR_CHECKPOINT_WRITE`, or `ERR_DISK_FULL` where no space is left, naming `path`, with the failure as `cause`; any other TorchkeepError of `write` and `check` passes unchanged.
 *   The file that was at `path` before is untouched unless the message says otherwise, and the temporary file is gone.
 */
export async function publish(
  path: string,
  write: (temporaryPath: string) => Promise<void>,
  options: PublishOptions = {},
): Promise<void> {
  await publishAs(path, write, options, async (temporaryPath, files) => {
    await takeOverMode(path, temporaryPath)
    await files.rename(temporaryPath, path)
    return path
  })
}

/** Gives a file the mode and the owner of the one that it is to replace. */
async function takeOverMode(path: string, temporaryPath: string): Promise<void> {
  const before = await statIfThere(path)
  if (before === null || process.platform === 'win32') return
  const now = await stat(temporaryPath)
  if (before.uid !== now.uid || before.gid !== now.gid)
    await chown(temporaryPath, before.uid, before.gid).catch((error: unknown) => {
      // Only root may give files away; then the owner is who wrote it, as with any other program.
      if ((error as NodeJS.ErrnoException).code !== 'EPERM') throw error
    })
  if ((before.mode & 0o7777) !== (now.mode & 0o7777)) await chmod(temporaryPath, before.mode & 0o7777)
}

async function statIfThere(path: string) {
  try {
    return await stat(path)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null
    throw error
  }
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
  options: PublishOptions = {},
): Promise<string> {
  return publishAs(path, write, options, async (temporaryPath, files) => {
    const free = await firstFree(path, (name) => takeName(temporaryPath, name, files))
    await files.remove(temporaryPath)
    return free
  })
}

/** The first of `path`, `stem-2.ext`, `stem-3.ext`... that can be taken. */
async function firstFree(path: string, take: (free: string) => Promise<boolean>): Promise<string> {
  const { dir, name, ext } = parse(path)
  for (let count = 1; ; count++) {
    const free = join(dir, `${name}${count === 1 ? '' : `-${count}`}${ext}`)
    if (await take(free)) return free
  }
}

/** Gives a file a second name that nothing has; false where something has it. */
async function linkTo(source: string, name: string, files: FileOperations): Promise<boolean> {
  try {
    await files.link(source, name)
    return true
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false
    throw error
  }
}

/** Gives the file a name that nothing has; false where something has it. The file keeps its former name too, except on file systems without hard links. */
export async function takeName(temporaryPath: string, name: string, files: FileOperations): Promise<boolean> {
  try {
    return await linkTo(temporaryPath, name, files)
  } catch (error) {
    if (!lacksLinks(error)) throw error
    // Here two processes at once could still meet between the look and the rename.
    if (await exists(name)) return false
    await files.rename(temporaryPath, name)
    return true
  }
}

/** What systems answer where a file cannot have a second name: on a file system without hard links, such as FAT, or of another one. */
const noHardLinks = new Set(['EPERM', 'ENOTSUP', 'EOPNOTSUPP', 'ENOSYS', 'EMLINK', 'EXDEV'])

/** Whether a link failed because there can be none, so that a copy is in place. */
export const lacksLinks = (error: unknown): boolean => noHardLinks.has((error as NodeJS.ErrnoException).code ?? '')

/** Writes the temporary file, makes it durable, has it checked, has `place` give it its name, and makes the name durable. Returns the name. */
async function publishAs(
  path: string,
  write: (temporaryPath: string) => Promise<void>,
  { check, files = nodeFiles }: PublishOptions,
  place: (temporaryPath: string, files: FileOperations) => Promise<string>,
): Promise<string> {
  const folder = dirname(resolve(path))
  const temporaryPath = join(folder, temporaryName())
  let placed: string
  try {
    await write(temporaryPath)
    await files.syncFile(temporaryPath)
    await check?.(temporaryPath)
    placed = await place(temporaryPath, files)
  } catch (error) {
    const leftOver = await removeAfterFailure(temporaryPath, files)
    if (error instanceof TorchkeepError && error.code !== 'ERR_CHECKPOINT_WRITE' && leftOver === '') throw error
    throw await writeError(path, `${leftOver}; what was there before is untouched`, error)
  }
  await syncNames(placed, files)
  return placed
}

/** Flushes the folder of a file that is in place. */
async function syncNames(placed: string, files: FileOperations): Promise<void> {
  try {
    await files.syncFolder(dirname(resolve(placed)))
  } catch (error) {
    throw await writeError(placed, '; the file is in place and whole, but its name may not survive a power cut', error)
  }
}

/** Publishes a copy of a file that is itself durable. Where the file system shares blocks between copies (btrfs, XFS), it costs none. */
export function publishCopy(source: string, path: string, options: PublishOptions = {}): Promise<void> {
  return publish(path, copyOf(source), options)
}

/** {@link publishCopy} under a free name, as {@link publishNew} finds it. Returns the name. */
export function publishNewCopy(source: string, path: string, options: PublishOptions = {}): Promise<string> {
  return publishNew(path, copyOf(source), options)
}

/**
 * Gives a durable file another name (`latest.pth`, `best/latest_best.pth`), in place of what has it now: a hard link, which costs no space and no time, and is a copy where the file system has no links. At every instant the name
 * has the old file or the new one.
 *
 * Torchkeep never writes into a file that has a name, so one name's content cannot change through another. A program that does (Python's `torch.save` onto `latest.pth`) changes the file under all its names: to go on with a
 * checkpoint of Torchkeep in Python, save under names of your own.
 *
 * @throws TorchkeepError as {@link publish}.
 */
export async function publishLink(source: string, path: string, options: PublishOptions = {}): Promise<void> {
  const { files = nodeFiles } = options
  const temporaryPath = join(dirname(resolve(path)), temporaryName())
  try {
    await files.link(source, temporaryPath)
  } catch (error) {
    if (lacksLinks(error)) return publishCopy(source, path, options)
    throw await writeError(path, '; what was there before is untouched', error)
  }
  try {
    await files.rename(temporaryPath, path)
    // A rename onto another name of the same file does nothing, and leaves both.
    await files.remove(temporaryPath)
  } catch (error) {
    const leftOver = await removeAfterFailure(temporaryPath, files)
    throw await writeError(path, `${leftOver}; what was there before is untouched`, error)
  }
  await syncNames(path, files)
}

/** {@link publishLink} under a free name, as {@link publishNew} finds it. Returns the name. */
export async function publishNewLink(source: string, path: string, options: PublishOptions = {}): Promise<string> {
  const { files = nodeFiles } = options
  let placed: string
  try {
    placed = await firstFree(path, (free) => linkTo(source, free, files))
  } catch (error) {
    if (lacksLinks(error)) return publishNewCopy(source, path, options)
    throw await writeError(path, '', error)
  }
  await syncNames(placed, files)
  return placed
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
    throw await writeError(folder, '', error)
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
