/** Tensors as formats without strides want them: elements in C order, little-endian, each tensor with bytes of its own. */
import { readElementBytes } from './elements.js'
import { originBytes } from './byte-origin.js'
import { dtypes } from './dtypes.js'
import { TorchkeepError } from './errors.js'
import { readTensorBytes } from './read-bytes.js'
import {
  ChunkedTensorRecord,
  contiguousStrides,
  coveredBytes,
  elementCount,
  isContiguous,
  StorageRecord,
  TensorRecord,
  type ByteOrigin,
  type FileRange,
} from './tensor-record.js'

/** The tensors that have values in C order: strided ones, and those that lie in chunks. */
export type DenseTensor = TensorRecord<ByteOrigin> | ChunkedTensorRecord<ByteOrigin>

/** Bytes of the elements. */
export function denseBytes({ dtype, sizes }: DenseTensor): number {
  const { itemSizeBytes, elementsPerByte } = dtypes[dtype]
  return Math.ceil((elementCount(sizes) * itemSizeBytes) / elementsPerByte)
}

/** Whether the elements lie in the tensor's storage as a range that can be copied. */
export function isRange(tensor: DenseTensor): boolean {
  return (
    tensor instanceof TensorRecord &&
    isContiguous(tensor) &&
    tensor.storage.byteOrder === 'little' &&
    !tensor.conj &&
    !tensor.neg
  )
}

/** Where the bytes of a tensor's elements come from: a range of its storage, or bytes that are gathered while they are written. */
export function denseOrigin(name: string, tensor: DenseTensor): { source: ByteOrigin; offsetBytes: number } {
  if (tensor instanceof TensorRecord && isRange(tensor))
    return { source: tensor.storage.source, offsetBytes: coveredBytes(tensor)[0] }
  if (tensor instanceof TensorRecord && (tensor.conj || tensor.neg))
    throw new TorchkeepError(
      'ERR_INVALID_ARGUMENT',
      `'${name}' is to be read ${tensor.conj ? 'conjugated' : 'negated'}, which only a .pth can say`,
    )
  if (dtypes[tensor.dtype].elementsPerByte > 1)
    throw new TorchkeepError('ERR_INVALID_ARGUMENT', `'${name}' is ${tensor.dtype} and not contiguous`)
  const sizeBytes = denseBytes(tensor)
  return {
    source: {
      sizeBytes,
      // Such a tensor is always written whole.
      make: () => gathered(tensor),
    },
    offsetBytes: 0,
  }
}

/** A tensor of its own bytes in C order; the same object where it is one already. */
export function denseTensor(name: string, tensor: DenseTensor): TensorRecord<ByteOrigin> {
  if (tensor instanceof TensorRecord && isRange(tensor)) return tensor
  const { source } = denseOrigin(name, tensor)
  const { dtype, sizes, requiresGrad } = tensor
  const typed = dtypes[dtype].storageClass === null ? null : dtype
  const storage = new StorageRecord<ByteOrigin>({
    id: `gathered:${name}`,
    dtype: typed,
    sizeBytes: denseBytes(tensor),
    source,
  })
  return new TensorRecord<ByteOrigin>({ storage, dtype, sizes, strides: contiguousStrides(sizes), requiresGrad })
}

async function* gathered(tensor: DenseTensor): AsyncGenerator<Uint8Array> {
  if (tensor instanceof ChunkedTensorRecord) {
    const [first] = tensor.chunks
    const path = first === undefined ? '' : pathOf(first.tensor.storage.source)
    yield await readTensorBytes({ path }, tensor as ChunkedTensorRecord)
    return
  }
  const { source } = tensor.storage
  if (!(source instanceof Uint8Array) && 'path' in source && !('patch' in source)) {
    yield* readElementBytes({ path: source.path }, tensor as TensorRecord, { maxElements: Infinity })
    return
  }
  yield gatherInMemory(tensor, await whole(source, tensor.storage.sizeBytes))
}

const pathOf = (source: ByteOrigin): string => ('path' in source ? (source as FileRange).path : '')

async function whole(source: ByteOrigin, sizeBytes: number): Promise<Uint8Array> {
  if (source instanceof Uint8Array) return source
  const bytes = new Uint8Array(sizeBytes)
  let done = 0
  for await (const piece of originBytes(source, 0, sizeBytes)) {
    bytes.set(piece, done)
    done += piece.byteLength
  }
  return bytes
}

/** For tensors over bytes at hand or made ones: rare, and small or cast. */
function gatherInMemory(tensor: TensorRecord<ByteOrigin>, bytes: Uint8Array): Uint8Array {
  const { sizes, strides, storageOffset, dtype } = tensor
  const { itemSizeBytes } = dtypes[dtype]
  const gatheredBytes = new Uint8Array(denseBytes(tensor))
  const at = sizes.map(() => 0)
  for (let index = 0, place = storageOffset; index < elementCount(sizes); index++) {
    const begin = place * itemSizeBytes
    gatheredBytes.set(bytes.subarray(begin, begin + itemSizeBytes), index * itemSizeBytes)
    for (let dimension = sizes.length - 1; dimension >= 0; dimension--) {
      const stride = strides[dimension] ?? 0
      at[dimension] = (at[dimension] ?? 0) + 1
      place += stride
      if ((at[dimension] ?? 0) < (sizes[dimension] ?? 0)) break
      place -= stride * (sizes[dimension] ?? 0)
      at[dimension] = 0
    }
  }
  return gatheredBytes
}
