/**
 * Reads the bytes of all storages of a file once, in file order and constant memory: their CRC-32 is computed on the way, and whoever wants the bytes sees them. The next piece is read while this one is
 * looked at, so that on a machine with a processor to spare checking costs no more than reading.
 */
import { crc32 } from 'node:zlib'
import { ByteSource } from './byte-source.js'
import { TorchkeepError } from './errors.js'
import type { TorchFile } from './read.js'
import type { StorageRecord } from './tensor-record.js'

/** How {@link scanStorages} works. */
export interface ScanOptions {
  /**
   * Sees the bytes of a storage in order, in pieces. A piece begins at a multiple of 16 bytes within its storage, lies at a multiple of 16 in its buffer and is valid until the function returns.
   */
  onChunk?: (storage: StorageRecord, chunk: Uint8Array, offsetBytes: number) => void
  /** Called when all bytes of a storage were seen. */
  onStorage?: (result: ScannedStorage) => void
  /** Called after each piece. */
  progress?: (doneBytes: number, totalBytes: number) => void
  /** Stops the scan with ERR_ABORTED. */
  signal?: AbortSignal
}

/** What a scan tells about one storage. */
export interface ScannedStorage {
  storage: StorageRecord
  /** CRC-32 of its bytes. */
  crc32: number
  /** Whether that is the one that the file holds; null where the file holds none. */
  matches: boolean | null
}

/** Bytes looked at between two turns of the event loop: about a millisecond or two of work. */
const pieceBytes = 2 << 20

/** Storages are read together where no more than this lies between them. */
const gapBytes = 4 << 10

/** One read of a file, and the parts of storages in it. */
interface PlannedRead {
  readonly offsetBytes: number
  readonly sizeBytes: number
  readonly pieces: readonly { storage: StorageRecord; storageOffset: number; sizeBytes: number; bufferOffset: number }[]
}

/**
 * Scans every storage of `file`, shards included.
 * @throws TorchkeepError ERR_CHECKPOINT_CORRUPT where a file has changed since it was read (finding `file.changed`), ERR_CHECKPOINT_UNREADABLE for failures outside the file, ERR_ABORTED.
 */
export async function scanStorages(file: Pick<TorchFile, 'storages'>, options: ScanOptions = {}): Promise<void> {
  const byPath = new Map<string, StorageRecord[]>()
  for (const storage of file.storages) {
    const storages = byPath.get(storage.source.path) ?? []
    if (storages.length === 0) byPath.set(storage.source.path, storages)
    storages.push(storage)
  }
  const totalBytes = file.storages.reduce((sum, storage) => sum + storage.sizeBytes, 0)
  const scan = new Scan(options, totalBytes)
  for (const [path, storages] of [...byPath].sort(([left], [right]) => (left < right ? -1 : 1))) {
    await ByteSource.with(path, async (source) => {
      for (const { source: range } of storages)
        if (range.identity !== undefined) source.requireUnchanged(range.identity)
      await scan.run(source, planReads(storages))
    })
  }
}

class Scan {
  readonly #options: ScanOptions
  readonly #totalBytes: number
  #doneBytes = 0
  readonly #crcs = new Map<StorageRecord, number>()
  /** Two buffers that take turns: one is filled while the other is looked at. */
  readonly #buffers = [alignedBuffer(), alignedBuffer()]
  readonly #shifted = alignedBuffer()

  constructor(options: ScanOptions, totalBytes: number) {
    this.#options = options
    this.#totalBytes = totalBytes
  }

  async run(source: ByteSource, reads: readonly PlannedRead[]): Promise<void> {
    const start = async (index: number): Promise<Uint8Array | undefined> => {
      const read = reads[index]
      const buffer = this.#buffers[index % 2]
      if (read === undefined || buffer === undefined) return undefined
      const target = buffer.subarray(0, read.sizeBytes)
      await source.readInto(target, read.offsetBytes)
      return target
    }
    let next = start(0)
    for (const [index, read] of reads.entries()) {
      const bytes = await next
      if (this.#options.signal?.aborted === true) throw new TorchkeepError('ERR_ABORTED', 'the scan was stopped')
      next = start(index + 1)
      try {
        if (bytes !== undefined) this.#see(read, bytes)
      } catch (error) {
        await next
        throw error
      }
    }
  }

  #see(read: PlannedRead, bytes: Uint8Array): void {
    for (const { storage, storageOffset, sizeBytes, bufferOffset } of read.pieces) {
      const chunk = bytes.subarray(bufferOffset, bufferOffset + sizeBytes)
      const crc = crc32(chunk, this.#crcs.get(storage) ?? 0)
      this.#options.onChunk?.(storage, this.#aligned(chunk), storageOffset)
      this.#doneBytes += sizeBytes
      if (storageOffset + sizeBytes < storage.sizeBytes) {
        this.#crcs.set(storage, crc)
        continue
      }
      this.#crcs.delete(storage)
      this.#options.onStorage?.({ storage, crc32: crc, matches: storage.crc32 === null ? null : storage.crc32 === crc })
    }
    this.#options.progress?.(this.#doneBytes, this.#totalBytes)
  }

  /** Storages of some formats begin anywhere; typed arrays need their elements' alignment. */
  #aligned(chunk: Uint8Array): Uint8Array {
    if (chunk.byteOffset % 16 === 0) return chunk
    this.#shifted.set(chunk)
    return this.#shifted.subarray(0, chunk.length)
  }
}

const alignedBuffer = (): Uint8Array => new Uint8Array(new ArrayBuffer(pieceBytes))

/** Large storages are cut into pieces of {@link pieceBytes}, counted from their begin; small neighbours share a read. */
function planReads(storages: readonly StorageRecord[]): PlannedRead[] {
  const reads: { offsetBytes: number; sizeBytes: number; pieces: PlannedRead['pieces'][number][] }[] = []
  for (const storage of [...storages].sort((left, right) => left.source.offsetBytes - right.source.offsetBytes)) {
    const { offsetBytes } = storage.source
    const last = reads.at(-1)
    const lastEnd = last === undefined ? 0 : last.offsetBytes + last.sizeBytes
    const joined = offsetBytes + storage.sizeBytes - (last?.offsetBytes ?? 0)
    if (last !== undefined && offsetBytes >= lastEnd && offsetBytes - lastEnd <= gapBytes && joined <= pieceBytes) {
      const bufferOffset = offsetBytes - last.offsetBytes
      last.pieces.push({ storage, storageOffset: 0, sizeBytes: storage.sizeBytes, bufferOffset })
      last.sizeBytes = joined
      continue
    }
    let storageOffset = 0
    do {
      const sizeBytes = Math.min(pieceBytes, storage.sizeBytes - storageOffset)
      const piece = { storage, storageOffset, sizeBytes, bufferOffset: 0 }
      reads.push({ offsetBytes: offsetBytes + storageOffset, sizeBytes, pieces: [piece] })
      storageOffset += sizeBytes
    } while (storageOffset < storage.sizeBytes)
  }
  return reads
}
