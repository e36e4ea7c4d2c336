/** Opens a zip archive of torch's kind and believes nothing: names, sizes, overlaps, compression, CRC-32. `zip-headers.ts` compares the headers before the data. */
import { crc32 } from 'node:zlib'
import type { ByteSource } from './byte-source.js'
import { fault, quoted, tooMuch } from './fault.js'
import { formatFinding, type Finding, type FormatFindingId } from './findings.js'
import { refuseForeignZip } from './recognize.js'
import { checkHeldRecord, checkLocalHeader, checkRecord, hex } from './zip-headers.js'
import { corruptZip, parseCentralDirectory, readEndRecords, type CentralEntry } from './zip-records.js'

/** One record of an archive. */
export interface ZipRecord {
  /** Name without the top folder, such as `data/0`. */
  readonly name: string
  /** Where its data starts in the file; NaN where only the directory was read, which does not say it. */
  readonly offsetBytes: number
  /** Size once uncompressed. */
  readonly sizeBytes: number
  /** Compression method of zip: 0 stored, 8 deflate. */
  readonly method: number
  /** CRC-32 as the file holds it; null where its writer did not compute it, which a 0 for a record that is not empty means. */
  readonly crc32: number | null
}

/** An archive whose structure is sound, as far as it was read. */
export interface ZipArchive {
  /** The folder that all records are in. */
  readonly topFolder: string
  /** In the order of the directory. */
  readonly records: ReadonlyMap<string, ZipRecord>
  /** A record as the directory has it; undefined where there is no directory. */
  readonly entryOf: (record: ZipRecord) => CentralEntry | undefined
  /** Where the directory begins: no record reaches beyond. */
  readonly directoryOffset: number
}

/** A central directory larger than this is refused: 2 million records. */
const maxDirectoryBytes = 256 << 20

/**
 * Reads and checks the structure of a zip archive. Record data is not read.
 * @param structure `full` compares local headers and descriptors with the directory, `directory` reads the directory only.
 * @throws TorchkeepError ERR_CHECKPOINT_CORRUPT, ERR_CHECKPOINT_UNSUPPORTED (encrypted) or ERR_CHECKPOINT_UNSAFE, naming the record with expected and found.
 */
export async function readZipArchive(
  source: ByteSource,
  findings: Finding<FormatFindingId>[],
  structure: 'full' | 'directory' = 'full',
): Promise<ZipArchive> {
  const directory = await readEndRecords(source)
  if (directory.commentBytes > 0) {
    const message = `the zip archive has a comment of ${directory.commentBytes} bytes`
    findings.push(formatFinding('zip.comment', null, message))
  }
  if (directory.sizeBytes > maxDirectoryBytes)
    tooMuch(source.path, null, `the central directory has ${directory.sizeBytes} bytes, at most ${maxDirectoryBytes}`)
  if (directory.count * 46 > directory.sizeBytes) {
    const reason = `a central directory of ${directory.sizeBytes} bytes cannot be one of ${directory.count} records`
    corruptZip(source.path, reason)
  }
  const bytes = await source.read(directory.offset, directory.sizeBytes)
  const all = parseCentralDirectory(source.path, bytes, directory.count)
  const topFolder = checkNames(source.path, all)
  const offsets = await locate(source, all, directory.offset, findings, structure)
  const records = new Map<string, ZipRecord>()
  for (const entry of all) {
    if (isFolder(entry)) continue
    const { sizeBytes, method } = entry
    const name = entry.name.slice(topFolder.length + 1)
    const offset = offsets?.get(entry)
    const crc = entry.crc32 === 0 && sizeBytes > 0 ? null : entry.crc32
    const offsetBytes = offset === undefined ? NaN : offset + source.beginBytes
    records.set(name, { name, offsetBytes, sizeBytes, method, crc32: crc })
  }
  warnUnprotected(records, findings)
  return {
    topFolder,
    records,
    // Few are asked for: a table by name would cost more than it saves.
    entryOf: ({ name }) => all.find((entry) => entry.name.endsWith(name) && entry.name === `${topFolder}/${name}`),
    directoryOffset: directory.offset,
  }
}

const isFolder = ({ name }: CentralEntry) => name.charCodeAt(name.length - 1) === 0x2f

/** Goes through the records as they lie in the file. Returns where their data begins; null where that was not read. */
async function locate(
  source: ByteSource,
  entries: readonly CentralEntry[],
  limit: number,
  findings: Finding<FormatFindingId>[],
  structure: 'full' | 'directory',
): Promise<Map<CentralEntry, number> | null> {
  const byPlace = inOrder(entries) ? entries : [...entries].sort((a, b) => a.headerOffset - b.headerOffset)
  const offsets = new Map<CentralEntry, number>()
  let [free, hidden] = [0, 0]
  for (const [index, entry] of byPlace.entries()) {
    if (entry.headerOffset < free) {
      const reason = `record ${entry.name} at ${entry.headerOffset} overlaps the one before, which ends at ${free}`
      corruptZip(source.path, reason, 'zip.overlap', entry.name)
    }
    hidden += entry.headerOffset - free
    checkMethod(source.path, entry)
    if (structure === 'full') {
      const place = checkHeldRecord(source, entry, limit) ?? (await checkRecord(source, byPlace, index, limit))
      offsets.set(entry, place.begin)
      free = place.end
    } // What a header has beyond the name is not known; at least this much it has.
    else free = entry.headerOffset + 30 + entry.name.length + entry.storedBytes
    if (free > limit)
      corruptZip(source.path, `record ${entry.name} runs into the central directory`, 'zip.overlap', entry.name)
  }
  hidden += limit - free
  if (structure === 'full' && hidden > 0) {
    const message = `${hidden} bytes of the zip archive belong to none of its records`
    findings.push(formatFinding('zip.hidden_bytes', null, message))
  }
  return structure === 'full' ? offsets : null
}

