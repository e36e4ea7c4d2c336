/** Which tensors of a file must be finite, and what is odd about how tensors lie in their storages. */
import type { Finding } from '../format/findings.js'
import type { TorchFile } from '../format/read.js'
import {
  coveredBytes,
  isTensorRecord,
  StorageRecord,
  type TensorRecord,
  type AnyTensorRecord,
} from '../format/tensor-record.js'
import { listTensors, strided, walk } from '../format/walk.js'
import { finding, type FindingId } from './findings.js'
import { isStateDict } from './kind.js'
import type { NormalizedCheckpoint } from './normalize.js'
import { dtypeOf, sizesOf, tensorRoles, uniqueTensors, type TensorRole } from './tensor-roles.js'

/** A tensor whose values should be finite. */
export interface CheckedTensor {
  /** All names that it has in its state dict; of a moment, `state[0].exp_avg` and the like. */
  readonly names: readonly [string, ...string[]]
  readonly role: TensorRole | 'moment'
  readonly dtype: string
  readonly sizes: readonly number[]
  /** The strided tensors that it consists of. */
  readonly parts: readonly TensorRecord[]
}

/**
 * The tensors of the model's state dict, of every other state dict in the file (averaged weights, a second model), of pickled modules and of the optimizer's state. Other tensors of a dict (random states, data) may hold anything.
 */
export function checkedTensors(file: Pick<TorchFile, 'value'>, checkpoint: NormalizedCheckpoint): CheckedTensor[] {
  const { value, kind } = checkpoint
  const found: CheckedTensor[] = []
  const add = (
    tensors: ReadonlyMap<string, AnyTensorRecord>,
    prefix: string,
    roles: ReadonlyMap<string, TensorRole>,
  ): void => {
    for (const { names, record, dtype, sizes } of uniqueTensors(tensors)) {
      const role = names.some((name) => roles.get(name) === 'parameter') ? 'parameter' : 'buffer'
      const [first, ...others] = names.map((name) => prefix + name)
      found.push({ names: [first ?? '', ...others], role, dtype, sizes, parts: strided(record) })
    }
  }
  if (['archive', 'pt2', 'distributed', 'safetensors'].includes(kind)) {
    const tensors = new Map(listTensors(file.value).map(({ path, record }) => [path.join('.'), record]))
    add(tensors, '', tensorRoles(value, tensors))
    return found
  }
  for (const { name, stateDict } of stateDicts(value)) {
    const prefix = name === 'model_state_dict' ? '' : `${name}.`
    const tensors = new Map(
      [...stateDict].filter((entry): entry is [string, AnyTensorRecord] => isTensorRecord(entry[1])),
    )
    add(tensors, prefix, tensorRoles(value, stateDict))
  }
  for (const role of ['parameter', 'buffer'] as const) {
    const inModules = listTensors(file.value).filter(({ path }) => path.at(-2) === `_${role}s`)
    const tensors = new Map(inModules.map(({ path, record }) => [path.join('.'), record]))
    add(tensors, '', new Map([...tensors.keys()].map((name) => [name, role])))
  }
  for (const { name, state } of optimizerStates(value)) {
    const prefix = name === '' || name === 'optimizer_state_dict' ? '' : `${name}.`
    found.push(...listTensors(state).map(({ path, record }) => moment(prefix, path, record)))
  }
  return found
}

function moment(prefix: string, [index, ...rest]: readonly unknown[], record: AnyTensorRecord): CheckedTensor {
  const name = `${prefix}state[${String(index)}].${rest.join('.')}`
  return { names: [name], role: 'moment', dtype: dtypeOf(record), sizes: sizesOf(record), parts: strided(record) }
}

/** The states of all optimizers of a file, with their paths: of `optimizer_state_dict`, of other keys, and of lists of optimizers such as `optimizer_states` of Lightning. */
function optimizerStates(value: ReadonlyMap<unknown, unknown>): { name: string; state: unknown }[] {
  const found: { name: string; state: unknown }[] = []
  walk(value, (object, path) => {
    const isInItsPlace = path.length === 1 && path[0] === 'optimizer_state_dict'
    if (object instanceof Map && (isInItsPlace || isOptimizerState(object))) {
      found.push({ name: path.join('.'), state: object.get('state') })
      return false
    }
    return path.length < 4 && (object instanceof Map || Array.isArray(object))
  })
  return found
}

/** What `Optimizer.state_dict()` returns. */
function isOptimizerState(object: unknown): boolean {
  return object instanceof Map && object.get('state') instanceof Map && Array.isArray(object.get('param_groups'))
}

/** The state dicts of a file outside the optimizer, with their paths. */
function stateDicts(value: ReadonlyMap<unknown, unknown>): { name: string; stateDict: ReadonlyMap<string, unknown> }[] {
  const found: { name: string; stateDict: ReadonlyMap<string, unknown> }[] = []
  walk(value, (object, path) => {
    // Constants of a recorded graph may hold anything: a mask of -inf is usual there.
    if (isOptimizerState(object) || path[0] === 'optimizer_state_dict' || path[0] === 'model_graph') return false
    if (path.length === 0) return true
    if (path.length > 3 || !(object instanceof Map)) return false
    const name = path.join('.')
    if (name !== 'model_state_dict' && !isStateDict(object)) return true
    found.push({ name, stateDict: object as ReadonlyMap<string, unknown> })
    return false
  })
  return found
}

/** A storage is wasteful where it is this many times larger than what its tensors cover, and by at least {@link wastedBytes}. */
const wastedFactor = 4
const wastedBytes = 64 << 10

/** Findings about storages that are far larger than the tensors over them: `torch.save` writes the whole base of a small slice. */
export function checkViews(file: Pick<TorchFile, 'value'>): Finding<FindingId>[] {
  const storages = new Map<string, { storage: StorageRecord; name: string; covered: [number, number][] }>()
  const cover = (storage: StorageRecord, name: string, range: [number, number]): void => {
    const known = storages.get(storage.id) ?? { storage, name, covered: [] }
    storages.set(storage.id, known)
    known.covered.push(range)
  }
  walk(file.value, (object, path) => {
    if (object instanceof StorageRecord) cover(object as StorageRecord, path.join('.'), [0, object.sizeBytes])
    if (!isTensorRecord(object)) return true
    for (const part of strided(object)) cover(part.storage, path.join('.'), coveredBytes(part))
    return true
  })
  return [...storages.values()].flatMap(({ storage, name, covered }) => {
    const usedBytes = unionBytes(covered)
    if (storage.sizeBytes < wastedFactor * usedBytes || storage.sizeBytes - usedBytes < wastedBytes) return []
    const message = `${name} keeps a storage of ${storage.sizeBytes} bytes alive, of which its tensors use ${usedBytes}`
    return [finding('tensor.wasteful_view', name, message)]
  })
}

function unionBytes(ranges: [number, number][]): number {
  let [bytes, last] = [0, 0]
  for (const [begin, end] of ranges.sort((left, right) => left[0] - right[0])) {
    bytes += Math.max(0, end - Math.max(begin, last))
    last = Math.max(last, end)
  }
  return bytes
}
