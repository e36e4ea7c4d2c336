/**
 * Which entries of a model's state dict are parameters and which are buffers. A state dict does not say, and it matters: an infinite value in a parameter is a broken model, in an attention mask it is usual.
 *
 * The rule, first match wins:
 * 1. the model's graph, where the file holds one (its signature lists parameters and buffers);
 * 2. `phase_state` of Torchkeep: names in its groups and frozen names are parameters, all others buffers;
 * 3. `param_names` of the optimizer's groups: what they name is a parameter;
 * 4. tensors saved as `nn.Parameter`: they are parameters; where there is any, all others are buffers;
 * 5. integers and booleans are buffers, since no gradient can reach them;
 * 6. names that PyTorch and well-known models give to buffers (`bufferNames`);
 * 7. the optimizer's state, where it holds the moments of fewer tensors than are left: those whose shapes do not fit, in order, are buffers;
 * 8. everything else is a parameter.
 */
import { dtypes } from '../format/dtypes.js'
import { elementCount, isTensorRecord, TensorRecord, type AnyTensorRecord } from '../format/tensor-record.js'
import { strided } from '../format/walk.js'
import type { TopLevel } from './migrations.js'

/** What an entry of a state dict is to its module. */
export type TensorRole = 'parameter' | 'buffer'

/** Last parts of names that buffers have in PyTorch's own modules and in well-known models. */
const bufferNames =
  /^(running_(mean|var)|num_batches_tracked|(\w+_)?masks?|masked_bias|inv_freq|original_inv_freq|freqs_(cis|cos|sin)|(cos|sin)_cached|pe|position_ids|relative_position_index|anchors|anchor_grid)$/

/** The names of a state dict, with what each is. Names of values that are no tensors are left out. */
export function tensorRoles(checkpoint: TopLevel): ReadonlyMap<string, TensorRole> {
  const tensors = stateTensors(checkpoint)
  const names = declaredParameters(checkpoint)
  const saysParameter = [...tensors.values()].some((record) => record instanceof TensorRecord && record.isParameter)
  return new Map(
    [...tensors].map(([name, record]) => {
      const parameter =
        names?.complete === true
          ? names.parameters.has(name)
          : names?.parameters.has(name) === true ||
            (saysParameter ? record instanceof TensorRecord && record.isParameter : looksLikeParameter(name, record))
      return [name, parameter ? 'parameter' : 'buffer'] as const
    }),
  )
}

/** The tensors of a state dict by name. */
export function stateTensors(checkpoint: TopLevel): ReadonlyMap<string, AnyTensorRecord> {
  const state = checkpoint.get('model_state_dict')
  const entries = state instanceof Map ? [...(state as TopLevel)] : []
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
  const dtype = record.kind === 'meta' ? record.dtype : strided(record)[0]?.dtype
  const real = dtype !== undefined && /^(float|bfloat|complex)/.test(dtype) && dtype in dtypes
  return (real || record.kind === 'quantized') && !bufferNames.test(name.slice(name.lastIndexOf('.') + 1))
}

/** Elements of all parameters, aliases counted once; null where there is no state dict. */
export function countParameters(checkpoint: TopLevel): number | null {
  if (!(checkpoint.get('model_state_dict') instanceof Map)) return null
  const roles = tensorRoles(checkpoint)
  const seen = new Set<string>()
  let count = 0
  for (const [name, record] of stateTensors(checkpoint)) {
    const identity = identityOf(record)
    if (roles.get(name) !== 'parameter' || seen.has(identity)) continue
    seen.add(identity)
    count += elementCount(sizesOf(record))
  }
  return count
}

let meta = 0

/** A text that is equal for two names of one tensor (same storage, same place, same sizes) and different for all others. */
export function identityOf(record: AnyTensorRecord): string {
  const parts = strided(record)
  if (parts.length === 0) return `meta ${++meta}`
  return parts
    .map(
      ({ storage, storageOffset, sizes, strides }) =>
        `${storage.id} ${storageOffset} ${sizes.join()} ${strides.join()}`,
    )
    .join(' + ')
}

/** Sizes of a tensor of any kind; of a nested one, the length of its buffer. */
export function sizesOf(record: AnyTensorRecord): readonly number[] {
  if (record.kind === 'quantized') return record.integers.sizes
  return record.kind === 'nested' ? record.buffer.sizes : record.sizes
}
