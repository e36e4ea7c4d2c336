/**
 * Reads folders of `torch.distributed.checkpoint`: `.metadata` says which tensors there are and in which `.distcp` files their parts lie, each part a whole torch.save file. Source:
 * `torch/distributed/checkpoint/filesystem.py` (2.13).
 */
import { readdir } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { ByteSource } from './byte-source.js'
import { coverFault } from './chunk-cover.js'
import {
  itemKey,
  parseMetadata,
  type ChunkPlace,
  type DistributedMetadata,
  type DistributedTensor,
  type ItemPlace,
} from './distributed-metadata.js'
import { dtypes } from './dtypes.js'
import { TorchkeepError } from './errors.js'
import { fault, quoted, tooMuch } from './fault.js'
import { formatFinding } from './findings.js'
import { nestState } from './nested-state.js'
import { ChunkedTensorRecord, contiguousStrides, elementCount, StorageRecord, TensorRecord } from './tensor-record.js'
import { noPersistentIds, PickleSession, type ReadSettings, type TorchFile } from './torch-file.js'
import { readTorchZip } from './torch-zip.js'
import { walk } from './walk.js'
import { readZipArchive } from './zip-read.js'

/** Reads the folder that `.metadata` is in: the value is the state dict, nested as it was where the metadata say how. */
export async function readDistributed(folder: string, settings: ReadSettings): Promise<TorchFile> {
  const metadataPath = join(folder, '.metadata')
  return ByteSource.with(metadataPath, async (source) => {
    if (source.sizeBytes > settings.maxPickleBytes)
      tooMuch(metadataPath, null, `a pickle of ${source.sizeBytes} bytes, at most ${settings.maxPickleBytes} are read`)
    const session = new PickleSession(metadataPath, settings)
    const pickle = await source.read(0, source.sizeBytes)
    const expected = (name: string) => name.startsWith('torch.distributed.')
    const read = session.read(pickle, 'the metadata', noPersistentIds, { expected, forTorchLoad: false })
    walk(read, () => true)
    const metadata = parseMetadata(metadataPath, read)
    const items = new DistributedItems(folder, metadataPath, settings, session)
    const flat = await items.read(metadata)
    const files = await items.listFiles()
    const message = 'the metadata have no checksum: a change that keeps their form cannot be detected'
    session.findings.push(formatFinding('file.unprotected', '.metadata', message))
    return {
      path: folder,
      container: 'distributed',
      identity: source.identity,
      value: nestState(metadataPath, flat, metadata.paths),
      storages: items.storages,
      records: new Map(),
      topFolder: '',
      globals: [...session.globals],
      findings: session.findings,
      details: { version: metadata.version, files },
      protection: 'partial',
    }
  })
}

class DistributedItems {
  readonly storages: StorageRecord[] = []
  readonly #folder: string
  readonly #metadataPath: string
  readonly #settings: ReadSettings
  readonly #session: PickleSession
  /** Items in each file. */
  readonly #counts = new Map<string, number>()
  /** The items are read file by file, so that each file is opened once. */
  readonly #wanted = new Map<string, { place: ItemPlace; take: (value: unknown) => void }[]>()

  constructor(folder: string, metadataPath: string, settings: ReadSettings, session: PickleSession) {
    this.#folder = folder
    this.#metadataPath = metadataPath
    this.#settings = settings
    this.#session = session
  }

