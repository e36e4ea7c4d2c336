/** Salvages safetensors files: data that was cut, a header that is broken in places. Entries of the header are read one by one, so that a broken one takes no other with it. */
import { resolve } from 'node:path'
import type { ByteSource } from './byte-source.js'
import { dtypes } from './dtypes.js'
import type { TorchkeepError } from './errors.js'
import { formatFinding, type Finding, type FormatFindingId } from './findings.js'
import { safetensorsDTypes } from './safetensors.js'
import type { Salvage } from './salvage.js'
import { peek } from './salvage-headers.js'
import { storageIdPrefix } from './storage-table.js'
import { contiguousStrides, elementCount, StorageRecord, TensorRecord } from './tensor-record.js'

/** How much of the file is taken for the header where its length is broken: about 100,000 tensors. */
const searchedBytes = 16 << 20
const maxHeaderBytes = 100_000_000

interface Entry {
  name: string
  tensor: Pick<TensorRecord, 'dtype' | 'sizes' | 'strides'>
  begin: number
  end: number
}

/** Null where the file is no safetensors file. */
export async function salvageSafetensors(source: ByteSource, failure: TorchkeepError): Promise<Salvage | null> {
  const head = Buffer.from(await peek(source, 0, 1 << 16))
  if (head.length < 16 || head.readUInt32LE(0) === 0x04034b50 || !head.includes('"data_offsets"')) return null
  const claimed = head.readBigUInt64LE(0)
  const most = claimed <= BigInt(maxHeaderBytes) ? Math.max(Number(claimed), searchedBytes) : searchedBytes
  const text = Buffer.from(await peek(source, 8, Math.min(most, source.sizeBytes - 8))).toString('latin1')
  const { entries, lastAt } = readEntries(text)
  if (entries.length === 0) return null
  const dataBegin = 8 + endOfHeader(text, lastAt, claimed)
  return describe(source, entries, dataBegin, failure)
}

/** The descriptions of tensors as writers of the format write them; their names stand before them. */
const entryPattern =
  /\{\s{0,64}"dtype"\s{0,64}:\s{0,64}"(\w{1,32})"\s{0,64},\s{0,64}"shape"\s{0,64}:\s{0,64}\[([\d,\s]*)\]\s{0,64},\s{0,64}"data_offsets"\s{0,64}:\s{0,64}\[\s{0,64}(\d{1,16})\s{0,64},\s{0,64}(\d{1,16})\s{0,64}\]\s{0,64}\}/g

function readEntries(text: string): { entries: Entry[]; lastAt: number } {
  const entries = new Map<string, Entry>()
  let lastAt = 0
  for (const match of text.matchAll(entryPattern)) {
    const [whole, dtypeText = '', shapeText = '', beginText, endText] = match
    const dtype = safetensorsDTypes.get(dtypeText)
    const sizes = shapeText.trim() === '' ? [] : shapeText.split(',').map(Number)
    const [begin, end] = [Number(beginText), Number(endText)]
    const name = nameBefore(text, match.index, lastAt)
    if (dtype === undefined || name === null || dtype === 'float4_e2m1fn_x2') continue
    if (elementCount(sizes) * dtypes[dtype].itemSizeBytes !== end - begin || entries.has(name)) continue
    entries.set(name, { name, tensor: { dtype, sizes, strides: contiguousStrides(sizes) }, begin, end })
    lastAt = match.index + whole.length
  }
  return { entries: [...entries.values()], lastAt }
}

/** The name that stands before the description at `at` but not before `least`; null where none does. Looked for backwards, so that a text that is built to be slow is not read again and again. */
function nameBefore(text: string, at: number, least: number): string | null {
  const tail = /"\s{0,64}:\s{0,64}$/.exec(text.slice(Math.max(at - 130, least), at))
  if (tail === null) return null
  const end = at - tail[0].length
  let begin = text.lastIndexOf('"', end - 1)
  while (begin >= least && isEscaped(text, begin)) begin = text.lastIndexOf('"', begin - 1)
  if (begin < least) return null
  try {
    return JSON.parse(Buffer.from(text.slice(begin, end + 1), 'latin1').toString('utf8')) as string
  } catch (error) {
    if (error instanceof SyntaxError) return null
    throw error
  }
}

function isEscaped(text: string, at: number): boolean {
  let begin = at
  while (text[begin - 1] === '\\') begin--
  return (at - begin) % 2 === 1
}

/** Where the header ends: where its length says, if that is after its last brace and nothing but blanks; else after the brace and the blanks that fill it up to a multiple of 8. */
function endOfHeader(text: string, lastEntryEnd: number, claimed: bigint): number {
  const brace = text.indexOf('}', lastEntryEnd)
  const end = (brace < 0 ? lastEntryEnd : brace) + 1
  const isClaimed =
    claimed >= BigInt(end) && claimed <= BigInt(text.length) && /^ *$/.test(text.slice(end, Number(claimed)))
  return isClaimed && claimed - BigInt(end) < 4096n ? Number(claimed) : Math.ceil(end / 8) * 8
}

function describe(source: ByteSource, entries: readonly Entry[], dataBegin: number, failure: TorchkeepError): Salvage {
  const path = resolve(source.path)
  const { identity } = source
  const idPrefix = storageIdPrefix(path, identity)
  const incomplete = new Map<string, number>()
  const damages: Finding<FormatFindingId>[] = [
    formatFinding(failure.finding ?? 'safetensors.header', failure.subject, failure.message),
  ]
  const storageOf = (name: string, begin: number, end: number, dtype: StorageRecord['dtype']): StorageRecord => {
    const range = { path, offsetBytes: dataBegin + begin, sizeBytes: end - begin, identity }
    return new StorageRecord({ id: idPrefix + name, recordName: name, dtype, sizeBytes: end - begin, source: range })
  }
  const value = new Map<string, TensorRecord>()
  for (const { name, tensor, begin, end } of entries) {
    const storage = storageOf(name, begin, end, dtypes[tensor.dtype].storageClass === null ? null : tensor.dtype)
    const there = Math.max(Math.min(end, source.sizeBytes - dataBegin) - begin, 0)
    if (there < end - begin) {
      incomplete.set(storage.id, there)
      damages.push(formatFinding('file.truncated', name, `tensor ${name}: ${there} of ${end - begin} bytes are there`))
    }
    value.set(name, new TensorRecord({ ...tensor, storage }))
  }
  const unclaimed = holes(entries, source.sizeBytes - dataBegin).map(([begin, end]) =>
    storageOf(`bytes_${begin}`, begin, end, null),
  )
  const file = {
    path: source.path,
    container: 'safetensors' as const,
    identity,
    value,
    storages: [...value.values()].map(({ storage }) => storage),
    records: new Map(),
    topFolder: '',
    globals: [],
    findings: [],
    details: { metadata: {} },
    protection: 'none' as const,
  }
  const pickle = unclaimed.length > 0 ? 'partial' : 'whole'
  return { file, isSound: false, pickle, pickleNote: null, incomplete, unclaimed, damages }
}

/** Ranges of the data that no entry names. */
function holes(entries: readonly Entry[], dataBytes: number): [number, number][] {
  const found: [number, number][] = []
  let free = 0
  for (const { begin, end } of [...entries].sort((left, right) => left.begin - right.begin)) {
    if (begin > free && free < dataBytes) found.push([free, Math.min(begin, dataBytes)])
    free = Math.max(free, end)
  }
  if (free < dataBytes) found.push([free, dataBytes])
  return found
}
