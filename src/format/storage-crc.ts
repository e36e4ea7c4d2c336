/** Checks the CRC-32 of a storage while its bytes go by, so that they are read once. */
import { crc32 } from 'node:zlib'
import type { ByteSource } from './byte-source.js'
import { dtypes } from './dtypes.js'
import { coveredBytes, isContiguous, type StorageRecord, type TensorRecord } from './tensor-record.js'
import type { TorchFile } from './read.js'
import { checkCrc } from './zip-read.js'

const verified = new WeakMap<Pick<TorchFile, 'path'>, Set<string>>()

/** The check of one storage for one reading of a tensor. */
export class StorageCrc {
  #crc = 0
  readonly #file: Pick<TorchFile, 'path'>
  readonly #storage: StorageRecord

  private constructor(file: Pick<TorchFile, 'path'>, storage: StorageRecord) {
    this.#file = file
    this.#storage = storage
  }

  /**
   * Null where nothing is left to check: no CRC-32 is stored, the storage was checked before, or it is checked here and now since reading the tensor would not touch all of its bytes in order.
   * @throws TorchkeepError ERR_CHECKPOINT_CORRUPT where the CRC-32 does not match.
   */
  static async begin(
    file: Pick<TorchFile, 'path'>,
    source: ByteSource,
    tensor: TensorRecord,
  ): Promise<StorageCrc | null> {
    const { storage } = tensor
    if (storage.crc32 === null || verified.get(file)?.has(storage.id) === true) return null
    if (isWholeStorage(tensor)) return new StorageCrc(file, storage)
    await StorageCrc.verify(file, source, storage)
    return null
  }

  /** Reads a whole storage and checks it, unless it was checked before. */
  static async verify(file: Pick<TorchFile, 'path'>, source: ByteSource, storage: StorageRecord): Promise<void> {
    if (storage.crc32 === null || verified.get(file)?.has(storage.id) === true) return
    const check = new StorageCrc(file, storage)
    for await (const chunk of source.chunks(storage.source.offsetBytes, storage.sizeBytes)) check.add(chunk)
    check.finish()
  }

  /** Checks a whole storage that is in memory. */
  static check(file: Pick<TorchFile, 'path'>, storage: StorageRecord, bytes: Uint8Array): void {
    const check = new StorageCrc(file, storage)
    check.add(bytes)
    check.finish()
  }

  /** The next bytes of the storage. */
  add(bytes: Uint8Array): void {
    this.#crc = crc32(bytes, this.#crc)
  }

  /** All bytes went by. @throws TorchkeepError ERR_CHECKPOINT_CORRUPT naming the record. */
  finish(): void {
    const { recordName, id, crc32: expected } = this.#storage
    checkCrc(this.#storage.source.path, { name: recordName ?? id, crc32: expected }, this.#crc)
    const done = verified.get(this.#file) ?? new Set<string>()
    verified.set(this.#file, done.add(id))
  }
}

function isWholeStorage(tensor: TensorRecord): boolean {
  const { dtype, storage } = tensor
  const [begin, end] = coveredBytes(tensor)
  const isWhole = begin === 0 && end === storage.sizeBytes && dtypes[dtype].elementsPerByte === 1
  return isWhole && isContiguous(tensor)
}
