/** Takes pickles one after the other from a file that is a sequence of them: where each ends is told by its opcodes. */
import type { ByteSource } from './byte-source.js'
import { fault, tooMuch } from './fault.js'
import { findPickleEnd } from './pickle-scan.js'

/** How much is read at first; most pickles of a sequence are smaller. */
const firstBytes = 4 << 10

/** Kept in memory for the pickles that follow. */
const aheadBytes = 64 << 10

/** A place in a source from which pickles and raw bytes are taken. */
export class PickleStream {
  /** Where the next pickle begins. */
  position: number
  readonly #source: ByteSource
  readonly #maxBytes: number

  /** @param maxBytes a larger pickle is refused. */
  constructor(source: ByteSource, position: number, maxBytes: number) {
    this.#source = source
    this.position = position
    this.#maxBytes = maxBytes
  }

  /** The bytes of the next pickle; `name` says what it should be, for messages. */
  async next(name: string): Promise<Buffer> {
    const { path, sizeBytes } = this.#source
    const rest = sizeBytes - this.position
    for (let length = firstBytes; ; length *= 4) {
      const most = Math.min(length, rest, this.#maxBytes + 1)
      const bytes = await this.#source.read(this.position, most, Math.max(most, Math.min(aheadBytes, rest)))
      const end = findPickleEnd(bytes)
      if (end === 'malformed') {
        const reason = `${name} at byte ${this.position} is no pickle`
        return fault(path, { finding: 'pickle.malformed', subject: name }, reason)
      }
      if (end !== 'cut') {
        this.position += end
        return bytes.subarray(0, end)
      }
      if (most > this.#maxBytes) tooMuch(path, name, `${name} has more than ${this.#maxBytes} bytes`)
      if (most === rest) {
        const reason = `${name} at byte ${this.position} does not end before the file does`
        return fault(path, { finding: 'file.truncated', subject: name }, reason)
      }
    }
  }

  /** Raw bytes. */
  async bytes(sizeBytes: number): Promise<Buffer> {
    const bytes = await this.#source.read(this.position, sizeBytes)
    this.position += sizeBytes
    return bytes
  }
}
