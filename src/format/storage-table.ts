/** The storages of a pickle by their keys: what persistent ids stand for in every container of torch.save. */
import { describe } from './arguments.js'
import { dtypes, storageClassDTypes, type DTypeName } from './dtypes.js'
import { formatFinding, type Finding, type FormatFindingId } from './findings.js'
import type { PickleReader } from './pickle-read.js'
import { StorageRecord, type ByteOrder, type FileIdentity } from './tensor-record.js'
import { PythonGlobal, Tuple } from './values.js'
import type { ZipRecord } from './zip-read.js'

/** What a persistent id says of a storage. */
export interface StorageId {
  key: string
  className: string
  /** Element type of a typed storage, null for an untyped one. */
  dtype: DTypeName | null
  location: string
  sizeBytes: number
}

/**
 * Reads the first five parts of `("storage", class, key, location, element count)`.
 * @param parts how many the container's persistent ids have.
 */
export function storageId(id: unknown, parts: number, reader: PickleReader): StorageId {
  if (!(id instanceof Tuple) || id.length !== parts || id[0] !== 'storage')
    reader.fail(`a persistent id that is no storage of ${parts} parts`)
  const [, storageClass, key, location, count] = id as readonly unknown[]
  if (typeof key !== 'string' || typeof location !== 'string') reader.fail('a storage whose key or location is no str')
  const { className, dtype } = classOf(storageClass, reader)
  if (!Number.isSafeInteger(count) || (count as number) < 0)
    reader.fail(`storage ${key} of ${String(count).slice(0, 40)} elements`, 'tensor.malformed', key)
  const sizeBytes = (count as number) * (dtype === null ? 1 : dtypes[dtype].itemSizeBytes)
  return { key, className, dtype, location, sizeBytes }
}

/** Storage classes that only C++'s pickler names; Python has none, so it cannot load them. */
const cppStorageDTypes: ReadonlyMap<string, DTypeName> = new Map([
  ['ComplexHalfStorage', 'complex32'],
  ['UInt16Storage', 'uint16'],
  ['UInt32Storage', 'uint32'],
  ['UInt64Storage', 'uint64'],
  ['Float8_e4m3fnStorage', 'float8_e4m3fn'],
  ['Float8_e5m2Storage', 'float8_e5m2'],
  ['Float8_e4m3fnuzStorage', 'float8_e4m3fnuz'],
  ['Float8_e5m2fnuzStorage', 'float8_e5m2fnuz'],
  ['Float8_e8m0fnuStorage', 'float8_e8m0fnu'],
  ['Float4_e2m1fn_x2Storage', 'float4_e2m1fn_x2'],
])

interface StorageClass {
  className: string
  dtype: DTypeName | null
}

const knownClasses = new WeakMap<PythonGlobal, StorageClass>()

/** What a storage class says, by its full name. */
function classOf(value: unknown, reader: PickleReader): StorageClass {
  if (!(value instanceof PythonGlobal)) return reader.fail(`${describe(value)} instead of a storage class`)
  const found = knownClasses.get(value) ?? storageClass(value.name, reader)
  knownClasses.set(value, found)
  return found
}

function storageClass(name: string, reader: PickleReader): StorageClass {
  if (name === 'torch.storage.UntypedStorage' || name === 'torch.UntypedStorage')
    return { className: 'UntypedStorage', dtype: null }
  const className = /^torch\.(?:cuda\.)?(\w+Storage)$/.exec(name)?.[1] ?? ''
  const dtype = storageClassDTypes.get(className) ?? cppStorageDTypes.get(className)
  if (dtype === undefined) {
    const finding = name.endsWith('Storage') ? 'pickle.unsupported' : 'pickle.malformed'
    reader.fail(`${name} instead of a storage class that is known`, finding, name)
  }
  return { className, dtype }
}

/** The storages of one pickle: each key once, always with the same class, size and location. */
export class StorageTable {
  /** In the order of first use. */
  readonly inOrder: StorageRecord[] = []
  readonly #byKey = new Map<string, { storage: StorageRecord; className: string }>()
  readonly #make: (id: StorageId, reader: PickleReader) => StorageRecord

  /** @param make describes a storage that is met for the first time. */
  constructor(make: (id: StorageId, reader: PickleReader) => StorageRecord) {
    this.#make = make
  }

  has(key: string): boolean {
    return this.#byKey.has(key)
  }

  get(id: StorageId, reader: PickleReader): StorageRecord {
    const { key, className, sizeBytes, location } = id
    const known = this.#byKey.get(key)
    if (known === undefined) {
      const storage = this.#make(id, reader)
      this.#byKey.set(key, { storage, className })
      this.inOrder.push(storage)
      return storage
    }
    const before = known.storage
    if (known.className !== className || before.sizeBytes !== sizeBytes || before.location !== location) {
      const reason =
        `storage ${key} is a ${className} of ${sizeBytes} bytes on ${location} here and ` +
        `a ${known.className} of ${before.sizeBytes} bytes on ${before.location} before`
      reader.fail(reason, 'storage.type', key)
    }
    return before
  }
}

/** Where the storages of a zip archive are. */
export interface ZipStorages {
  /** Absolute. */
  path: string
  identity: FileIdentity
  byteOrder: ByteOrder
  records: ReadonlyMap<string, ZipRecord>
  /** The folder of the storages' records: `data/`, or `constants/` in TorchScript. */
  folder: string
  /** Where the archive begins in the file, if it is a part of one; 0 unless told. */
  beginBytes?: number
}

/** The storages that are records of a zip archive. */
export function zipStorages(zip: ZipStorages): StorageTable {
  const begin = zip.beginBytes ?? 0
  const idPrefix = storageIdPrefix(zip.path, zip.identity) + (begin === 0 ? '' : `${begin}:`)
  return new StorageTable(({ key, dtype, sizeBytes, location }, reader: PickleReader) => {
    const recordName = zip.folder + key
    const record = zip.records.get(recordName)
    if (record === undefined)
      reader.fail(`the record ${recordName.slice(0, 200)} of a storage is missing`, 'record.missing', recordName)
    if (record.sizeBytes !== sizeBytes) {
      const reason = `storage ${key} has ${sizeBytes} bytes, its record ${recordName} has ${record.sizeBytes}`
      reader.fail(reason, 'record.size', recordName)
    }
    const { offsetBytes, crc32 } = record
    const { path, identity, byteOrder } = zip
    const source = { path, offsetBytes, sizeBytes, identity, crc32 }
    const id = idPrefix + recordName
    return new StorageRecord({ id, recordName, dtype, sizeBytes, location, source, crc32, byteOrder })
  })
}

/** Ids of storages begin with this: those of different files, or of two states of one, are different. */
export function storageIdPrefix(path: string, identity: FileIdentity): string {
  return `${path}@${identity.inode}.${identity.modifiedNs}#`
}

/** Most records that nothing refers to that are named. */
const mostUnused = 100

/** Storage records that nothing refers to: the first 100 by name, all beyond in one more finding. */
export function warnUnused(records: Iterable<string>, used: (name: string) => boolean): Finding<FormatFindingId>[] {
  const found: Finding<FormatFindingId>[] = []
  let more = 0
  for (const name of records) {
    if (used(name)) continue
    if (found.length < mostUnused)
      found.push(formatFinding('record.unused', name, `nothing refers to the record ${name}`))
    else more++
  }
  if (more > 0) found.push(formatFinding('record.unused', null, `and nothing refers to ${more} more records`))
  return found
}
