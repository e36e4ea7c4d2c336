/** Gives an export its names: the folder and the archive beside it, each whole or not at all. */
import { rm } from 'node:fs/promises'
import { basename, dirname, join, resolve } from 'node:path'
import { publishFolder } from '../checkpoint/publish-folder.js'
import { nodeFiles, takeName, temporaryName } from '../checkpoint/store.js'
import { TorchkeepError } from '../format/errors.js'
import { packFolder } from './archive.js'
import { writeChecksums, type ExportedFile } from './checksums.js'
import type { ExportOptions } from './types.js'

/** How {@link publishExport} works. */
export interface PublishExportOptions extends Pick<ExportOptions, 'compress' | 'signal' | 'onProgress'> {
  createdAt: Date
  /** Looks at the folder once everything is in it, checksums included; what it throws ends the export. */
  search?: (folder: string) => Promise<void>
}

/** What was published. */
export interface PublishedExport {
  folder: string
  archive: string | null
  files: ExportedFile[]
}

/**
 * Publishes an export: `write` fills a hidden folder, SHA256SUMS is added, the archive is packed under a hidden name; only then both get their names, the folder first. Whatever ends it before leaves nothing.
 *
 * @throws TorchkeepError `ERR_CHECKPOINT_WRITE`, `ERR_ABORTED`; what `write` throws.
 */
export async function publishExport(
  path: string,
  write: (temporaryFolder: string) => Promise<void>,
  { createdAt, search, compress = 'tar.gz', signal, onProgress }: PublishExportOptions,
): Promise<PublishedExport> {
  const parent = dirname(resolve(path))
  const packed = compress === null ? null : join(parent, temporaryName())
  let files: ExportedFile[] = []
  let isPacking = false
  try {
    const folder = await publishFolder(
      path,
      async (temporary) => {
        await write(temporary)
        files = await writeChecksums(temporary, signal)
        await search?.(temporary)
        if (compress === null || packed === null) return
        isPacking = true
        await packFolder(temporary, compress, packed, {
          ...{ name: basename(path), mtime: createdAt, signal },
          onProgress: (doneBytes, totalBytes) => onProgress?.({ what: 'packing', doneBytes, totalBytes }),
        })
        await nodeFiles.syncFile(packed)
      },
      { signal },
    )
    const archive = compress === null || packed === null ? null : await nameArchive(packed, folder, compress)
    if (archive !== null) await nodeFiles.syncFolder(parent)
    return { folder, archive, files }
  } finally {
    if (packed !== null && isPacking) await rm(packed, { force: true })
  }
}

async function nameArchive(packed: string, folder: string, format: string): Promise<string> {
  for (let count = 1; ; count++) {
    const name = `${folder}${count === 1 ? '' : `-${count}`}.${format}`
    try {
      if (await takeName(packed, name, nodeFiles)) return name
    } catch (cause) {
      const message = `could not write ${name}: ${(cause as Error).message}; the folder ${folder} is in place and whole`
      throw new TorchkeepError('ERR_CHECKPOINT_WRITE', message, { cause })
    }
  }
}
