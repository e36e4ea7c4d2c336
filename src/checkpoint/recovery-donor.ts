/** Names, shapes and dtypes from a sound checkpoint of the same model, for data whose own pickle cannot be read; without one, the data as records of bytes. */
import type { Salvage } from '../format/salvage.js'
import type { TorchFile } from '../format/read.js'
import {
  isTensorRecord,
  NestedTensorRecord,
  QuantizedTensorRecord,
  SparseTensorRecord,
  StorageRecord,
  TensorRecord,
  type AnyTensorRecord,
} from '../format/tensor-record.js'
import { OrderedDict, Tuple } from '../format/values.js'
import { listTensors, strided } from '../format/walk.js'
import { normalizeCheckpoint } from './normalize.js'
import type { RecoveryActs } from './recovery-record.js'

/** The tensors of a file by their places in the current form, such as `model_state_dict.0.weight`. */
export function namedTensors(file: Pick<TorchFile, 'container' | 'value'>): ReadonlyMap<string, AnyTensorRecord> {
  const { value } = normalizeCheckpoint(file)
  return new Map(listTensors(value.size > 0 ? value : file.value).map(({ path, record }) => [path.join('.'), record]))
}

/**
 * Gives names to what the pickle of a broken file does not name: by the donor's storages of the same key, size in bytes and dtype; else as `record_N`, a tensor of bytes.
 * @param donor null without one.
 */
export function nameUnclaimed(salvage: Salvage, donor: TorchFile | null, acts: RecoveryActs): Salvage {
  if (salvage.unclaimed.length === 0) return salvage
  const graft = new Graft(salvage, donor)
  const value = donor === null ? salvage.file.value : merged(salvage.file.value, graft.copy(donor.value, []))
  if (graft.used.size > 0)
    acts.repaired.push(`${graft.used.size} records got their names, shapes and dtypes from the donor ${donor?.path}`)
  const rest = salvage.unclaimed.filter(({ id }) => !graft.used.has(id))
  const storages = [...salvage.file.storages, ...graft.used.values(), ...rest]
  const file = { ...salvage.file, storages, value: withRecords(value, rest, acts) }
  return { ...salvage, file, unclaimed: [] }
}

/** Parts of a donor's top level that say how its tensors are to be understood: taken whole. The rest of what is no tensor (epoch, losses, history) is the donor's own. */
const understood = new Set([
  'format',
  'version',
  'config',
  'model_config',
  'training_config',
  'phase_state',
  'model_graph',
])

/** Copies what the broken file has the bytes of from a donor's value. */
class Graft {
  /** Our storages that were put to use, by the id of the unclaimed one. */
  readonly used = new Map<string, StorageRecord>()
  readonly #unclaimed: ReadonlyMap<string, StorageRecord>
  readonly #incomplete: ReadonlyMap<string, number>
  readonly #copies = new Map<object, unknown>()

