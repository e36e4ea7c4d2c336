/**
 * Reads what `torch.save` wrote from PyTorch 0.1.10 to 1.5, and still does with `_use_new_zipfile_serialization=False`: pickles of a magic number, a version, facts of the machine, the object and
 * the keys of its storages; then the storages. Source: `torch.serialization._legacy_save` and `_legacy_load` (2.13).
 *
 * The bytes are little-endian whatever the machine was: PyTorch's `_write_file` swaps on big-endian ones.
 */
import { resolve } from 'node:path'
import type { ByteSource } from './byte-source.js'
import { dtypes } from './dtypes.js'
import { fault, quoted } from './fault.js'
import { formatFinding, type Finding, type FormatFindingId } from './findings.js'
import type { PickleReader } from './pickle-read.js'
import { PickleStream } from './pickle-stream.js'
import { storageId, storageIdPrefix, StorageTable, type StorageId } from './storage-table.js'
import { StorageRecord, type FileRange } from './tensor-record.js'
import { noPersistentIds, PickleSession, type ReadSettings, type TorchFile } from './torch-file.js'
import { PythonGlobal, Tuple } from './values.js'

const magicNumber = 0x1950a86a20f9469cfc6cn
const protocolVersion = 1001

/** What is wrong with the storages of a broken file, for those who want the rest of it all the same. */
export interface LegacyDamage {
  /** Storages whose bytes are not all there, by id: how many are. */
  readonly incomplete: Map<string, number>
  readonly findings: Finding<FormatFindingId>[]
}

/**
 * Reads a file of the pre-1.6 format.
 * @param damage gathers what is wrong with the storages; without it, that is thrown.
 */
export async function readLegacy(
  source: ByteSource,
  settings: ReadSettings,
  damage?: LegacyDamage,
): Promise<TorchFile> {
  const { path } = source
  const stream = new PickleStream(source, 0, settings.maxPickleBytes)
  const session = new PickleSession(path, settings)
  const magic = session.read(await stream.next('the magic number'), 'the magic number', noPersistentIds)
  requireNumber(path, 'the magic number', magic, magicNumber)
  // All pickles of a file are of one protocol: the first one tells already where weights_only refuses it.
  const plain = async (name: string) =>
    session.read(await stream.next(name), name, noPersistentIds, { forTorchLoad: false })
  requireNumber(path, 'the protocol version', await plain('the protocol version'), protocolVersion)
  const machine = await plain('the facts of the machine')

  const storages = new LegacyStorages(source)
  const pickle = await stream.next('the object')
  const value = session.read(pickle, 'the object', (id, reader) => storages.load(id, reader))
  const keys = readKeys(path, await plain('the list of storages'), storages)
  if (damage === undefined) await storages.locate(keys, stream.position, settings.structure)
  else await storages.locateSome(keys, stream.position, damage)
  if (storages.hasUntyped) {
    const message =
      'torch.load cannot read back tensors of dtypes without a storage class (uint16, float8...) in this format'
    session.findings.push(formatFinding('pickle.weights_only', null, message))
  }
  const unprotected = 'the format of torch.save before PyTorch 1.6 has no checksums: changed bytes cannot be detected'
  session.findings.push(formatFinding('file.unprotected', null, unprotected))
  return {
    path,
    container: 'torch_legacy',
    identity: source.identity,
    value,
    storages: storages.table.inOrder,
    records: new Map(),
    topFolder: '',
    globals: [...session.globals],
    findings: session.findings,
    details: { machine: plainFacts(machine), sources: storages.sources },
    protection: 'none',
  }
}

function requireNumber(path: string, name: string, found: unknown, expected: number | bigint): void {
  if (found === expected) return
  const shown = typeof found === 'number' || typeof found === 'bigint' ? String(found).slice(0, 40) : typeof found
  fault(path, { finding: 'legacy.structure' }, `${name} is ${shown}, expected ${expected}`)
}

