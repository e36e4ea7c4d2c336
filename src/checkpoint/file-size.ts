/** How many bytes a checkpoint takes on disk, all its files together. */
import { stat } from 'node:fs/promises'
import { resolve } from 'node:path'
import { TorchkeepError } from '../format/errors.js'
import type { TorchFile } from '../format/torch-file.js'

/**
 * Bytes of a checkpoint: of the file, or of an index (the `.metadata` of a distributed one) and all files that hold its tensors. A file that is missing has none.
 * @throws TorchkeepError ERR_CHECKPOINT_UNREADABLE where the system does not let look at one of them.
 */
export async function sizeOfFiles(file: TorchFile): Promise<number> {
  if (file.container !== 'sharded' && file.container !== 'distributed') return file.identity.sizeBytes
  const index = resolve(file.path)
  const others = new Set(file.storages.map(({ source }) => resolve(source.path)).filter((path) => path !== index))
  let total = file.identity.sizeBytes
  for (const path of others) total += await sizeOf(path)
  return total
}

async function sizeOf(path: string): Promise<number> {
  return stat(path).then(
    ({ size }) => size,
    (cause: NodeJS.ErrnoException) => {
      if (cause.code === 'ENOENT') return 0
      throw new TorchkeepError('ERR_CHECKPOINT_UNREADABLE', `cannot look at ${path}: ${String(cause)}`, { cause })
    },
  )
}
