/** Random access to the bytes of a file, or of a section of one, for readers. */
import { type BigIntStats } from 'node:fs'
import { TorchkeepError } from './errors.js'
import { fault } from './fault.js'
import { openNow, openSoon, type OpenFile } from './open-file.js'
import type { FileIdentity } from './tensor-record.js'

/** Small reads are served from a window of this size, so that the headers of many small records take few system calls. */
const windowBytes = 16 << 10

/** Bytes of a storage handled at a time: enough for full speed, few enough that the CRC-32 of one chunk takes about a millisecond. */
export const chunkBytes = 4 << 20

/** An open file, or a section of one that is read as if it were a file of its own. */
export class ByteSource {
  readonly path: string
  readonly identity: FileIdentity
  /** Where the section begins in the file; 0 for a whole file. */
  readonly beginBytes: number
  readonly sizeBytes: number
  readonly #file: OpenFile
  readonly #ownsFile: boolean
  /** What the last small reads brought, the latest first. Two, since a zip archive is read at its head and at its tail in turn. */
  #windows: readonly { offset: number; bytes: Buffer }[] = []

  private constructor(
    path: string,
    file: OpenFile,
    identity: FileIdentity,
    section?: { beginBytes: number; sizeBytes: number },
  ) {
    this.path = path
    this.#file = file
    this.identity = identity
    this.#ownsFile = section === undefined
    this.beginBytes = section?.beginBytes ?? 0
    this.sizeBytes = section?.sizeBytes ?? identity.sizeBytes
  }

  /** @throws TorchkeepError ERR_CHECKPOINT_MISSING where there is no such file, ERR_CHECKPOINT_UNREADABLE where it cannot be opened or is a folder, a pipe, a device. */
  static async open(path: string): Promise<ByteSource> {
    const source = await ByteSource.openUnlessFolder(path)
    return source ?? unreadable(path, 'it is a folder, expected a file')
  }

  /**
   * {@link open}, but undefined for a folder.
   * @param blocking whether each access blocks the thread, which for a few reads of files in the page cache takes a fraction of the time; the turn of the event loop ends before the file is opened.
   */
  static async openUnlessFolder(path: string, blocking = false): Promise<ByteSource | undefined> {
    const file = await (blocking ? openNow(path) : openSoon(path)).catch((cause: unknown) => refuseOpening(path, cause))
    if (file === undefined) return undefined
    try {
      const stat = await statOf(path, file)
      if (stat.isFile()) {
        const identity = { inode: stat.ino, sizeBytes: Number(stat.size), modifiedNs: stat.mtimeNs }
        return new ByteSource(path, file, identity)
      }
      if (!stat.isDirectory()) unreadable(path, 'it is not a regular file')
      await file.close()
      return undefined
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

  /** A part of this source as a source of its own; offsets count from its begin. It needs no closing and must not outlive this one. */
  section(offset: number, sizeBytes: number): ByteSource {
    this.#requireInside(offset, sizeBytes)
    return new ByteSource(this.path, this.#file, this.identity, { beginBytes: this.beginBytes + offset, sizeBytes })
  }

  /** @throws TorchkeepError ERR_CHECKPOINT_CORRUPT where the file is not in the state that was read before. */
  requireUnchanged(before: FileIdentity): void {
    const { inode, sizeBytes, modifiedNs } = this.identity
    if (inode === before.inode && sizeBytes === before.sizeBytes && modifiedNs === before.modifiedNs) return
    fault(this.path, { finding: 'file.changed' }, 'the file has changed since it was read')
  }

  /** The bytes from `offset` on where they are in memory already, as those of the last small reads are; else undefined. */
  peek(offset: number, length: number): Buffer | undefined {
    for (const { offset: begin, bytes } of this.#windows) {
      const start = offset - begin
      if (start >= 0 && start + length <= bytes.length) return bytes.subarray(start, start + length)
    }
    return undefined
  }

  /**
   * The bytes from `offset` on. They stay valid: no later read overwrites them.
   * @param ahead how many bytes from `offset` on are worth having in memory afterwards, as far as the file goes.
   * @throws TorchkeepError ERR_CHECKPOINT_CORRUPT where the file ends before.
   */
  async read(offset: number, length: number, ahead = windowBytes): Promise<Buffer> {
    const held = this.peek(offset, length)
    if (held !== undefined) return held
    this.#requireInside(offset, length)
    const window = Buffer.allocUnsafeSlow(Math.min(Math.max(length, ahead), this.sizeBytes - offset))
    await this.readInto(window, offset)
    if (length > ahead) return window
    this.#windows = [{ offset, bytes: window }, ...this.#windows.slice(0, 1)]
    return window.subarray(0, length)
  }

  /** Fills `target` from `offset` on. */
  async readInto(target: Uint8Array, offset: number): Promise<void> {
    this.#requireInside(offset, target.byteLength)
    const begin = this.beginBytes + offset
    for (let done = 0; done < target.byteLength;) {
      const bytesRead = await this.#readSome(target, done, begin + done)
      if (bytesRead === 0) {
        const reason = `the file was cut to ${begin + done} bytes while it was read`
        fault(this.path, { finding: 'file.changed' }, reason)
      }
      done += bytesRead
    }
  }

  async #readSome(target: Uint8Array, done: number, position: number): Promise<number> {
    try {
      return await this.#file.read(target, done, target.byteLength - done, position)
    } catch (cause) {
      return unreadable(this.path, String(cause), cause)
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
    if (this.#ownsFile) await this.#file.close()
  }

  #requireInside(offset: number, length: number): void {
    if (Number.isNaN(offset)) {
      throw new TorchkeepError(
        'ERR_INVALID_ARGUMENT',
        `${this.path} was read with structure: 'directory', which does not say where bytes are; read it with 'full'`,
      )
    }
    if (offset >= 0 && length >= 0 && offset + length <= this.sizeBytes) return
    const reason = `bytes ${offset} to ${offset + length} are wanted, there are ${this.sizeBytes}`
    fault(this.path, { finding: 'file.truncated' }, reason)
  }
}

async function statOf(path: string, file: OpenFile): Promise<BigIntStats> {
  try {
    return await file.stat()
  } catch (cause) {
    return unreadable(path, String(cause), cause)
  }
}

/** Undefined for a folder, where the system refuses to open one. */
function refuseOpening(path: string, cause: unknown): undefined {
  const code = cause instanceof Error && 'code' in cause ? cause.code : undefined
  if (code === 'EISDIR') return undefined
  if (code === 'ENOENT') throw new TorchkeepError('ERR_CHECKPOINT_MISSING', `${path}: there is no such file`, { cause })
  return unreadable(path, String(cause), cause)
}

/** Nothing may be concluded about a file that cannot be read: the fault lies outside of it. */
function unreadable(path: string, reason: string, cause?: unknown): never {
  throw new TorchkeepError('ERR_CHECKPOINT_UNREADABLE', `cannot read ${path}: ${reason}`, {
    ...(cause === undefined ? {} : { cause }),
    suggestions: ['check its permissions and the disk; the file itself was not judged'],
  })
}
