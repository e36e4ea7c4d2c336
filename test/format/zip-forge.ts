/** Writes zip archives whose every field may lie. Without lies they are what `torch.save` writes, apart from the padding. */
import { crc32, deflateRawSync } from 'node:zlib'

/** The fields of a local header; those that are not given are the truth. */
export interface LocalFields {
  signature: number
  versionNeeded: number
  flags: number
  method: number
  time: number
  crc: number
  stored: number
  size: number
  name: Buffer
  extra: Buffer
}

/** The fields of a central entry. */
export interface CentralFields extends LocalFields {
  versionMade: number
  comment: Buffer
  disk: number
  internal: number
  external: number
  headerOffset: number
}

/** The fields of a data descriptor. */
export interface DescriptorFields {
  signature: number
  crc: number
  stored: number
  size: number
}

/** One record. */
export interface ForgedRecord {
  /** Name with the top folder. */
  readonly name: string
  readonly data: Uint8Array
  /** Whether the data is deflated. */
  readonly deflate?: boolean
  readonly local?: Partial<LocalFields>
  readonly central?: Partial<CentralFields>
  readonly descriptor?: Partial<DescriptorFields> | 'none'
  /** Left out of the central directory. */
  readonly hidden?: boolean
  /** No local header and data of its own: the central entry names those of an earlier record. */
  readonly sharesHeaderOf?: string
}

/** The fields of the end records. */
export interface EndFields {
  disk: number
  directoryDisk: number
  countHere: number
  count: number
  sizeBytes: number
  offset: number
  comment: Buffer
}

/** How the end is forged. */
export interface ForgedEnd {
  readonly prefix?: Uint8Array
  readonly suffix?: Uint8Array
  readonly betweenRecordsAndDirectory?: Uint8Array
  readonly end?: Partial<EndFields>
  readonly end64?: Partial<EndFields & { recordBytes: number }> | 'none'
  readonly locator?: Partial<{ disk: number; offset: number; disks: number }>
  /** Whether offsets count from the prefix's start (as they must) or from its end. */
  readonly offsetsIgnorePrefix?: boolean
}

const noBytes = Buffer.alloc(0)
const flagsOf = (data: Uint8Array, hasDescriptor: boolean) => (hasDescriptor && data.length > 0 ? 0x0808 : 0x0800)

/** Little-endian fields one after the other: `[bytes, value]`. */
function fields(...list: readonly (readonly [2 | 4 | 8, number])[]): Buffer {
  return Buffer.concat(
    list.map(([width, value]) => {
      const bytes = Buffer.alloc(width)
      if (width === 8) bytes.writeBigUInt64LE(BigInt.asUintN(64, BigInt(value)))
      else if (width === 4) bytes.writeUInt32LE(value >>> 0)
      else bytes.writeUInt16LE(value & 0xffff)
      return bytes
    }),
  )
}

/** An archive of records. */
export function forgeZip(records: readonly ForgedRecord[], end: ForgedEnd = {}): Buffer {
  const prefix = end.prefix ?? noBytes
  const base = end.offsetsIgnorePrefix === true ? 0 : prefix.length
  const parts: Uint8Array[] = []
  const central: Buffer[] = []
  const offsets = new Map<string, number>()
  let at = 0
  for (const record of records) {
    const headerOffset = base + (offsets.get(record.sharesHeaderOf ?? '') ?? at)
    if (record.sharesHeaderOf === undefined) {
      const bytes = localPart(record)
      offsets.set(record.name, at)
      parts.push(bytes)
      at += bytes.length
    }
    if (record.hidden !== true) central.push(centralEntry(record, headerOffset))
  }
  const gap = end.betweenRecordsAndDirectory ?? noBytes
  const directory = Buffer.concat(central)
  const truth = { offset: base + at + gap.length, sizeBytes: directory.length, count: central.length }
  return Buffer.concat([prefix, ...parts, gap, directory, endRecords(truth, end), end.suffix ?? noBytes])
}

