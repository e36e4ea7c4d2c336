/** Live tensors out of descriptions and back, for running a model that is to be exported. */
import type { Tensor } from '../../lib/index.js'
import { call, scope, tensor, type DType } from '../../lib/index.js'
import { originBytes } from '../format/byte-origin.js'
import { dtypes, type DTypeName } from '../format/dtypes.js'
import { TorchkeepError } from '../format/errors.js'
import { readTensorBytes } from '../format/read-bytes.js'
import {
  ChunkedTensorRecord,
  TensorRecord,
  tensorFromBytes,
  type AnyTensorRecord,
  type ByteOrigin,
  type FileRange,
  type StorageRecord,
} from '../format/tensor-record.js'
import { loadTensors } from '../serialization.js'

/**
 * Tensors on the CPU for descriptions in files or in memory, whatever their byte order and strides; what is in one file and shares a storage does so again. CRC-32s are checked. They are the caller's to dispose.
 *
 * @throws TorchkeepError `ERR_CHECKPOINT_UNSUPPORTED` naming a tensor that is sparse, quantized, nested or without values; `ERR_CHECKPOINT_CORRUPT`.
 */
export async function liveTensors(
  records: ReadonlyMap<string, AnyTensorRecord<ByteOrigin>>,
): Promise<Map<string, Tensor>> {
  const mapped = new Map<string, AnyTensorRecord>()
  const made = new Map<string, Tensor>()
  for (const [name, record] of records) {
    if (isMappable(record)) mapped.set(name, record)
    else made.set(name, await fromValues(name, record))
  }
  const live = mapped.size === 0 ? mapped : await loadTensors('', mapped)
  for (const [name, value] of live as ReadonlyMap<string, Tensor>) made.set(name, value)
  return new Map([...records.keys()].map((name) => [name, made.get(name) as Tensor]))
}

const isRange = (origin: ByteOrigin): origin is FileRange =>
  !(origin instanceof Uint8Array) && !('patch' in origin) && !('make' in origin)

/** What the addon maps as it is. */
function isMappable(record: AnyTensorRecord<ByteOrigin>): record is TensorRecord {
  return (
    record instanceof TensorRecord &&
    isRange(record.storage.source) &&
    record.storage.byteOrder === 'little' &&
    record.className === null
  )
}

async function fromValues(name: string, record: AnyTensorRecord<ByteOrigin>): Promise<Tensor> {
  if ((record instanceof TensorRecord || record instanceof ChunkedTensorRecord) && isInFiles(record))
    return fromBytes(record.dtype, record.sizes, await readTensorBytes({ path: name }, record))
  if (record instanceof TensorRecord && record.storage.byteOrder === 'little' && !record.conj && !record.neg) {
    const { dtype, sizes, strides, storageOffset, storage } = record
    const bytes = await storageBytes(storage)
    const { itemSizeBytes } = dtypes[dtype]
    const count = Math.floor(bytes.byteLength / itemSizeBytes)
    const args = [[...sizes], [...strides], storageOffset]
    return scope(() => call('as_strided', [fromBytes(dtype, [count], bytes), ...args]) as Tensor)
  }
  throw new TorchkeepError(
    'ERR_CHECKPOINT_UNSUPPORTED',
    `the tensor ${name} is of the kind ${record.kind}, which no model here runs with`,
  )
}

function isInFiles(
  record: TensorRecord<ByteOrigin> | ChunkedTensorRecord<ByteOrigin>,
): record is TensorRecord | ChunkedTensorRecord {
  const parts = record instanceof TensorRecord ? [record] : record.chunks.map((chunk) => chunk.tensor)
  return parts.every(({ storage }) => isRange(storage.source))
}

async function storageBytes({ source, sizeBytes }: StorageRecord<ByteOrigin>): Promise<Uint8Array> {
  const bytes = new Uint8Array(sizeBytes)
  let done = 0
  for await (const piece of originBytes(source, 0, sizeBytes)) {
    bytes.set(piece, done)
    done += piece.byteLength
  }
  return bytes
}

/** Little-endian bytes in C order. */
export function fromBytes(dtype: DTypeName, sizes: readonly number[], bytes: Uint8Array): Tensor {
  const { array: Values } = dtypes[dtype]
  const copy = bytes.slice()
  const values = new Values(copy.buffer, 0, copy.byteLength / Values.BYTES_PER_ELEMENT)
  return tensor(values, { dtype: dtype as DType, shape: sizes })
}

/** A tensor's values as a description in memory, for writing. Conjugated and negated views are resolved. */
export function recordOf(value: Tensor): TensorRecord<Uint8Array> {
  const resolved = call('resolve_neg', [call('resolve_conj', [value]) as Tensor]) as Tensor
  const { buffer, byteOffset, byteLength } = resolved.data()
  const bytes = new Uint8Array(buffer, byteOffset, byteLength).slice()
  return tensorFromBytes({ dtype: value.dtype, sizes: value.shape, bytes })
}
