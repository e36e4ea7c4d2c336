/** Compares what stands before and after each record's data in a zip archive, its local header and its data descriptor, with the central directory. */
import type { ByteSource } from './byte-source.js'
import { quoted } from './fault.js'
import { corruptZip, widen, type CentralEntry } from './zip-records.js'

const flagEncrypted = 0x2041
const flagDescriptor = 0x0008

/** Headers this close together are read at once: skipping less than that costs as much as reading it. */
const gapBytes = 16 << 10

/** Most bytes of headers, and of the small records between them, in memory. */
const maxWindowBytes = 512 << 10

/** What a header takes beyond its 30 fixed bytes and its name: padding for alignment, zip64 sizes, timestamps. */
const usualExtraBytes = 128

/** Where a record lies. */
export interface RecordPlace {
  /** Where its data begins. */
  begin: number
  /** Where its descriptor, or without one its data, ends. */
  end: number
}

/**
 * Checks the header and the descriptor of one record of many, reading ahead as far as headers lie close together: 20,000 small records take a hundred system calls, a large one two small reads.
 * @param byPlace all records in the order of the file.
 * @param limit where the central directory begins.
 */
export async function checkRecord(
  source: ByteSource,
  byPlace: readonly CentralEntry[],
  index: number,
  limit: number,
): Promise<RecordPlace> {
  const entry = byPlace[index] as CentralEntry
  const at = entry.headerOffset
  requireRoom(source.path, entry, limit)
  if (source.peek(at, 30) === undefined) await source.read(at, 30, ahead(byPlace, index, at))
  return checkHeldRecord(source, entry, limit) ?? checkFarRecord(source, byPlace, index, limit)
}

/** {@link checkRecord} where header and descriptor are in memory already; undefined where they are not. */
export function checkHeldRecord(source: ByteSource, entry: CentralEntry, limit: number): RecordPlace | undefined {
  const header = heldHeader(source, entry)
  if (header === undefined) return undefined
  const begin = checkHeader(source.path, entry, header, limit)
  const end = begin + entry.storedBytes
  if ((entry.flags & flagDescriptor) === 0) return { begin, end }
  const descriptor = source.peek(end, Math.min(24, limit - end))
  return descriptor === undefined ? undefined : { begin, end: checkDescriptor(source.path, entry, descriptor, end) }
}

async function checkFarRecord(
  source: ByteSource,
  byPlace: readonly CentralEntry[],
  index: number,
  limit: number,
): Promise<RecordPlace> {
  const entry = byPlace[index] as CentralEntry
  const begin = await checkLocalHeader(source, entry, limit)
  const end = begin + entry.storedBytes
  if ((entry.flags & flagDescriptor) === 0) return { begin, end }
  const descriptor = await source.read(end, Math.min(24, limit - end), ahead(byPlace, index, end))
  return { begin, end: checkDescriptor(source.path, entry, descriptor, end) }
}

/** Compares the local header of one record with the directory; returns where its data begins. */
export async function checkLocalHeader(source: ByteSource, entry: CentralEntry, limit: number): Promise<number> {
  requireRoom(source.path, entry, limit)
  const fixed = await source.read(entry.headerOffset, 30)
  const lengthBytes = headerBytes(fixed)
  if (entry.headerOffset + lengthBytes > limit) runsInto(source.path, entry, entry.headerOffset + lengthBytes)
  const header = await source.read(entry.headerOffset, lengthBytes, Math.max(lengthBytes, usualExtraBytes))
  return checkHeader(source.path, entry, header, limit)
}

/** How far from `at` on headers lie close together. */
function ahead(byPlace: readonly CentralEntry[], index: number, at: number): number {
  const entry = byPlace[index] as CentralEntry
  let end = Math.max(at, entry.headerOffset) + 30 + entry.name.length + usualExtraBytes
  for (let next = index + 1; next < byPlace.length; next++) {
    const { headerOffset, name } = byPlace[next] as CentralEntry
    const wanted = headerOffset + 30 + name.length + usualExtraBytes
    if (headerOffset > end + gapBytes || wanted - at > maxWindowBytes) break
    end = Math.max(end, wanted)
  }
  return end - at
}

const headerBytes = (fixed: Buffer) => 30 + fixed.readUInt16LE(26) + fixed.readUInt16LE(28)

