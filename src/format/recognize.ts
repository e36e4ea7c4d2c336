/** Tells what a file is that is not (only) a torch zip file, so that a refusal can name it. */
import type { ByteSource } from './byte-source.js'
import { TorchkeepError } from './errors.js'
import { refuseCompressed, type ZipArchive } from './zip-read.js'

const legacyMagic = Buffer.from('8002 8a0a 6cfc 9c46 f920 6aa8 5019'.replaceAll(' ', ''), 'hex')

/**
 * Goes on for a zip archive.
 * @throws TorchkeepError ERR_CHECKPOINT_UNSUPPORTED for formats that are known but not read, ERR_CHECKPOINT_CORRUPT for anything else.
 */
export async function requireZip(source: ByteSource): Promise<void> {
  const head = Buffer.from(await source.read(0, Math.min(512, source.sizeBytes)))
  if (head.length >= 4 && head.readUInt32LE(0) === 0x04034b50) return
  const known = knownFormat(head)
  if (known !== undefined)
    throw new TorchkeepError('ERR_CHECKPOINT_UNSUPPORTED', `${source.path} is ${known}, which is not read yet`)
  const start = head.length === 0 ? 'it is empty' : `it starts with ${head.subarray(0, 8).toString('hex')}`
  throw new TorchkeepError(
    'ERR_CHECKPOINT_CORRUPT',
    `${source.path} is no PyTorch file: expected a zip archive, ${start}`,
  )
}

function knownFormat(head: Buffer): string | undefined {
  if (head.subarray(0, legacyMagic.length).equals(legacyMagic))
    return 'in the format of torch.save before PyTorch 1.6 (a sequence of pickles)'
  if (head.toString('latin1', 257, 262) === 'ustar') return 'in the tar format of torch.save before PyTorch 0.1.10'
  if (head.length > 9 && head.readBigUInt64LE(0) <= 100_000_000n && head[8] === 0x7b) return 'a safetensors file'
  if (head[0] === 0x80 && (head[1] ?? 9) <= 5) return 'a bare pickle'
  if (head.toString('latin1', 0, 2) === '\x1f\x8b') return 'gzip-compressed'
  if (head.toString('latin1', 1, 4) === 'HDF') return 'an HDF5 file'
  return undefined
}

/** Refuses zip archives of PyTorch that `torch.load(weights_only=True)` does not read. */
export function requireTorchSave(path: string, { records }: ZipArchive): void {
  const unsupported = (what: string): never => {
    throw new TorchkeepError('ERR_CHECKPOINT_UNSUPPORTED', `${path} is ${what}, which is not read yet`)
  }
  if (records.has('constants.pkl')) unsupported('a TorchScript archive (torch.jit.save or C++ torch::save)')
  if (records.has('archive_format')) unsupported('a torch.export archive (.pt2)')
  for (const record of records.values()) if (record.method !== 0) refuseCompressed(path, record)
  if (records.has('data.pkl')) return
  throw new TorchkeepError(
    'ERR_CHECKPOINT_CORRUPT',
    `${path}: the record data.pkl is missing (found ${[...records.keys()].slice(0, 5).join(', ')})`,
  )
}
