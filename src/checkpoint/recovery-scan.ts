/** One pass over the bytes that are there: which storages do not have their CRC-32, which tensors hold values that are not finite. */
import { swapUnitBytes } from '../format/byte-order.js'
import { NonFiniteScan, type NonFinite } from '../format/scan-nonfinite.js'
import { scanStorages } from '../format/scan.js'
import type { Salvage } from '../format/salvage.js'
import { coveredBytes, StorageRecord, type TensorRecord } from '../format/tensor-record.js'
import { checkedTensors, type CheckedTensor } from './check-tensors.js'
import type { NormalizedCheckpoint } from './normalize.js'

/** A tensor that must be finite and is not. */
export interface NonFiniteTensor {
  readonly tensor: CheckedTensor
  readonly part: TensorRecord
  readonly counts: NonFinite
}

/** What the bytes tell. */
export interface BytesVerdict {
  /** Ids of storages whose bytes were changed. */
  readonly changed: ReadonlySet<string>
  /** Storages without a CRC-32: nobody can tell whether their bytes were changed. */
  readonly unprotected: readonly StorageRecord[]
  readonly nonFinite: readonly NonFiniteTensor[]
}

/** Whether all bytes that a tensor covers are there. */
export function isThere(tensor: TensorRecord, incomplete: ReadonlyMap<string, number>): boolean {
  const available = incomplete.get(tensor.storage.id)
  return available === undefined || coveredBytes(tensor)[1] <= available
}

/**
 * Scans what is there, in constant memory.
 * @throws TorchkeepError where the file changes meanwhile, ERR_ABORTED.
 */
export async function scanBytes(
  salvage: Salvage,
  checkpoint: NormalizedCheckpoint,
  options: { progress?: (doneBytes: number, totalBytes: number) => void; signal?: AbortSignal } = {},
): Promise<BytesVerdict> {
  const { file, incomplete } = salvage
  const tensors = checkedTensors(file, checkpoint)
  const parts = tensors.flatMap((tensor) =>
    tensor.parts.filter((part) => isThere(part, incomplete)).map((part) => ({ tensor, part })),
  )
  const scan = new NonFiniteScan(parts.map(({ part }) => part))
  const changed = new Set<string>()
  const unprotected: StorageRecord[] = []
  const storages = file.storages.map((storage) => thereOf(storage, incomplete.get(storage.id)))
  await scanStorages(
    { ...file, storages: storages.filter(({ sizeBytes }) => sizeBytes > 0) },
    {
      ...(options.progress !== undefined && { progress: options.progress }),
      ...(options.signal !== undefined && { signal: options.signal }),
      onChunk: (storage, chunk, offsetBytes) => scan.see(storage, chunk, offsetBytes),
      onStorage: ({ storage, matches }) => {
        if (matches === false) changed.add(storage.id)
        else if (matches === null) unprotected.push(storage)
      },
    },
  )
  const nonFinite = parts.flatMap(({ tensor, part }) => {
    const counts = scan.of(part)
    return counts === undefined ? [] : [{ tensor, part, counts }]
  })
  return { changed, unprotected, nonFinite }
}

/** A storage as far as it is there; the CRC-32 is that of the whole one. */
function thereOf(storage: StorageRecord, available: number | undefined): StorageRecord {
  if (available === undefined) return storage
  return new StorageRecord({ ...storage, sizeBytes: available, crc32: null })
}

/** Bytes in another order, by storage, where the file is big-endian. */
export function swapUnits(tensors: readonly TensorRecord[]): ReadonlyMap<string, number> {
  const big = tensors.filter(({ storage }) => storage.byteOrder === 'big')
  return new Map(big.map(({ storage, dtype }) => [storage.id, swapUnitBytes(dtype)]))
}
