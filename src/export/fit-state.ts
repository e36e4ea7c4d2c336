/** Fits the tensors of a checkpoint to the names that a model has: strictly, and with all that does not fit told at once. */
import { dtypeOf, sizesOf } from '../checkpoint/tensor-roles.js'
import { TorchkeepError } from '../format/errors.js'
import { readTensorBytes } from '../format/read-bytes.js'
import type { TorchFile } from '../format/read.js'
import { nearNames } from '../format/near-names.js'
import { ChunkedTensorRecord, TensorRecord, type AnyTensorRecord } from '../format/tensor-record.js'
import { OrderedDict } from '../format/values.js'

/** A tensor that a model has under this name. */
export interface WantedTensor {
  dtype: string | null
  sizes: readonly number[]
  /** Names of the same tensor (tied weights), this one included. */
  aliases: readonly string[]
  /** Whether the model brings values of its own, which stand in for what older versions of a module did not save. */
  hasOwn: boolean
}

/** The tensors under the model's names. */
export interface FittedState {
  tensors: Map<string, AnyTensorRecord>
  /** Taken away from the front of every name; empty for none. */
  prefix: string
  /** Names that the checkpoint does not have and need not have. */
  absent: string[]
  /** Pairs of names that are one tensor in the model and two in the checkpoint: their bytes must be equal. */
  apart: [DenseTensor, DenseTensor, string][]
}

/**
 * @param path of the checkpoint, and @param model what the names are of, for messages.
 * @throws TorchkeepError `ERR_CHECKPOINT_INCOMPATIBLE` with all missing and unexpected names and all dtypes and shapes that differ.
 */
export function fitState(
  path: string,
  given: OrderedDict<string, AnyTensorRecord>,
  model: string,
  wanted: ReadonlyMap<string, WantedTensor>,
): FittedState {
  const prefix = commonPrefix(given, wanted)
  const named = new Map([...given].map(([name, record]) => [name.slice(prefix.length), record]))
  const tensors = new Map<string, AnyTensorRecord>()
  const missing: string[] = []
  const absent: string[] = []
  const mismatched: string[] = []
  for (const [name, want] of wanted) {
    // Files that may hold a tied tensor once only (safetensors) have one of its names.
    const record = named.get(name) ?? want.aliases.map((alias) => named.get(alias)).find((other) => other !== undefined)
    if (record === undefined) (want.hasOwn && mayLackCount(prefix + name, given) ? absent : missing).push(name)
    else {
      mismatched.push(...differences(name, record, want))
      tensors.set(name, record)
    }
  }
  const unexpected = [...named.keys()].filter((name) => !wanted.has(name))
  if (missing.length + unexpected.length + mismatched.length > 0)
    throw unfit(path, model, missing, unexpected, mismatched)
  return { tensors, prefix, absent, apart: apartIn(tensors, wanted) }
}

function apartIn(
  tensors: ReadonlyMap<string, AnyTensorRecord>,
  wanted: ReadonlyMap<string, WantedTensor>,
): FittedState['apart'] {
  return [...wanted].flatMap(([name, { aliases }]): FittedState['apart'] => {
    const [first = name] = aliases
    const [one, other] = [tensors.get(first), tensors.get(name)]
    return !isDense(one) || !isDense(other) || placeOf(one) === placeOf(other)
      ? []
      : [[one, other, `${first} and ${name}`]]
  })
}

/** A tensor whose bytes can be compared. */
type DenseTensor = TensorRecord | ChunkedTensorRecord

const isDense = (record: AnyTensorRecord | undefined): record is DenseTensor =>
  record instanceof TensorRecord || record instanceof ChunkedTensorRecord

function placeOf(record: DenseTensor): string {
  const parts = record instanceof TensorRecord ? [record] : record.chunks.map(({ tensor }) => tensor)
  return parts
    .map(({ storage, storageOffset, strides }) => `${storage.id} ${storageOffset} ${strides.join()}`)
    .join(' + ')
}

/** The state dict of a checkpoint under the names of the model that it was fitted to; names that it had once only are added. */
export function renamed(
  given: OrderedDict<string, AnyTensorRecord>,
  { tensors, prefix }: Pick<FittedState, 'tensors' | 'prefix'>,
): OrderedDict<string, AnyTensorRecord> {
  const named = new OrderedDict<string, AnyTensorRecord>()
  for (const [name, record] of given) named.set(name.slice(prefix.length), record)
  for (const [name, record] of tensors) if (!named.has(name)) named.set(name, record)
  if (!(given.metadata instanceof Map)) return named
  const versions = new OrderedDict<unknown, unknown>()
  for (const [module, version] of given.metadata as ReadonlyMap<unknown, unknown>) {
    const path = `${String(module)}.`
    if (prefix === '') versions.set(module, version)
    else if (path.startsWith(prefix)) versions.set(path.slice(prefix.length, -1), version)
  }
  named.metadata = versions
  return named
}

