/** What went wrong when something was written, told from the codes of the system. */
import { statfs } from 'node:fs/promises'
import { dirname, resolve } from 'node:path'
import { getSystemErrorName } from 'node:util'
import { TorchkeepError } from '../format/errors.js'

/** The name of the system's error (`ENOSPC`, `EIO`) underneath a failure, of Node's fs or of the addon; null where no system call failed. */
export function systemErrorOf(error: unknown): string | null {
  for (let at = error; at instanceof Error; at = at.cause) {
    const { errno, code } = at as NodeJS.ErrnoException
    if (typeof errno === 'number' && errno < 0) return getSystemErrorName(errno)
    if (code !== undefined && /^E[A-Z0-9]+$/.test(code)) return code
  }
  return null
}

/** Whether a failure says that the disk, or the quota, is full. */
export const isDiskFull = (error: unknown): boolean => ['ENOSPC', 'EDQUOT'].includes(systemErrorOf(error) ?? '')

/** The error for a file that could not be written: `ERR_DISK_FULL` with the bytes that are left there, else `ERR_CHECKPOINT_WRITE`. */
export async function writeError(path: string, consequence: string, cause: unknown): Promise<TorchkeepError> {
  const reason = cause instanceof Error ? cause.message : String(cause)
  const full = isDiskFull(cause)
  const free = full ? await freeBytesBeside(path) : null
  const left = free === null ? '' : ` (${Math.floor(free / 1024)} KiB are free)`
  return new TorchkeepError(
    full ? 'ERR_DISK_FULL' : 'ERR_CHECKPOINT_WRITE',
    `could not write ${path}: ${reason}${left}${consequence}`,
    { cause, ...(full ? { suggestions: fullDisk } : {}) },
  )
}

const fullDisk = ['Make room (`torchkeep cleanup` shows what may go), or write into a folder on another disk.']

/** Bytes that this process may still write in a folder; null where the system does not tell (some network and virtual file systems). */
export async function freeBytesIn(folder: string): Promise<number | null> {
  const { bavail, bsize, blocks } = await statfs(resolve(folder))
  return blocks === 0 ? null : bavail * bsize
}

/** {@link freeBytesIn} for a message about another failure, which is what counts. */
async function freeBytesBeside(path: string): Promise<number | null> {
  try {
    return await freeBytesIn(dirname(resolve(path)))
  } catch {
    return null
  }
}
