/** Opens the file that a storage lies in. */
import { ByteSource } from './byte-source.js'
import { TorchkeepError } from './errors.js'
import type { StorageRecord } from './tensor-record.js'

/**
 * The file of a storage, which is still what it was when it was read. The caller closes it.
 * @throws TorchkeepError ERR_CHECKPOINT_CORRUPT (`file.changed`), ERR_INVALID_ARGUMENT for a storage of a file that was read with `structure: 'directory'`.
 */
export async function openStorage({ source: { path, offsetBytes, identity } }: StorageRecord): Promise<ByteSource> {
  if (Number.isNaN(offsetBytes)) {
    const reason = "it was read with structure: 'directory', which does not say where bytes are; read it with 'full'"
    throw new TorchkeepError('ERR_INVALID_ARGUMENT', `cannot read bytes of ${path}: ${reason}`)
  }
  const source = await ByteSource.open(path)
  try {
    if (identity !== undefined) source.requireUnchanged(identity)
    return source
  } catch (error) {
    await source.close()
    throw error
  }
}
