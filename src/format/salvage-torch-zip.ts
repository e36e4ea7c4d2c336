/** Salvages broken zip archives of torch's kind: records from their headers, names and shapes from `data.pkl`. */
import { resolve } from 'node:path'
import type { ByteSource } from './byte-source.js'
import { TorchkeepError } from './errors.js'
import { formatFinding, type Finding, type FormatFindingId } from './findings.js'
import type { Salvage } from './salvage.js'
import { findDirectory } from './salvage-directory.js'
import { claimedSizes, parsePickle, readPickleRecord } from './salvage-data-pkl.js'
import { chooseRecords } from './salvage-records.js'
import { isSmallRecord } from './salvage-headers.js'
import { walkRecords, type Gap, type SalvagedRecord } from './salvage-zip.js'
import { storageIdPrefix, StorageTable, type StorageId } from './storage-table.js'
import { StorageRecord, type ByteOrder } from './tensor-record.js'
import { PickleSession, readSettings, type TorchFile } from './torch-file.js'
import { readZipRecords } from './zip-containers.js'
import type { ZipRecord } from './zip-read.js'

/** Reads a broken zip archive. `failure` is why it could not be read as a sound one. */
export async function salvageTorchZip(
  source: ByteSource,
  failure: TorchkeepError,
  maxPickleBytes: number,
): Promise<Salvage> {
  const gaps: Gap[] = []
  const sizes = new Map<string, number>()
  const found: SalvagedRecord[] = []
  const directory = await findDirectory(source)
  for await (const walked of walkRecords(source, { directory, sizeOf: (name) => sizes.get(name), gaps })) {
    const record = await named(source, walked)
    found.push(record)
    if (!isPickle(record) || record.sizeBytes > maxPickleBytes) continue
    const { bytes } = await readPickleRecord(source, record)
    for (const [key, sizeBytes] of claimedSizes(source.path, bytes)) sizes.set(`data/${key}`, sizeBytes)
  }
  const chosen = await chooseRecords(source, found)
  const damages = [failureFinding(failure), ...gaps.map(gapFinding), ...chosen.findings]
  const other = await readOtherKind(source, chosen.records, damages, maxPickleBytes)
  if (other !== null) return other
  return readRecords(source, { records: chosen.records, damages, claimed: new Set(sizes.keys()) }, maxPickleBytes)
}

/** A record whose name is damaged and that begins as pickles of torch.save do is `data.pkl`. */
async function named(source: ByteSource, record: SalvagedRecord): Promise<SalvagedRecord> {
  if (isKnownName(record.name) || record.sizeBytes < 4) return record
  const head = await source.read(record.offsetBytes, 2)
  return head[0] === 0x80 && head[1] === 2 ? { ...record, name: 'data.pkl' } : record
}

const isPickle = ({ name, method }: SalvagedRecord): boolean => name === 'data.pkl' && method === 0

/** TorchScript and torch.export archives whose records are all there need no directory. Null for other archives, and where they cannot be read even so. */
async function readOtherKind(
  source: ByteSource,
  salvaged: ReadonlyMap<string, SalvagedRecord>,
  damages: Finding<FormatFindingId>[],
  maxPickleBytes: number,
): Promise<Salvage | null> {
  if (!salvaged.has('constants.pkl') && !salvaged.has('archive_format')) return null
  const records = new Map([...salvaged].map(([name, record]) => [name, zipRecord(name, record)]))
  const [first] = salvaged.values()
  const archive = {
    topFolder: first?.topFolder ?? '',
    records,
    entryOf: () => undefined,
    directoryOffset: source.sizeBytes,
  }
  const settings = readSettings({ unsafe: 'describe', keepFloats: true, maxPickleBytes })
  try {
    const file = await readZipRecords(source, archive, settings, new PickleSession(source.path, settings))
    return { file, isSound: false, pickle: 'whole', pickleNote: null, incomplete: new Map(), unclaimed: [], damages }
  } catch (error) {
    if (!(error instanceof TorchkeepError)) throw error
    damages.push(failureFinding(error))
    return null
  }
}

