/**
 * Takes files away: into a trash folder, or for good. A file goes only in the very state in which it was judged: whatever took its name meanwhile stays, and at every instant what goes into the trash exists
 * whole and durable under its old name or its new one.
 */
import { constants, copyFile, readdir, stat } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { TorchkeepError } from '../format/errors.js'
import type { FileIdentity } from '../format/tensor-record.js'
import {
  type FileOperations,
  isOfDeadProcess,
  makeFolder,
  nodeFiles,
  processTag,
  publishNew,
  takeName,
} from './store.js'

/** What tells the state of a file in which it was judged from every other, and which names share its content. */
export interface FileState extends FileIdentity {
  device: bigint
  /** Names (hard links) of the content. */
  links: number
}

/** The state of a file now; links are followed. */
export async function stateOf(path: string): Promise<FileState> {
  const { dev, ino, size, mtimeNs, nlink } = await stat(path, { bigint: true })
  return { device: dev, inode: ino, sizeBytes: Number(size), modifiedNs: mtimeNs, links: Number(nlink) }
}

/**
 * Moves a file into a trash folder, which is made where it does not exist, as `trashPath` or, where that is taken, `stem-2.ext`, `stem-3.ext`...: durably there first, then gone here. Across file systems it is copied.
 *
 * @returns the name it got.
 * @throws TorchkeepError ERR_CHECKPOINT_WRITE; the file is then still where it was, unless the message says otherwise.
 */
export async function moveToTrash(
  path: string,
  trashPath: string,
  judged: FileState,
  files: FileOperations = nodeFiles,
): Promise<string> {
  await makeFolder(dirname(trashPath))
  let linked = false
  const write = async (temporaryPath: string) => {
    linked = await duplicate(path, temporaryPath, judged, files)
  }
  // A second name brings no new bytes to flush, and flushing would need the right to write into the file.
  const syncFile = (path: string) => (linked ? Promise.resolve() : files.syncFile(path))
  const placed = await publishNew(trashPath, write, { files: { ...files, syncFile } })
  try {
    await deleteFile(path, judged, files)
  } catch (error) {
    const leftOver = await attempt(() => files.remove(placed))
    if (leftOver === null) throw error
    throw writeError(path, `${messageOf(error)}; a second name or copy of it is left as ${placed} (${leftOver})`, error)
  }
  return placed
}

/**
 * Deletes a file durably.
 *
 * @returns the bytes of disk space that this gave back: none while the content has another name.
 * @throws TorchkeepError ERR_CHECKPOINT_WRITE; the file is then still where it was, unless the message says otherwise.
 */
export async function deleteFile(path: string, judged: FileState, files: FileOperations = nodeFiles): Promise<number> {
  await requireUnchanged(path, path, judged)
  // Renamed first and looked at again: a file that takes the name between a look and an unlink would be lost.
  const hidden = join(dirname(path), hiddenName(judged))
  await files.rename(path, hidden).catch((cause: unknown) => Promise.reject(writeError(path, messageOf(cause), cause)))
  let links: number
  try {
    links = (await requireUnchanged(hidden, path, judged)).links
    await files.remove(hidden)
  } catch (error) {
    throw await putBack(hidden, path, files, error)
  }
  try {
    await files.syncFolder(dirname(path))
  } catch (cause) {
    throw writeError(path, `it is removed, but after a power cut it may be there again (${messageOf(cause)})`, cause)
  }
  return links === 1 ? judged.sizeBytes : 0
}

/** Tells who takes away what, so that {@link finishRemovals} can end what a killed process began. */
function hiddenName({ inode, sizeBytes, modifiedNs }: FileState): string {
  return `.torchkeep-removing-${processTag()}-${inode}-${sizeBytes}-${modifiedNs}`
}

const hiddenPattern = /^\.torchkeep-removing-(\w+-\d+-\d+)-(\d+)-(\d+)-(\d+)$/

/**
 * Removes what processes of this machine were about to delete in a folder when they died: a hidden file that is still the one that was judged. Any other (a file that had taken the name meanwhile, one of a copied folder) stays.
 *
 * @returns the names removed.
 */
export async function finishRemovals(folder: string, files: FileOperations = nodeFiles): Promise<string[]> {
  const removed: string[] = []
  for (const name of await readdir(folder)) {
    const [, tag, inode, sizeBytes, modifiedNs] = hiddenPattern.exec(name) ?? []
    if (tag === undefined || !isOfDeadProcess(tag)) continue
    const path = join(folder, name)
    const now = await stateOf(path)
    const same = [now.inode, now.sizeBytes, now.modifiedNs].map(String).join() === [inode, sizeBytes, modifiedNs].join()
    if (!same) continue
    await files.remove(path)
    removed.push(name)
  }
  return removed
}

/** Gives the file a second name, or makes a copy where it can have none there; whether it is a second name. */
async function duplicate(path: string, to: string, judged: FileState, files: FileOperations): Promise<boolean> {
  try {
    await files.link(path, to)
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code === undefined || !noLinkThere.has(code)) throw error
    await copyFile(path, to, constants.COPYFILE_EXCL | constants.COPYFILE_FICLONE)
    await requireUnchanged(path, path, judged)
    return false
  }
  await requireUnchanged(to, path, judged)
  return true
}

/** What systems answer where a file cannot have a second name: on another file system, or on one without hard links. */
const noLinkThere = new Set(['EXDEV', 'EPERM', 'ENOTSUP', 'EOPNOTSUPP', 'ENOSYS', 'EMLINK'])

async function requireUnchanged(at: string, path: string, judged: FileState): Promise<FileState> {
  const now = await stateOf(at).catch((cause: unknown) => Promise.reject(writeError(path, messageOf(cause), cause)))
  const keys = ['device', 'inode', 'sizeBytes', 'modifiedNs'] as const
  const changed = keys.find((key) => now[key] !== judged[key])
  if (changed === undefined) return now
  throw writeError(path, 'the file was replaced or changed after it was judged, so it stays', undefined)
}

/** Gives a file that was taken away its name back; the error to raise. */
async function putBack(hidden: string, path: string, files: FileOperations, reason: unknown): Promise<TorchkeepError> {
  const failure = await attempt(async () => {
    if (!(await takeName(hidden, path, files))) throw new Error(`${path} is taken by a new file`)
    await files.remove(hidden)
  })
  const left =
    failure === null ? '' : `; it is now called ${hidden}, since it could not be given its name back (${failure})`
  return writeError(path, `${messageOf(reason)}${left}`, reason)
}

/** Null where it succeeded, else why it did not. */
async function attempt(act: () => Promise<void>): Promise<string | null> {
  try {
    await act()
    return null
  } catch (error) {
    return messageOf(error)
  }
}

function writeError(path: string, reason: string, cause: unknown): TorchkeepError {
  if (cause instanceof TorchkeepError && cause.message === reason) return cause
  return new TorchkeepError('ERR_CHECKPOINT_WRITE', `could not remove ${path}: ${reason}`, { cause })
}

const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error))
