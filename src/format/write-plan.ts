/** Writes a planned file with Node's fs, for storages whose bytes are at hand or lie in another file. Memory stays constant. */
import { open, rm, type FileHandle } from 'node:fs/promises'
import { crc32 } from 'node:zlib'
import { originBytes } from './byte-origin.js'
import { TorchkeepError } from './errors.js'
import type { TorchFilePlan } from './plan.js'
import type { ByteOrigin } from './tensor-record.js'

/** What was written. */
export interface WrittenFile {
  sizeBytes: number
  /** CRC-32 of each slot. */
  crc32: number[]
}

/**
 * Creates `path` exclusively and writes the plan into it; with `fsync` its bytes are durable when this resolves (its name is not: fsync the folder).
 * @throws TorchkeepError ERR_CHECKPOINT_WRITE, cause underneath; ERR_CHECKPOINT_CORRUPT or `_MISSING` for a file that storages come from. What was begun is removed. A file that existed is left alone.
 */
export async function writePlan(
  path: string,
  plan: TorchFilePlan<ByteOrigin>,
  options: { fsync?: boolean; signal?: AbortSignal } = {},
): Promise<WrittenFile> {
  const file = await open(path, 'wx').catch((cause: unknown) => {
    throw new TorchkeepError('ERR_CHECKPOINT_WRITE', `cannot create ${path}: ${messageOf(cause)}`, { cause })
  })
  try {
    const crcs = await writeParts(file, plan, options.signal)
    if (options.fsync === true) await file.sync()
    await file.close()
    return { sizeBytes: plan.sizeBytes, crc32: crcs }
  } catch (cause) {
    throw await abandon(file, path, cause)
  }
}

/** Removes what was begun; the error to raise. */
async function abandon(file: FileHandle, path: string, cause: unknown): Promise<TorchkeepError> {
  const failures = [cause]
  const note = (failure: unknown) => failures.push(failure)
  await file.close().catch(note)
  await rm(path, { force: true }).catch(note)
  if (cause instanceof TorchkeepError && failures.length === 1) return cause
  return new TorchkeepError('ERR_CHECKPOINT_WRITE', `cannot write ${path}: ${failures.map(messageOf).join('; ')}`, {
    cause,
  })
}

async function writeParts(
  file: FileHandle,
  plan: TorchFilePlan<ByteOrigin>,
  signal: AbortSignal | undefined,
): Promise<number[]> {
  const crcs = new Array<number>(plan.crcSlots).fill(0)
  const output = new BufferedOutput(file)
  for (const part of plan.parts) {
    if (part.kind === 'bytes') {
      await output.write(patched(part.bytes, part.crcPatches ?? [], crcs))
      continue
    }
    let crc = 0
    for await (const chunk of originBytes(part.tensor, part.offsetBytes, part.sizeBytes)) {
      if (signal?.aborted === true) throw new TorchkeepError('ERR_ABORTED', 'the writing was stopped')
      crc = crc32(chunk, crc)
      await output.write(chunk)
    }
    crcs[part.crcSlot] = crc
  }
  await output.flush()
  return crcs
}

/** Gathers small writes, so that a file of many small tensors takes few system calls. */
class BufferedOutput {
  readonly #file: FileHandle
  readonly #buffer = Buffer.allocUnsafe(1 << 20)
  #length = 0

  constructor(file: FileHandle) {
    this.#file = file
  }

  /** The bytes may be changed again once this resolves. */
  async write(bytes: Uint8Array): Promise<void> {
    if (this.#length + bytes.byteLength > this.#buffer.length) await this.flush()
    if (bytes.byteLength > this.#buffer.length) return writeAll(this.#file, bytes)
    this.#buffer.set(bytes, this.#length)
    this.#length += bytes.byteLength
  }

  async flush(): Promise<void> {
    await writeAll(this.#file, this.#buffer.subarray(0, this.#length))
    this.#length = 0
  }
}

function patched(
  bytes: Uint8Array,
  patches: readonly { at: number; slot: number }[],
  crcs: readonly number[],
): Uint8Array {
  if (patches.length === 0) return bytes
  const copy = Buffer.from(bytes)
  for (const { at, slot } of patches) copy.writeUInt32LE(crcs[slot] ?? 0, at)
  return copy
}

async function writeAll(file: FileHandle, bytes: Uint8Array): Promise<void> {
  for (let done = 0; done < bytes.byteLength;) {
    const { bytesWritten } = await file.write(bytes, done, bytes.byteLength - done)
    if (bytesWritten === 0) throw new Error('the system wrote nothing')
    done += bytesWritten
  }
}

function messageOf(cause: unknown): string {
  return cause instanceof Error ? cause.message : String(cause)
}