function truthOf(record: ForgedRecord) {
  const body = record.deflate === true ? deflateRawSync(record.data, { level: 9 }) : Buffer.from(record.data)
  return {
    body,
    versionNeeded: 0,
    flags: flagsOf(record.data, record.descriptor !== 'none'),
    method: record.deflate === true ? 8 : 0,
    time: 0,
    crc: crc32(record.data),
    stored: body.length,
    size: record.data.length,
    name: Buffer.from(record.name),
    extra: noBytes,
  }
}

function localPart(record: ForgedRecord): Buffer {
  const truth = truthOf(record)
  const later = (truth.flags & 8) !== 0
  const local = {
    ...{ ...truth, signature: 0x04034b50 },
    ...(later ? { crc: 0, stored: 0, size: 0 } : {}),
    ...record.local,
  }
  const header = fields(
    [4, local.signature],
    [2, local.versionNeeded],
    [2, local.flags],
    [2, local.method],
    [4, local.time],
    [4, local.crc],
    [4, local.stored],
    [4, local.size],
    [2, local.name.length],
    [2, local.extra.length],
  )
  return Buffer.concat([header, local.name, local.extra, truth.body, later ? descriptor(record, truth) : noBytes])
}

function descriptor(record: ForgedRecord, truth: DescriptorFields | ReturnType<typeof truthOf>): Buffer {
  const lies = record.descriptor === 'none' ? {} : record.descriptor
  const said = { ...truth, signature: 0x08074b50, ...lies }
  return fields([4, said.signature], [4, said.crc], [4, said.stored], [4, said.size])
}

function centralEntry(record: ForgedRecord, headerOffset: number): Buffer {
  const truth = { versionMade: 0, comment: noBytes, disk: 0, internal: 0, external: 0, headerOffset }
  const said = { ...truthOf(record), ...truth, signature: 0x02014b50, ...record.central }
  const header = fields(
    [4, said.signature],
    [2, said.versionMade],
    [2, said.versionNeeded],
    [2, said.flags],
    [2, said.method],
    [4, said.time],
    [4, said.crc],
    [4, said.stored],
    [4, said.size],
    [2, said.name.length],
    [2, said.extra.length],
    [2, said.comment.length],
    [2, said.disk],
    [2, said.internal],
    [4, said.external],
    [4, said.headerOffset],
  )
  return Buffer.concat([header, said.name, said.extra, said.comment])
}

function endRecords(truth: { offset: number; sizeBytes: number; count: number }, forged: ForgedEnd): Buffer {
  const plain = { disk: 0, directoryDisk: 0, countHere: truth.count, comment: noBytes, ...truth }
  const end = { ...plain, ...forged.end }
  const short = fields(
    [4, 0x06054b50],
    [2, end.disk],
    [2, end.directoryDisk],
    [2, end.countHere],
    [2, end.count],
    [4, end.sizeBytes],
    [4, end.offset],
    [2, end.comment.length],
  )
  const tail = Buffer.concat([short, end.comment])
  if (forged.end64 === 'none') return tail
  const wide = { ...plain, recordBytes: 44, ...forged.end64 }
  const end64 = fields(
    [4, 0x06064b50],
    [8, wide.recordBytes],
    [2, 0],
    [2, 0],
    [4, wide.disk],
    [4, wide.directoryDisk],
    [8, wide.countHere],
    [8, wide.count],
    [8, wide.sizeBytes],
    [8, wide.offset],
  )
  const locator = { disk: 0, offset: truth.offset + truth.sizeBytes, disks: 1, ...forged.locator }
  const locatorBytes = fields([4, 0x07064b50], [4, locator.disk], [8, locator.offset], [4, locator.disks])
  return Buffer.concat([end64, locatorBytes, tail])
}

/** A zip64 extra field of 64-bit values. */
export function zip64Extra(...values: readonly number[]): Buffer {
  return Buffer.concat([fields([2, 1], [2, 8 * values.length]), ...values.map((value) => fields([8, value]))])
}
