/**
 * Plans a zip file as PyTorch's writer (miniz in `caffe2/serialize/inline_container.cc`) makes it, byte for byte: stored records whose data starts at multiples
 * of the alignment, data descriptors, zip64 end records always. Nothing is written here: the result is a list of parts.
 */
import { crc32 } from 'node:zlib'
import { TorchkeepError } from './errors.js'

/** A place in a part where the CRC-32 of a slot goes (little-endian u32). */
export interface CrcPatch {
  at: number
  slot: number
}

/** One piece of a planned file; pieces are written one after another. `FilePart` of `lib/contract.ts` is this with a tensor handle as source. */
export type PlannedPart<Source> =
  | { kind: 'bytes'; bytes: Uint8Array; crcPatches?: readonly CrcPatch[] }
  | {
      kind: 'storage'
      /** What the executor reads the storage's bytes from. */
      tensor: Source
      /** First byte of the storage to write. */
      offsetBytes: number
      sizeBytes: number
      /** Where the CRC-32 of these bytes is remembered for later `crcPatches`. */
      crcSlot: number
    }

interface PlannedRecord {
  name: Buffer
  headerOffset: number
  sizeBytes: number
  /** The CRC-32, or the slot that holds it once the storage is written. */
  crc: { value: number } | { slot: number }
}

const max32 = 0xffffffff
const flagUtf8 = 0x0800
const flagDescriptor = 0x0008

/** Builds the parts of one file. */
export class ZipPlanner<Source> {
  readonly parts: PlannedPart<Source>[] = []
  readonly #records: PlannedRecord[] = []
  readonly #topFolder: string
  readonly #alignment: number
  #offset = 0
  #slots = 0
  #pending: Buffer[] = []
  #patches: CrcPatch[] = []
  #pendingLength = 0

  constructor(topFolder: string, alignment: number) {
    this.#topFolder = topFolder
    this.#alignment = alignment
  }

  /** Bytes planned so far. */
  get sizeBytes(): number {
    return this.#offset
  }

  get crcSlots(): number {
    return this.#slots
  }

  /** Adds a small record whose bytes are known. */
  addBytes(name: string, bytes: Uint8Array): void {
    const record = this.#begin(name, bytes.byteLength, { value: crc32(bytes) })
    this.#push(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength))
    this.#descriptor(record)
  }

  /** Adds a record from a storage; returns where its data starts in the file and the slot of its CRC-32 (null for an empty one). */
  addStorage(
    name: string,
    tensor: Source,
    offsetBytes: number,
    sizeBytes: number,
  ): { offset: number; crcSlot: number | null } {
    if (sizeBytes === 0) {
      this.#begin(name, 0, { value: 0 })
      return { offset: this.#offset, crcSlot: null }
    }
    const slot = this.#slots++
    const record = this.#begin(name, sizeBytes, { slot })
    this.#flush()
    const offset = this.#offset
    this.parts.push({ kind: 'storage', tensor, offsetBytes, sizeBytes, crcSlot: slot })
    this.#offset += sizeBytes
    this.#descriptor(record)
    return { offset, crcSlot: slot }
  }

  /** Adds the central directory and the end records. */
  finish(): void {
    const start = this.#offset
    for (const record of this.#records) this.#centralEntry(record)
    const directorySize = this.#offset - start
    const zip64End = this.#offset
    const count = this.#records.length
    this.#push(zip64EndRecord(count, directorySize, start))
    this.#push(zip64Locator(zip64End))
    this.#push(endRecord(count, directorySize, start))
    this.#flush()
  }

  #begin(name: string, sizeBytes: number, crc: PlannedRecord['crc']): PlannedRecord {
    const fullName = Buffer.from(`${this.#topFolder}/${name}`)
    if (fullName.length > 0xffff - 0x100)
      throw new TorchkeepError(
        'ERR_INVALID_ARGUMENT',
        `the record name ${fullName.toString().slice(0, 80)}... is too long`,
      )
    const record = { name: fullName, headerOffset: this.#offset, sizeBytes, crc }
    this.#records.push(record)
    const extra = localExtra(record, this.#alignment)
    const header = Buffer.alloc(30)
    header.writeUInt32LE(0x04034b50, 0)
    header.writeUInt16LE(recordFlags(record), 6)
    header.writeUInt16LE(fullName.length, 26)
    header.writeUInt16LE(extra.length, 28)
    this.#push(header)
    this.#push(fullName)
    this.#push(extra)
    return record
  }

  /** CRC and sizes follow the data; with 64-bit sizes if the record or its place is beyond 4 GiB. An empty record has none. */
  #descriptor(record: PlannedRecord): void {
    if (record.sizeBytes === 0) return
    const wide = record.sizeBytes >= max32 || record.headerOffset >= max32
    const descriptor = Buffer.alloc(wide ? 24 : 16)
    descriptor.writeUInt32LE(0x08074b50, 0)
    this.#crc(descriptor, 4, record)
    if (wide) {
      descriptor.writeBigUInt64LE(BigInt(record.sizeBytes), 8)
      descriptor.writeBigUInt64LE(BigInt(record.sizeBytes), 16)
    } else {
      descriptor.writeUInt32LE(record.sizeBytes, 8)
      descriptor.writeUInt32LE(record.sizeBytes, 12)
    }
    this.#push(descriptor)
  }

  #centralEntry(record: PlannedRecord): void {
    const wideSize = record.sizeBytes >= max32
    const wideOffset = record.headerOffset >= max32
    const extra = zip64Extra([
      ...(wideSize ? [record.sizeBytes, record.sizeBytes] : []),
      ...(wideOffset ? [record.headerOffset] : []),
    ])
    const entry = Buffer.alloc(46)
    entry.writeUInt32LE(0x02014b50, 0)
    entry.writeUInt16LE(recordFlags(record), 8)
    this.#crc(entry, 16, record)
    entry.writeUInt32LE(wideSize ? max32 : record.sizeBytes, 20)
    entry.writeUInt32LE(wideSize ? max32 : record.sizeBytes, 24)
    entry.writeUInt16LE(record.name.length, 28)
    entry.writeUInt16LE(extra.length, 30)
    entry.writeUInt32LE(wideOffset ? max32 : record.headerOffset, 42)
    this.#push(entry)
    this.#push(record.name)
    this.#push(extra)
  }

  /** Puts the CRC of a record at `at` of a buffer that is pushed next, or notes the place for the executor. */
  #crc(buffer: Buffer, at: number, { crc }: PlannedRecord): void {
    if ('value' in crc) buffer.writeUInt32LE(crc.value, at)
    else this.#patches.push({ at: this.#pendingLength + at, slot: crc.slot })
  }

