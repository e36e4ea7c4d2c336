/** Reads torch files of every container: the value with its tensors described, in constant memory. Bytes are read when somebody asks for them. */
import { access } from 'node:fs/promises'
import { join } from 'node:path'
import { ByteSource } from './byte-source.js'
import { readDistributed } from './distributed.js'
import { TorchkeepError } from './errors.js'
import { readLegacy } from './legacy.js'
import { recognize } from './recognize.js'
import { readSafetensors } from './safetensors.js'
import { readSharded } from './sharded.js'
import { readTar } from './tar.js'
import { readSettings, type ReadOptions, type TorchFile } from './torch-file.js'
import { readZip } from './zip-containers.js'

export type { Container, ReadOptions, TorchFile } from './torch-file.js'

/**
 * Reads a checkpoint, whatever wrote it: what the file is is told by its bytes, never by its name. No code is run. The structure, the CRC-32 of pickles and the bounds of every tensor are checked;
 * the CRC-32 of a storage is when its bytes are read.
 * @param path a file, the index file of a sharded checkpoint, or the folder of a `torch.distributed.checkpoint`.
 * @throws TorchkeepError ERR_CHECKPOINT_MISSING; `_UNREADABLE` for reasons outside the file; `_CORRUPT`; `_UNSAFE` (a global that could run code, or work out of proportion); `_UNSUPPORTED`
 *   (another format). `finding` and `subject` of the error say what is at fault.
 */
export async function readTorchFile(path: string, options: ReadOptions = {}): Promise<TorchFile> {
  const settings = readSettings(options)
  const source = await ByteSource.openUnlessFolder(path, settings.structure === 'directory')
  if (source === undefined) {
    await requireMetadata(path)
    return readDistributed(path, settings)
  }
  try {
    switch (await recognize(source)) {
      case 'zip':
        return await readZip(source, settings)
      case 'safetensors':
        return await readSafetensors(source, settings)
      case 'legacy':
        return await readLegacy(source, settings)
      case 'tar':
        return await readTar(source, settings)
      case 'json':
        return await readSharded(source, settings, readShard)
    }
  } finally {
    await source.close()
  }
}

/** A shard is a file of tensors: no folder, and no index of other shards, so that reading ends. */
async function readShard(path: string, settings: ReadOptions): Promise<TorchFile> {
  return ByteSource.with(path, async (source) => {
    const format = await recognize(source)
    if (format !== 'json') return readTorchFile(path, settings)
    const details = { finding: 'shard.tensor', subject: path } as const
    throw new TorchkeepError('ERR_CHECKPOINT_CORRUPT', `${path}: a shard that is an index of shards itself`, details)
  })
}

async function requireMetadata(folder: string): Promise<void> {
  await access(join(folder, '.metadata')).catch((cause: unknown) => {
    const reason = 'it is a folder without the .metadata of a torch.distributed.checkpoint, expected a file'
    throw new TorchkeepError('ERR_CHECKPOINT_UNREADABLE', `cannot read ${folder}: ${reason}`, { cause })
  })
}
