/** The weights and constants of a torch.export archive, as its JSON files describe them. */
import type { ByteSource } from './byte-source.js'
import { dtypes, type DTypeName } from './dtypes.js'
import { fault, quoted, unsupported } from './fault.js'
import { isSize, JsonFields } from './json-fields.js'
import { parseJsonObject, type JsonValue } from './json-text.js'
import { storageIdPrefix } from './storage-table.js'
import { coveredBytes, elementCount, MetaTensorRecord, StorageRecord, TensorRecord } from './tensor-record.js'
import type { ByteOrder, FileIdentity } from './tensor-record.js'
import { noPersistentIds, type PickleSession, type ReadSettings } from './torch-file.js'
import { readTorchZip, requiredRecord } from './torch-zip.js'
import { readZipArchive, recordOffset, type ZipArchive, type ZipRecord } from './zip-read.js'

/** Codes of dtypes. Source: `ScalarType` of `torch/_export/serde/schema.py`. */
const dtypeCodes: ReadonlyMap<number, DTypeName> = new Map([
  [1, 'uint8'],
  [2, 'int8'],
  [3, 'int16'],
  [4, 'int32'],
  [5, 'int64'],
  [6, 'float16'],
  [7, 'float32'],
  [8, 'float64'],
  [9, 'complex32'],
  [10, 'complex64'],
  [11, 'complex128'],
  [12, 'bool'],
  [13, 'bfloat16'],
  [28, 'uint16'],
  [29, 'float8_e4m3fn'],
  [30, 'float8_e5m2'],
  [31, 'float8_e4m3fnuz'],
  [32, 'float8_e5m2fnuz'],
  [33, 'float8_e8m0fnu'],
  [34, 'uint32'],
  [35, 'uint64'],
])

/** The dtype of a code, undefined for an unknown one. */
export function dtypeOfCode(code: JsonValue | undefined): DTypeName | undefined {
  return typeof code === 'number' ? dtypeCodes.get(code) : undefined
}

/** The code of a dtype, undefined for one that torch.export does not have. */
export function codeOfDType(dtype: DTypeName): number | undefined {
  return [...dtypeCodes].find(([, name]) => name === dtype)?.[0]
}

/** Code of `torch.strided`. */
const stridedLayout = 7

const maxConfigBytes = 64 << 20

/** What the payloads are read from. */
export interface Pt2Archive {
  source: ByteSource
  archive: ZipArchive
  settings: ReadSettings
  session: PickleSession
  /** `path` is absolute. */
  place: { path: string; identity: FileIdentity; byteOrder: ByteOrder }
}

/** Reads the payloads of all models of an archive; those that share a record share a storage. */
export class Pt2Payloads {
  readonly storages: StorageRecord[] = []
  /** Names of the records that payloads and their descriptions are in. */
  readonly used = new Set<string>()
  readonly #from: Pt2Archive
  readonly #byRecord = new Map<string, StorageRecord>()

  constructor(from: Pt2Archive) {
    this.#from = from
  }

  /** The payloads that a JSON file describes, by name; none where there is no such file. */
  async read(folder: string, configName: string): Promise<Map<string, unknown>> {
    const { source, archive } = this.#from
    const record = folder + configName
    const payloads = new Map<string, unknown>()
    if (!archive.records.has(record)) return payloads
    this.used.add(record)
    const json = parseJsonObject(source.path, record, await requiredRecord(source, archive, record, maxConfigBytes))
    const place = { path: source.path, name: record, finding: 'pt2.structure' } as const
    const config = new JsonFields(json, place).object('config')
    for (const name of config.entries.keys()) payloads.set(name, await this.#payload(folder, name, config.object(name)))
    return payloads
  }

  async #payload(folder: string, name: string, meta: JsonFields): Promise<unknown> {
    const { source, archive } = this.#from
    const recordName = folder + meta.text('path_name')
    const record = archive.records.get(recordName)
    if (record === undefined) {
      const reason = `the record ${quoted(recordName)} of ${quoted(name)} is missing`
      return fault(source.path, { finding: 'record.missing', subject: recordName }, reason)
    }
    this.used.add(recordName)
    if (meta.boolean('use_pickle')) return this.#pickled(record)
    const tensor = meta.object('tensor_meta')
    if (tensor.at('layout') !== stridedLayout)
      unsupported(
        source.path,
        name,
        `${quoted(name)} has the layout ${String(tensor.at('layout'))}, only strided ones are read`,
      )
    return this.#tensor(name, record, tensor, meta.boolean('is_param'))
  }

