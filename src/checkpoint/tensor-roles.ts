/**
 * Which entries of a model's state dict are parameters and which are buffers. A state dict does not say, and it matters: an infinite value in a parameter is a broken model, in an attention mask it is usual.
 *
 * The rule, first match wins:
 * 1. `phase_state` of Torchkeep: the names in its groups and its frozen names are parameters, all others buffers;
 * 2. `param_names` of the optimizer's groups: what they name is a parameter;
 * 3. tensors saved as `nn.Parameter` are parameters; where there is any, the others are buffers;
 * 4. integers and booleans are buffers, since no gradient can reach them;
 * 5. names that PyTorch and well-known models give to buffers ({@link bufferNames}) are buffers;
 * 6. everything else is a parameter. A buffer with a name of its own is so judged more strictly than need be, never less.
 */
import { elementCount, isTensorRecord, TensorRecord, type AnyTensorRecord } from '../format/tensor-record.js'
import { strided } from '../format/walk.js'
import type { TopLevel } from './migrations.js'

/** What an entry of a state dict is to its module. */
export type TensorRole = 'parameter' | 'buffer'

/** Last parts of names that buffers have in PyTorch's own modules and in well-known models. */
const bufferNames =
  /^(running_(mean|var)|num_batches_tracked|(\w+_)?masks?|masked_bias|inv_freq|original_inv_freq|freqs_(cis|cos|sin)|(cos|sin)_cached|pe|position_ids|relative_position_index|anchors|anchor_grid)$/

/** The names of a state dict's tensors, with what each is. `stateDict` is `model_state_dict` unless told. */
export function tensorRoles(checkpoint: TopLevel, stateDict?: unknown): ReadonlyMap<string, TensorRole> {
  const tensors = stateTensors(checkpoint, stateDict)
  const names = declaredParameters(checkpoint)
  const isParameter = (record: AnyTensorRecord): boolean => record instanceof TensorRecord && record.isParameter
  const saysParameter = [...tensors.values()].some(isParameter)
  const roles = new Map<string, TensorRole>()
  for (const [name, record] of tensors) {
    const told = names?.parameters.has(name) === true
    const looks = saysParameter ? isParameter(record) : looksLikeParameter(name, record)
    roles.set(name, told || (names?.complete !== true && looks) ? 'parameter' : 'buffer')
  }
  return roles
}

/** The tensors of a state dict by name. */
export function stateTensors(
  checkpoint: TopLevel,
  stateDict: unknown = checkpoint.get('model_state_dict'),
): ReadonlyMap<string, AnyTensorRecord> {
  const entries: readonly (readonly unknown[])[] = stateDict instanceof Map ? [...(stateDict as TopLevel)] : []
  return new Map(entries.filter((entry): entry is [string, AnyTensorRecord] => isNamedTensor(entry)))
}

const isNamedTensor = ([name, value]: readonly unknown[]): boolean => typeof name === 'string' && isTensorRecord(value)

/** Names that the file itself calls parameters; `complete` where all others are then buffers. */
function declaredParameters(checkpoint: TopLevel): { parameters: ReadonlySet<unknown>; complete: boolean } | null {
  const phase = checkpoint.get('phase_state')
  if (phase instanceof Map) {
    const groups = listOf(phase.get('groups')).flatMap(listOf)
    return { parameters: new Set([...groups, ...listOf(phase.get('frozen'))]), complete: true }
  }
  const optimizer = checkpoint.get('optimizer_state_dict')
  const groups = optimizer instanceof Map ? listOf(optimizer.get('param_groups')) : []
  const named = groups.flatMap((group) => (group instanceof Map ? listOf(group.get('param_names')) : []))
  return named.length > 0 ? { parameters: new Set(named), complete: false } : null
}

const listOf = (value: unknown): readonly unknown[] => (Array.isArray(value) ? value : [])

function looksLikeParameter(name: string, record: AnyTensorRecord): boolean {
  return isTrainable(record) && !bufferNames.test(name.slice(name.lastIndexOf('.') + 1))
}

/** Whether a gradient could reach it; quantized weights count, as they stand in a parameter's place. */
function isTrainable(record: AnyTensorRecord): boolean {
  return record.kind === 'quantized' || /^(float|bfloat|complex)/.test(dtypeOf(record))
}

/** A tensor with all its names in the state dict. */
export interface NamedTensor {
  readonly names: readonly [string, ...string[]]
  readonly dtype: string
  readonly sizes: readonly number[]
}

/** The model's parameters in the order of `named_parameters()`, aliases once: those that are by the rule, and those that a gradient could reach at all. */
export function parametersOf(checkpoint: TopLevel): { sure: readonly NamedTensor[]; possible: readonly NamedTensor[] } {
  const roles = tensorRoles(checkpoint)
  const groups = uniqueTensors(stateTensors(checkpoint)).filter(({ record }) => isTrainable(record))
  return {
    sure: groups.filter(({ names }) => names.some((name) => roles.get(name) === 'parameter')),
    possible: groups,
  }
}

/** Elements of all parameters, aliases counted once; null where there is no state dict. */
export function countParameters(checkpoint: TopLevel): number | null {
  if (!(checkpoint.get('model_state_dict') instanceof Map)) return null
  return parametersOf(checkpoint).sure.reduce((count, { sizes }) => count + elementCount(sizes), 0)
}

/** The tensors of a state dict with all their names: two names of one tensor (same storage, place, sizes and strides) are one. */
export function uniqueTensors(
  tensors: ReadonlyMap<string, AnyTensorRecord>,
): (NamedTensor & { record: AnyTensorRecord })[] {
  const found: (NamedTensor & { names: [string, ...string[]]; record: AnyTensorRecord })[] = []
  const byIdentity = new Map<string, (typeof found)[number]>()
  for (const [name, record] of tensors) {
    const identity = strided(record)
      .map(
        ({ storage, storageOffset, sizes, strides }) =>
          `${storage.id} ${storageOffset} ${sizes.join()} ${strides.join()}`,
      )
      .join(' + ')
    const twin = record.kind === 'meta' || elementCount(sizesOf(record)) === 0 ? undefined : byIdentity.get(identity)
    if (twin !== undefined) {
      twin.names.push(name)
      continue
    }
    const group = { names: [name] as [string, ...string[]], dtype: dtypeOf(record), sizes: sizesOf(record), record }
    found.push(group)
    byIdentity.set(identity, group)
  }
  return found
}

/** Sizes of a tensor of any kind; of a nested one, those of its buffer. */
export function sizesOf(record: AnyTensorRecord): readonly number[] {
  if (record.kind === 'quantized') return record.integers.sizes
  return record.kind === 'nested' ? record.buffer.sizes : record.sizes
}

/** The dtype of a tensor of any kind: that of its values. */
export function dtypeOf(record: AnyTensorRecord): string {
  if ('dtype' in record) return record.dtype
  if (record.kind === 'quantized') return record.integers.dtype
  return (record.kind === 'nested' ? record.buffer : record.parts.at(-1))?.dtype ?? 'unknown'
}