function heldHeader(source: ByteSource, { headerOffset }: CentralEntry): Buffer | undefined {
  const fixed = source.peek(headerOffset, 30)
  return fixed === undefined ? undefined : source.peek(headerOffset, headerBytes(fixed))
}

function requireRoom(path: string, { name, headerOffset }: CentralEntry, limit: number): void {
  if (headerOffset + 30 <= limit) return
  const reason = `record ${name}: there is no room for a header at ${headerOffset}`
  corruptZip(path, reason, 'zip.structure', name)
}

function runsInto(path: string, { name, storedBytes }: CentralEntry, at: number): never {
  const reason = `record ${name} of ${storedBytes} bytes at ${at} runs into the central directory`
  return corruptZip(path, reason, 'zip.overlap', name)
}

/** Compares a whole local header with the central entry; returns where the record's data begins. */
function checkHeader(path: string, entry: CentralEntry, header: Buffer, limit: number): number {
  const at = entry.headerOffset
  const mismatch = (reason: string) =>
    corruptZip(path, `record ${entry.name}${reason}`, 'zip.header_mismatch', entry.name)
  if (header.readUInt32LE(0) !== 0x04034b50)
    corruptZip(path, `record ${entry.name}: there is no local header at ${at}`, 'zip.structure', entry.name)
  const [flags, method, crc] = [header.readUInt16LE(6), header.readUInt16LE(8), header.readUInt32LE(14)]
  const begin = at + header.length
  if (begin + entry.storedBytes > limit) runsInto(path, entry, begin)
  const nameEnd = 30 + header.readUInt16LE(26)
  const name = header.toString('utf8', 30, nameEnd)
  if (name !== entry.name) mismatch(` is named ${quoted(name)} in its local header`)
  if (
    method !== entry.method ||
    (flags & flagEncrypted) !== 0 ||
    (flags & flagDescriptor) !== (entry.flags & flagDescriptor)
  ) {
    mismatch(
      `: method ${method} and flags ${flags} in the local header, ${entry.method} and ${entry.flags} in the directory`,
    )
  }
  const sizes = [header.readUInt32LE(22), header.readUInt32LE(18)]
  const [size = 0, stored = 0] = widen(path, entry.name, sizes, header.subarray(nameEnd))
  const later = (flags & flagDescriptor) !== 0
  const agrees = (local: number, central: number) => local === central || (later && local === 0)
  if (!agrees(crc, entry.crc32) || !agrees(size, entry.sizeBytes) || !agrees(stored, entry.storedBytes)) {
    mismatch(
      `: ${size} bytes with CRC-32 ${hex(crc)} in the local header, ${entry.sizeBytes} with ${hex(entry.crc32)} in the directory`,
    )
  }
  return begin
}

/**
 * Compares the data descriptor with the central entry; returns where it ends. Its sizes have 32 or 64 bits, which nothing in it says, and its signature is optional:
 * torch writes the signature and, for records of 4 GiB or beyond 4 GiB in the file, 64 bits.
 */
function checkDescriptor(path: string, entry: CentralEntry, bytes: Buffer, at: number): number {
  const wide = Math.max(entry.sizeBytes, entry.storedBytes, entry.headerOffset) >= 0xffffffff
  for (const isWide of [wide, !wide]) {
    for (const signatureBytes of [4, 0]) {
      const length = signatureBytes + (isWide ? 20 : 12)
      if (length > bytes.length || (signatureBytes > 0 && bytes.readUInt32LE(0) !== 0x08074b50)) continue
      const sizesAt = signatureBytes + 4
      const stored = isWide ? Number(bytes.readBigUInt64LE(sizesAt)) : bytes.readUInt32LE(sizesAt)
      const size = isWide ? Number(bytes.readBigUInt64LE(sizesAt + 8)) : bytes.readUInt32LE(sizesAt + 4)
      const crc = bytes.readUInt32LE(signatureBytes)
      if (crc === entry.crc32 && stored === entry.storedBytes && size === entry.sizeBytes) return at + length
    }
  }
  const reason = `record ${entry.name}: the data descriptor at ${at} does not agree with the directory`
  return corruptZip(path, reason, 'zip.header_mismatch', entry.name)
}

/** A CRC-32 for messages. */
export const hex = (value: number) => `0x${value.toString(16).padStart(8, '0')}`
