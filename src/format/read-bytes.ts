/** Reads the bytes of described tensors and storages, and checks their CRC-32. */
import { crc32 } from 'node:zlib'
import { ByteSource } from './byte-source.js'
import { dtypes, type TypedArray } from './dtypes.js'
import { TorchkeepError } from './errors.js'
import type { TorchFile } from './read.js'
import {
  contiguousStrides,
  coveredBytes,
  elementCount,
  type StorageRecord,
  type TensorRecord,
} from './tensor-record.js'
import { checkCrc } from './zip-read.js'

/** How {@link readTensorBytes} reads. */
export interface ReadBytesOptions {
  /** Whether the CRC-32 of the tensor's whole storage is checked, once a file and storage. True unless told. */
  checkCrc?: boolean
  /** Largest result in bytes: an expanded tensor (stride 0) can claim far more than its file holds. The larger of its storage and 1 GiB unless told. */
  maxBytes?: number
}

const verified = new WeakMap<TorchFile, Set<string>>()

/**
 * Values of a tensor as raw little-endian bytes in C order, whatever its strides.
 * @throws TorchkeepError ERR_CHECKPOINT_CORRUPT for a CRC-32 that does not match or a file that has changed, ERR_CHECKPOINT_UNSAFE beyond `maxBytes`.
 */
export async function readTensorBytes(
  file: TorchFile,
  tensor: TensorRecord,
  options: ReadBytesOptions = {},
): Promise<Uint8Array> {
  const { storage } = tensor
  const { itemSizeBytes, elementsPerByte } = dtypes[tensor.dtype]
  const count = elementCount(tensor.sizes)
  const sizeBytes = Math.ceil((count * itemSizeBytes) / elementsPerByte)
  const maxBytes = options.maxBytes ?? Math.max(storage.sizeBytes, 1 << 30)
  if (sizeBytes > maxBytes) {
    throw new TorchkeepError(
      'ERR_CHECKPOINT_UNSAFE',
      `${file.path}: a tensor of sizes [${tensor.sizes.join(', ')}] takes ${sizeBytes} bytes, at most ${maxBytes} are made`,
    )
  }
  return ByteSource.with(file.path, async (source) => {
    source.requireUnchanged(file.identity)
    if (options.checkCrc !== false) await verifyStorage(file, source, storage)
    const [begin, end] = coveredBytes(tensor)
    const covered = new Uint8Array(end - begin)
    await source.readInto(covered, storage.source.offsetBytes + begin)
    if (isContiguous(tensor)) return covered
    if (elementsPerByte > 1) {
      throw new TorchkeepError(
        'ERR_CHECKPOINT_UNSUPPORTED',
        `${file.path}: a ${tensor.dtype} tensor that is not contiguous`,
      )
    }
    return gather(covered, tensor, itemSizeBytes, new Uint8Array(sizeBytes))
  })
}

/** Values of a tensor as the typed array of its dtype (16-bit floats as bits, complex numbers as re, im pairs), in C order. See {@link readTensorBytes}. */
export async function readTensorValues(
  file: TorchFile,
  tensor: TensorRecord,
  options: ReadBytesOptions = {},
): Promise<TypedArray> {
  const bytes = await readTensorBytes(file, tensor, options)
  const { array: Values } = dtypes[tensor.dtype]
  return new Values(bytes.buffer as ArrayBuffer, bytes.byteOffset, bytes.byteLength / Values.BYTES_PER_ELEMENT)
}

/** The bytes of a whole storage, CRC-32 checked. See {@link readTensorBytes}. */
export async function readStorageBytes(file: TorchFile, storage: StorageRecord): Promise<Uint8Array> {
  return ByteSource.with(file.path, async (source) => {
    source.requireUnchanged(file.identity)
    const bytes = new Uint8Array(storage.sizeBytes)
    await source.readInto(bytes, storage.source.offsetBytes)
    checkStorageCrc(file, storage, crc32(bytes))
    return bytes
  })
}

/** Checks the CRC-32 of every storage of the file, in constant memory. */
export async function verifyStorages(file: TorchFile): Promise<void> {
  await ByteSource.with(file.path, async (source) => {
    source.requireUnchanged(file.identity)
    for (const storage of file.storages) await verifyStorage(file, source, storage)
  })
}

async function verifyStorage(file: TorchFile, source: ByteSource, storage: StorageRecord): Promise<void> {
  const done = verified.get(file) ?? new Set<string>()
  verified.set(file, done)
  if (storage.crc32 === null || done.has(storage.id)) return
  let crc = 0
  for await (const chunk of source.chunks(storage.source.offsetBytes, storage.sizeBytes)) crc = crc32(chunk, crc)
  checkStorageCrc(file, storage, crc)
  done.add(storage.id)
}

function checkStorageCrc(file: TorchFile, storage: StorageRecord, computed: number): void {
  checkCrc(file.path, { name: storage.recordName ?? storage.id, crc32: storage.crc32 }, computed)
}

/** Strides of dimensions of size 1 do not matter. */
function isContiguous({ sizes, strides }: TensorRecord): boolean {
  if (sizes.includes(0)) return true
  const expected = contiguousStrides(sizes)
  return sizes.every((size, dimension) => size === 1 || strides[dimension] === expected[dimension])
}

/** Copies the elements of a view into C order. `covered` begins at the view's first element. */
function gather(
  covered: Uint8Array,
  { sizes, strides }: TensorRecord,
  itemBytes: number,
  target: Uint8Array,
): Uint8Array {
  const index = new Array<number>(sizes.length).fill(0)
  let from = 0
  for (let to = 0; to < target.length; to += itemBytes) {
    for (let byte = 0; byte < itemBytes; byte++) target[to + byte] = covered[from * itemBytes + byte] ?? 0
    for (let dimension = sizes.length - 1; dimension >= 0; dimension--) {
      const stride = strides[dimension] ?? 0
      index[dimension] = (index[dimension] ?? 0) + 1
      from += stride
      if ((index[dimension] ?? 0) < (sizes[dimension] ?? 0)) break
      from -= stride * (sizes[dimension] ?? 0)
      index[dimension] = 0
    }
  }
  return target
}
