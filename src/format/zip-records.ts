/** The zip structures as they lie in a file: end records and central directory. Only parses; `zip-read.ts` checks them against the rest of the file. */
import type { ByteSource } from './byte-source.js'
import { fault, quoted } from './fault.js'
import type { FormatFindingId } from './findings.js'

/** One entry of the central directory. */
export interface CentralEntry {
  /** Name with the top folder. */
  readonly name: string
  readonly flags: number
  readonly method: number
  readonly crc32: number
  readonly storedBytes: number
  readonly sizeBytes: number
  readonly headerOffset: number
}

/** Where the central directory is. */
export interface CentralDirectory {
  readonly offset: number
  readonly sizeBytes: number
  readonly count: number
  readonly commentBytes: number
}

const endSize = 22
const locatorSize = 20
const zip64EndSize = 56
const max16 = 0xffff
const max32 = 0xffffffff

/** How much of the tail is read at once: of most checkpoints that is the whole central directory and the small records before it. */
const tailBytes = 32 << 10

/** Raises ERR_CHECKPOINT_CORRUPT for a zip archive; `record` is the culprit's name where it is one record's fault. */
export function corruptZip(
  path: string,
  reason: string,
  finding: FormatFindingId = 'zip.structure',
  record: string | null = null,
): never {
  return fault(path, { finding, subject: record }, reason)
}

/** Finds and checks the end records: exactly one directory, right before them, and nothing after them. */
export async function readEndRecords(source: ByteSource): Promise<CentralDirectory> {
  const tail = await readTail(source)
  const at = findEnd(source.path, tail)
  const endOffset = source.sizeBytes - tail.length + at
  const end = tail.subarray(at)
  const [disk, directoryDisk, countHere, count] = [4, 6, 8, 10].map((offset) => end.readUInt16LE(offset))
  const narrow = { count: count ?? 0, sizeBytes: end.readUInt32LE(12), offset: end.readUInt32LE(16) }
  if (disk !== 0 || directoryDisk !== 0 || countHere !== count)
    corruptZip(source.path, 'the zip archive claims several disks')
  const wide = await readZip64End(source, endOffset)
  const found = wide ?? { ...narrow, endsAt: endOffset }
  const agree = (small: number, large: number, limit: number) =>
    small === large || (wide !== undefined && small === limit)
  if (
    !agree(narrow.count, found.count, max16) ||
    !agree(narrow.sizeBytes, found.sizeBytes, max32) ||
    !agree(narrow.offset, found.offset, max32)
  ) {
    corruptZip(
      source.path,
      `the end record and the zip64 end record disagree: ${narrow.count} and ${found.count} records, in ${narrow.sizeBytes} and ${found.sizeBytes} bytes at ${narrow.offset} and ${found.offset}`,
    )
  }
  if (found.offset + found.sizeBytes !== found.endsAt) {
    corruptZip(
      source.path,
      `the central directory is said to be at ${found.offset} with ${found.sizeBytes} bytes, but ends at ${found.endsAt}`,
    )
  }
  const { offset, sizeBytes } = found
  return { offset, sizeBytes, count: found.count, commentBytes: end.readUInt16LE(20) }
}

async function readTail(source: ByteSource): Promise<Buffer> {
  const { path, sizeBytes } = source
  if (sizeBytes < endSize) corruptZip(path, `${sizeBytes} bytes are no zip archive`, 'file.truncated')
  const tail = await source.read(Math.max(sizeBytes - tailBytes, 0), Math.min(sizeBytes, tailBytes), tailBytes)
  const end = tail.subarray(tail.length - endSize)
  if (end.readUInt32LE(0) === 0x06054b50 && end.readUInt16LE(20) === 0) return end
  const length = Math.min(sizeBytes, endSize + max16)
  return source.read(sizeBytes - length, length)
}

/** The end record is the last one whose comment reaches exactly to the end of the file. */
function findEnd(path: string, tail: Buffer): number {
  let seen = -1
  for (let at = tail.length - endSize; at >= 0; at--) {
    if (tail.readUInt32LE(at) !== 0x06054b50) continue
    if (at + endSize + tail.readUInt16LE(at + 20) === tail.length) return at
    if (seen < 0) seen = at
  }
  if (seen >= 0) {
    const rest = tail.length - seen - endSize
    corruptZip(path, `${rest} bytes follow the end of the zip archive`, 'file.trailing_bytes')
  }
  const reason = 'the end of the zip archive is missing: the file was cut, or is no zip archive'
  return corruptZip(path, reason, 'file.truncated')
}

