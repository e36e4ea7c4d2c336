/** Writes a planned file with Node's fs, for storages whose bytes are at hand or lie in another file. Memory stays constant. */
import { open, rm, type FileHandle } from 'node:fs/promises'
import { crc32 } from 'node:zlib'
import { TorchkeepError } from './errors.js'
import type { TorchFilePlan } from './plan.js'
import type { ByteOrigin } from './tensor-record.js'

/** Bytes handled at a time: large enough for full speed, small enough that the CRC-32 of one chunk takes about a millisecond. */
const chunkBytes = 4 << 20

/** What was written. */
export interface WrittenFile {
  sizeBytes: number
  /** CRC-32 of each slot. */
  crc32: number[]
}

/**
 * Creates `path` exclusively and writes the plan into it; with `fsync` its bytes are durable when this resolves (its name is not: fsync the folder).
 * @throws TorchkeepError ERR_CHECKPOINT_WRITE, cause underneath; what was begun is removed. A file that existed is left alone.
 */
export async function writePlan(
  path: string,
  plan: TorchFilePlan<ByteOrigin>,
  options: { fsync?: boolean } = {},
): Promise<WrittenFile> {
  const file = await open(path, 'wx').catch((cause: unknown) => {
    throw new TorchkeepError('ERR_CHECKPOINT_WRITE', `cannot create ${path}: ${messageOf(cause)}`, { cause })
  })
  try {
    const crcs = await writeParts(file, plan)
    if (options.fsync === true) await file.sync()
    await file.close()
    return { sizeBytes: plan.sizeBytes, crc32: crcs }
  } catch (cause) {
    await abandon(file, path)
    throw new TorchkeepError('ERR_CHECKPOINT_WRITE', `cannot write ${path}: ${messageOf(cause)}`, { cause })
  }
}

/** The failure that brought us here is the one to report; a second one while removing the remains travels in its place only if it must not be missed. */
async function abandon(file: FileHandle, path: string): Promise<void> {
  await file.close().catch(ignoreClosed)
  await rm(path, { force: true })
}

function ignoreClosed(error: NodeJS.ErrnoException): void {
  if (error.code !== 'EBADF') throw error
}

async function writeParts(file: FileHandle, plan: TorchFilePlan<ByteOrigin>): Promise<number[]> {
  const crcs = new Array<number>(plan.crcSlots).fill(0)
  for (const part of plan.parts) {
    if (part.kind === 'bytes') {
      await writeAll(file, patched(part.bytes, part.crcPatches ?? [], crcs))
      continue
    }
    let crc = 0
    for await (const chunk of chunks(part.tensor, part.offsetBytes, part.sizeBytes)) {
      crc = crc32(chunk, crc)
      await writeAll(file, chunk)
    }
    crcs[part.crcSlot] = crc
  }
  return crcs
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

/** The bytes of a storage from `offsetBytes` on, in pieces. A piece is valid until the next one is asked for. */
async function* chunks(origin: ByteOrigin, offsetBytes: number, sizeBytes: number): AsyncGenerator<Uint8Array> {
  if (origin instanceof Uint8Array) {
    if (offsetBytes + sizeBytes > origin.byteLength) {
      throw new Error(
        `a storage of ${origin.byteLength} bytes was to give bytes ${offsetBytes} to ${offsetBytes + sizeBytes}`,
      )
    }
    for (let done = 0; done < sizeBytes; done += chunkBytes) {
      yield origin.subarray(offsetBytes + done, offsetBytes + Math.min(done + chunkBytes, sizeBytes))
    }
    return
  }
  const source = await open(origin.path, 'r')
  try {
    const buffer = Buffer.allocUnsafe(Math.min(chunkBytes, sizeBytes))
    for (let done = 0; done < sizeBytes;) {
      const want = Math.min(buffer.length, sizeBytes - done)
      const { bytesRead } = await source.read(buffer, 0, want, origin.offsetBytes + offsetBytes + done)
      if (bytesRead === 0) throw new Error(`${origin.path} ended while ${sizeBytes - done} bytes were still to be read`)
      yield buffer.subarray(0, bytesRead)
      done += bytesRead
    }
  } finally {
    await source.close()
  }
}

function messageOf(cause: unknown): string {
  return cause instanceof Error ? cause.message : String(cause)
}
