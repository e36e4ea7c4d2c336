/** The archive beside an exported folder: it unpacks into a folder of that name. */
import { createReadStream, createWriteStream } from 'node:fs'
import { readdir, stat } from 'node:fs/promises'
import { join } from 'node:path'
import type { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { createGzip } from 'node:zlib'
import { requireNotAborted } from '../checkpoint/publish-folder.js'
import { TorchkeepError } from '../format/errors.js'
import type { ArchiveFormat } from './types.js'

/** How {@link packFolder} packs. */
export interface PackOptions {
  /** The folder that it unpacks into. */
  name: string
  /** The time of all files in it, so that equal folders give equal archives. */
  mtime: Date
  signal?: AbortSignal | undefined
  onProgress?: (doneBytes: number, totalBytes: number) => void
}

/**
 * Packs a folder of files into a new file. Nobody is named in it: no users, no groups, ids 0.
 *
 * @throws TorchkeepError `ERR_CHECKPOINT_WRITE`, `ERR_ABORTED`. What was begun stays, for the caller to remove.
 */
export async function packFolder(
  folder: string,
  format: ArchiveFormat,
  path: string,
  options: PackOptions,
): Promise<void> {
  const names = (await readdir(folder)).sort()
  const totalBytes = (await Promise.all(names.map((name) => stat(join(folder, name))))).reduce(
    (sum, { size }) => sum + size,
    0,
  )
  let doneBytes = 0
  const count = async function* (chunks: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
    for await (const chunk of chunks) {
      requireNotAborted(options.signal)
      options.onProgress?.((doneBytes += chunk.length), totalBytes)
      yield chunk
    }
  }
  const pack = format === 'zip' ? packZip : packTar
  try {
    await pack(folder, names, options, path, count)
  } catch (error) {
    requireNotAborted(options.signal)
    if (error instanceof TorchkeepError) throw error
    throw new TorchkeepError('ERR_CHECKPOINT_WRITE', `could not pack ${folder}: ${(error as Error).message}`, {
      cause: error,
    })
  }
}

type Count = (chunks: AsyncIterable<Buffer>) => AsyncGenerator<Buffer>

async function packTar(
  folder: string,
  names: string[],
  { name, mtime }: PackOptions,
  path: string,
  count: Count,
): Promise<void> {
  const tar = await import('tar')
  // Not its own gzip, which compresses on this thread. `portable` leaves out users, groups, inodes and access times.
  const pack = tar.create(
    {
      cwd: folder,
      prefix: name,
      portable: true,
      mtime,
      strict: true,
      onWriteEntry: (entry) => {
        if (entry.stat !== undefined)
          Object.assign(entry.stat, { uid: 0, gid: 0, mode: (entry.stat.mode & ~0o777) | 0o644 })
      },
    },
    names,
  )
  const whole = count(pack as unknown as AsyncIterable<Buffer>)
  await pipeline(whole, createGzip(), createWriteStream(path, { flags: 'wx' }))
}

async function packZip(
  folder: string,
  names: string[],
  { name, mtime }: PackOptions,
  path: string,
  count: Count,
): Promise<void> {
  const { ZipFile } = await import('yazl')
  const zip = new ZipFile()
  const failed = new Promise<never>((_, reject) => zip.once('error', reject))
  for (const file of names) {
    const { size } = await stat(join(folder, file))
    zip.addReadStreamLazy(`${name}/${file}`, { mtime, mode: 0o100644, size }, (give) =>
      give(null, createReadStream(join(folder, file), { highWaterMark: 1 << 20 })),
    )
  }
  zip.end()
  const whole = count(zip.outputStream as Readable)
  await Promise.race([pipeline(whole, createWriteStream(path, { flags: 'wx' })), failed])
}
