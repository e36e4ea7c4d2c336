/** Reads torch files: the value with its tensors described, in constant memory. Bytes are read when somebody asks for them. */
import { resolve } from 'node:path'
import { ByteSource } from './byte-source.js'
import { describe } from './arguments.js'
import { dtypes, storageClassDTypes, type DTypeName } from './dtypes.js'
import { TorchkeepError } from './errors.js'
import { formatFinding, type Finding, type FormatFindingId } from './findings.js'
import { PickleReader } from './pickle-read.js'
import { torchHooks } from './rebuild.js'
import { requireTorchSave, requireZip } from './recognize.js'
import { StorageRecord, type FileIdentity } from './tensor-record.js'
import { PythonGlobal, Tuple } from './values.js'
import { walk } from './walk.js'
import { weightsOnlyOpcodes } from './weights-only-opcodes.js'
import { readRecord, readZipArchive, type ZipArchive, type ZipRecord } from './zip-read.js'

/** How {@link readTorchFile} reads. */
export interface ReadOptions {
  /**
   * Whether a Python float of integral value (`1.0`) becomes a `PyFloat`, so that writing the value again gives floats. False unless told: such a float is then
   * the number 1.
   */
  keepFloats?: boolean
  /** Largest `data.pkl` that is read into memory, in bytes. 256 MiB unless told: that holds about two million tensors. */
  maxPickleBytes?: number
  /**
   * What a call that could run code becomes (nothing is ever called): `refuse` throws ERR_CHECKPOINT_UNSAFE, `describe` makes it an `OpaqueObject` and a finding, for tools that only look.
   * `refuse` unless told. Objects of unknown classes become `OpaqueObject`s either way.
   */
  unsafe?: 'refuse' | 'describe'
  /**
   * How much of the container is checked: `full` compares every local header and descriptor of a zip with its directory, `directory` believes the directory and reads head and tail only.
   * `full` unless told.
   */
  structure?: 'full' | 'directory'
}

/** The formats that PyTorch and its companions write. */
export type Container =
  /** `torch.save` since 1.6. */
  | 'torch_zip'
  /** `torch.save` from 0.1.10 to 1.5: a sequence of pickles. */
  | 'torch_legacy'
  /** `torch.save` before 0.1.10. */
  | 'torch_tar'
  /** `torch.jit.save`, and C++ `torch::save`. */
  | 'torchscript'
  /** C++ `torch::pickle_save`. */
  | 'pickle_save'
  /** `torch.export.save`. */
  | 'pt2'
  | 'safetensors'
  /** `*.safetensors.index.json` (or `*.bin.index.json`) and its shards. */
  | 'sharded'
  /** A folder of `torch.distributed.checkpoint`. */
  | 'distributed'

/** A file (or folder) that was read. Nothing stays open. */
export interface TorchFile {
  readonly path: string
  readonly container: Container
  /** What the file looked like when it was read; bytes are refused once it has changed. Of several files (shards), the one that names the others. */
  readonly identity: FileIdentity
  /** Facts of the container besides the tensors, as plain JSON values: `__metadata__` of safetensors, the graph of a `.pt2`, the code files of a TorchScript archive, the shards. */
  readonly details: Readonly<Record<string, unknown>>
  /** Whether changed bytes would be noticed: everywhere, in some records only, nowhere. */
  readonly protection: 'crc32' | 'partial' | 'none'
  /** What `torch.load` would give, with descriptions in place of tensors; see `values.ts` for the other types. */
  readonly value: unknown
  /** Storages that the value refers to, in the order of first use. */
  readonly storages: readonly StorageRecord[]
  readonly records: ReadonlyMap<string, ZipRecord>
  /** Of a zip archive; empty for other containers. */
  readonly topFolder: string
  /** Classes and functions that the pickle mentions, by full name. */
  readonly globals: readonly string[]
  /** What is odd; with `unsafe: 'describe'` also what is unsafe. */
  readonly findings: readonly Finding<FormatFindingId>[]
}

const smallRecordBytes = 1 << 16

/** Versions of the container that torch 2.13 reads. */
const supportedVersions = { least: 1, most: 10 }

/**
 * Reads a file that `torch.save` wrote (PyTorch 1.6 and later), everything that `torch.load(weights_only=True)` of torch 2.13 accepts. No code is run. The structure, the
 * CRC-32 of the pickle and the bounds of every tensor are checked; the CRC-32 of a storage is when its bytes are read.
 * @throws TorchkeepError ERR_CHECKPOINT_MISSING, `_CORRUPT`, `_UNSAFE` (a global that could run code, or work out of proportion), `_UNSUPPORTED` (another format).
 */
export async function readTorchFile(path: string, options: ReadOptions = {}): Promise<TorchFile> {
  return ByteSource.with(path, async (source) => {
    const findings: Finding<FormatFindingId>[] = []
    await requireZip(source)
    const archive = await readZipArchive(source, findings)
    requireTorchSave(path, archive)
    await checkContainer(source, archive)
    const pickleRecord = archive.records.get('data.pkl')
    if (pickleRecord === undefined) throw new Error('data.pkl was checked before')
    const pickle = await readRecord(source, pickleRecord, options.maxPickleBytes ?? 256 << 20)

    const storages = new StorageTable(source, archive.records)
    const globals = new Set<string>()
    const value = new PickleReader(pickle, {
      label: `${path}, record data.pkl`,
      opcodes: weightsOnlyOpcodes,
      hooks: torchHooks({ loadStorage: (id, reader) => storages.load(id, reader), globals }),
      keepFloats: options.keepFloats ?? false,
    }).load()
    walk(value, () => true)
    storages.warnUnused(findings)
    return {
      path,
      container: 'torch_zip',
      identity: source.identity,
      value,
      storages: storages.inOrder,
      records: archive.records,
      topFolder: archive.topFolder,
      globals: [...globals],
      findings,
      details: {},
      protection: [...archive.records.values()].some((record) => record.crc32 === null) ? 'partial' : 'crc32',
    }
  })
}