/** The keys name each storage of the object once; one that they leave out has no bytes, which PyTorch fills with whatever was in memory. */
function readKeys(path: string, keys: unknown, storages: LegacyStorages): string[] {
  if (!Array.isArray(keys)) return fault(path, { finding: 'legacy.structure' }, 'the list of storages is no list')
  const seen = new Set<string>()
  for (const key of keys as unknown[]) {
    const text = typeof key === 'string' ? quoted(key) : `a ${typeof key}`
    if (typeof key !== 'string' || !storages.table.has(key))
      return fault(
        path,
        { finding: 'legacy.structure' },
        `the list of storages has ${text}, which the object does not use`,
      )
    if (seen.has(key))
      fault(path, { finding: 'legacy.structure', subject: key }, `the list of storages has ${text} twice`)
    seen.add(key)
  }
  for (const { recordName: key } of storages.table.inOrder) {
    if (key !== null && !seen.has(key))
      fault(path, { finding: 'record.missing', subject: key }, `the list of storages leaves out ${quoted(key)}`)
  }
  return [...seen]
}

/** Where in the file a storage is; known only after the object was read. */
type Place = { -readonly [Name in keyof FileRange]: FileRange[Name] }

class LegacyStorages {
  readonly table: StorageTable
  /** Classes of pickled modules with the files that they were defined in. */
  readonly sources: { className: string; file: string; sizeBytes: number }[] = []
  hasUntyped = false
  readonly #source: ByteSource
  readonly #places = new Map<string, { place: Place; unitBytes: number }>()
  readonly #views = new Map<string, StorageRecord>()
  /** Where the views are, each in its storage. */
  readonly #viewPlaces: { place: Place; root: FileRange; offsetBytes: number }[] = []

  constructor(source: ByteSource) {
    this.#source = source
    const idPrefix = storageIdPrefix(resolve(source.path), source.identity)
    this.table = new StorageTable((id) => this.#describe(idPrefix, id))
  }

  /** `("module", class, file, source)` gives the class, `("storage", class, key, location, count, view)` a storage or a part of one. */
  load(id: unknown, reader: PickleReader): unknown {
    if (id instanceof Tuple && id[0] === 'module') return this.#module(id, reader)
    const facts = storageId(id, 6, reader)
    const storage = this.table.get(facts, reader)
    const view = (id as Tuple)[5]
    return view === null ? storage : this.#view(storage, facts, view, reader)
  }

  #module(id: Tuple, reader: PickleReader): unknown {
    const [, cls, file, source] = id
    const isText = (value: unknown) => value === null || typeof value === 'string'
    if (!(cls instanceof PythonGlobal) || id.length !== 4 || !isText(file) || !isText(source))
      reader.fail('a module that is not given by class, file and source')
    const sizeBytes = Buffer.byteLength((source as string | null) ?? '')
    this.sources.push({ className: cls.name, file: (file as string | null) ?? '', sizeBytes })
    return cls
  }