function inOrder(entries: readonly CentralEntry[]): boolean {
  let last = 0
  for (const { headerOffset } of entries) {
    if (headerOffset < last) return false
    last = headerOffset
  }
  return true
}

/** PyTorch can be told to leave CRC-32s out (`torch.serialization.set_crc32_options`); they are 0 then. */
function warnUnprotected(records: ReadonlyMap<string, ZipRecord>, findings: Finding<FormatFindingId>[]): void {
  const names: string[] = []
  for (const record of records.values()) if (record.crc32 === null) names.push(record.name)
  if (names.length === 0) return
  const more = names.length > 3 ? ', ...' : ''
  const message = `${names.length} records have no CRC-32, their bytes are unprotected: ${names.slice(0, 3).join(', ')}${more}`
  findings.push(formatFinding('record.crc_not_stored', names[0] ?? null, message))
}

/** A segment that is empty, `.` or `..`, a backslash or a null byte. */
const leavesFolder = /(?:^|\/)\.{0,2}(?:\/|$)|[\\\0]/

/** One top folder, no name twice (not even in other case, as torch's look-up ignores it), none that leaves the folder. Returns the top folder. */
function checkNames(path: string, entries: readonly CentralEntry[]): string {
  const first = entries[0]?.name ?? corruptZip(path, 'the zip archive is empty')
  const topFolder = first.slice(0, Math.max(first.indexOf('/'), 0))
  if (topFolder === '') {
    refuseForeignZip(
      path,
      entries.map(({ name }) => name),
    )
    corruptZip(path, `record ${first} is in no top folder`, 'zip.structure', first)
  }
  const prefix = `${topFolder}/`
  const seen = new Map<string, string>()
  for (const entry of entries) {
    const { name } = entry
    if (!name.startsWith(prefix))
      corruptZip(path, `record ${name} is not in the top folder ${topFolder}`, 'zip.structure', name)
    if (leavesFolder.test(isFolder(entry) ? name.slice(0, -1) : name)) {
      const reason = `the record name ${quoted(name)} leaves its folder`
      fault(path, { finding: 'zip.record_name', subject: name, code: 'ERR_CHECKPOINT_UNSAFE' }, reason)
    }
    const lower = name.toLowerCase()
    const twin = seen.get(lower)
    if (twin !== undefined) {
      const how =
        twin === name ? `record ${name} is there twice` : `the records ${twin} and ${name} differ in case only`
      corruptZip(path, how, 'zip.duplicate_record', name)
    }
    seen.set(lower, name)
  }
  return topFolder
}

const flagEncrypted = 0x2041

function checkMethod(path: string, entry: CentralEntry): void {
  if ((entry.flags & flagEncrypted) !== 0) {
    const found = { finding: 'zip.encrypted', subject: entry.name, code: 'ERR_CHECKPOINT_UNSUPPORTED' } as const
    fault(path, found, `record ${entry.name} is encrypted`)
  }
  if (entry.method === 0 && entry.storedBytes !== entry.sizeBytes) {
    const reason = `record ${entry.name} is stored, yet said to be ${entry.sizeBytes} bytes and ${entry.storedBytes} in the file`
    corruptZip(path, reason, 'zip.structure', entry.name)
  }
}

/** Where a record's data begins in `source`, reading its local header if that was not done. */
export async function recordOffset(source: ByteSource, archive: ZipArchive, record: ZipRecord): Promise<number> {
  if (!Number.isNaN(record.offsetBytes)) return record.offsetBytes - source.beginBytes
  const entry = archive.entryOf(record)
  if (entry === undefined) throw new Error(`${record.name} is of another archive`)
  return checkLocalHeader(source, entry, archive.directoryOffset)
}

/**
 * Reads a whole small record and checks its CRC-32.
 * @throws TorchkeepError ERR_CHECKPOINT_UNSUPPORTED for a compressed record.
 * @param maxBytes a larger record is refused before anything is allocated.
 */
export async function readRecord(
  source: ByteSource,
  archive: ZipArchive,
  record: ZipRecord,
  maxBytes: number,
): Promise<Buffer> {
  if (record.method !== 0) refuseCompressed(source.path, record)
  if (record.sizeBytes > maxBytes)
    tooMuch(
      source.path,
      record.name,
      `record ${record.name} has ${record.sizeBytes} bytes, at most ${maxBytes} are read`,
    )
  const bytes = await source.read(await recordOffset(source, archive, record), record.sizeBytes)
  checkCrc(source.path, record, crc32(bytes))
  return bytes
}

/** torch.save stores every record; mapped by PyTorch, a compressed one gives wrong values without a word. */
export function refuseCompressed(path: string, { name, method }: ZipRecord): never {
  const found = { finding: 'zip.compressed', subject: name, code: 'ERR_CHECKPOINT_UNSUPPORTED' } as const
  const reason = `record ${name} is compressed (method ${method}), expected stored bytes; torch.save never compresses`
  return fault(path, found, reason)
}

/** Compares a computed CRC-32 with the record's, where there is one. */
export function checkCrc(path: string, record: { name: string; crc32: number | null }, computed: number): void {
  if (record.crc32 === null || computed === record.crc32) return
  const reason = `record ${record.name}: CRC-32 is ${hex(computed)}, expected ${hex(record.crc32)}: its bytes were changed`
  corruptZip(path, reason, 'record.crc', record.name)
}
