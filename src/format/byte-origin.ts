/** Where the bytes of a planned storage come from, in pieces and constant memory. */
import { crc32 } from 'node:zlib'
import { ByteSource, chunkBytes } from './byte-source.js'
import type { ByteOrigin, FileRange } from './tensor-record.js'
import { checkCrc } from './zip-read.js'

/** The bytes of a storage from `offsetBytes` on, in pieces. A piece is valid until the next one is asked for. */
export async function* originBytes(
  origin: ByteOrigin,
  offsetBytes: number,
  sizeBytes: number,
): AsyncGenerator<Uint8Array> {
  if ('make' in origin) {
    yield* origin.make(offsetBytes, sizeBytes)
    return
  }
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
  const source = await ByteSource.open(origin.path)
  try {
    if (origin.identity !== undefined) source.requireUnchanged(origin.identity)
    await checkRange(source, origin, offsetBytes, sizeBytes)
    let at = offsetBytes
    for await (const chunk of source.chunks(origin.offsetBytes + offsetBytes, sizeBytes)) {
      if ('patch' in origin) await origin.patch(chunk, at)
      at += chunk.byteLength
      yield chunk
    }
  } finally {
    await source.close()
  }
}

/** A range with a CRC-32 is checked as a whole before a part of it is copied: damage must not get a CRC-32 that agrees with it. */
async function checkRange(
  source: ByteSource,
  origin: FileRange,
  offsetBytes: number,
  sizeBytes: number,
): Promise<void> {
  if (offsetBytes + sizeBytes > origin.sizeBytes) {
    throw new Error(
      `a range of ${origin.sizeBytes} bytes was to give bytes ${offsetBytes} to ${offsetBytes + sizeBytes}`,
    )
  }
  if (origin.crc32 === undefined || origin.crc32 === null) return
  let crc = 0
  for await (const chunk of source.chunks(origin.offsetBytes, origin.sizeBytes)) crc = crc32(chunk, crc)
  checkCrc(origin.path, { name: `at ${origin.offsetBytes}`, crc32: origin.crc32 }, crc)
}
