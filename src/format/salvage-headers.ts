/** The zip structures as they may still be found in a broken file: every field is only a claim, and what cannot be read is null. */
import type { ByteSource } from './byte-source.js'

/** What a local header says, as far as it can be believed. */
export interface LocalClaim {
  /** Name with the top folder. */
  readonly fullName: string
  readonly method: number
  /** Whether CRC and sizes follow the data. */
  readonly hasDescriptor: boolean
  /** 0 where the writer left it to the descriptor. */
  readonly crc32: number
  /** 0 where the writer left it to the descriptor. */
  readonly storedBytes: number
  /** Where the data may begin, the likeliest first: a flipped length in the header leaves the alignment field as a second witness. */
  readonly dataOffsets: readonly number[]
  /** Whether the header's signature and fields are whole. */
  readonly isSound: boolean
}

/** What a directory entry says. */
export interface DirectoryClaim {
  readonly fullName: string
  readonly method: number
  readonly crc32: number
  readonly storedBytes: number
  readonly headerOffset: number
}

export const signatures = {
  local: 0x04034b50,
  central: 0x02014b50,
  descriptor: 0x08074b50,
  end: 0x06054b50,
  end64: 0x06064b50,
  locator64: 0x07064b50,
} as const

const max32 = 0xffffffff
/** A longer name is none of PyTorch's. */
const maxNameBytes = 1024

/** As much as a local header or directory entry with its name takes; where it is at hand, both can be judged. */
export const headerBytes = 46 + maxNameBytes
const flagDescriptor = 0x0008

/** The bytes at `offset`, fewer where the file ends. Valid until the next read. */
export async function peek(source: ByteSource, offset: number, length: number): Promise<Buffer> {
  const there = Math.max(Math.min(length, source.sizeBytes - offset), 0)
  return there === 0 ? Buffer.alloc(0) : source.read(offset, there)
}

/** The four bytes at `offset` as a number, or -1 at the end of the file. */
export async function signatureAt(source: ByteSource, offset: number): Promise<number> {
  const bytes = await peek(source, offset, 4)
  return bytes.length < 4 ? -1 : bytes.readUInt32LE(0)
}

/** A name as PyTorch gives records: a top folder and printable text. */
export function isPlausibleName(name: string): boolean {
  return /^[^/\p{Cc}\ufffd]+\/[^\p{Cc}\ufffd]+$/u.test(name)
}

/** Records that hold no data of tensors. */
export function isSmallRecord(name: string): boolean {
  return /^(data\.pkl|version|byteorder|\.format_version|\.storage_alignment|\.data\/(serialization_id|version)|constants\.pkl|code\/.*|archive_(format|version))$/.test(
    name,
  )
}

/**
 * What the local header at `offset` says.
 *
 * @param expected whether a header must be here, since the record before ends here: then one of its witnesses (signature, a name in `topFolder`, the alignment field) is enough. Elsewhere the signature
 *   and a plausible name are wanted.
 * @returns null where there is no header.
 */
export async function readLocalClaim(
  source: ByteSource,
  offset: number,
  expected: { topFolder: string | null } | null,
): Promise<LocalClaim | null> {
  const bytes = await peek(source, offset, 30 + maxNameBytes)
  if (bytes.length < 31) return null
  const hasSignature = bytes.readUInt32LE(0) === signatures.local
  const [nameBytes, extraBytes] = [bytes.readUInt16LE(26), bytes.readUInt16LE(28)]
  const named = bytes.toString('utf8', 30, 30 + nameBytes)
  const byLengths = offset + 30 + nameBytes + extraBytes
  const lengthsHold = nameBytes > 0 && byLengths <= source.sizeBytes
  const aligned = alignmentField(bytes, offset)
  if (expected === null) {
    if (!hasSignature || !isPlausibleName(named) || !lengthsHold) return null
  } else if (!hasSignature) {
    const { topFolder } = expected
    const inFolder = topFolder !== null && bytes.toString('utf8', 30, 30 + topFolder.length + 1) === `${topFolder}/`
    if (!inFolder && (aligned === null || !isPlausibleName(aligned.name))) return null
  }
  const dataOffsets = lengthsHold ? [byLengths] : []
  if (aligned !== null && aligned.dataOffset !== byLengths) {
    // A field of nothing but `Z`s up to the alignment can hardly be an accident, while a length may have changed by 256.
    if (aligned.dataOffset % 64 === 0) dataOffsets.unshift(aligned.dataOffset)
    else dataOffsets.push(aligned.dataOffset)
  }
  if (dataOffsets.length === 0) return null
  return {
    fullName: aligned !== null && dataOffsets[0] === aligned.dataOffset ? aligned.name : named,
    method: bytes.readUInt16LE(8),
    hasDescriptor: (bytes.readUInt16LE(6) & flagDescriptor) !== 0,
    crc32: bytes.readUInt32LE(14),
    storedBytes: widenLocal(bytes, nameBytes, extraBytes),
    dataOffsets,
    isSound: hasSignature && lengthsHold && isPlausibleName(named),
  }
}