interface FoundRecords {
  records: ReadonlyMap<string, SalvagedRecord>
  damages: Finding<FormatFindingId>[]
  /** Names of the storages' records as the pickle gives them. */
  claimed: ReadonlySet<string>
}

async function readRecords(
  source: ByteSource,
  { records, damages, claimed }: FoundRecords,
  maxPickleBytes: number,
): Promise<Salvage> {
  const storages = new SalvagedStorages(source, records, await byteOrderOf(source, records), claimed)
  const findings: Finding<FormatFindingId>[] = []
  const globals = new Set<string>()
  const record = records.get('data.pkl')
  let parsed: ReturnType<typeof parsePickle> | undefined
  if (record === undefined || !isPickle(record) || record.sizeBytes > maxPickleBytes) {
    damages.push(
      formatFinding('record.missing', 'data.pkl', 'the record data.pkl, which names the tensors, is not there'),
    )
  } else {
    const pickle = await readPickleRecord(source, record)
    parsed = parsePickle(pickle, { path: source.path, table: storages.table, findings, globals })
    damages.push(...parsed.damages)
  }
  const [first] = records.values()
  const file: TorchFile = {
    path: source.path,
    container: 'torch_zip',
    identity: source.identity,
    details: {},
    protection: [...records.values()].every(({ statedCrcs }) => statedCrcs.length > 0) ? 'crc32' : 'partial',
    value: parsed?.value,
    storages: storages.table.inOrder,
    records: new Map([...records].map(([name, salvaged]) => [name, zipRecord(name, salvaged)])),
    topFolder: first?.topFolder ?? '',
    globals: [...globals],
    findings,
  }
  const isNamed = parsed?.state === 'whole' || parsed?.state === 'corrected' || parsed?.state === 'changed'
  const unclaimed = storages.unclaimed(isNamed)
  return {
    file,
    isSound: false,
    pickle: parsed?.value === undefined ? 'unreadable' : parsed.state,
    incomplete: storages.incomplete,
    unclaimed,
    pickleNote: parsed?.note ?? null,
    damages: [...damages, ...storages.findings],
  }
}

/** The storages that a pickle names, as far as their records are there. */
class SalvagedStorages {
  readonly table: StorageTable
  readonly incomplete = new Map<string, number>()
  readonly findings: Finding<FormatFindingId>[] = []
  readonly #claimed = new Set<SalvagedRecord>()
  readonly #names: ReadonlySet<string>
  readonly #source: ByteSource
  readonly #records: ReadonlyMap<string, SalvagedRecord>
  readonly #byteOrder: ByteOrder
  /** Made where a record is missing. */
  #ordered: ReturnType<typeof inFileOrder> | null = null

