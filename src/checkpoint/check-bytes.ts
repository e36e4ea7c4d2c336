/** Reads every byte of a file once: CRC-32 of each record, NaN and infinite values of each parameter, buffer and moment. */
import type { Finding } from '../format/findings.js'
import type { TorchFile } from '../format/read.js'
import { NonFiniteScan, type NonFinite } from '../format/scan-nonfinite.js'
import { scanStorages, type ScannedStorage } from '../format/scan.js'
import { elementCount, StorageRecord } from '../format/tensor-record.js'
import { checkedTensors, type CheckedTensor } from './check-tensors.js'
import { finding, type FindingId } from './findings.js'
import type { NormalizedCheckpoint } from './normalize.js'

/** What of the options of a validation matters here. */
export interface BytesOptions {
  progress?: (doneBytes: number, totalBytes: number) => void
  signal?: AbortSignal
}

/**
 * Findings about the bytes.
 * @throws TorchkeepError with a finding for a file that changes meanwhile (`file.changed`) and for tensors whose strides are built to be slow (`pickle.limit`).
 */
export async function checkBytes(
  file: TorchFile,
  checkpoint: NormalizedCheckpoint,
  { progress, signal }: BytesOptions,
): Promise<Finding<FindingId>[]> {
  const tensors = checkedTensors(file, checkpoint)
  const scan = new NonFiniteScan(tensors.flatMap(({ parts }) => parts))
  const found: Finding<FindingId>[] = []
  await scanStorages(
    { ...file, storages: [...file.storages, ...otherRecords(file)] },
    {
      ...(progress !== undefined && { progress }),
      ...(signal !== undefined && { signal }),
      onChunk: (storage, chunk, offsetBytes) => scan.see(storage, chunk, offsetBytes),
      onStorage: (result) => found.push(...checkCrc(result)),
    },
  )
  for (const tensor of tensors) found.push(...judge(tensor, scan))
  return found
}

/** Records of a zip archive that no tensor lies in, such as code and unused storages, as storages of their own. */
function otherRecords(file: TorchFile): StorageRecord[] {
  const seen = new Set(file.storages.map(({ recordName }) => recordName))
  return [...file.records.values()]
    .filter(({ name, method }) => method === 0 && !seen.has(name))
    .map(({ name, offsetBytes, sizeBytes, crc32 }) => {
      const source = { path: file.path, offsetBytes, sizeBytes, identity: file.identity, crc32 }
      return new StorageRecord({ id: `${file.path}#${name}`, dtype: null, sizeBytes, source, crc32, recordName: name })
    })
}

function checkCrc({ storage, crc32, matches }: ScannedStorage): Finding<FindingId>[] {
  if (matches !== false) return []
  const name = storage.recordName ?? storage.id
  const message = `record ${name}: CRC-32 is ${hex(crc32)}, expected ${hex(storage.crc32 ?? 0)}: its bytes were changed`
  return [finding('record.crc', name, message)]
}

const hex = (value: number): string => `0x${value.toString(16).padStart(8, '0')}`

function judge(
  { names: [name, ...aliases], role, dtype, sizes, parts }: CheckedTensor,
  scan: NonFiniteScan,
): Finding<FindingId>[] {
  const also = aliases.length === 0 ? '' : ` (also named ${aliases.join(', ')})`
  return parts.flatMap((part) => {
    const result = scan.of(part)
    if (result === undefined) return []
    const onlyInfinite = result.nan === 0 && !result.atLeast
    const id = role !== 'buffer' ? 'tensor.nonfinite' : onlyInfinite ? 'tensor.infinite_buffer' : 'tensor.nan_buffer'
    const what = `${role === 'moment' ? 'optimizer moment' : role} ${name}${also}, ${dtype} [${sizes.join(', ')}]`
    const message = `${what}: ${countText(result)} of ${elementCount(sizes)} values${placeText(result)}`
    return [finding(id, name, message)]
  })
}

function countText({ nan, infinite, atLeast }: NonFinite): string {
  const counts = [...(nan > 0 ? [`${nan} NaN`] : []), ...(infinite > 0 ? [`${infinite} infinite`] : [])]
  return `${atLeast ? 'at least ' : ''}${counts.join(' and ') || 'one not finite'}`
}

const placeText = ({ first }: NonFinite): string => (first === null ? '' : `, first at [${first.join(', ')}]`)
