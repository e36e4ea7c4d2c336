/** Finds the one changed byte of a record from its CRC-32. */
import { crc32 } from 'node:zlib'

/** The one change that gives the bytes the CRC-32 that they should have. */
export interface Correction {
  position: number
  /** The byte that is there. */
  found: number
  /** The byte that belongs there. */
  expected: number
}

/** Largest chance that is taken of a correction where the damage is another, larger one and fits by accident. */
const acceptedRisk = 0.01

const table = Uint32Array.from({ length: 256 }, (_, byte) => {
  let value = byte
  for (let bit = 0; bit < 8; bit++) value = value & 1 ? (value >>> 1) ^ 0xedb88320 : value >>> 1
  return value >>> 0
})
/** The entry of the table by its highest byte, which is different in all of them. */
const byHighByte = Uint8Array.from({ length: 256 }, (_, high) => table.findIndex((value) => value >>> 24 === high))

/**
 * The single byte whose change makes the CRC-32 of `bytes` become `expected`; null where no single byte does, or where so many bytes could that a match proves nothing: beyond about 160 kB only
 * changes of one bit are looked for, beyond about 5 MB none.
 */
export function correctByte(bytes: Uint8Array, expected: number): Correction | null {
  const risk = (choices: number) => (bytes.length * choices) / 2 ** 32
  const bitsOnly = risk(255) > acceptedRisk
  if (risk(8) > acceptedRisk) return null
  let found: Correction | null = null
  // CRC-32 is linear: a changed byte adds the table's entry for the change, carried through all bytes that follow. Here it is carried back, byte by byte.
  let difference = (crc32(bytes) ^ expected) >>> 0
  if (difference === 0) return null
  for (let position = bytes.length - 1; position >= 0; position--) {
    const change = byHighByte[difference >>> 24] as number
    const carried = (difference ^ (table[change] as number)) >>> 0
    if (carried === 0 && (!bitsOnly || (change & (change - 1)) === 0)) {
      if (found !== null) return null
      const byte = bytes[position] as number
      found = { position, found: byte, expected: byte ^ change }
    }
    difference = ((carried << 8) | change) >>> 0
  }
  return found
}
