/** Reads the bytes of described tensors and storages, of every container, and checks their CRC-32. */
import { swapBytes, swapUnitBytes } from './byte-order.js'
import type { ByteSource } from './byte-source.js'
import { dtypes, type TypedArray } from './dtypes.js'
import { readElementBytes } from './elements.js'
import { tooMuch, unsupported } from './fault.js'
import type { TorchFile } from './read.js'
import { StorageCrc } from './storage-crc.js'
import { openStorage } from './storage-source.js'
import {
  ChunkedTensorRecord,
  contiguousStrides,
  coveredBytes,
  elementCount,
  isContiguous,
  type StorageRecord,
  type TensorRecord,
} from './tensor-record.js'

/** How {@link readTensorBytes} reads. */
export interface ReadBytesOptions {
  /** Whether the CRC-32 of the tensor's whole storage is checked, once a file and storage. True unless told. */
  checkCrc?: boolean
  /** Largest result in bytes: an expanded tensor (stride 0) can claim far more than its file holds. The larger of its storage and 1 GiB unless told. */
  maxBytes?: number
}

/**
 * Values of a tensor as raw little-endian bytes in C order, whatever its strides and the byte order in the file. A tensor in chunks is put together.
 * @throws TorchkeepError ERR_CHECKPOINT_CORRUPT for a CRC-32 that does not match or a file that has changed, ERR_CHECKPOINT_UNSAFE beyond `maxBytes`, ERR_INVALID_ARGUMENT for a file
 *   that was read with `structure: 'directory'`.
 */
export async function readTensorBytes(
  file: Pick<TorchFile, 'path'>,
  tensor: TensorRecord | ChunkedTensorRecord,
  options: ReadBytesOptions = {},
): Promise<Uint8Array> {
  if (tensor instanceof ChunkedTensorRecord) return readChunked(file, tensor, options)
  const sizeBytes = requireSize(file, tensor, tensor.storage.sizeBytes, options.maxBytes)
  if (dtypes[tensor.dtype].elementsPerByte > 1) return readPacked(file, tensor, options)
  const target = new Uint8Array(sizeBytes)
  let done = 0
  const { checkCrc: checked = true } = options
  for await (const piece of readElementBytes(file, tensor, { checkCrc: checked, maxElements: Infinity })) {
    target.set(piece, done)
    done += piece.byteLength
  }
  return target
}

/** Elements of which several share a byte stay packed. */
async function readPacked(
  file: Pick<TorchFile, 'path'>,
  tensor: TensorRecord,
  options: ReadBytesOptions,
): Promise<Uint8Array> {
  if (!isContiguous(tensor)) unsupported(file.path, null, `a ${tensor.dtype} tensor that is not contiguous`)
  if (tensor.storageOffset % dtypes[tensor.dtype].elementsPerByte !== 0)
    unsupported(file.path, null, `a ${tensor.dtype} tensor that begins inside a byte`)
  const { storage } = tensor
  return withStorage(storage, async (source) => {
    if (options.checkCrc !== false) await StorageCrc.verify(file, source, storage)
    const [begin, end] = coveredBytes(tensor)
    const covered = new Uint8Array(end - begin)
    await source.readInto(covered, storage.source.offsetBytes + begin)
    return covered
  })
}

/** Bytes that the values take. Refuses more than `maxBytes` before anything is allocated. */
function requireSize(
  file: Pick<TorchFile, 'path'>,
  tensor: Pick<TensorRecord, 'dtype' | 'sizes'>,
  heldBytes: number,
  maxBytes = Math.max(heldBytes, 1 << 30),
): number {
  const { itemSizeBytes, elementsPerByte } = dtypes[tensor.dtype]
  const sizeBytes = Math.ceil((elementCount(tensor.sizes) * itemSizeBytes) / elementsPerByte)
  if (sizeBytes > maxBytes) {
    const reason = `a tensor of sizes [${tensor.sizes.join(', ')}] takes ${sizeBytes} bytes, at most ${maxBytes} are made`
    tooMuch(file.path, null, reason)
  }
  return sizeBytes
}

