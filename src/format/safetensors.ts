/**
 * Reads safetensors: a JSON header that names every tensor with dtype, shape and byte range, then the bytes. Source: the README of huggingface/safetensors and what its reader (0.8) accepts beyond it,
 * which is reported as `safetensors.lenient`.
 */
import { resolve } from 'node:path'
import type { ByteSource } from './byte-source.js'
import { dtypes, type DTypeName } from './dtypes.js'
import { fault, quoted, tooMuch, unsupported } from './fault.js'
import { formatFinding, type Finding, type FormatFindingId } from './findings.js'
import { parseJsonObject, type JsonObject, type JsonValue } from './json-text.js'
import { maxSafetensorsHeaderBytes } from './recognize.js'
import { storageIdPrefix } from './storage-table.js'
import { contiguousStrides, elementCount, StorageRecord, TensorRecord } from './tensor-record.js'
import type { ReadSettings, TorchFile } from './torch-file.js'

/** The dtypes of the format that PyTorch has. */
export const safetensorsDTypes: ReadonlyMap<string, DTypeName> = new Map([
  ['BOOL', 'bool'],
  ['U8', 'uint8'],
  ['I8', 'int8'],
  ['U16', 'uint16'],
  ['I16', 'int16'],
  ['F16', 'float16'],
  ['BF16', 'bfloat16'],
  ['U32', 'uint32'],
  ['I32', 'int32'],
  ['F32', 'float32'],
  ['U64', 'uint64'],
  ['I64', 'int64'],
  ['F64', 'float64'],
  ['C64', 'complex64'],
  ['F8_E4M3', 'float8_e4m3fn'],
  ['F8_E5M2', 'float8_e5m2'],
  ['F8_E4M3FNUZ', 'float8_e4m3fnuz'],
  ['F8_E5M2FNUZ', 'float8_e5m2fnuz'],
  ['F8_E8M0', 'float8_e8m0fnu'],
  ['F4', 'float4_e2m1fn_x2'],
])

/** One entry of the header, checked by itself. Offsets count from the end of the header. */
interface Entry {
  name: string
  dtype: DTypeName
  sizes: number[]
  begin: number
  end: number
}

/** Reads a safetensors file: the value is a dict of its tensors, `details.metadata` its `__metadata__`. */
export async function readSafetensors(source: ByteSource, settings: ReadSettings): Promise<TorchFile> {
  const { path } = source
  const findings: Finding<FormatFindingId>[] = []
  const header = await readHeader(source, settings, findings)
  const dataBegin = 8 + header.sizeBytes
  const entries = [...header.json].flatMap(([name, value]) =>
    name === '__metadata__' ? [] : [readEntry(path, name, value, findings)],
  )
  checkRanges(path, entries, source.sizeBytes - dataBegin)
  warnUnaligned(entries, dataBegin, findings)
  const absolute = resolve(path)
  const tensors = new Map<string, TensorRecord>()
  const idPrefix = storageIdPrefix(absolute, source.identity)
  for (const { name, dtype, sizes, begin, end } of entries) {
    const sizeBytes = end - begin
    const range = { path: absolute, offsetBytes: dataBegin + begin, sizeBytes, identity: source.identity }
    const storage = new StorageRecord({
      id: idPrefix + name,
      recordName: name,
      dtype: dtypes[dtype].storageClass === null ? null : dtype,
      sizeBytes,
      source: range,
    })
    tensors.set(name, new TensorRecord({ storage, dtype, sizes, strides: contiguousStrides(sizes) }))
  }
  findings.push(
    formatFinding('file.unprotected', null, 'safetensors has no checksums: changed bytes cannot be detected'),
  )
  return {
    path,
    container: 'safetensors',
    identity: source.identity,
    value: tensors,
    storages: [...tensors.values()].map((tensor) => tensor.storage),
    records: new Map(),
    topFolder: '',
    globals: [],
    findings,
    details: { metadata: readMetadata(path, header.json.get('__metadata__')) },
    protection: 'none',
  }
}

async function readHeader(
  source: ByteSource,
  settings: ReadSettings,
  findings: Finding<FormatFindingId>[],
): Promise<{ json: JsonObject; sizeBytes: number }> {
  const { path } = source
  const length = (await source.read(0, 8)).readBigUInt64LE(0)
  const most = Math.min(maxSafetensorsHeaderBytes, settings.maxPickleBytes)
  if (length > BigInt(most)) tooMuch(path, null, `the header claims ${length} bytes, at most ${most} are read`)
  const sizeBytes = Number(length)
  if (8 + sizeBytes > source.sizeBytes) {
    const reason = `the header claims ${sizeBytes} bytes, the file has ${source.sizeBytes}`
    fault(path, { finding: 'file.truncated' }, reason)
  }
  const bytes = await source.read(8, sizeBytes)
  if (bytes[0] !== 0x7b) lenient(findings, null, 'white space stands before the header')
  return { json: parseJsonObject(path, 'the header', bytes), sizeBytes }
}