  /** Everything by its flattened name. With `directory`, tensors are described by the metadata alone. */
  async read(metadata: DistributedMetadata): Promise<Map<string, unknown>> {
    const flat = new Map<string, unknown>()
    for (const { file } of metadata.places.values()) this.#counts.set(file, (this.#counts.get(file) ?? 0) + 1)
    for (const [name, tensor] of metadata.items) {
      flat.set(name, null)
      if (tensor === null) this.#want(metadata, name, null, (value) => flat.set(name, value))
      else this.#wantTensor(metadata, name, tensor, (record) => flat.set(name, record))
    }
    for (const [file, wanted] of this.#wanted) await this.#readFile(file, wanted)
    return flat
  }

  #wantTensor(
    metadata: DistributedMetadata,
    name: string,
    tensor: DistributedTensor,
    take: (record: TensorRecord | ChunkedTensorRecord) => void,
  ): void {
    const { dtype, sizes, requiresGrad, chunks } = tensor
    const wrong = Number.isSafeInteger(elementCount(sizes) * 16) ? coverFault(sizes, chunks) : 'it is beyond any memory'
    if (wrong !== null) this.#broken(name, `the tensor ${quoted(name)}: ${wrong}`)
    const parts: { offsets: readonly number[]; tensor: TensorRecord }[] = []
    const isWhole = chunks.length === 1
    for (const chunk of chunks) {
      const part = (record: TensorRecord) => {
        if (isWhole) take(record)
        else parts.push({ offsets: chunk.offsets, tensor: record })
      }
      if (this.#settings.structure === 'full')
        this.#want(metadata, name, chunk.offsets, (value) => part(this.#checked(name, tensor, chunk, value)))
      else part(this.#described(metadata, name, tensor, chunk))
    }
    if (!isWhole) take(new ChunkedTensorRecord(dtype, sizes, parts, requiresGrad))
  }

  /** The item that a chunk is, which must be what the metadata say. */
  #checked(name: string, { dtype }: DistributedTensor, { sizes }: ChunkPlace, value: unknown): TensorRecord {
    if (!(value instanceof TensorRecord)) return this.#broken(name, `the item of ${quoted(name)} is no tensor`)
    if (value.dtype === dtype && value.sizes.join() === sizes.join()) return value as TensorRecord
    const reason = `${quoted(name)}: its item is ${value.dtype} of sizes [${value.sizes.join(', ')}], the metadata say ${dtype} of [${sizes.join(', ')}]`
    return this.#broken(name, reason)
  }

  /** A chunk as the metadata describe it. Where its bytes are is not known. */
  #described(
    metadata: DistributedMetadata,
    name: string,
    { dtype, requiresGrad }: DistributedTensor,
    chunk: ChunkPlace,
  ) {
    const { file } = this.#placeOf(metadata, name, chunk.offsets)
    const sizeBytes = elementCount(chunk.sizes) * dtypes[dtype].itemSizeBytes
    const range = { path: resolve(this.#folder, file), offsetBytes: NaN, sizeBytes }
    const id = `${range.path}#${itemKey(name, chunk.offsets)}`
    const typed = dtypes[dtype].storageClass === null ? null : dtype
    const storage = new StorageRecord({ id, recordName: name, dtype: typed, sizeBytes, source: range })
    this.storages.push(storage)
    return new TensorRecord({
      storage,
      dtype,
      sizes: chunk.sizes,
      strides: contiguousStrides(chunk.sizes),
      requiresGrad,
    })
  }

  #want(
    metadata: DistributedMetadata,
    name: string,
    offsets: readonly number[] | null,
    take: (value: unknown) => void,
  ): void {
    const place = this.#placeOf(metadata, name, offsets)
    const wanted = this.#wanted.get(place.file)
    if (wanted === undefined) this.#wanted.set(place.file, [{ place, take }])
    else wanted.push({ place, take })
  }

  #placeOf({ places }: DistributedMetadata, name: string, offsets: readonly number[] | null): ItemPlace {
    const place = places.get(itemKey(name, offsets)) ?? places.get(itemKey(name, null))
    return (
      place ?? this.#broken(name, `the metadata do not say where ${quoted(name)} at [${(offsets ?? []).join(', ')}] is`)
    )
  }

  async #readFile(
    file: string,
    wanted: readonly { place: ItemPlace; take: (value: unknown) => void }[],
  ): Promise<void> {
    const path = join(this.#folder, file)
    const source = await ByteSource.open(path).catch((error: unknown) => {
      if (!(error instanceof TorchkeepError) || error.code !== 'ERR_CHECKPOINT_MISSING') throw error
      return fault(this.#metadataPath, { finding: 'shard.missing', subject: file }, `the file ${file} is missing`)
    })
    try {
      const inOrder = [...wanted].sort((left, right) => left.place.offsetBytes - right.place.offsetBytes)
      let free = 0
      for (const { place, take } of inOrder) {
        if (place.offsetBytes < free) this.#broken(file, `two items of ${file} overlap at byte ${place.offsetBytes}`)
        free = place.offsetBytes + place.sizeBytes
        const section = source.section(place.offsetBytes, place.sizeBytes)
        const session = new PickleSession(path, this.#settings)
        const archive = await readZipArchive(section, session.findings)
        const item = await readTorchZip(section, archive, this.#settings, session)
        this.storages.push(...item.storages)
        this.#session.add(session)
        take(item.value)
      }
    } finally {
      await source.close()
    }
  }

  /** The files of the folder with the number of items in each. */
  async listFiles(): Promise<{ name: string; items: number }[]> {
    const names = (await readdir(this.#folder)).filter((name) => name.endsWith('.distcp') && !this.#counts.has(name))
    for (const name of names.sort()) {
      const message = `the metadata do not mention the file ${name}`
      this.#session.findings.push(formatFinding('record.unused', name, message))
    }
    return [...this.#counts].map(([name, items]) => ({ name, items })).sort((a, b) => (a.name < b.name ? -1 : 1))
  }

  #broken(subject: string, reason: string): never {
    return fault(this.#metadataPath, { finding: 'distributed.metadata', subject }, reason)
  }
}