  constructor(
    source: ByteSource,
    records: ReadonlyMap<string, SalvagedRecord>,
    byteOrder: ByteOrder,
    claimed: ReadonlySet<string>,
  ) {
    this.#names = claimed
    this.#source = source
    this.#records = records
    this.#byteOrder = byteOrder
    this.table = new StorageTable((id) => this.#make(id))
  }

  /** Records of data that nothing named, as storages of bytes. Beside a pickle that was read, only those that lie where data belongs. */
  unclaimed(isPickleRead: boolean): StorageRecord[] {
    return [...this.#records.values()]
      .filter((record) => !this.#claimed.has(record) && !isSmallRecord(record.name) && record.sizeBytes > 0)
      .filter(({ name }) => !isPickleRead || /^(data|constants)\//.test(name))
      .filter(({ method }) => method === 0)
      .map((record) => {
        const storage = this.#storage(record, { dtype: null, sizeBytes: record.sizeBytes, location: 'cpu' })
        if (record.isCut) this.incomplete.set(storage.id, record.sizeBytes)
        return storage
      })
  }

  #make({ key, dtype, sizeBytes, location }: StorageId): StorageRecord {
    const name = `data/${key}`
    const record = this.#records.get(name) ?? this.#byNeighbours(key, sizeBytes)
    const there = record === undefined || record.method !== 0 ? 0 : Math.min(record.sizeBytes, sizeBytes)
    if (record !== undefined) this.#claimed.add(record)
    const storage = this.#storage(record, { dtype, sizeBytes, location }, name)
    if (there < sizeBytes) this.incomplete.set(storage.id, there)
    if (record === undefined) this.#say('record.missing', name, `the record ${name} is not there`)
    else if (there < sizeBytes)
      this.#say('file.truncated', name, `record ${name}: ${there} of ${sizeBytes} bytes are there`)
    else if (record.sizeBytes !== sizeBytes)
      this.#say(
        'record.size',
        name,
        `storage ${key} has ${sizeBytes} bytes, its record ${name} has ${record.sizeBytes}`,
      )
    return storage
  }

  #say(id: FormatFindingId, subject: string, message: string): void {
    this.findings.push(formatFinding(id, subject, message))
  }

  /** Where the name of a record is damaged: the record between those of the keys before and after, if its size is right. */
  #byNeighbours(key: string, sizeBytes: number): SalvagedRecord | undefined {
    const ordered = (this.#ordered ??= inFileOrder(this.#records))
    const at = (step: 1 | -1) => {
      const place = ordered.places.get(`data/${Number(key) - step}`)
      return place === undefined ? undefined : ordered.records[place + step]
    }
    const candidates = [at(1), at(-1)]
    return candidates.find(
      (record) =>
        record !== undefined &&
        record.sizeBytes === sizeBytes &&
        !record.isCut &&
        !isSmallRecord(record.name) &&
        !this.#names.has(record.name),
    )
  }

  #storage(
    record: SalvagedRecord | undefined,
    { dtype, sizeBytes, location }: Pick<StorageId, 'dtype' | 'sizeBytes' | 'location'>,
    recordName = record?.name ?? '',
  ): StorageRecord {
    const { path, identity } = this.#source
    const absolute = resolve(path)
    const crc32 =
      record !== undefined && !record.isCut && record.sizeBytes === sizeBytes ? (record.statedCrcs[0] ?? null) : null
    return new StorageRecord({
      id: storageIdPrefix(absolute, identity) + recordName,
      recordName,
      dtype,
      sizeBytes,
      location,
      source: { path: absolute, offsetBytes: record?.offsetBytes ?? 0, sizeBytes, identity, crc32 },
      crc32,
      byteOrder: this.#byteOrder,
    })
  }
}

const isKnownName = (name: string): boolean => isSmallRecord(name) || /^data\/\d+$/.test(name)

/** Records as they lie in the file, and where in that order each name is. */
function inFileOrder(byName: ReadonlyMap<string, SalvagedRecord>) {
  const records = [...byName.values()].sort((left, right) => left.headerOffset - right.headerOffset)
  return { records, places: new Map(records.map(({ name }, place) => [name, place])) }
}

async function byteOrderOf(source: ByteSource, records: ReadonlyMap<string, SalvagedRecord>): Promise<ByteOrder> {
  const record = records.get('byteorder')
  if (record === undefined || record.sizeBytes > 16) return 'little'
  return (await source.read(record.offsetBytes, record.sizeBytes)).toString('latin1') === 'big' ? 'big' : 'little'
}

function zipRecord(name: string, { offsetBytes, sizeBytes, method, statedCrcs, isCut }: SalvagedRecord): ZipRecord {
  return { name, offsetBytes, sizeBytes, method, crc32: isCut ? null : (statedCrcs[0] ?? null) }
}

function failureFinding(failure: TorchkeepError): Finding<FormatFindingId> {
  return formatFinding(failure.finding ?? 'zip.structure', failure.subject, failure.message)
}

function gapFinding({ offsetBytes, sizeBytes }: Gap): Finding<FormatFindingId> {
  return formatFinding('zip.hidden_bytes', null, `${sizeBytes} bytes at ${offsetBytes} belong to no record`)
}
