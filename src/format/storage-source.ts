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

/** Files that stay open at once. More are closed again, the least used one first: a checkpoint can lie in thousands of files. */
const mostOpen = 32

/** The files of a walk through many tensors. Not for more than a few readings at the same time. */
export class OpenSources {
  /** By path, the one used last at the end. */
  readonly #byPath = new Map<string, Promise<ByteSource>>()

  /** The open file that a storage lies in, which is still what it was when the storage was described. */
  async of(storage: StorageRecord): Promise<ByteSource> {
    const { path, identity } = storage.source
    const opening = this.#byPath.get(path) ?? openStorage(storage)
    this.#byPath.delete(path)
    this.#byPath.set(path, opening)
    const [oldest] = this.#byPath.keys()
    if (oldest !== undefined && this.#byPath.size > mostOpen) await this.#close(oldest)
    const source = await opening
    if (identity !== undefined) source.requireUnchanged(identity)
    return source
  }

  /** Closes what was opened. */
  async close(): Promise<void> {
    for (const path of [...this.#byPath.keys()]) await this.#close(path)
  }

  async #close(path: string): Promise<void> {
    const opening = this.#byPath.get(path)
    this.#byPath.delete(path)
    const [result] = await Promise.allSettled([opening])
    // What could not be opened was said where it was asked for.
    if (result?.status === 'fulfilled') await result.value?.close()
  }
}
