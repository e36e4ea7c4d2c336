/**
 * Reads what `torch.save` wrote before PyTorch 0.1.10: a tar archive of `storages`, `tensors` and `pickle`, whose persistent ids are the keys of those tensors and storages. Source:
 * `torch.serialization._legacy_load.legacy_load` (2.13), which wants `weights_only=False`. Nothing is extracted.
 */
import { resolve } from 'node:path'
import type { ByteSource } from './byte-source.js'
import { dtypes, storageClassDTypes, type DTypeName } from './dtypes.js'
import { fault, quoted } from './fault.js'
import { formatFinding } from './findings.js'
import type { PickleReader } from './pickle-read.js'
import { PickleStream } from './pickle-stream.js'
import { storageIdPrefix } from './storage-table.js'
import { readTarMembers } from './tar-members.js'
import { coveredBytes, elementCount, StorageRecord, TensorRecord } from './tensor-record.js'
import { noPersistentIds, PickleSession, type ReadSettings, type TorchFile } from './torch-file.js'
import { PythonGlobal, Tuple } from './values.js'
import { walk } from './walk.js'

const memberNames = ['storages', 'tensors', 'pickle'] as const

/** More dimensions than PyTorch has. */
const maxDimensions = 64

/** Reads a file of the tar format. */
export async function readTar(source: ByteSource, settings: ReadSettings): Promise<TorchFile> {
  const { path } = source
  const members = await readTarMembers(source)
  const session = new PickleSession(path, settings)
  for (const name of members.keys()) {
    if (!(memberNames as readonly string[]).includes(name))
      session.findings.push(formatFinding('record.unused', name, `nothing refers to the member ${quoted(name)}`))
  }
  const section = (name: (typeof memberNames)[number]) => {
    const member = members.get(name)
    if (member === undefined) {
      const found = [...members.keys()].slice(0, 5).join(', ')
      return fault(path, { finding: 'record.missing', subject: name }, `the member ${name} is missing (found ${found})`)
    }
    return source.section(member.offsetBytes, member.sizeBytes)
  }
  const objects = new TarObjects(source, session, settings)
  await objects.readStorages(section('storages'))
  await objects.readTensors(section('tensors'))
  const pickleSource = section('pickle')
  const stream = new PickleStream(pickleSource, 0, settings.maxPickleBytes)
  const value = session.read(await stream.next('the object'), 'the object', (id, reader) => objects.load(id, reader))
  requireEnd(pickleSource, stream, 'pickle')
  walk(value, () => true)
  const message = 'torch.load(weights_only=True) refuses the tar format; the format has no checksums for data'
  session.findings.push(formatFinding('pickle.weights_only', null, message))
  session.findings.push(formatFinding('file.unprotected', null, 'changed bytes of tensors cannot be detected'))
  return {
    path,
    container: 'torch_tar',
    identity: source.identity,
    value,
    storages: objects.storages,
    records: new Map(),
    topFolder: '',
    globals: [...session.globals],
    findings: session.findings,
    details: {},
    protection: 'none',
  }
}

function requireEnd(source: ByteSource, { position }: PickleStream, name: string): void {
  if (position === source.sizeBytes) return
  const reason = `${source.sizeBytes - position} bytes follow the contents of the member ${name}`
  fault(source.path, { finding: 'file.trailing_bytes', subject: name }, reason)
}

class TarObjects {
  /** Storages of their own, not the parts of others. */
  readonly storages: StorageRecord[] = []
  readonly #objects = new Map<string, StorageRecord | TensorRecord>()
  readonly #source: ByteSource
  readonly #session: PickleSession
  readonly #settings: ReadSettings
  readonly #idPrefix: string

  constructor(source: ByteSource, session: PickleSession, settings: ReadSettings) {
    this.#source = source
    this.#session = session
    this.#settings = settings
    this.#idPrefix = storageIdPrefix(resolve(source.path), source.identity)
  }

