/**
 * Gives a tensor the strides that a recorded graph counts on. Operators choose their way by them, and so the last bits of what they give: Python's `load_state_dict` copies the values of a checkpoint into the model's own
 * tensors, whatever strides they had in the file.
 */
import { denseTensor } from '../format/contiguous.js'
import { contiguousStrides, StorageRecord, TensorRecord, type ByteOrigin } from '../format/tensor-record.js'

/** The same values with these strides: gathered while they are written, where the present ones are others. Tensors of one place stay together. */
export function restride(
  name: string,
  tensor: TensorRecord<ByteOrigin>,
  strides: readonly number[],
): TensorRecord<ByteOrigin> {
  const { sizes } = tensor
  const counts = sizes.map((size, dimension) => size > 1 && tensor.strides[dimension] !== strides[dimension])
  if (sizes.includes(0) || !counts.includes(true) || !isDense(sizes, strides)) return tensor
  // Farthest steps first: in that order of dimensions the wanted tensor is contiguous.
  const order = orderOf(sizes, strides)
  const permuted = (of: readonly number[]): number[] => order.map((dimension) => of[dimension] as number)
  const view = new TensorRecord<ByteOrigin>({ ...tensor, sizes: permuted(sizes), strides: permuted(tensor.strides) })
  const { storage, storageOffset } = tensor
  const dense = denseTensor(name, view)
  const id = `${storage.id} ${storageOffset} [${sizes.join()}] [${tensor.strides.join()}] as [${strides.join()}]`
  const own = new StorageRecord<ByteOrigin>({ ...dense.storage, id })
  return new TensorRecord<ByteOrigin>({ ...tensor, storage: own, strides, storageOffset: dense.storageOffset })
}

/** Dimensions by their strides; those of one element may stand anywhere. */
function orderOf(sizes: readonly number[], strides: readonly number[]): number[] {
  return sizes
    .map((_, dimension) => dimension)
    .sort((a, b) => (strides[b] as number) - (strides[a] as number) || (sizes[b] as number) - (sizes[a] as number))
}

/** Whether the elements lie without gaps and none twice: else they have no order of their own to be gathered in. */
function isDense(sizes: readonly number[], strides: readonly number[]): boolean {
  const order = orderOf(sizes, strides)
  const expected = contiguousStrides(order.map((dimension) => sizes[dimension] as number))
  return order.every((dimension, place) => sizes[dimension] === 1 || strides[dimension] === expected[place])
}
