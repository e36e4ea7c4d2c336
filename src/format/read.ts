/** Reads torch files of every container: the value with its tensors described, in constant memory. Bytes are read when somebody asks for them. */
import { ByteSource } from './byte-source.js'
import { fault } from './fault.js'
import { readLegacy } from './legacy.js'
import { recognize } from './recognize.js'
import { readSafetensors } from './safetensors.js'
import { readSettings, type ReadOptions, type TorchFile } from './torch-file.js'
import { readTar } from './tar.js'
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
  const source = await ByteSource.openUnlessFolder(path)
  if (source === undefined)
    return fault(path, { finding: 'file.unrecognized', code: 'ERR_CHECKPOINT_UNREADABLE' }, 'is a folder')
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
      default:
        return fault(path, { finding: 'file.unrecognized', code: 'ERR_CHECKPOINT_UNSUPPORTED' }, 'not read yet')
    }
  } finally {
    await source.close()
  }
}