  /** What a persistent id stands for: a tensor, a storage, or of `(class, file, source)` the class. */
  load(id: unknown, reader: PickleReader): unknown {
    if (id instanceof Tuple && id[0] instanceof PythonGlobal) return id[0]
    const key = keyOf(id) ?? reader.fail('a persistent id that is no key')
    return this.#objects.get(key) ?? reader.fail(`there is no object ${key}`, 'record.missing', key)
  }

  async readStorages(source: ByteSource): Promise<void> {
    const stream = new PickleStream(source, 0, this.#settings.maxPickleBytes)
    for (let left = await this.#count(stream, 'storages'); left > 0; left--) {
      const [key, location, cls] = this.#parts(await stream.next('a storage'), 'a storage', 3)
      const dtype = this.#dtypeOf(cls, 'Storage')
      if (typeof location !== 'string') this.#broken('a storage whose location is no str')
      const count = Number((await stream.bytes(8)).readBigInt64LE(0))
      const sizeBytes = count * dtypes[dtype].itemSizeBytes
      if (count < 0 || sizeBytes > source.sizeBytes - stream.position) {
        const reason = `a storage of ${count} elements at byte ${source.beginBytes + stream.position} ends beyond its member`
        fault(source.path, { finding: 'file.truncated' }, reason)
      }
      const offsetBytes = source.beginBytes + stream.position
      stream.position += sizeBytes
      const name = this.#define(key, (text) => {
        const range = { path: resolve(source.path), offsetBytes, sizeBytes, identity: source.identity }
        const facts = { id: this.#idPrefix + text, recordName: text, dtype, sizeBytes, location, source: range }
        return new StorageRecord(facts)
      })
      this.storages.push(this.#objects.get(name) as StorageRecord)
    }
    const views = this.#read(await stream.next('the views'), 'the views')
    if (!Array.isArray(views)) this.#broken('the views are no list')
    for (const view of views as unknown[]) this.#defineView(view)
    requireEnd(source, stream, 'storages')
  }

  /** `(target, root, offset, count)`: a part of another storage, in elements. */
  #defineView(view: unknown): void {
    if (!(view instanceof Tuple) || view.length !== 4) this.#broken('a view that is not given by four parts')
    const [target, rootKey, offset, count] = view as readonly unknown[]
    const root = this.#objects.get(keyOf(rootKey) ?? '')
    if (!(root instanceof StorageRecord) || root.dtype === null) return this.#broken('a view of no storage')
    const unit = dtypes[root.dtype].itemSizeBytes
    if (!isCount(offset) || !isCount(count) || (offset + count) * unit > root.sizeBytes)
      return this.#broken('a view that leaves its storage')
    const [base, before] = root.viewOf === null ? [root, 0] : [root.viewOf.storage, root.viewOf.offsetBytes]
    const viewOf = { storage: base, offsetBytes: before + offset * unit }
    const sizeBytes = count * unit
    const source = { ...base.source, offsetBytes: base.source.offsetBytes + viewOf.offsetBytes, sizeBytes }
    this.#define(
      target,
      (text) => new StorageRecord({ ...base, id: this.#idPrefix + text, sizeBytes, source, viewOf, recordName: text }),
    )
  }

  async readTensors(source: ByteSource): Promise<void> {
    const stream = new PickleStream(source, 0, this.#settings.maxPickleBytes)
    for (let left = await this.#count(stream, 'tensors'); left > 0; left--) {
      const [key, storageKey, cls] = this.#parts(await stream.next('a tensor'), 'a tensor', 3)
      const dtype = this.#dtypeOf(cls, 'Tensor')
      const dimensions = (await stream.bytes(8)).readInt32LE(0)
      if (dimensions < 0 || dimensions > maxDimensions) this.#broken(`a tensor of ${dimensions} dimensions`)
      const numbers = await stream.bytes(16 * dimensions + 8)
      const at = (index: number) => Number(numbers.readBigInt64LE(8 * index))
      const sizes = Array.from({ length: dimensions }, (_, index) => at(index))
      const strides = Array.from({ length: dimensions }, (_, index) => at(dimensions + index))
      this.#define(key, () => this.#tensor(dtype, storageKey, sizes, strides, at(2 * dimensions)))
    }
    requireEnd(source, stream, 'tensors')
  }

  #tensor(
    dtype: DTypeName,
    storageKey: unknown,
    sizes: readonly number[],
    strides: readonly number[],
    offset: number,
  ): TensorRecord {
    const storage = storageKey === null ? this.#noStorage(dtype) : this.#objects.get(keyOf(storageKey) ?? '')
    if (!(storage instanceof StorageRecord)) return this.#broken('a tensor over no storage')
    if (storage.dtype !== dtype) this.#broken(`a ${dtype} tensor over a ${storage.dtype ?? 'byte'} storage`)
    // Before PyTorch 0.4 a tensor without dimensions was one without elements.
    const isEmpty = sizes.length === 0 && storage.sizeBytes === 0
    const facts = { dtype, sizes: isEmpty ? [0] : sizes, strides: isEmpty ? [1] : strides, storageOffset: offset }
    if (![...sizes, ...strides, offset].every(isCount)) this.#broken('a tensor with a negative or huge size or stride')
    const [, end] = coveredBytes(facts)
    if (!Number.isSafeInteger(elementCount(facts.sizes) * 16) || !(end <= storage.sizeBytes)) {
      const reason = `a ${dtype} tensor of sizes [${sizes.join(', ')}] needs ${end} bytes of storage, there are ${storage.sizeBytes}`
      fault(this.#source.path, { finding: 'storage.too_small' }, reason)
    }
    if (storage.viewOf === null) return new TensorRecord({ ...facts, storage })
    const { storage: root, offsetBytes } = storage.viewOf
    const storageOffset = offset + offsetBytes / dtypes[dtype].itemSizeBytes
    return new TensorRecord({ ...facts, storage: root, storageOffset })
  }

  #noStorage(dtype: DTypeName): StorageRecord {
    const range = { path: resolve(this.#source.path), offsetBytes: 0, sizeBytes: 0, identity: this.#source.identity }
    const storage = new StorageRecord({ id: `${this.#idPrefix}none`, dtype, sizeBytes: 0, source: range })
    this.storages.push(storage)
    return storage
  }

  /** Gives a key its object, once. Returns the key as text. */
  #define(key: unknown, make: (text: string) => StorageRecord | TensorRecord): string {
    const text = keyOf(key) ?? this.#broken('a key that is no number')
    if (this.#objects.has(text)) this.#broken(`the key ${text} is there twice`)
    this.#objects.set(text, make(text))
    return text
  }

  async #count(stream: PickleStream, what: string): Promise<number> {
    const count = this.#read(await stream.next(`the number of ${what}`), `the number of ${what}`)
    return isCount(count) ? count : this.#broken(`the number of ${what} is none`)
  }

  #parts(pickle: Buffer, name: string, length: number): readonly unknown[] {
    const parts = this.#read(pickle, name)
    if (parts instanceof Tuple && parts.length === length) return parts
    return this.#broken(`${name} is not given by ${length} parts`)
  }

  #read(pickle: Buffer, name: string): unknown {
    return this.#session.read(pickle, name, noPersistentIds)
  }

  /** dtype of `torch.FloatStorage`, `torch.cuda.FloatTensor`. */
  #dtypeOf(cls: unknown, suffix: 'Storage' | 'Tensor'): DTypeName {
    const name = cls instanceof PythonGlobal ? cls.name : ''
    const [, prefix = '', found = ''] = /^torch\.(?:cuda\.)?(\w+?)(Storage|Tensor)$/.exec(name) ?? []
    const dtype = found === suffix ? storageClassDTypes.get(`${prefix}Storage`) : undefined
    return dtype ?? this.#broken(`${quoted(name)} instead of a ${suffix.toLowerCase()} class`)
  }

  #broken(reason: string): never {
    return fault(this.#source.path, { finding: 'tar.structure' }, reason)
  }
}

/** Keys are addresses: ints, or their digits. */
function keyOf(value: unknown): string | undefined {
  if (typeof value === 'number' || typeof value === 'bigint') return String(value)
  return typeof value === 'string' && /^\d{1,20}$/.test(value) ? value : undefined
}

function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0
}
