/** Reads what is added to a run's `events.jsonl`, whoever writes it. */
import { type FSWatcher, watch } from 'node:fs'
import { type FileHandle, open } from 'node:fs/promises'
import { basename, dirname } from 'node:path'

/** A longer line is given as an empty one, which is no event: none of ours comes near. */
const maxLineBytes = 1 << 20
const pieceBytes = 1 << 16
const newline = 0x0a

/** Follows a file by the offset up to which it was read. A file that is not there yet, was cut short, or has made room for another of its name is no failure. */
export class EventTail {
  readonly #path: string
  #offset = 0
  #inode: bigint | null = null
  /** The beginning of a line whose end was not there yet. */
  #rest: Buffer[] = []
  #restBytes = 0
  /** Whether the file was there at the last look. */
  found = false

  constructor(path: string) {
    this.#path = path
  }

  /**
   * The whole lines that were added since the last call, in pieces of some 64 KiB.
   * @throws the system's error where the file is there but cannot be read.
   */
  async *read(): AsyncGenerator<string[]> {
    const file = await this.#open()
    if (file === null) return
    try {
      const buffer = Buffer.alloc(pieceBytes)
      for (;;) {
        const { bytesRead } = await file.read(buffer, 0, pieceBytes, this.#offset)
        if (bytesRead === 0) return
        this.#offset += bytesRead
        const lines = this.#linesOf(buffer.subarray(0, bytesRead))
        if (lines.length > 0) yield lines
      }
    } finally {
      await file.close()
    }
  }

  async #open(): Promise<FileHandle | null> {
    let file: FileHandle
    try {
      file = await open(this.#path, 'r')
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException
      if (code !== 'ENOENT' && code !== 'ENOTDIR') throw error
      this.found = false
      return null
    }
    const { ino, size } = await file.stat({ bigint: true })
    if (ino !== this.#inode || size < this.#offset) this.#beginAnew(ino)
    this.found = true
    return file
  }

  #beginAnew(inode: bigint): void {
    this.#inode = inode
    this.#offset = 0
    this.#dropRest()
  }

  #linesOf(bytes: Buffer): string[] {
    const lines: string[] = []
    let begin = 0
    for (let end = bytes.indexOf(newline); end >= 0; end = bytes.indexOf(newline, begin)) {
      const isTooLong = this.#restBytes > maxLineBytes
      const line = isTooLong ? Buffer.alloc(0) : Buffer.concat([...this.#rest, bytes.subarray(begin, end)])
      if (line.length > 0 || isTooLong) lines.push(line.toString('utf8'))
      this.#dropRest()
      begin = end + 1
    }
    const rest = Buffer.from(bytes.subarray(begin))
    this.#restBytes += rest.length
    this.#rest = this.#restBytes <= maxLineBytes ? [...this.#rest, rest] : []
    return lines
  }

  #dropRest(): void {
    this.#rest = []
    this.#restBytes = 0
  }
}

/**
 * Resolves when something in the file's folder changed, after `mostMs` at the latest, or when `signal` fires. Systems do not tell of every change (none on network file systems, none in folders
 * that are not there yet), so whoever waits looks again in any case.
 */
export function fileChange(path: string, mostMs: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    let watcher: FSWatcher | null = null
    const done = (): void => {
      clearTimeout(timer)
      signal.removeEventListener('abort', done)
      watcher?.close()
      resolve()
    }
    const timer = setTimeout(done, mostMs)
    signal.addEventListener('abort', done, { once: true })
    if (signal.aborted) return done()
    try {
      const name = basename(path)
      watcher = watch(dirname(path), (_kind, changed) => (changed === null || changed === name) && done())
      watcher.on('error', () => watcher?.close()) // The timer stays.
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === undefined) throw error // No such folder, or no watches left: the timer stays.
    }
  })
}