/** Values of a tensor as the typed array of its dtype (16-bit floats as bits, complex numbers as re, im pairs), in C order. See {@link readTensorBytes}. */
export async function readTensorValues(
  file: Pick<TorchFile, 'path'>,
  tensor: TensorRecord | ChunkedTensorRecord,
  options: ReadBytesOptions = {},
): Promise<TypedArray> {
  const bytes = await readTensorBytes(file, tensor, options)
  const { array: Values } = dtypes[tensor.dtype]
  return new Values(bytes.buffer as ArrayBuffer, bytes.byteOffset, bytes.byteLength / Values.BYTES_PER_ELEMENT)
}

/** The bytes of a whole storage, CRC-32 checked: little-endian where its dtype is known, else as they are in the file. See {@link readTensorBytes}. */
export async function readStorageBytes(file: Pick<TorchFile, 'path'>, storage: StorageRecord): Promise<Uint8Array> {
  return withStorage(storage, async (source) => {
    const bytes = new Uint8Array(storage.sizeBytes)
    await source.readInto(bytes, storage.source.offsetBytes)
    StorageCrc.check(file, storage, bytes)
    if (storage.byteOrder === 'little' || storage.dtype === null) return bytes
    return swapBytes(bytes, swapUnitBytes(storage.dtype))
  })
}

/** Checks the CRC-32 of every storage of the file, in constant memory. */
export async function verifyStorages(file: TorchFile): Promise<void> {
  const byPath = new Map<string, StorageRecord[]>()
  for (const storage of file.storages) {
    const storages = byPath.get(storage.source.path)
    if (storages === undefined) byPath.set(storage.source.path, [storage])
    else storages.push(storage)
  }
  for (const storages of byPath.values()) {
    await withStorage(storages[0] as StorageRecord, async (source) => {
      for (const storage of storages) {
        if (storage.source.identity !== undefined) source.requireUnchanged(storage.source.identity)
        await StorageCrc.verify(file, source, storage)
      }
    })
  }
}

/** Opens the file that a storage lies in, runs `use`, closes. */
async function withStorage<T>(storage: StorageRecord, use: (source: ByteSource) => Promise<T>): Promise<T> {
  const source = await openStorage(storage)
  try {
    return await use(source)
  } finally {
    await source.close()
  }
}

function copyElement(from: Uint8Array, at: number, to: Uint8Array, place: number, itemBytes: number): void {
  for (let byte = 0; byte < itemBytes; byte++) to[place + byte] = from[at + byte] as number
}

/** Calls `visit` with the place of each element, in C order, where `strides` lay them out from `first` on. */
function forEachElement(
  sizes: readonly number[],
  strides: readonly number[],
  first: number,
  visit: (place: number, index: number) => void,
): void {
  const count = elementCount(sizes)
  const at = new Array<number>(sizes.length).fill(0)
  for (let index = 0, place = first; index < count; index++) {
    visit(place, index)
    for (let dimension = sizes.length - 1; dimension >= 0; dimension--) {
      const stride = strides[dimension] ?? 0
      at[dimension] = (at[dimension] ?? 0) + 1
      place += stride
      if ((at[dimension] ?? 0) < (sizes[dimension] ?? 0)) break
      place -= stride * (sizes[dimension] ?? 0)
      at[dimension] = 0
    }
  }
}

/** Puts the chunks of a tensor together. They were checked to cover it. */
async function readChunked(
  file: Pick<TorchFile, 'path'>,
  tensor: ChunkedTensorRecord,
  options: ReadBytesOptions,
): Promise<Uint8Array> {
  const heldBytes = tensor.chunks.reduce((sum, chunk) => sum + chunk.tensor.storage.sizeBytes, 0)
  const whole = new Uint8Array(requireSize(file, tensor, heldBytes, options.maxBytes))
  const { itemSizeBytes } = dtypes[tensor.dtype]
  const strides = contiguousStrides(tensor.sizes)
  for (const { offsets, tensor: part } of tensor.chunks) {
    const bytes = await readTensorBytes(file, part, options)
    const first = offsets.reduce((sum, offset, dimension) => sum + offset * (strides[dimension] ?? 0), 0)
    forEachElement(part.sizes, strides, first, (to, index) => {
      copyElement(bytes, index * itemSizeBytes, whole, to * itemSizeBytes, itemSizeBytes)
    })
  }
  return whole
}
