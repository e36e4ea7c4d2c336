/** Random access to the bytes of a file, for readers. */
import { open, type FileHandle } from 'node:fs/promises'
import { TorchkeepError } from './errors.js'
import type { FileIdentity } from './tensor-record.js'

/** Small reads are served from a window of this size, so that the headers of many small records take few system calls. */
const windowBytes = 16 << 10

/** Bytes of a storage handled at a time: enough for full speed, few enough that the CRC-32 of one chunk takes about a millisecond. */
export const chunkBytes = 4 << 20

/** An open file. */
export class ByteSource {
  readonly path: string
  readonly identity: FileIdentity
  readonly #file: FileHandle
  #window: Buffer = Buffer.alloc(0)
  #windowOffset = 0

  private constructor(path: string, file: FileHandle, identity: FileIdentity) {
    this.path = path
    this.#file = file
    this.identity = identity
  }

  /** @throws TorchkeepError ERR_CHECKPOINT_MISSING where the file cannot be opened, ERR_CHECKPOINT_UNSUPPORTED for a folder. */
  static async open(path: string): Promise<ByteSource> {
    const file = await open(path, 'r').catch((cause: unknown) => {
      throw new TorchkeepError('ERR_CHECKPOINT_MISSING', `cannot open ${path}: ${String(cause)}`, { cause })
    })
    try {
      const { ino, size, mtimeNs, isDirectory, isFile } = await statOf(file)
      if (isDirectory) throw new TorchkeepError('ERR_CHECKPOINT_UNSUPPORTED', `${path} is a folder, expected a file`)
      if (!isFile) throw new TorchkeepError('ERR_CHECKPOINT_UNSUPPORTED', `${path} is not a regular file`)
      return new ByteSource(path, file, { inode: ino, sizeBytes: Number(size), modifiedNs: mtimeNs })
    } catch (error) {
      await file.close()
      throw error
    }
  }

  /** Opens `path`, runs `use`, closes. */
  static async with<T>(path: string, use: (source: ByteSource) => Promise<T>): Promise<T> {
    const source = await ByteSource.open(path)
    try {
      return await use(source)
    } finally {
      await source.close()
    }
  }

  get sizeBytes(): number {
    return this.identity.sizeBytes
  }

  /** @throws TorchkeepError ERR_CHECKPOINT_CORRUPT where the file is not in the state that was read before. */
  requireUnchanged(before: FileIdentity): void {
    const { inode, sizeBytes, modifiedNs } = this.identity
    if (inode === before.inode && sizeBytes === before.sizeBytes && modifiedNs === before.modifiedNs) return
    throw new TorchkeepError('ERR_CHECKPOINT_CORRUPT', `${this.path} has changed since it was read`)
  }

  /**
   * The bytes from `offset` on, valid until the next read.
   * @throws TorchkeepError ERR_CHECKPOINT_CORRUPT where the file ends before.
   */
  async read(offset: number, length: number): Promise<Buffer> {
    if (offset + length > this.sizeBytes) {
      throw new TorchkeepError(
        'ERR_CHECKPOINT_CORRUPT',
        `${this.path}: bytes ${offset} to ${offset + length} are wanted, the file has ${this.sizeBytes}`,
      )
    }
    if (offset < this.#windowOffset || offset + length > this.#windowOffset + this.#window.length) {
      const size = Math.min(Math.max(length, windowBytes), this.sizeBytes - offset)
      const window = Buffer.allocUnsafe(size)
      await this.readInto(window, offset)
      if (length > windowBytes) return window
      this.#window = window
      this.#windowOffset = offset
    }
    const start = offset - this.#windowOffset
    return this.#window.subarray(start, start + length)
  }

  /** Fills `target` from `offset` on. */
  async readInto(target: Uint8Array, offset: number): Promise<void> {
    for (let done = 0; done < target.byteLength;) {
      const { bytesRead } = await this.#file
        .read(target, done, target.byteLength - done, offset + done)
        .catch((cause: unknown) => {
          throw new TorchkeepError('ERR_CHECKPOINT_MISSING', `cannot read ${this.path}: ${String(cause)}`, { cause })
        })
      if (bytesRead === 0) {
        throw new TorchkeepError(
          'ERR_CHECKPOINT_CORRUPT',
          `${this.path} was cut to ${offset + done} bytes while it was read`,
        )
      }
      done += bytesRead
    }
  }

  /** A range in pieces, in constant memory. A piece is valid until the next one is asked for. */
  async *chunks(offset: number, sizeBytes: number): AsyncGenerator<Uint8Array> {
    const buffer = Buffer.allocUnsafe(Math.min(chunkBytes, sizeBytes))
    for (let done = 0; done < sizeBytes; done += buffer.length) {
      const chunk = buffer.subarray(0, Math.min(buffer.length, sizeBytes - done))
      await this.readInto(chunk, offset + done)
      yield chunk
    }
  }

  async close(): Promise<void> {
    await this.#file.close()
  }
}

async function statOf(file: FileHandle) {
  const stat = await file.stat({ bigint: true })
  return {
    ino: stat.ino,
    size: stat.size,
    mtimeNs: stat.mtimeNs,
    isDirectory: stat.isDirectory(),
    isFile: stat.isFile(),
  }
}
