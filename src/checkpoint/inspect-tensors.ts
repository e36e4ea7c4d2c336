/** Every tensor of a file with its names, and which of them share bytes. */
import { dtypes, isDTypeName } from '../format/dtypes.js'
import {
  elementCount,
  isContiguous,
  isTensorRecord,
  TensorRecord,
  type AnyTensorRecord,
} from '../format/tensor-record.js'
import { strided, walk } from '../format/walk.js'
import type { TensorStatistics } from './inspect-statistics.js'
import { childrenOf } from './inspect-tree.js'
import { inspectedKey } from './inspect-values.js'
import { pythonTypeName } from './python-types.js'
import { dtypeOf, sizesOf } from './tensor-roles.js'

/** What is said of one tensor. */
export interface InspectedTensor {
  /** Keys from the top, joined by dots: `model_state_dict.0.weight`. */
  name: string
  /** Python's name of the type. */
  type: string
  /** `strided`, `sparse`, `quantized`, `meta`, `nested`, or `chunked` for a tensor in several pieces. */
  layout: AnyTensorRecord['kind']
  /** Without the `torch.` prefix. */
  dtype: string
  shape: readonly number[]
  /** In elements; null for tensors that are not strided. */
  strides: readonly number[] | null
  contiguous: boolean | null
  /** Product of the shape. */
  elements: number
  /** Bytes of the elements, whatever its storage holds. */
  sizeBytes: number
  /** The record or key of its storage, and where the tensor begins in it, in elements; null without a storage. */
  storage: { name: string; sizeBytes: number; offset: number; location: string } | null
  requiresGrad: boolean
  /** Names of other tensors that use the same storage: the first hundred. */
  sharedWith: readonly string[]
  /** Filled on demand. */
  statistics: TensorStatistics | null
}

/** A tensor under one of its names. */
export interface NamedTensor {
  name: string
  record: AnyTensorRecord
}

/** Every place of a tensor, in order; one that stands in two places is listed twice. */
export function namedTensors(root: unknown): NamedTensor[] {
  const found: NamedTensor[] = []
  const note = (path: readonly unknown[], value: unknown): void => {
    if (isTensorRecord(value)) found.push({ name: path.map(inspectedKey).join('.'), record: value })
  }
  note([], root)
  walk(root, (value, path) => {
    if (isTensorRecord(value)) return false
    for (const [key, item] of childrenOf(value) ?? []) note([...path, key], item)
    return true
  })
  return found
}

/** Names that are listed of those that share a storage; each of a hundred thousand tensors over one storage would list all others. */
const mostSharing = 100

/** Facts of the tensors that `wanted` names (all unless told). Sharing is looked for among all. */
export function inspectTensors(
  tensors: readonly NamedTensor[],
  wanted: (name: string) => boolean = () => true,
): InspectedTensor[] {
  const byStorage = new Map<string, string[]>()
  for (const { name, record } of tensors) {
    for (const id of storageIds(record)) {
      const names = byStorage.get(id)
      if (names === undefined) byStorage.set(id, [name])
      else if (names.length <= mostSharing) names.push(name)
    }
  }
  return tensors
    .filter(({ name }) => wanted(name))
    .map(({ name, record }) => {
      const sharing = storageIds(record).flatMap((id) => byStorage.get(id) ?? [])
      return {
        ...factsOf(record),
        name,
        sharedWith: [...new Set(sharing)].filter((other) => other !== name).slice(0, mostSharing),
      }
    })
}

const storageIds = (record: AnyTensorRecord): string[] => [...new Set(strided(record).map(({ storage }) => storage.id))]

function factsOf(record: AnyTensorRecord): Omit<InspectedTensor, 'name' | 'sharedWith'> {
  const shape = sizesOf(record)
  const view = record instanceof TensorRecord ? record : null
  return {
    type: pythonTypeName(record),
    layout: record.kind,
    dtype: dtypeOf(record),
    shape,
    strides: view?.strides ?? null,
    contiguous: view === null ? null : isContiguous(view),
    elements: elementCount(shape),
    sizeBytes: strided(record).reduce((sum, { dtype, sizes }) => sum + bytesOf(dtype, sizes), 0),
    storage:
      view === null
        ? null
        : {
            name: view.storage.recordName ?? view.storage.id.slice(view.storage.id.indexOf('#') + 1),
            sizeBytes: view.storage.sizeBytes,
            offset: view.storageOffset,
            location: view.storage.location,
          },
    requiresGrad: 'requiresGrad' in record && record.requiresGrad,
    statistics: null,
  }
}

function bytesOf(dtype: string, sizes: readonly number[]): number {
  if (!isDTypeName(dtype)) return 0
  const { itemSizeBytes, elementsPerByte } = dtypes[dtype]
  return Math.ceil((elementCount(sizes) * itemSizeBytes) / elementsPerByte)
}