  #describe(idPrefix: string, { key, dtype, sizeBytes, location }: StorageId): StorageRecord {
    const { path, identity } = this.#source
    const place: Place = { path: resolve(path), offsetBytes: NaN, sizeBytes, identity }
    this.#places.set(key, { place, unitBytes: dtype === null ? 1 : dtypes[dtype].itemSizeBytes })
    this.hasUntyped ||= dtype === null
    return new StorageRecord({ id: idPrefix + key, recordName: key, dtype, sizeBytes, location, source: place })
  }

  /** A part of a storage, as PyTorch had before 0.4: its key, its begin and its length in elements. */
  #view(root: StorageRecord, { key, dtype }: StorageId, view: unknown, reader: PickleReader): StorageRecord {
    const [viewKey, offset, count] = view instanceof Tuple ? (view as readonly unknown[]) : []
    if (typeof viewKey !== 'string' || !isCount(offset) || !isCount(count) || (view as Tuple).length !== 3)
      reader.fail(`storage ${key}: its view is not given by key, offset and size`, 'tensor.malformed', key)
    const unitBytes = dtype === null ? 1 : dtypes[dtype].itemSizeBytes
    const [offsetBytes, sizeBytes] = [offset * unitBytes, count * unitBytes]
    if (offsetBytes + sizeBytes > root.sizeBytes) {
      const reason = `the view ${viewKey} of storage ${key} ends at ${offsetBytes + sizeBytes}, it has ${root.sizeBytes} bytes`
      reader.fail(reason, 'storage.too_small', key)
    }
    const known = this.#views.get(viewKey)
    if (known !== undefined) {
      const same = known.viewOf?.storage === root && known.viewOf.offsetBytes === offsetBytes
      if (!same || known.sizeBytes !== sizeBytes)
        reader.fail(`the view ${viewKey} is another part of a storage here than before`, 'storage.type', viewKey)
      return known
    }
    const place: Place = { ...root.source, sizeBytes }
    this.#viewPlaces.push({ place, root: root.source, offsetBytes })
    const facts = { ...root, dtype, sizeBytes, source: place, viewOf: { storage: root, offsetBytes } }
    const part = new StorageRecord({ ...facts, id: `${root.id}[${offsetBytes}:${offsetBytes + sizeBytes}]` })
    this.#views.set(viewKey, part)
    return part
  }

  /** Finds the storages: each is a count of elements in 8 bytes, then the elements. With `directory` only whether they all fit is checked. */
  async locate(keys: readonly string[], begin: number, structure: 'full' | 'directory'): Promise<void> {
    const source = this.#source
    let at = begin
    for (const key of keys) {
      const { place, unitBytes } = this.#places.get(key) as { place: Place; unitBytes: number }
      if (structure === 'full') {
        const count = (await source.read(at, 8)).readBigUInt64LE(0)
        if (count !== BigInt(place.sizeBytes / unitBytes)) {
          const reason = `storage ${key} has ${count} elements, the pickle says ${place.sizeBytes / unitBytes}`
          fault(source.path, { finding: 'record.size', subject: key }, reason)
        }
        place.offsetBytes = source.beginBytes + at + 8
      }
      at += 8 + place.sizeBytes
      if (at > source.sizeBytes) {
        const reason = `storage ${key} ends at byte ${at}, the file has ${source.sizeBytes}`
        fault(source.path, { finding: 'file.truncated', subject: key }, reason)
      }
    }
    this.#placeViews()
    if (at === source.sizeBytes) return
    fault(source.path, { finding: 'file.trailing_bytes' }, `${source.sizeBytes - at} bytes follow the last storage`)
  }

  /** {@link locate} for a broken file: the pickle says where each storage is, as long as nothing is missing before it. */
  async locateSome(keys: readonly string[], begin: number, { incomplete, findings }: LegacyDamage): Promise<void> {
    const source = this.#source
    const byKey = new Map(this.table.inOrder.map((storage) => [storage.recordName, storage]))
    let at = begin
    for (const key of keys) {
      const { place, unitBytes } = this.#places.get(key) as { place: Place; unitBytes: number }
      const storage = byKey.get(key) as StorageRecord
      const there = Math.max(Math.min(place.sizeBytes, source.sizeBytes - at - 8), 0)
      place.offsetBytes = source.beginBytes + Math.min(at + 8, source.sizeBytes)
      if (there < place.sizeBytes) {
        incomplete.set(storage.id, there)
        const message = `storage ${key}: ${there} of ${place.sizeBytes} bytes are there`
        findings.push(formatFinding('file.truncated', key, message))
      } else if ((await source.read(at, 8)).readBigUInt64LE(0) !== BigInt(place.sizeBytes / unitBytes)) {
        const message = `storage ${key}: the count of its elements is not what the pickle says`
        findings.push(formatFinding('record.size', key, message))
      }
      at += 8 + place.sizeBytes
    }
    this.#placeViews()
  }

  #placeViews(): void {
    for (const { place, root, offsetBytes } of this.#viewPlaces) place.offsetBytes = root.offsetBytes + offsetBytes
  }
}

function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0
}

/** The facts of the machine as plain JSON: numbers and booleans, and one dict of them. */
function plainFacts(value: unknown, depth = 0): unknown {
  if (value instanceof Map && depth < 2)
    return Object.fromEntries([...value].map(([key, item]) => [String(key), plainFacts(item, depth + 1)]))
  return typeof value === 'number' || typeof value === 'boolean' || typeof value === 'string' ? value : null
}