  constructor(salvage: Salvage, donor: TorchFile | null) {
    this.#unclaimed = new Map(
      donor === null ? [] : salvage.unclaimed.map((storage) => [storage.recordName ?? '', storage]),
    )
    this.#incomplete = salvage.incomplete
  }

  /** The copy of a value; undefined where nothing of it is ours. */
  copy(value: unknown, path: readonly unknown[]): unknown {
    if (typeof value !== 'object' || value === null || value instanceof StorageRecord) return undefined
    if (this.#copies.has(value)) return this.#copies.get(value)
    const made = isTensorRecord(value) ? this.#tensor(value) : this.#container(value, path)
    this.#copies.set(value, made)
    return made
  }

  #container(value: object, path: readonly unknown[]): unknown {
    // What an optimizer's state means is in its groups, so it is taken with the plain values.
    const whole = path[0] === 'optimizer_state_dict' || path[0] === 'optimizer_state'
    if (value instanceof Map) {
      const map = value instanceof OrderedDict ? new OrderedDict() : new Map<unknown, unknown>()
      if (value instanceof OrderedDict && map instanceof OrderedDict) map.attributes = value.attributes
      let any = false
      for (const [key, item] of value as Map<unknown, unknown>) {
        const copied = this.copy(item, [...path, key])
        any ||= copied !== undefined
        if (copied !== undefined) map.set(key, copied)
        else if ((path.length === 0 && understood.has(key as string)) || (whole && !holdsTensors(item)))
          map.set(key, item)
      }
      return any ? map : undefined
    }
    if (!Array.isArray(value)) return undefined
    const items = value.map((item, index) => this.copy(item, [...path, index]))
    if (items.every((item) => item === undefined)) return undefined
    const kept = items.map(
      (item, index) => item ?? (whole && !holdsTensors(value[index]) ? (value[index] as unknown) : null),
    )
    return value instanceof Tuple ? new Tuple(kept) : kept
  }

  #tensor(record: AnyTensorRecord): AnyTensorRecord | undefined {
    const parts = strided(record)
    if (parts.length === 0) return record
    const own = parts.map((part) => this.#strided(part))
    if (own.some((part) => part === undefined)) return undefined
    const [first, second, third, fourth] = own as [TensorRecord, TensorRecord, TensorRecord, TensorRecord]
    if (record instanceof TensorRecord) return first
    if (record instanceof SparseTensorRecord)
      return new SparseTensorRecord(record.layout, own as TensorRecord[], record.sizes, record.isCoalesced)
    if (record instanceof NestedTensorRecord) return new NestedTensorRecord(first, second, third, fourth)
    if (!(record instanceof QuantizedTensorRecord)) return undefined
    const { quantizer } = record
    return new QuantizedTensorRecord(
      first,
      'scales' in quantizer ? { ...quantizer, scales: second, zeroPoints: third } : quantizer,
    )
  }

  #strided(tensor: TensorRecord): TensorRecord | undefined {
    const storage = this.#storage(tensor.storage)
    return storage === undefined ? undefined : new TensorRecord({ ...tensor, storage })
  }

  /** Our storage in the place of a donor's: the same key, and the same size, or cut. */
  #storage(theirs: StorageRecord): StorageRecord | undefined {
    const ours = this.#unclaimed.get(theirs.recordName ?? '')
    if (ours === undefined) return undefined
    const isCut = this.#incomplete.has(ours.id) && ours.sizeBytes < theirs.sizeBytes
    if (ours.sizeBytes !== theirs.sizeBytes && !isCut) return undefined
    const known = this.used.get(ours.id)
    if (known !== undefined) return known
    const { dtype, location, sizeBytes } = theirs
    const storage = new StorageRecord({ ...ours, dtype, location, sizeBytes })
    this.used.set(ours.id, storage)
    return storage
  }
}

const holdsTensors = (value: unknown): boolean => listTensors(value).length > 0

/** Our own value with what only the donor's copy has. */
function merged(own: unknown, grafted: unknown): unknown {
  if (own === undefined) return grafted
  if (!(own instanceof Map) || !(grafted instanceof Map)) return own
  for (const [key, item] of grafted as Map<unknown, unknown>)
    own.set(key, own.has(key) ? merged(own.get(key), item) : item)
  return own
}

/** The value with the records that nothing names, as tensors of bytes. */
function withRecords(value: unknown, rest: readonly StorageRecord[], acts: RecoveryActs): unknown {
  if (rest.length === 0) return value
  const records = new OrderedDict<string, TensorRecord>()
  for (const [index, storage] of rest.entries()) {
    const numbered = `record_${/(\d+)$/.exec(storage.recordName ?? '')?.[1] ?? index}`
    const name = records.has(numbered) ? `${numbered}_at_${storage.source.offsetBytes}` : numbered
    const { sizeBytes } = storage
    const bytes = new StorageRecord({ ...storage, dtype: 'uint8' })
    records.set(name, new TensorRecord({ storage: bytes, dtype: 'uint8', sizes: [sizeBytes], strides: [1] }))
  }
  acts.unknown.push(`${[...records.keys()].join(', ')}: what these bytes were`)
  if (value === undefined) return records
  const top = value instanceof Map ? (value as Map<unknown, unknown>) : new Map<unknown, unknown>([['value', value]])
  return top.set('unassigned_records', records)
}
