/**
 * Plans a copy of a file in which one key of its top-level dict has another value. Everything else stays to the byte: a `torch.save` file keeps its records and, but for its end, its pickle, so that no tensor, numpy value
 * or object of an unknown class is written anew; a safetensors file keeps the entries of its header and its data.
 */
import { resolve } from 'node:path'
import { ByteSource } from './byte-source.js'
import { unsupported } from './fault.js'
import { parseJsonObject, type JsonObject, type JsonValue } from './json-text.js'
import { opcode } from './opcodes.js'
import { PickleWriter } from './pickle-write.js'
import type { TorchFilePlan } from './plan.js'
import type { TorchFile } from './read.js'
import type { ByteOrigin, FileRange } from './tensor-record.js'
import { readRecord, readZipArchive, type ZipArchive } from './zip-read.js'
import { ZipPlanner, type PlannedPart } from './zip-write.js'

/**
 * Plans the copy of a `torch.save` file whose value is a dict.
 * @param file read with `keepFloats`.
 * @param value plain values only.
 * @throws TorchkeepError ERR_CHECKPOINT_UNSUPPORTED for another container or value, or a pickle of protocol 4 or later (its frames have lengths); ERR_INVALID_ARGUMENT for a value that cannot be written.
 */
export async function planWithKey(file: TorchFile, key: string, value: unknown): Promise<TorchFilePlan<ByteOrigin>> {
  const { path, identity } = file
  if (file.container !== 'torch_zip' || !(file.value instanceof Map))
    unsupported(path, null, 'only a dict that torch.save wrote as a zip file can be given a key')
  const before = file.value.has(key) ? settingKey(key, file.value.get(key)) : null
  const after = settingKey(key, value)
  return ByteSource.with(path, async (source) => {
    source.requireUnchanged(identity)
    const archive = await readZipArchive(source, [])
    const zip = new ZipPlanner<ByteOrigin>(archive.topFolder, await alignmentOf(source, archive))
    for (const record of archive.records.values()) {
      const { name, offsetBytes, sizeBytes, crc32 } = record
      if (name === 'data.pkl') {
        const pickle = await readRecord(source, archive, record, sizeBytes)
        zip.addBytes(name, withEnd(path, pickle, before, after))
      } else zip.addStorage(name, { path: resolve(path), offsetBytes, sizeBytes, identity, crc32 }, 0, sizeBytes)
    }
    zip.finish()
    return { sizeBytes: zip.sizeBytes, parts: zip.parts, storages: [], crcSlots: zip.crcSlots }
  })
}

/** Where records' data starts: at multiples of what the file says, as before. */
async function alignmentOf(source: ByteSource, archive: ZipArchive): Promise<number> {
  const record = archive.records.get('.storage_alignment')
  const stated = record === undefined ? 64 : Number(await readRecord(source, archive, record, 1 << 10))
  return Number.isInteger(Math.log2(stated)) && stated >= 1 && stated <= 32768 ? stated : 64
}

/** Opcodes that set a key of the dict on top of the stack, and STOP. Their memo entries take the place of earlier ones, which nothing after them asks for. */
function settingKey(key: string, value: unknown): Uint8Array {
  const writer = new PickleWriter(() => 'unknown', 'keep')
  writer.value(key)
  writer.value(value)
  writer.emit.op(opcode.SETITEM)
  return writer.emit.finish().subarray(protocolBytes)
}

const protocolBytes = 2

/**
 * A pickle that sets a key at its end. Where the last thing that it does is to set that key already, as in a file that was planned here before, the new value takes the place of the old one, so that nothing of it is
 * left in the file.
 */
function withEnd(path: string, pickle: Buffer, before: Uint8Array | null, after: Uint8Array): Uint8Array {
  if (pickle[0] === opcode.PROTO && (pickle[1] ?? 0) >= 4)
    unsupported(
      path,
      'data.pkl',
      `a pickle of protocol ${pickle[1]} cannot be given a key; torch.save writes protocol 2`,
    )
  const replaces = before !== null && Buffer.compare(pickle.subarray(-before.length), before) === 0
  const body = pickle.subarray(0, pickle.length - (replaces ? before.length : 1))
  return Buffer.concat([body, after])
}

/** Plans the copy of a safetensors file with other `__metadata__`; none where it is empty. The header's other entries keep their order and values. */
export async function planWithSafetensorsMetadata(
  file: TorchFile,
  metadata: ReadonlyMap<string, string>,
): Promise<TorchFilePlan<ByteOrigin>> {
  const { path, identity } = file
  return ByteSource.with(path, async (source) => {
    source.requireUnchanged(identity)
    const before = Number((await source.read(0, 8)).readBigUInt64LE(0))
    const header = parseJsonObject(path, 'the header', await source.read(8, before))
    header.delete('__metadata__')
    const entries: JsonObject = metadata.size === 0 ? header : new Map([['__metadata__', new Map(metadata)], ...header])
    const text = Buffer.from(jsonText(entries))
    // Blanks fill it up, so that the data starts at a multiple of 8, as the format asks.
    const padded = Buffer.concat([text, Buffer.alloc((8 - (text.length % 8)) % 8, ' ')])
    const length = Buffer.alloc(8)
    length.writeBigUInt64LE(BigInt(padded.length))
    const sizeBytes = source.sizeBytes - 8 - before
    const data: FileRange = { path: resolve(path), offsetBytes: 8 + before, sizeBytes, identity }
    const parts: PlannedPart<ByteOrigin>[] = [{ kind: 'bytes', bytes: Buffer.concat([length, padded]) }]
    if (sizeBytes > 0) parts.push({ kind: 'storage', tensor: data, offsetBytes: 0, sizeBytes, crcSlot: 0 })
    return { sizeBytes: 8 + padded.length + sizeBytes, parts, storages: [], crcSlots: 1 }
  })
}

function jsonText(value: JsonValue): string {
  if (value instanceof Map) {
    return `{${[...value].map(([key, item]) => `${JSON.stringify(key)}:${jsonText(item)}`).join(',')}}`
  }
  if (Array.isArray(value)) return `[${value.map(jsonText).join(',')}]`
  return typeof value === 'bigint' ? String(value) : JSON.stringify(value)
}