  #push(bytes: Buffer): void {
    this.#pending.push(bytes)
    this.#pendingLength += bytes.length
    this.#offset += bytes.length
  }

  #flush(): void {
    if (this.#pendingLength === 0) return
    const bytes = new Uint8Array(Buffer.concat(this.#pending))
    this.parts.push(
      this.#patches.length === 0 ? { kind: 'bytes', bytes } : { kind: 'bytes', bytes, crcPatches: this.#patches },
    )
    this.#pending = []
    this.#patches = []
    this.#pendingLength = 0
  }
}

function recordFlags(record: PlannedRecord): number {
  return record.sizeBytes === 0 ? flagUtf8 : flagUtf8 | flagDescriptor
}

/** zip64 sizes (compressed size 0) and header offset where needed, then the `FB` field whose `Z`s bring the data to the alignment. */
function localExtra(record: PlannedRecord, alignment: number): Buffer {
  const zip64 = zip64Extra([
    ...(record.sizeBytes >= max32 ? [record.sizeBytes, 0] : []),
    ...(record.headerOffset >= max32 ? [record.headerOffset] : []),
  ])
  const start = record.headerOffset + 30 + record.name.length + zip64.length + 4
  const padding = (alignment - (start % alignment)) % alignment
  const field = Buffer.alloc(4 + padding, 'Z')
  field.write('FB', 0, 'latin1')
  field.writeUInt16LE(padding, 2)
  return Buffer.concat([zip64, field])
}

function zip64Extra(values: readonly number[]): Buffer {
  if (values.length === 0) return Buffer.alloc(0)
  const extra = Buffer.alloc(4 + 8 * values.length)
  extra.writeUInt16LE(1, 0)
  extra.writeUInt16LE(8 * values.length, 2)
  for (const [index, value] of values.entries()) extra.writeBigUInt64LE(BigInt(value), 4 + 8 * index)
  return extra
}

function zip64EndRecord(count: number, directorySize: number, directoryOffset: number): Buffer {
  const record = Buffer.alloc(56)
  record.writeUInt32LE(0x06064b50, 0)
  record.writeBigUInt64LE(44n, 4)
  record.writeUInt16LE(0x031e, 12)
  record.writeUInt16LE(0x002d, 14)
  record.writeBigUInt64LE(BigInt(count), 24)
  record.writeBigUInt64LE(BigInt(count), 32)
  record.writeBigUInt64LE(BigInt(directorySize), 40)
  record.writeBigUInt64LE(BigInt(directoryOffset), 48)
  return record
}

function zip64Locator(zip64End: number): Buffer {
  const locator = Buffer.alloc(20)
  locator.writeUInt32LE(0x07064b50, 0)
  locator.writeBigUInt64LE(BigInt(zip64End), 8)
  locator.writeUInt32LE(1, 16)
  return locator
}

function endRecord(count: number, directorySize: number, directoryOffset: number): Buffer {
  const record = Buffer.alloc(22)
  record.writeUInt32LE(0x06054b50, 0)
  record.writeUInt16LE(Math.min(count, 0xffff), 8)
  record.writeUInt16LE(Math.min(count, 0xffff), 10)
  record.writeUInt32LE(Math.min(directorySize, max32), 12)
  record.writeUInt32LE(Math.min(directoryOffset, max32), 16)
  return record
}
