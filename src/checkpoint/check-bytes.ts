/** Reads every byte of a file once: CRC-32 of each storage, NaN and infinite values of each tensor. */
import type { Finding } from '../format/findings.js'
import type { TorchFile } from '../format/read.js'
import { scanStorages } from '../format/scan.js'
import { finding, type FindingId } from './findings.js'
import type { NormalizedCheckpoint } from './normalize.js'

/** Findings about the bytes. */
export async function checkBytes(
  file: TorchFile,
  _checkpoint: NormalizedCheckpoint,
  options: { progress?: (doneBytes: number, totalBytes: number) => void; signal?: AbortSignal },
): Promise<Finding<FindingId>[]> {
  const found: Finding<FindingId>[] = []
  await scanStorages(file, {
    ...(options.progress !== undefined && { progress: options.progress }),
    ...(options.signal !== undefined && { signal: options.signal }),
    onStorage: ({ storage, crc32, matches }) => {
      if (matches !== false) return
      const name = storage.recordName ?? storage.id
      const expected = `0x${(storage.crc32 ?? 0).toString(16).padStart(8, '0')}`
      const message = `record ${name}: CRC-32 is 0x${crc32.toString(16).padStart(8, '0')}, expected ${expected}: its bytes were changed`
      found.push(finding('record.crc', name, message))
    },
  })
  return found
}
