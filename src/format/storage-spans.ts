/** Which storages a value needs, and which bytes of each: views are compacted to the bytes that any of their tensors touches. */
import { dtypes, type DTypeName } from './dtypes.js'
import { TorchkeepError } from './errors.js'
import {
  ChunkedTensorRecord,
  coveredBytes,
  isTensorRecord,
  StorageRecord,
  TensorRecord,
  type AnyTensorRecord,
} from './tensor-record.js'
import { formatPath, strided, walk, type ValuePath } from './walk.js'

/** The part of a storage that is written as one record. */
export interface StorageSpan<Source> {
  readonly storage: StorageRecord<Source>
  /** Typed storage class's dtype, or null for `torch.UntypedStorage`: one for all tensors over the storage. */
  readonly dtype: DTypeName | null
  beginBytes: number
  endBytes: number
  /** `'0'`, `'1'`... in the order of first use in the pickle; null until then. */
  key: string | null
}

/** Turns a live object into the description of a tensor; undefined if it is none. */
export type DescribeTensor<Source> = (value: object) => AnyTensorRecord<Source> | undefined

/** What the tensors of a value are, and the spans of their storages by storage id. */
export interface CollectedTensors<Source> {
  readonly records: ReadonlyMap<object, AnyTensorRecord<Source> | StorageRecord<Source>>
  readonly spans: ReadonlyMap<string, StorageSpan<Source>>
}

/**
 * Finds all tensors of a value.
 * @throws TorchkeepError ERR_INVALID_ARGUMENT for a description that leaves its storage, or two dtypes over one storage (which torch.save refuses too).
 */
export function collectTensors<Source>(value: unknown, describe: DescribeTensor<Source>): CollectedTensors<Source> {
  const records = new Map<object, AnyTensorRecord<Source> | StorageRecord<Source>>()
  const spans = new Map<string, StorageSpan<Source>>()
  const visit = (object: object, path: ValuePath): boolean => {
    if (object instanceof StorageRecord) {
      records.set(object, object)
      addSpan(spans, object, object.dtype, [0, object.sizeBytes], path)
      return false
    }
    const record = isTensorRecord(object) ? (object as AnyTensorRecord<Source>) : describe(object)
    if (record === undefined) return true
    if (record instanceof ChunkedTensorRecord) {
      const reason = 'it lies in chunks, which torch.save does not write; read its bytes and save those'
      throw new TorchkeepError('ERR_INVALID_ARGUMENT', `cannot save the tensor ${formatPath(path)}: ${reason}`)
    }
    records.set(object, record)
    for (const part of strided(record)) {
      records.set(part, part)
      addTensor(spans, part, path)
    }
    if (record instanceof TensorRecord && record.attributes !== null) walk(record.attributes, visit, refuseDepth)
    return false
  }
  walk(value, visit, refuseDepth)
  for (const span of spans.values()) alignBegin(span)
  return { records, spans }
}

function refuseDepth(reason: string): never {
  throw new TorchkeepError('ERR_INVALID_ARGUMENT', `cannot save: ${reason}`)
}

function addTensor<Source>(
  spans: Map<string, StorageSpan<Source>>,
  tensor: TensorRecord<Source>,
  path: ValuePath,
): void {
  const covered = coveredBytes(tensor)
  if (!Number.isSafeInteger(covered[1]) || covered[1] > tensor.storage.sizeBytes) {
    throw new TorchkeepError(
      'ERR_INVALID_ARGUMENT',
      `cannot save ${formatPath(path)}: a ${tensor.dtype} tensor of sizes [${tensor.sizes.join(', ')}], strides [${tensor.strides.join(', ')}] and offset ` +
        `${tensor.storageOffset} needs ${covered[1]} bytes, its storage has ${tensor.storage.sizeBytes}`,
    )
  }
  addSpan(spans, tensor.storage, dtypes[tensor.dtype].storageClass === null ? null : tensor.dtype, covered, path)
}

function addSpan<Source>(
  spans: Map<string, StorageSpan<Source>>,
  storage: StorageRecord<Source>,
  dtype: DTypeName | null,
  [begin, end]: [number, number],
  path: ValuePath,
): void {
  const unit = dtype === null ? 1 : dtypes[dtype].itemSizeBytes
  if (end % unit !== 0) {
    throw new TorchkeepError(
      'ERR_INVALID_ARGUMENT',
      `cannot save ${formatPath(path)}: ${end} bytes of storage are no whole number of ${dtype ?? 'byte'} elements`,
    )
  }
  const span = spans.get(storage.id)
  if (span === undefined) {
    spans.set(storage.id, { storage, dtype, beginBytes: begin, endBytes: end, key: null })
    return
  }
  if (span.storage.sizeBytes !== storage.sizeBytes) {
    throw new TorchkeepError(
      'ERR_INVALID_ARGUMENT',
      `cannot save ${formatPath(path)}: its storage ${storage.id} has ${storage.sizeBytes} bytes here and ${span.storage.sizeBytes} elsewhere`,
    )
  }
  if (span.dtype !== dtype) {
    throw new TorchkeepError(
      'ERR_INVALID_ARGUMENT',
      `cannot save ${formatPath(path)}: its storage is viewed as ${dtype ?? 'bytes'} here and as ${span.dtype ?? 'bytes'} elsewhere; ` +
        'torch.save cannot save two dtypes over one storage',
    )
  }
  if (begin === end) return
  const wasEmpty = span.beginBytes === span.endBytes
  span.beginBytes = wasEmpty ? begin : Math.min(span.beginBytes, begin)
  span.endBytes = wasEmpty ? end : Math.max(span.endBytes, end)
}

/** Sizes of elements are powers of two up to 16: a begin on a multiple of 16 (or of the storage's own element) is one for every view. */
function alignBegin(span: StorageSpan<unknown>): void {
  const unit = span.dtype === null ? 16 : dtypes[span.dtype].itemSizeBytes
  span.beginBytes -= span.beginBytes % unit
}
