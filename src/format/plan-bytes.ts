/** Executes a plan in memory, for small files inside of others. */
import { crc32 } from 'node:zlib'
import type { TorchFilePlan } from './plan.js'

/** The bytes of a planned file whose storages are at hand. */
export function planBytes({ parts, crcSlots }: TorchFilePlan<Uint8Array>): Uint8Array {
  const crcs = new Array<number>(crcSlots).fill(0)
  const pieces = parts.map((part) => {
    if (part.kind === 'storage') {
      const bytes = part.tensor.subarray(part.offsetBytes, part.offsetBytes + part.sizeBytes)
      crcs[part.crcSlot] = crc32(bytes)
      return bytes
    }
    const bytes = Buffer.from(part.bytes)
    for (const { at, slot } of part.crcPatches ?? []) bytes.writeUInt32LE(crcs[slot] ?? 0, at)
    return bytes
  })
  return Buffer.concat(pieces)
}