/** The stored size of a local header; the 64-bit one where the 32-bit field is all ones. */
function widenLocal(bytes: Buffer, nameBytes: number, extraBytes: number): number {
  const stored = bytes.readUInt32LE(18)
  if (stored !== max32) return stored
  const extra = bytes.subarray(30 + nameBytes, 30 + nameBytes + extraBytes)
  return wideFields(extra)[1] ?? stored
}

/** The numbers of a zip64 extra field. */
function wideFields(extra: Buffer): number[] {
  for (let at = 0; at + 4 <= extra.length; at += 4 + extra.readUInt16LE(at + 2)) {
    if (extra.readUInt16LE(at) !== 1) continue
    const values: number[] = []
    const end = Math.min(at + 4 + extra.readUInt16LE(at + 2), extra.length)
    for (let place = at + 4; place + 8 <= end; place += 8) values.push(Number(extra.readBigUInt64LE(place)))
    return values
  }
  return []
}

/** PyTorch's `FB` field of `Z`s, which brings the data to a multiple of 64: where it ends the data begins, and the name ends before it. */
function alignmentField(bytes: Buffer, offset: number): { name: string; dataOffset: number } | null {
  const next = bytes.indexOf('PK\x03\x04', 4, 'latin1')
  const limit = next < 0 ? bytes.length : next // What follows belongs to the next record.
  for (let at = bytes.indexOf('FB', 31, 'latin1'); at >= 0; at = bytes.indexOf('FB', at + 1, 'latin1')) {
    if (at + 4 > limit) return null
    const length = bytes.readUInt16LE(at + 2)
    const dataOffset = offset + at + 4 + length
    const padding = bytes.subarray(at + 4, at + 4 + length)
    if (padding.length !== length || dataOffset % 4 !== 0 || !padding.every((byte) => byte === 0x5a)) continue
    const head = bytes.subarray(30, at)
    const wide = head.indexOf(Buffer.from([1, 0]))
    const isWide = wide > 0 && (head.length - wide === 12 || head.length - wide === 20)
    return { name: (isWide ? head.subarray(0, wide) : head).toString('utf8'), dataOffset }
  }
  return null
}

/** A directory entry at `at` of `bytes`, and where the next one would be; null where there is none. */
export function parseDirectoryClaim(bytes: Buffer, at: number): { claim: DirectoryClaim; next: number } | null {
  if (at + 46 > bytes.length || bytes.readUInt32LE(at) !== signatures.central) return null
  const [nameBytes = 0, extraBytes = 0, commentBytes = 0] = [28, 30, 32].map((place) => bytes.readUInt16LE(at + place))
  const extraAt = at + 46 + nameBytes
  const next = extraAt + extraBytes + commentBytes
  if (nameBytes > maxNameBytes || next > bytes.length) return null
  const fullName = bytes.toString('utf8', at + 46, extraAt)
  if (!isPlausibleName(fullName)) return null
  const wide = wideFields(bytes.subarray(extraAt, extraAt + extraBytes))
  const take = (value: number) => (value === max32 ? (wide.shift() ?? value) : value)
  // In the fixed order of the zip64 field: uncompressed size, stored size, place.
  take(bytes.readUInt32LE(at + 24))
  const storedBytes = take(bytes.readUInt32LE(at + 20))
  const headerOffset = take(bytes.readUInt32LE(at + 42))
  return {
    claim: {
      fullName,
      method: bytes.readUInt16LE(at + 10),
      crc32: bytes.readUInt32LE(at + 16),
      storedBytes,
      headerOffset,
    },
    next,
  }
}

/**
 * The name in what begins with a signature of a local header or directory entry, as a first judgement: whether the rest holds is not looked at.
 * @returns null where it is no name.
 */
export function nameIn(bytes: Buffer, at: number, kind: 'local' | 'central'): string | null {
  const [lengthAt, nameAt] = kind === 'local' ? [at + 26, at + 30] : [at + 28, at + 46]
  if (nameAt > bytes.length) return null
  const length = bytes.readUInt16LE(lengthAt)
  if (length < 3 || length > maxNameBytes || nameAt + length > bytes.length) return null
  const name = bytes.toString('utf8', nameAt, nameAt + length)
  return isPlausibleName(name) ? name : null
}

/** A data descriptor at `offset` whose size is `sizeBytes`: its CRC-32 and length; null where there is none. */
export async function descriptorAt(
  source: ByteSource,
  offset: number,
  sizeBytes: number,
): Promise<{ crc32: number; length: number } | null> {
  const bytes = await peek(source, offset, 24)
  return matchDescriptor(bytes, sizeBytes)
}

/** {@link descriptorAt} for bytes at hand. */
export function matchDescriptor(bytes: Buffer, sizeBytes: number): { crc32: number; length: number } | null {
  if (bytes.length < 16 || bytes.readUInt32LE(0) !== signatures.descriptor) return null
  const crc32 = bytes.readUInt32LE(4)
  const wide = bytes.length >= 24 && Number(bytes.readBigUInt64LE(8)) === sizeBytes
  if (wide && Number(bytes.readBigUInt64LE(16)) === sizeBytes) return { crc32, length: 24 }
  if (bytes.readUInt32LE(8) === sizeBytes && bytes.readUInt32LE(12) === sizeBytes) return { crc32, length: 16 }
  return null
}