async function readZip64End(source: ByteSource, endOffset: number) {
  if (endOffset < locatorSize + zip64EndSize) return undefined
  const locator = await source.read(endOffset - locatorSize, locatorSize)
  if (locator.readUInt32LE(0) !== 0x07064b50) return undefined
  const offset = safe(source.path, locator.readBigUInt64LE(8))
  const [disk, disks] = [locator.readUInt32LE(4), locator.readUInt32LE(16)]
  if (disk !== 0 || disks > 1) corruptZip(source.path, 'the zip archive claims several disks')
  if (offset + zip64EndSize > endOffset - locatorSize)
    corruptZip(source.path, `the zip64 end record cannot be at ${offset}`)
  const record = await source.read(offset, zip64EndSize)
  if (record.readUInt32LE(0) !== 0x06064b50) corruptZip(source.path, `there is no zip64 end record at ${offset}`)
  if (offset + 12 + safe(source.path, record.readBigUInt64LE(4)) !== endOffset - locatorSize) {
    corruptZip(source.path, `the zip64 end record at ${offset} does not end where its locator begins`)
  }
  const [countHere, count, sizeBytes, start] = [24, 32, 40, 48].map((at) =>
    safe(source.path, record.readBigUInt64LE(at)),
  )
  if (record.readUInt32LE(16) !== 0 || record.readUInt32LE(20) !== 0 || countHere !== count) {
    corruptZip(source.path, 'the zip archive claims several disks')
  }
  return { count: count ?? 0, sizeBytes: sizeBytes ?? 0, offset: start ?? 0, endsAt: offset }
}

/** Parses the whole central directory. */
export function parseCentralDirectory(path: string, bytes: Buffer, count: number): CentralEntry[] {
  const entries: CentralEntry[] = []
  let at = 0
  for (let index = 0; index < count; index++) {
    if (at + 46 > bytes.length || bytes.readUInt32LE(at) !== 0x02014b50) {
      corruptZip(path, `entry ${index} of ${count} in the central directory is no entry`)
    }
    const extraAt = at + 46 + bytes.readUInt16LE(at + 28)
    const extraEnd = extraAt + bytes.readUInt16LE(at + 30)
    const next = extraEnd + bytes.readUInt16LE(at + 32)
    if (next > bytes.length) corruptZip(path, `entry ${index} of ${count} leaves the central directory`)
    const name = decodeName(path, bytes.subarray(at + 46, extraAt))
    if (bytes.readUInt16LE(at + 34) !== 0)
      corruptZip(path, `record ${name} is said to be on another disk`, 'zip.structure', name)
    const fields = [bytes.readUInt32LE(at + 24), bytes.readUInt32LE(at + 20), bytes.readUInt32LE(at + 42)]
    const isWide = fields.includes(max32)
    const [sizeBytes, storedBytes, headerOffset] = isWide
      ? widen(path, name, fields, bytes.subarray(extraAt, extraEnd))
      : fields
    entries.push({
      name,
      flags: bytes.readUInt16LE(at + 8),
      method: bytes.readUInt16LE(at + 10),
      crc32: bytes.readUInt32LE(at + 16),
      sizeBytes: sizeBytes ?? 0,
      storedBytes: storedBytes ?? 0,
      headerOffset: headerOffset ?? 0,
    })
    at = next
  }
  if (at !== bytes.length) corruptZip(path, `${bytes.length - at} bytes of the central directory belong to no entry`)
  return entries
}

/** Replaces 32-bit fields of all ones by their 64-bit values from the zip64 extra field, in its fixed order. */
export function widen(path: string, name: string, fields: readonly number[], extra: Buffer): number[] {
  if (!fields.includes(max32)) return [...fields]
  let wide = findZip64(extra)
  return fields.map((field) => {
    if (field !== max32) return field
    if (wide.length < 8)
      corruptZip(path, `record ${name}: its zip64 field is missing or too short`, 'zip.structure', name)
    const value = safe(path, wide.readBigUInt64LE(0))
    wide = wide.subarray(8)
    return value
  })
}

function findZip64(extra: Buffer): Buffer {
  for (let at = 0; at + 4 <= extra.length;) {
    const length = extra.readUInt16LE(at + 2)
    if (extra.readUInt16LE(at) === 1) return extra.subarray(at + 4, at + 4 + length)
    at += 4 + length
  }
  return extra.subarray(extra.length)
}

function decodeName(path: string, bytes: Buffer): string {
  const name = bytes.toString('utf8')
  if (name.includes('\ufffd') && !Buffer.from(name).equals(bytes))
    corruptZip(path, `the record name ${quoted(name)} is not UTF-8`, 'zip.record_name', name)
  return name
}

function safe(path: string, value: bigint): number {
  if (value > BigInt(Number.MAX_SAFE_INTEGER))
    corruptZip(path, `the zip archive claims a size or place of ${value} bytes`)
  return Number(value)
}
