/** Floating tensors in a dtype of 16 bits, converted while they are written: the bits of `tensor.to(dtype)`. */
import { originBytes } from './byte-origin.js'
import { swapBytes } from './byte-order.js'
import { dtypes, type DTypeName } from './dtypes.js'
import { TorchkeepError } from './errors.js'
import { roundToHalf } from './round-to-half.js'
import { StorageRecord, TensorRecord, type AnyTensorRecord, type ByteOrigin, type MadeBytes } from './tensor-record.js'

/** The dtypes that {@link castTensors} casts from. */
type Wide = 'float64' | 'float32' | 'float16' | 'bfloat16'

const isWide = (dtype: DTypeName): dtype is Wide => ['float64', 'float32', 'float16', 'bfloat16'].includes(dtype)

/**
 * Tensors with the floating ones (16 bits and more) in `dtype`; those that share a storage share the new one, strides stay, all other tensors are the same objects. Rounded to nearest, ties to even, as PyTorch does;
 * a float64 is rounded to float32 first, also as PyTorch does.
 *
 * @throws TorchkeepError while they are written: ERR_INVALID_ARGUMENT naming the tensor for a finite value that would become infinite.
 */
export function castTensors(
  tensors: ReadonlyMap<string, AnyTensorRecord<ByteOrigin>>,
  dtype: 'bfloat16' | 'float16',
): Map<string, AnyTensorRecord<ByteOrigin>> {
  const storages = new Map<string, StorageRecord<ByteOrigin>>()
  const cast = (name: string, tensor: AnyTensorRecord<ByteOrigin>): AnyTensorRecord<ByteOrigin> => {
    if (!(tensor instanceof TensorRecord) || !isWide(tensor.dtype) || tensor.dtype === dtype) return tensor
    const key = `${tensor.storage.id} ${tensor.dtype}`
    const storage = storages.get(key) ?? castStorage(name, tensor.storage, tensor.dtype, dtype)
    storages.set(key, storage)
    return new TensorRecord<ByteOrigin>({ ...tensor, storage, dtype })
  }
  return new Map([...tensors].map(([name, tensor]) => [name, cast(name, tensor)]))
}

/** A storage with every element cast. Bytes behind its last whole element are no part of any tensor. */
function castStorage(
  name: string,
  storage: StorageRecord<ByteOrigin>,
  from: Wide,
  to: 'bfloat16' | 'float16',
): StorageRecord<ByteOrigin> {
  const { itemSizeBytes } = dtypes[from]
  const factor = itemSizeBytes / 2
  const source: MadeBytes = {
    sizeBytes: Math.floor(storage.sizeBytes / itemSizeBytes) * 2,
    async *make(offsetBytes, sizeBytes) {
      for await (const piece of originBytes(storage.source, offsetBytes * factor, sizeBytes * factor)) {
        // The piece may be the caller's own array, which must stay as it is.
        const own = new Uint8Array(piece)
        if (storage.byteOrder === 'big') swapBytes(own, itemSizeBytes)
        const rounded = roundToHalf(own.buffer, from, to)
        if (rounded.overflow !== null) throw tooLarge(name, rounded.overflow, to)
        yield new Uint8Array(rounded.bits.buffer)
      }
    },
  }
  const { id, location } = storage
  return new StorageRecord<ByteOrigin>({ id: `${id}:${to}`, dtype: to, sizeBytes: source.sizeBytes, source, location })
}

function tooLarge(name: string, value: number, dtype: 'bfloat16' | 'float16'): TorchkeepError {
  return new TorchkeepError(
    'ERR_INVALID_ARGUMENT',
    `'${name}' holds ${value}, which would become infinite: ${dtype} reaches to ${dtype === 'float16' ? 65504 : 3.3895e38}`,
    { suggestions: dtype === 'float16' ? ['bfloat16 has the range of float32'] : ['leave the dtype as it is'] },
  )
}
