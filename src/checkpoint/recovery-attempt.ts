/** One recovery, from the damaged file to the value that is written. */
import { basename, extname } from 'node:path'
import type { Container, TorchFile } from '../format/read.js'
import type { Salvage } from '../format/salvage.js'
import { isTensorRecord, type AnyTensorRecord, type ByteOrigin } from '../format/tensor-record.js'
import {
  NestedTensorRecord,
  QuantizedTensorRecord,
  SparseTensorRecord,
  StorageRecord,
  TensorRecord,
} from '../format/tensor-record.js'
import { OrderedDict } from '../format/values.js'
import { strided } from '../format/walk.js'
import { isStateDict } from './kind.js'
import { normalizeCheckpoint } from './normalize.js'
import { nameUnclaimed, namedTensors } from './recovery-donor.js'
import { fillLabels } from './recovery-labels.js'
import { dropFromOptimizer, optimizerLosses } from './recovery-optimizer.js'
import type { RecoveryActs } from './recovery-record.js'
import { scanBytes } from './recovery-scan.js'
import { lost, writableTree } from './recovery-tree.js'
import { ValuePlan, type DamagedPolicy, type NonFinitePolicy } from './recovery-values.js'

/** What {@link mend} works with. */
export interface MendOptions {
  path: string
  salvage: Salvage
  donor: TorchFile | null
  nonfinite: NonFinitePolicy
  damaged: DamagedPolicy
  acts: RecoveryActs
  issuesFixed: string[]
  remainingIssues: string[]
  progress?: (doneBytes: number, totalBytes: number) => void
  signal?: AbortSignal
}

/** A value that can be written for `torch.load(weights_only=True)`. */
export interface MendedValue {
  value: Map<unknown, unknown>
  /** Whether it maps names to tensors and nothing else. */
  isBareStateDict: boolean
}

/** Makes the value to write; null where nothing could be saved. What was done is in `acts`. */
export async function mend(options: MendOptions): Promise<MendedValue | null> {
  const { acts } = options
  tellStructure(options)
  const salvage = nameUnclaimed(options.salvage, options.donor, acts)
  const { file } = salvage
  if (file.value === undefined) return null
  const checkpoint = normalizeCheckpoint(file, { keepFloats: true })
  const verdict = await scanBytes(salvage, checkpoint, options)
  tellUnprotected(verdict.unprotected, acts)
  const plan = new ValuePlan({ ...options, salvage, verdict })
  await plan.decide()
  const losses = optimizerLosses(checkpoint.value, (record) => plan.reasonLost(record) !== null)
  const source = holdsOnlyNames(file.container) ? new OrderedDict(namedTensors(file)) : file.value
  const copied = writableTree(source, {
    acts,
    storage: (storage) => (salvage.incomplete.has(storage.id) ? lost : plan.storage(storage)),
    tensor: (record, name) => {
      const reason = plan.reasonLost(record)
      if (reason !== null) acts.lost.push(`${name}: ${reason}`)
      return reason === null ? withParts(record, plan) : lost
    },
  })
  const value = topLevel(copied, acts)
  if (!holdsTensor(value)) return null
  renameLegacy(value, acts)
  dropFromOptimizer(value, losses, acts)
  dropEmptied(value, file.value)
  const { kind } = normalizeCheckpoint({ container: 'torch_zip', value })
  if (kind === 'training_checkpoint') {
    const before = { filled: acts.filled.length, unknown: acts.unknown.length }
    await fillLabels(value, options.path, acts)
    const added = [...acts.filled.slice(before.filled), ...acts.unknown.slice(before.unknown)]
    for (const act of added) options.issuesFixed.push(`Added missing ${act.split(':')[0] ?? act}`)
  }
  return asStateDict(value)
}

/** Containers whose value is a program's objects or graph: of them the tensors are kept, by name. */
const holdsOnlyNames = (container: Container): boolean => container === 'torchscript' || container === 'pt2'

function tellStructure({ salvage, acts, issuesFixed }: MendOptions): void {
  const { isSound, pickle, pickleNote, damages, file } = salvage
  if (!isSound) {
    issuesFixed.push('Rebuilt the file from what is left of it')
    const [first] = damages
    acts.repaired.push(
      `the file: rebuilt from what is left of it (${first?.message.replace(`${file.path}: `, '') ?? 'it is broken'})`,
    )
  }
  const note = pickleNote ?? 'data.pkl'
  if (pickle === 'corrected') {
    issuesFixed.push('Corrected one byte of data.pkl')
    acts.repaired.push(note)
  }
  if (pickle === 'changed') acts.damaged.push(note)
  if (pickle === 'partial') acts.lost.push('data.pkl: it breaks off; what it would have said after that')
  if (pickle === 'unreadable') acts.lost.push('data.pkl: names, shapes and everything that is no tensor')
}

