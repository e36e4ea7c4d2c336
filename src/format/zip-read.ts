/** Opens a zip archive of torch's kind and believes nothing: central directory against local headers, names, sizes, overlaps, compression, CRC-32. */
import { crc32 } from 'node:zlib'
import type { ByteSource } from './byte-source.js'
import { TorchkeepError } from './errors.js'
import { formatFinding, type Finding, type FormatFindingId } from './findings.js'
import { corruptZip, parseCentralDirectory, readEndRecords, widen, type CentralEntry } from './zip-records.js'

/** One record of an archive. */
export interface ZipRecord {
  /** Name without the top folder, such as `data/0`. */
  readonly name: string
  /** Where its data starts in the file. */
  readonly offsetBytes: number
  /** Size once uncompressed. */
  readonly sizeBytes: number
  /** Compression method of zip: 0 stored, 8 deflate. */
  readonly method: number
  /** CRC-32 as the file holds it; null where its writer did not compute it, which a 0 for a record that is not empty means. */
  readonly crc32: number | null
}

/** An archive whose structure is sound. */
export interface ZipArchive {
  /** The folder that all records are in. */
  readonly topFolder: string
  readonly records: ReadonlyMap<string, ZipRecord>
}

/** A central directory larger than this is refused: 2 million records. */
const maxDirectoryBytes = 256 << 20
const flagEncrypted = 0x2041
const flagDescriptor = 0x0008

/**
 * Reads and checks the structure of a zip archive. Record data is not read.
 * @throws TorchkeepError ERR_CHECKPOINT_CORRUPT, ERR_CHECKPOINT_UNSUPPORTED (encrypted) or ERR_CHECKPOINT_UNSAFE, naming the record with expected and found.
 */
export async function readZipArchive(source: ByteSource, findings: Finding<FormatFindingId>[]): Promise<ZipArchive> {
  const directory = await readEndRecords(source)
  if (directory.commentBytes > 0) {
    findings.push(
      formatFinding('zip.comment', null, `the zip archive has a comment of ${directory.commentBytes} bytes`),
    )
  }
  if (directory.sizeBytes > maxDirectoryBytes || directory.count * 46 > directory.sizeBytes) {
    corruptZip(
      source.path,
      `a central directory of ${directory.sizeBytes} bytes cannot be one of ${directory.count} records`,
    )
  }
  const bytes = Buffer.from(await source.read(directory.offset, directory.sizeBytes))
  const entries = parseCentralDirectory(source.path, bytes, directory.count)
  const topFolder = checkNames(source.path, entries)
  const records = new Map<string, ZipRecord>()
  const byPlace = [...entries].sort((left, right) => left.headerOffset - right.headerOffset)
  let free = 0
  for (const entry of byPlace) {
    if (entry.headerOffset < free)
      corruptZip(
        source.path,
        `record ${entry.name} at ${entry.headerOffset} overlaps the one before, which ends at ${free}`,
      )
    checkMethod(source.path, entry)
    const offsetBytes = await checkLocalHeader(source, entry, directory.offset)
    free = await checkDescriptor(source, entry, offsetBytes + entry.storedBytes)
    if (free > directory.offset) corruptZip(source.path, `record ${entry.name} runs into the central directory`)
    if (entry.name.endsWith('/')) continue
    const name = entry.name.slice(topFolder.length + 1)
    const crc = entry.crc32 === 0 && entry.sizeBytes > 0 ? null : entry.crc32
    records.set(name, { name, offsetBytes, sizeBytes: entry.sizeBytes, method: entry.method, crc32: crc })
  }
  warnUnprotected(records, findings)
  return { topFolder, records }
}

/** PyTorch can be told to leave CRC-32s out (`torch.serialization.set_crc32_options`); they are 0 then. */
function warnUnprotected(records: ReadonlyMap<string, ZipRecord>, findings: Finding<FormatFindingId>[]): void {
  const names = [...records.values()].filter((record) => record.crc32 === null).map((record) => record.name)
  if (names.length === 0) return
  const more = names.length > 3 ? ', ...' : ''
  const message = `${names.length} records have no CRC-32, their bytes are unprotected: ${names.slice(0, 3).join(', ')}${more}`
  findings.push(formatFinding('record.crc_not_stored', names[0] ?? null, message))
}

/** One top folder, no name twice (not even in other case, as torch's look-up ignores it), none that leaves the folder. Returns the top folder. */
function checkNames(path: string, entries: readonly CentralEntry[]): string {
  const first = entries[0]?.name ?? corruptZip(path, 'the zip archive is empty')
  const topFolder = first.slice(0, Math.max(first.indexOf('/'), 0))
  if (topFolder === '') corruptZip(path, `record ${first} is in no top folder`)
  const seen = new Map<string, string>()
  for (const { name } of entries) {
    if (!name.startsWith(`${topFolder}/`)) corruptZip(path, `record ${name} is not in the top folder ${topFolder}`)
    const segments = name.replace(/\/$/, '').split('/')
    if (segments.some((segment) => segment === '' || segment === '.' || segment === '..') || /[\\\0]/.test(name)) {
      throw new TorchkeepError(
        'ERR_CHECKPOINT_UNSAFE',
        `${path}: the record name ${JSON.stringify(name)} leaves its folder`,
      )
    }
    const twin = seen.get(name.toLowerCase())
    if (twin !== undefined)
      corruptZip(
        path,
        twin === name ? `record ${name} is there twice` : `the records ${twin} and ${name} differ in case only`,
      )
    seen.set(name.toLowerCase(), name)
  }
  return topFolder
}