/** Whether a state dict is from before a batch norm saved `num_batches_tracked`, as Python's own loading tells. */
function mayLackCount(name: string, { metadata }: OrderedDict<string, AnyTensorRecord>): boolean {
  if (!name.endsWith('num_batches_tracked')) return false
  const module: unknown =
    metadata instanceof Map ? metadata.get(name.slice(0, -'.num_batches_tracked'.length)) : undefined
  const version: unknown = module instanceof Map ? module.get('version') : undefined
  return typeof version !== 'number' || version < 2
}

/** What all names have in front where the rest are the model's: `module.` of DataParallel, `_orig_mod.` of torch.compile, `model.` of Lightning. */
function commonPrefix(given: ReadonlyMap<string, unknown>, wanted: ReadonlyMap<string, WantedTensor>): string {
  const [first = ''] = given.keys()
  if ([...given.keys()].some((name) => wanted.has(name))) return ''
  for (let end = first.indexOf('.') + 1; end > 0; end = first.indexOf('.', end) + 1) {
    const prefix = first.slice(0, end)
    if ([...given.keys()].every((name) => name.startsWith(prefix) && wanted.has(name.slice(end)))) return prefix
  }
  return ''
}

function differences(name: string, record: AnyTensorRecord, { dtype, sizes }: WantedTensor): string[] {
  const text = (of: readonly number[]): string => `[${of.join(', ')}]`
  const found = sizesOf(record)
  if (text(found) !== text(sizes)) return [`${name}: shape ${text(found)}, expected ${text(sizes)}`]
  return dtype === null || dtypeOf(record) === dtype ? [] : [`${name}: ${dtypeOf(record)}, expected ${dtype}`]
}

function unfit(
  path: string,
  model: string,
  missing: readonly string[],
  unexpected: readonly string[],
  mismatched: readonly string[],
): TorchkeepError {
  const near = missing.flatMap((name) => {
    const [other] = nearNames(name, unexpected, 1)
    return other === undefined ? [] : [`the checkpoint has '${other}' where the model has '${name}'`]
  })
  const part = (title: string, items: readonly string[]): string[] =>
    items.length === 0 ? [] : [`${title}: ${items.join(', ')}`]
  const facts = [...part('missing', missing), ...part('unexpected', unexpected), ...part('mismatched', mismatched)]
  return new TorchkeepError('ERR_CHECKPOINT_INCOMPATIBLE', `${path} does not fit ${model}; ${facts.join('; ')}`, {
    suggestions: near.slice(0, 3),
  })
}

/** Of each name all that stand for the same tensor, this one included: those of one place. */
export function aliasesBy(names: readonly string[], place: (name: string) => string): (name: string) => string[] {
  const groups = new Map<string, string[]>()
  for (const name of names) groups.set(place(name), [...(groups.get(place(name)) ?? []), name])
  return (name) => groups.get(place(name)) ?? [name]
}

/** What of a fit somebody should know. */
export function gapsOf({ prefix, absent }: FittedState): string[] {
  return [
    ...(prefix === ''
      ? []
      : [`Every name of the checkpoint begins with '${prefix}', which the model's do not: it was taken away.`]),
    ...(absent.length === 0
      ? []
      : [`The checkpoint is from before ${absent.join(', ')} was saved: the model's own is taken.`]),
  ]
}

/**
 * @throws TorchkeepError `ERR_CHECKPOINT_INCOMPATIBLE` where tensors that the model ties differ in the checkpoint: Python would load the last of them without a word.
 */
export async function requireEqualTies(file: TorchFile, { apart }: FittedState, model: string): Promise<void> {
  for (const [one, other, names] of apart) {
    const [left, right] = [await readTensorBytes(file, one), await readTensorBytes(file, other)]
    if (Buffer.compare(left, right) === 0) continue
    throw new TorchkeepError(
      'ERR_CHECKPOINT_INCOMPATIBLE',
      `${model} has one tensor under the names ${names}, but in ${file.path} their values differ`,
    )
  }
}