function tellUnprotected(storages: readonly StorageRecord[], acts: RecoveryActs): void {
  if (storages.length === 0) return
  const names = storages.slice(0, 3).map(({ recordName, id }) => recordName ?? id)
  const more = storages.length > 3 ? `, ... (${storages.length} in all)` : ''
  acts.unknown.push(`${names.join(', ')}${more}: whether the bytes are as they were written, as no CRC-32 is there`)
}

/** A tensor of any kind with its parts as they are written. */
function withParts(record: AnyTensorRecord, plan: ValuePlan): AnyTensorRecord<ByteOrigin> {
  const parts = strided(record).map((part) => plan.tensor(part))
  const [first, second, third, fourth] = parts as [
    TensorRecord<ByteOrigin>,
    TensorRecord<ByteOrigin>,
    TensorRecord<ByteOrigin>,
    TensorRecord<ByteOrigin>,
  ]
  if (record instanceof TensorRecord) return first
  if (record instanceof SparseTensorRecord)
    return new SparseTensorRecord(record.layout, parts, record.sizes, record.isCoalesced)
  if (record instanceof NestedTensorRecord) return new NestedTensorRecord(first, second, third, fourth)
  if (record instanceof QuantizedTensorRecord) {
    const { quantizer } = record
    return new QuantizedTensorRecord(
      first,
      'scales' in quantizer ? { ...quantizer, scales: second, zeroPoints: third } : quantizer,
    )
  }
  return record as AnyTensorRecord<ByteOrigin>
}

/** A dict: what is none stands under `value`, so that the record of the recovery has its place. */
function topLevel(copied: unknown, acts: RecoveryActs): Map<unknown, unknown> {
  if (copied instanceof Map) return copied as Map<unknown, unknown>
  if (copied === lost) return new Map()
  acts.repaired.push('the value: it was no dict and stands under the key value')
  return new Map([['value', copied]])
}

function holdsTensor(value: unknown): boolean {
  const open = [value]
  const seen = new Set<unknown>()
  for (let next = open.pop(); next !== undefined || open.length > 0; next = open.pop()) {
    if (typeof next !== 'object' || next === null || seen.has(next)) continue
    if (isTensorRecord(next) || next instanceof StorageRecord) return true
    seen.add(next)
    if (next instanceof Map || next instanceof Set || Array.isArray(next))
      for (const item of next.values() as Iterable<unknown>) open.push(item)
  }
  return false
}

/** The names of the older systems under which nobody would find a value once the file has a version. */
const legacyNames = [
  ['model_state', 'model_state_dict'],
  ['optimizer_state', 'optimizer_state_dict'],
  ['val_loss', 'validation_loss'],
  ['model_config', 'config'],
] as const

function renameLegacy(value: Map<unknown, unknown>, acts: RecoveryActs): void {
  if (value.has('version') || !(value.has('model_state') || value.has('model_state_dict'))) return
  for (const [from, to] of legacyNames) {
    if (!value.has(from) || value.has(to)) continue
    const entries = [...value].map(([key, item]): [unknown, unknown] => [key === from ? to : key, item])
    value.clear()
    for (const [key, item] of entries) value.set(key, item)
    acts.repaired.push(`${from}: renamed to ${to}`)
  }
}

/** A dict that held tensors and lost all of them says nothing any more. */
function dropEmptied(value: Map<unknown, unknown>, before: unknown): void {
  for (const [key, item] of value) {
    const had: unknown = before instanceof Map ? before.get(key) : undefined
    if (item instanceof Map && item.size === 0 && had instanceof Map && had.size > 0) value.delete(key)
  }
}

/** A dict of nothing but tensors is written as an OrderedDict, which has a place for the record of the recovery. */
function asStateDict(value: Map<unknown, unknown>): MendedValue {
  const isBareStateDict = isStateDict(value)
  if (!isBareStateDict || value instanceof OrderedDict) return { value, isBareStateDict }
  return { value: new OrderedDict(value), isBareStateDict }
}

/** The name of a recovered file: what is written is a zip archive of torch.save, so endings of other formats get another. */
export function recoveredName(path: string): string {
  const name = `recovered_${basename(path)}`
  return ['.safetensors', '.pt2', '.tar', '.json'].includes(extname(name).toLowerCase())
    ? `${name.slice(0, -extname(name).length)}.pth`
    : name
}
