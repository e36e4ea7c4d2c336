/** A file that grows at its end without anybody waiting for the disk. */
import { writeSync } from 'node:fs'
import { type FileHandle, open } from 'node:fs/promises'

/** What may wait to be written. A disk that takes nothing for so long that more gathers loses what comes then: memory is for training. */
const maxPendingBytes = 64 << 20

/** How {@link LogFile.open} finds the file. */
export interface LogFileOptions {
  /** `append` goes on with a file or makes it; `new` refuses one that is there (`EEXIST`). */
  mode: 'append' | 'new'
  /** Whether a last line without an end, as a crash leaves it, is ended before anything is added. */
  endLastLine?: boolean
  /** Told of a write that failed (a full disk), once for each time that writing begins to fail. What could not be written is kept and written with what comes next. */
  onFailure: (error: Error) => void
}

/**
 * Chunks are added whole and in order, each with what gathered while the one before was being written, so one write is under way at a time. What waits when the process exits is written then.
 */
export class LogFile {
  readonly #handle: FileHandle
  readonly #onFailure: (error: Error) => void
  #pending: Uint8Array[] = []
  #pendingBytes = 0
  /** Of the first pending chunk, what an earlier write that then failed had written of it. */
  #writtenBytes = 0
  #inFlight = 0
  #writing: Promise<void> | null = null
  #failing = false

  private constructor(handle: FileHandle, onFailure: (error: Error) => void) {
    this.#handle = handle
    this.#onFailure = onFailure
    openFiles.add(this)
    if (openFiles.size === 1) process.on('exit', writeAllNow)
  }

  /** @throws the system's error where the file cannot be opened. */
  static async open(path: string, { mode, endLastLine = false, onFailure }: LogFileOptions): Promise<LogFile> {
    const handle = await open(path, mode === 'new' ? 'ax' : 'a+')
    const file = new LogFile(handle, onFailure)
    if (endLastLine && !(await endsWithNewline(handle))) file.append(Buffer.from('\n'))
    return file
  }

  /** Adds a chunk. It must not be changed afterwards. */
  append(chunk: Uint8Array): void {
    if (this.#pendingBytes + chunk.length > maxPendingBytes) {
      this.#fail(new Error(`the disk has taken nothing of the last ${this.#pendingBytes} bytes; what follows is lost`))
      return
    }
    this.#pending.push(chunk)
    this.#pendingBytes += chunk.length
    this.#writing ??= this.#drain()
  }

  /** Resolves when everything is in the file, or could not be written to it, and closes it. Never rejects. */
  async close(): Promise<void> {
    await this.#writing
    if (this.#pending.length > 0) await this.#drain() // What failed before: there may be room by now.
    openFiles.delete(this)
    if (openFiles.size === 0) process.off('exit', writeAllNow)
    await this.#handle.close().catch((error: Error) => this.#fail(error))
  }

  /** Writes what waits, on this thread: for a process that is about to exit. What is under way is finished by the system's own threads. */
  writeNow(): void {
    const rest = this.#takePending().subarray(this.#inFlight > 0 ? this.#inFlight : this.#writtenBytes)
    try {
      for (let done = 0; done < rest.length;) done += writeSync(this.#handle.fd, rest, done)
    } catch (error) {
      this.#fail(error as Error)
    }
  }

  async #drain(): Promise<void> {
    while (this.#pending.length > 0) {
      const chunk = this.#takePending()
      this.#pending = [chunk]
      this.#inFlight = chunk.length
      try {
        while (this.#writtenBytes < chunk.length)
          this.#writtenBytes += (await this.#handle.write(chunk, this.#writtenBytes)).bytesWritten
        this.#failing = false
      } catch (error) {
        this.#fail(error as Error)
        break
      } finally {
        this.#inFlight = 0
      }
      this.#pending.shift()
      this.#pendingBytes -= chunk.length
      this.#writtenBytes = 0
    }
    this.#writing = null
  }

  /** All that waits, in one piece, of which `#writtenBytes` are written. */
  #takePending(): Uint8Array {
    return this.#pending.length === 1 ? (this.#pending[0] as Uint8Array) : Buffer.concat(this.#pending)
  }

  #fail(error: Error): void {
    if (this.#failing) return
    this.#failing = true
    this.#onFailure(error)
  }
}

const openFiles = new Set<LogFile>()

function writeAllNow(): void {
  for (const file of openFiles) file.writeNow()
}

async function endsWithNewline(handle: FileHandle): Promise<boolean> {
  const { size } = await handle.stat()
  if (size === 0) return true
  const { buffer } = await handle.read({ buffer: Buffer.alloc(1), position: size - 1 })
  return buffer[0] === 0x0a
}