  #tensor(name: string, record: ZipRecord, meta: JsonFields, isParameter: boolean): TensorRecord | MetaTensorRecord {
    const { path } = this.#from.source
    const bad = (reason: string): never =>
      fault(path, { finding: 'pt2.structure', subject: name }, `${quoted(name)}: ${reason}`)
    const dtype = dtypeOfCode(meta.at('dtype')) ?? bad(`its dtype ${String(meta.at('dtype'))} is unknown`)
    const ints = (key: string) => meta.list(key).map((item) => intOf(item) ?? bad(`its ${key} are no integers`))
    const [sizes, strides] = [ints('sizes'), ints('strides')]
    const storageOffset = intOf(meta.at('storage_offset')) ?? bad('its storage_offset is no integer')
    const requiresGrad = meta.boolean('requires_grad')
    if (sizes.length !== strides.length) bad(`${sizes.length} sizes and ${strides.length} strides`)
    // A model that was exported without its weights has empty records; PyTorch makes zeros of them.
    const isFake = record.sizeBytes === 0 && elementCount(sizes) > 0
    if (isFake) return new MetaTensorRecord(dtype, sizes, strides, requiresGrad)
    const view = { dtype, sizes, strides, storageOffset }
    const [, end] = coveredBytes(view)
    if (!Number.isSafeInteger(elementCount(sizes) * 16) || !(end <= record.sizeBytes)) {
      const reason = `a ${dtype} tensor of sizes [${sizes.slice(0, 16).join(', ')}] needs ${end} bytes, its record has ${record.sizeBytes}`
      fault(path, { finding: 'storage.too_small', subject: name }, `${quoted(name)}: ${reason}`)
    }
    return new TensorRecord({ ...view, storage: this.#storage(record, dtype), requiresGrad, isParameter })
  }

  #storage(record: ZipRecord, dtype: DTypeName): StorageRecord {
    const { path, identity, byteOrder } = this.#from.place
    const { name, sizeBytes, offsetBytes, crc32, method } = record
    const known = this.#byRecord.get(name)
    const typed = dtypes[dtype].storageClass === null ? null : dtype
    if (known !== undefined) {
      if (known.dtype === typed) return known
      const reason = `the record ${name} is used as ${typed ?? 'bytes'} and as ${known.dtype ?? 'bytes'}`
      return fault(path, { finding: 'storage.type', subject: name }, reason)
    }
    if (method !== 0) {
      const found = { finding: 'zip.compressed', subject: name, code: 'ERR_CHECKPOINT_UNSUPPORTED' } as const
      fault(path, found, `record ${name} is compressed, expected stored bytes`)
    }
    const source = { path, offsetBytes, sizeBytes, identity, crc32 }
    const id = storageIdPrefix(path, identity) + name
    const storage = new StorageRecord({ id, recordName: name, dtype: typed, sizeBytes, source, crc32, byteOrder })
    this.#byRecord.set(name, storage)
    this.storages.push(storage)
    return storage
  }

  /** A payload that is a torch.save file of its own (tensor subclasses, objects of C++), or a bare pickle (objects of Python). */
  async #pickled(record: ZipRecord): Promise<unknown> {
    const { source, archive, settings, session } = this.#from
    const isBare = record.name.startsWith('data/constants/opaque_obj_')
    if (isBare) {
      const bytes = await requiredRecord(source, archive, record.name, settings.maxPickleBytes)
      return session.read(bytes, `record ${record.name}`, noPersistentIds, { forTorchLoad: false })
    }
    const section = source.section(await recordOffset(source, archive, record), record.sizeBytes)
    const inner = await readTorchZip(section, await readZipArchive(section, session.findings), settings, session)
    this.storages.push(...inner.storages)
    return inner.value
  }
}

/** `{"as_int": 3}`. A size that is an expression has no number. */
function intOf(value: JsonValue | undefined): number | undefined {
  const int = value instanceof Map ? value.get('as_int') : undefined
  return isSize(int) ? int : undefined
}