/** Reads the small records that say how to read the others. */
async function checkContainer(source: ByteSource, { records }: ZipArchive): Promise<void> {
  const text = async (name: string) => {
    const record = records.get(name)
    return record === undefined ? undefined : (await readRecord(source, record, smallRecordBytes)).toString('latin1')
  }
  const version = (await text('.data/version')) ?? (await text('version'))
  if (version === undefined)
    throw new TorchkeepError('ERR_CHECKPOINT_CORRUPT', `${source.path}: the record version is missing`)
  if (!/^\d{1,9}\s*$/.test(version)) {
    throw new TorchkeepError(
      'ERR_CHECKPOINT_CORRUPT',
      `${source.path}: the record version holds ${JSON.stringify(version.slice(0, 40))}, expected a number`,
    )
  }
  const { least, most } = supportedVersions
  if (Number(version) < least || Number(version) > most) {
    throw new TorchkeepError(
      'ERR_CHECKPOINT_UNSUPPORTED',
      `${source.path}: container version ${Number(version)}, supported are ${least} to ${most}`,
    )
  }
  const byteOrder = (await text('byteorder')) ?? 'little'
  if (byteOrder === 'big') {
    throw new TorchkeepError(
      'ERR_CHECKPOINT_UNSUPPORTED',
      `${source.path} holds big-endian tensors, which are not read`,
    )
  }
  if (byteOrder !== 'little') {
    throw new TorchkeepError(
      'ERR_CHECKPOINT_CORRUPT',
      `${source.path}: the record byteorder holds ${JSON.stringify(byteOrder.slice(0, 40))}, expected "little"`,
    )
  }
  for (const name of ['.format_version', '.storage_alignment', '.data/serialization_id']) await text(name)
}

/** The storages of one file by their keys. */
class StorageTable {
  readonly inOrder: StorageRecord[] = []
  readonly #byKey = new Map<string, { storage: StorageRecord; className: string }>()
  readonly #path: string
  readonly #identity: FileIdentity
  readonly #records: ReadonlyMap<string, ZipRecord>

  constructor(source: ByteSource, records: ReadonlyMap<string, ZipRecord>) {
    this.#path = resolve(source.path)
    this.#identity = source.identity
    this.#records = records
  }

  /** The storage of the persistent id `("storage", class, key, location, element count)`. */
  load(id: unknown, reader: PickleReader): StorageRecord {
    if (!(id instanceof Tuple) || id.length !== 5 || id[0] !== 'storage')
      reader.fail('a persistent id that is no storage of five parts')
    const [, storageClass, key, location, count] = id as readonly unknown[]
    const { className, dtype } = classOf(storageClass, reader)
    if (typeof key !== 'string' || typeof location !== 'string')
      reader.fail('a storage whose key or location is no str')
    if (!Number.isSafeInteger(count) || (count as number) < 0)
      reader.fail(`storage ${key} of ${String(count).slice(0, 40)} elements`)
    const sizeBytes = (count as number) * (dtype === null ? 1 : dtypes[dtype].itemSizeBytes)
    const known = this.#byKey.get(key)
    if (known !== undefined) {
      if (
        known.className !== className ||
        known.storage.sizeBytes !== sizeBytes ||
        known.storage.location !== location
      ) {
        reader.fail(
          `storage ${key} is a ${className} of ${sizeBytes} bytes on ${location} here and a ${known.className} of ${known.storage.sizeBytes} bytes on ${known.storage.location} before`,
        )
      }
      return known.storage
    }
    const storage = this.#describe(key, dtype, sizeBytes, location, reader)
    this.#byKey.set(key, { storage, className })
    this.inOrder.push(storage)
    return storage
  }

  #describe(
    key: string,
    dtype: DTypeName | null,
    sizeBytes: number,
    location: string,
    reader: PickleReader,
  ): StorageRecord {
    const record = this.#records.get(`data/${key}`)
    if (record === undefined) reader.fail(`the record data/${key.slice(0, 200)} of a storage is missing`)
    if (record.sizeBytes !== sizeBytes)
      reader.fail(`storage ${key} has ${sizeBytes} bytes, its record data/${key} has ${record.sizeBytes}`)
    const { offsetBytes, crc32, name } = record
    const source = { path: this.#path, offsetBytes, sizeBytes, identity: this.#identity, crc32 }
    return new StorageRecord({
      id: `${this.#path}@${this.#identity.inode}.${this.#identity.modifiedNs}#${name}`,
      recordName: name,
      dtype,
      sizeBytes,
      location,
      source,
      crc32,
    })
  }

  warnUnused(findings: Finding<FormatFindingId>[]): void {
    for (const name of this.#records.keys()) {
      if (!name.startsWith('data/') || this.#byKey.has(name.slice('data/'.length))) continue
      findings.push(formatFinding('record.unused', name, `no tensor refers to the record ${name}`))
    }
  }
}

function classOf(value: unknown, reader: PickleReader): { className: string; dtype: DTypeName | null } {
  const name = value instanceof PythonGlobal ? value.name : ''
  if (name === 'torch.storage.UntypedStorage') return { className: 'UntypedStorage', dtype: null }
  const className = /^torch\.(?:cuda\.)?(\w+Storage)$/.exec(name)?.[1] ?? ''
  const dtype = storageClassDTypes.get(className)
  if (dtype === undefined) reader.fail(`${describe(value)} ${name} instead of a storage class`)
  return { className, dtype }
}