function checkMethod(path: string, entry: CentralEntry): void {
  if ((entry.flags & flagEncrypted) !== 0) {
    throw new TorchkeepError('ERR_CHECKPOINT_UNSUPPORTED', `${path}: record ${entry.name} is encrypted`)
  }
  if (entry.method === 0 && entry.storedBytes !== entry.sizeBytes) {
    corruptZip(
      path,
      `record ${entry.name} is stored, yet said to be ${entry.sizeBytes} bytes and ${entry.storedBytes} in the file`,
    )
  }
}

/** Compares a local header with the central entry; returns where the record's data starts. */
async function checkLocalHeader(source: ByteSource, entry: CentralEntry, limit: number): Promise<number> {
  const { path } = source
  const at = entry.headerOffset
  if (at + 30 > limit) corruptZip(path, `record ${entry.name}: there is no room for a header at ${at}`)
  const fixed = await source.read(at, 30)
  if (fixed.readUInt32LE(0) !== 0x04034b50) corruptZip(path, `record ${entry.name}: there is no local header at ${at}`)
  const [flags, method] = [fixed.readUInt16LE(6), fixed.readUInt16LE(8)]
  const crc = fixed.readUInt32LE(14)
  const sizes = [fixed.readUInt32LE(22), fixed.readUInt32LE(18)]
  const [nameBytes, extraBytes] = [fixed.readUInt16LE(26), fixed.readUInt16LE(28)]
  const start = at + 30 + nameBytes + extraBytes
  if (start + entry.storedBytes > limit)
    corruptZip(path, `record ${entry.name} of ${entry.storedBytes} bytes at ${start} runs into the central directory`)
  const rest = await source.read(at + 30, nameBytes + extraBytes)
  const name = rest.toString('utf8', 0, nameBytes)
  if (name !== entry.name) corruptZip(path, `record ${entry.name} is named ${JSON.stringify(name)} in its local header`)
  if (
    method !== entry.method ||
    (flags & flagEncrypted) !== 0 ||
    (flags & flagDescriptor) !== (entry.flags & flagDescriptor)
  ) {
    corruptZip(
      path,
      `record ${entry.name}: method ${method} and flags ${flags} in the local header, ${entry.method} and ${entry.flags} in the directory`,
    )
  }
  const [size = 0, stored = 0] = widen(path, entry.name, sizes, rest.subarray(nameBytes))
  const later = (flags & flagDescriptor) !== 0
  const agrees = (local: number, central: number) => local === central || (later && local === 0)
  if (!agrees(crc, entry.crc32) || !agrees(size, entry.sizeBytes) || !agrees(stored, entry.storedBytes)) {
    corruptZip(
      path,
      `record ${entry.name}: ${size} bytes with CRC-32 ${hex(crc)} in the local header, ${entry.sizeBytes} with ${hex(entry.crc32)} in the directory`,
    )
  }
  return start
}

/** Compares the data descriptor after a record's data, if there is one, with the central entry; returns where the record ends. */
async function checkDescriptor(source: ByteSource, entry: CentralEntry, end: number): Promise<number> {
  if ((entry.flags & flagDescriptor) === 0) return end
  const wide = entry.sizeBytes >= 0xffffffff || entry.storedBytes >= 0xffffffff || entry.headerOffset >= 0xffffffff
  const length = wide ? 24 : 16
  const descriptor = await source.read(end, length)
  const sizes = wide
    ? [Number(descriptor.readBigUInt64LE(8)), Number(descriptor.readBigUInt64LE(16))]
    : [descriptor.readUInt32LE(8), descriptor.readUInt32LE(12)]
  if (
    descriptor.readUInt32LE(0) !== 0x08074b50 ||
    descriptor.readUInt32LE(4) !== entry.crc32 ||
    sizes[0] !== entry.storedBytes ||
    sizes[1] !== entry.sizeBytes
  ) {
    corruptZip(source.path, `record ${entry.name}: the data descriptor at ${end} does not agree with the directory`)
  }
  return end + length
}

/**
 * Reads a whole small record and checks its CRC-32.
 * @throws TorchkeepError ERR_CHECKPOINT_UNSUPPORTED for a compressed record.
 * @param maxBytes a larger record is refused before anything is allocated.
 */
export async function readRecord(source: ByteSource, record: ZipRecord, maxBytes: number): Promise<Buffer> {
  if (record.method !== 0) refuseCompressed(source.path, record)
  if (record.sizeBytes > maxBytes) {
    throw new TorchkeepError(
      'ERR_CHECKPOINT_UNSAFE',
      `${source.path}: record ${record.name} has ${record.sizeBytes} bytes, at most ${maxBytes} are read`,
    )
  }
  const bytes = Buffer.from(await source.read(record.offsetBytes, record.sizeBytes))
  checkCrc(source.path, record, crc32(bytes))
  return bytes
}

/** torch.save stores every record; mapped by PyTorch, a compressed one gives wrong values without a word. */
export function refuseCompressed(path: string, { name, method }: ZipRecord): never {
  throw new TorchkeepError(
    'ERR_CHECKPOINT_UNSUPPORTED',
    `${path}: record ${name} is compressed (method ${method}), expected stored bytes; torch.save never compresses`,
  )
}

/** Compares a computed CRC-32 with the record's, where there is one. */
export function checkCrc(path: string, record: { name: string; crc32: number | null }, computed: number): void {
  if (record.crc32 === null || computed === record.crc32) return
  corruptZip(
    path,
    `record ${record.name}: CRC-32 is ${hex(computed)}, expected ${hex(record.crc32)}: its bytes were changed`,
  )
}

const hex = (value: number) => `0x${value.toString(16).padStart(8, '0')}`