function readEntry(path: string, name: string, value: JsonValue, findings: Finding<FormatFindingId>[]): Entry {
  const bad = (reason: string): never =>
    fault(path, { finding: 'safetensors.header', subject: name }, `tensor ${quoted(name)}: ${reason}`)
  if (!(value instanceof Map)) return bad('its entry in the header is no object')
  for (const key of value.keys()) {
    if (key !== 'dtype' && key !== 'shape' && key !== 'data_offsets')
      lenient(findings, name, `tensor ${quoted(name)} has a field ${quoted(key)} that is not in the format`)
  }
  const dtypeText = value.get('dtype')
  if (typeof dtypeText !== 'string') return bad('its dtype is no text')
  const shape = sizesOf(value.get('shape')) ?? bad('its shape is no list of integers from 0 to 2^53')
  const offsets = sizesOf(value.get('data_offsets')) ?? bad('its data_offsets are no list of integers from 0 to 2^53')
  const [begin, end] = offsets
  if (begin === undefined || end === undefined || offsets.length !== 2 || begin > end)
    return bad(`its data_offsets are [${offsets.slice(0, 4).join(', ')}], expected a begin and an end`)
  if (dtypeText.startsWith('F6_')) unsupported(path, name, `tensor ${quoted(name)}: PyTorch has no dtype ${dtypeText}`)
  const dtype = safetensorsDTypes.get(dtypeText) ?? bad(`its dtype ${quoted(dtypeText)} is unknown`)
  const sizes = dtype === 'float4_e2m1fn_x2' ? halved(shape) : shape
  if (sizes === null) return bad(`an F4 tensor of shape [${shape.join(', ')}] does not fill its bytes`)
  const sizeBytes = elementCount(sizes) * dtypes[dtype].itemSizeBytes
  if (sizeBytes !== end - begin)
    return bad(
      `${dtypeText} of shape [${shape.slice(0, 16).join(', ')}] takes ${sizeBytes} bytes, its range has ${end - begin}`,
    )
  return { name, dtype, sizes, begin, end }
}

function sizesOf(value: JsonValue | undefined): number[] | undefined {
  if (!Array.isArray(value)) return undefined
  const isSize = (item: JsonValue): item is number =>
    typeof item === 'number' && Number.isSafeInteger(item) && item >= 0
  return value.every(isSize) ? value : undefined
}

/** Two F4 values share a byte, which PyTorch takes for one element. */
function halved(shape: readonly number[]): number[] | null {
  const last = shape[shape.length - 1]
  return last === undefined || last % 2 !== 0 ? null : [...shape.slice(0, -1), last / 2]
}

/** The ranges cover the data from begin to end, each byte once. */
function checkRanges(path: string, entries: readonly Entry[], dataBytes: number): void {
  const byPlace = [...entries].sort((left, right) => left.begin - right.begin || left.end - right.end)
  let free = 0
  for (const { name, begin, end } of byPlace) {
    const found = { finding: 'safetensors.header', subject: name } as const
    if (end > dataBytes) {
      const reason = `tensor ${quoted(name)} ends at byte ${end} of the data, there are ${dataBytes}`
      fault(path, { finding: 'file.truncated', subject: name }, reason)
    }
    if (begin < free)
      fault(path, found, `tensor ${quoted(name)} at ${begin} overlaps the one before, which ends at ${free}`)
    if (begin > free) fault(path, found, `no tensor has the bytes ${free} to ${begin}, which the format forbids`)
    free = end
  }
  if (free < dataBytes)
    fault(path, { finding: 'file.trailing_bytes' }, `${dataBytes - free} bytes follow the last tensor`)
}

function warnUnaligned(entries: readonly Entry[], dataBegin: number, findings: Finding<FormatFindingId>[]): void {
  const unaligned = entries.find(({ begin, dtype }) => (dataBegin + begin) % dtypes[dtype].itemSizeBytes !== 0)
  if (unaligned === undefined) return
  const { name, begin } = unaligned
  lenient(findings, name, `tensor ${quoted(name)} at ${dataBegin + begin} is not aligned to its elements`)
}

function readMetadata(path: string, value: JsonValue | undefined): Record<string, string> {
  if (value === undefined) return {}
  const found = { finding: 'safetensors.header', subject: '__metadata__' } as const
  if (!(value instanceof Map)) return fault(path, found, '__metadata__ is no object')
  const entries: [string, string][] = []
  for (const [key, text] of value) {
    if (typeof text !== 'string') fault(path, found, `__metadata__: the value of ${quoted(key)} is no text`)
    entries.push([key, text])
  }
  return Object.fromEntries(entries)
}

function lenient(findings: Finding<FormatFindingId>[], subject: string | null, message: string): void {
  findings.push(formatFinding('safetensors.lenient', subject, message))
}
