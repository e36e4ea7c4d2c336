/** SHA-256 of the files of an export, in the form that `sha256sum --check` reads. */
import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { readdir, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { pipeline } from 'node:stream/promises'
import { requireNotAborted } from '../checkpoint/publish-folder.js'

/** A file of an export. */
export interface ExportedFile {
  /** Relative to the folder. */
  name: string
  sizeBytes: number
  /** 64 hexadecimal digits. */
  sha256: string
}

/** The file of checksums. */
export const checksumsName = 'SHA256SUMS'

/** SHA-256 of a file, streamed. */
export async function sha256Of(path: string, signal?: AbortSignal): Promise<string> {
  const hash = createHash('sha256')
  await pipeline(createReadStream(path, { highWaterMark: 1 << 20 }), async (chunks: AsyncIterable<Buffer>) => {
    for await (const chunk of chunks) {
      requireNotAborted(signal)
      hash.update(chunk)
    }
  })
  return hash.digest('hex')
}

/** Writes `SHA256SUMS` of all files in a flat folder, in the order of their names; returns them, itself included. */
export async function writeChecksums(folder: string, signal?: AbortSignal): Promise<ExportedFile[]> {
  const describe = async (name: string): Promise<ExportedFile> => {
    const path = join(folder, name)
    return { name, sizeBytes: (await stat(path)).size, sha256: await sha256Of(path, signal) }
  }
  const files: ExportedFile[] = []
  for (const name of (await readdir(folder)).sort()) files.push(await describe(name))
  await writeFile(join(folder, checksumsName), files.map(({ name, sha256 }) => `${sha256}  ${name}\n`).join(''), {
    flag: 'wx',
  })
  return [...files, await describe(checksumsName)]
}
