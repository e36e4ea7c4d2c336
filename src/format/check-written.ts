/** Whether a file that was just written reads back as it was planned. */
import { open, type FileHandle } from 'node:fs/promises'
import { crc32 } from 'node:zlib'
import { TorchkeepError } from './errors.js'
import type { TorchFilePlan } from './plan.js'
import type { PlannedPart } from './zip-write.js'

/** How much of a written file is looked at: nothing; its size and everything but the tensors' bytes; all of it. */
export type Verify = 'none' | 'structure' | 'full'

/** Storages up to this size are read along where heads lie before and behind, since one read costs more than their bytes. */
const smallBytes = 64 << 10
const chunkBytes = 1 << 20

/**
 * Reads a written file back and compares it with its plan. `structure` compares the size and every byte that is not a tensor's (heads, pickle, directory); `full` also the CRC-32 of every storage. What the system has
 * in its page cache comes from there: this finds what a program or a file system did to the file, and not what a device will.
 *
 * @param crcs the CRC-32 of each slot, as its writer took them.
 * @throws TorchkeepError `ERR_CHECKPOINT_WRITE` naming the file and the first byte that differs.
 */
export async function checkWritten(
  path: string,
  plan: Pick<TorchFilePlan<unknown>, 'parts' | 'sizeBytes'>,
  crcs: readonly number[],
  verify: Verify,
): Promise<void> {
  if (verify === 'none') return
  const file = await open(path, 'r')
  try {
    const { size } = await file.stat()
    if (size !== plan.sizeBytes) throw differs(path, `it has ${size} bytes, and ${plan.sizeBytes} were written`)
    for (const run of runsOf(plan.parts, verify)) await checkRun(file, path, run, crcs)
  } finally {
    await file.close()
  }
}

/** Parts that lie one after another, from a byte on. */
interface Run {
  begin: number
  parts: PlannedPart<unknown>[]
  sizeBytes: number
}

/** The runs to look at, each short enough to be read at once but for big parts. */
function* runsOf(parts: readonly PlannedPart<unknown>[], verify: Verify): Generator<Run> {
  let run: Run = { begin: 0, parts: [], sizeBytes: 0 }
  for (const part of parts) {
    const sizeBytes = part.kind === 'bytes' ? part.bytes.byteLength : part.sizeBytes
    const isPassed = verify === 'structure' && part.kind === 'storage' && sizeBytes > smallBytes
    if (isPassed || run.sizeBytes + sizeBytes > chunkBytes) {
      if (run.parts.length > 0) yield run
      run = { begin: run.begin + run.sizeBytes + (isPassed ? sizeBytes : 0), parts: [], sizeBytes: 0 }
      if (isPassed) continue
    }
    run.parts.push(part)
    run.sizeBytes += sizeBytes
  }
  if (run.parts.length > 0) yield run
}

async function checkRun(
  file: FileHandle,
  path: string,
  { begin, parts, sizeBytes }: Run,
  crcs: readonly number[],
): Promise<void> {
  const [only] = parts
  if (parts.length === 1 && only?.kind === 'storage') {
    const found = await crcOf(file, path, begin, only.sizeBytes)
    return requireCrc(path, begin, found, crcs[only.crcSlot])
  }
  const bytes = await read(file, path, begin, sizeBytes)
  let at = 0
  for (const part of parts) {
    if (part.kind === 'storage') {
      const found = crc32(bytes.subarray(at, at + part.sizeBytes))
      requireCrc(path, begin + at, found, crcs[part.crcSlot])
      at += part.sizeBytes
    } else {
      requireEqual(path, begin + at, bytes.subarray(at, at + part.bytes.byteLength), part, crcs)
      at += part.bytes.byteLength
    }
  }
}

function requireCrc(path: string, at: number, found: number, expected: number | undefined): void {
  if (found === expected) return
  throw differs(path, `the storage at byte ${at} reads back with CRC-32 ${found}, and was written with ${expected}`)
}

function requireEqual(
  path: string,
  begin: number,
  found: Buffer,
  { bytes, crcPatches = [] }: Extract<PlannedPart<unknown>, { kind: 'bytes' }>,
  crcs: readonly number[],
): void {
  const expected =
    crcPatches.length === 0 ? Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength) : Buffer.from(bytes)
  for (const { at, slot } of crcPatches) expected.writeUInt32LE(crcs[slot] ?? 0, at)
  if (expected.equals(found)) return
  const at = expected.findIndex((byte, index) => byte !== found[index])
  throw differs(path, `byte ${begin + at} reads back as ${found[at]}, and was written as ${expected[at]}`)
}

async function crcOf(file: FileHandle, path: string, begin: number, sizeBytes: number): Promise<number> {
  let crc = 0
  for (let done = 0; done < sizeBytes; done += chunkBytes)
    crc = crc32(await read(file, path, begin + done, Math.min(chunkBytes, sizeBytes - done)), crc)
  return crc
}

async function read(file: FileHandle, path: string, begin: number, sizeBytes: number): Promise<Buffer> {
  const bytes = Buffer.allocUnsafe(sizeBytes)
  for (let done = 0; done < sizeBytes;) {
    const { bytesRead } = await file.read(bytes, done, sizeBytes - done, begin + done)
    if (bytesRead === 0) throw differs(path, `it ends at byte ${begin + done}`)
    done += bytesRead
  }
  return bytes
}

const differs = (path: string, how: string): TorchkeepError =>
  new TorchkeepError('ERR_CHECKPOINT_WRITE', `${path} is not as it was written: ${how}`)
