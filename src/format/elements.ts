/** Values of tensors as a stream in C order, in constant memory whatever the size, the strides and the dtype. */
import { toLittleEndian } from './byte-order.js'
import type { ByteSource } from './byte-source.js'
import { decodeElements, isComplex, valuesPerElement } from './element-values.js'
import { dtypes } from './dtypes.js'
import { gatherRange } from './gather.js'
import { TorchkeepError } from './errors.js'
import { StorageCrc } from './storage-crc.js'
import { openStorage, type OpenSources } from './storage-source.js'
import { elementCount, isContiguous, type QuantizedTensorRecord, type TensorRecord } from './tensor-record.js'
import type { TorchFile } from './read.js'

/** How {@link readElements} reads. */
export interface ElementOptions {
  /** Elements in each piece but the last, which may have fewer. 262,144 unless told: some milliseconds at most pass between two pieces. */
  chunkElements?: number
  /** Whether the CRC-32 of the tensor's storage is checked, once a file and storage. True unless told. */
  checkCrc?: boolean
  /** Most elements that are read: an expanded tensor (stride 0) can claim far more than its file holds. The larger of what its storage holds and 2^30 unless told. */
  maxElements?: number
  /** Files that stay open between the tensors of a walk through many; the caller closes them. Without it each call opens its file and closes it. */
  sources?: OpenSources
}

/** Elements in a piece. */
const defaultChunkElements = 1 << 18

/** Up to this size, tensors are read with what lies behind them. */
const smallBytes = 4 << 10

/** How much of a tensor that is not contiguous is gathered at once. */
const scatteredBlockBytes = 16 << 20

/**
 * The values of a tensor as doubles in C order, conjugation and negation done: what `tensor.resolve_conj().resolve_neg().to(torch.float64).flatten()` gives. Complex numbers are re, im pairs, and
 * each `float4_e2m1fn_x2` element gives its two numbers, the lower bits first. `int64` and `uint64` beyond 2^53 are rounded to the nearest double; `bits*` dtypes give unsigned numbers, the integers of a
 * quantized tensor themselves (see {@link readDequantized}). A NaN stays one, its payload may not. A piece is valid until the next one is asked for.
 * @throws TorchkeepError ERR_CHECKPOINT_CORRUPT for a CRC-32 that does not match (noticed before the end, not always before the first piece) or a file that has changed,
 *   ERR_CHECKPOINT_UNSAFE beyond `maxElements`, ERR_CHECKPOINT_UNSUPPORTED for a packed tensor that is not contiguous.
 */
export async function* readElements(
  file: Pick<TorchFile, 'path'>,
  tensor: TensorRecord,
  options: ElementOptions = {},
): AsyncGenerator<Float64Array> {
  const perElement = valuesPerElement(tensor.dtype)
  let values = new Float64Array(0)
  for await (const bytes of readElementBytes(file, tensor, options)) {
    const count = (bytes.byteLength / dtypes[tensor.dtype].itemSizeBytes) * perElement
    if (values.length !== count) values = new Float64Array(count)
    decodeElements(tensor.dtype, bytes, values)
    if (tensor.conj && isComplex(tensor.dtype))
      for (let at = 1; at < count; at += 2) values[at] = -(values[at] as number)
    if (tensor.neg) for (let at = 0; at < count; at++) values[at] = -(values[at] as number)
    yield values
  }
}

/**
 * The elements of a tensor as they lie in the file, little-endian, in C order; of packed dtypes (`quint4x2`, `quint2x4`) each element gets a byte. Conjugation and negation are not done.
 * The pieces are aligned for the dtype's typed array. See {@link readElements}.
 */
export async function* readElementBytes(
  file: Pick<TorchFile, 'path'>,
  tensor: TensorRecord,
  options: ElementOptions = {},
): AsyncGenerator<Uint8Array> {
  const { chunkElements = defaultChunkElements, checkCrc = true } = options
  if (!Number.isInteger(chunkElements) || chunkElements < 1) {
    throw new TorchkeepError(
      'ERR_INVALID_ARGUMENT',
      `chunkElements: expected a positive integer, found ${chunkElements}`,
    )
  }
  const { storage, dtype } = tensor
  const count = requireElements(file, tensor, options.maxElements)
  const { itemSizeBytes } = dtypes[dtype]
  const source = await (options.sources?.of(storage) ?? openStorage(storage))
  try {
    const crc = checkCrc ? await StorageCrc.begin(file, source, tensor) : null
    const block = blockElements(tensor, chunkElements)
    const buffer = new Uint8Array(Math.min(count, block) * itemSizeBytes)
    for (let begin = 0; begin < count; begin += block) {
      const end = Math.min(begin + block, count)
      await readBlock(source, tensor, [begin, end], buffer)
      for (let at = begin; at < end; at += chunkElements) {
        const pieceEnd = Math.min(at + chunkElements, end)
        const piece = buffer.subarray((at - begin) * itemSizeBytes, (pieceEnd - begin) * itemSizeBytes)
        crc?.add(piece)
        yield toLittleEndian(tensor, piece)
      }
    }
    crc?.finish()
  } finally {
    if (options.sources === undefined) await source.close()
  }
}

/** Elements that are read at once. Scattered ones by many more than a piece holds: each read then serves more of them. */
function blockElements(tensor: TensorRecord, chunkElements: number): number {
  if (isContiguous(tensor)) return chunkElements
  const most = Math.floor(scatteredBlockBytes / dtypes[tensor.dtype].itemSizeBytes)
  return Math.max(Math.floor(most / chunkElements), 1) * chunkElements
}

async function readBlock(
  source: ByteSource,
  tensor: TensorRecord,
  [begin, end]: [number, number],
  buffer: Uint8Array,
): Promise<void> {
  const piece = buffer.subarray(0, (end - begin) * dtypes[tensor.dtype].itemSizeBytes)
  const { itemSizeBytes, elementsPerByte } = dtypes[tensor.dtype]
  const first = tensor.storage.source.offsetBytes
  if (elementsPerByte > 1) await readPacked(source, tensor, [begin, end], piece)
  else if (isContiguous(tensor)) await readNear(source, first + (tensor.storageOffset + begin) * itemSizeBytes, piece)
  else await gatherRange(source, tensor, [begin, end], piece)
}

/** Small tensors lie next to one another: what one read brings serves several. */
async function readNear(source: ByteSource, offset: number, piece: Uint8Array): Promise<void> {
  if (piece.byteLength > smallBytes) return source.readInto(piece, offset)
  piece.set(source.peek(offset, piece.byteLength) ?? (await source.read(offset, piece.byteLength)))
}

/** Packed elements lie in the lower bits first. */
async function readPacked(
  source: ByteSource,
  tensor: TensorRecord,
  [begin, end]: [number, number],
  piece: Uint8Array,
): Promise<void> {
  const { elementsPerByte } = dtypes[tensor.dtype]
  const bits = 8 / elementsPerByte
  const firstByte = Math.floor((tensor.storageOffset + begin) / elementsPerByte)
  const packed = new Uint8Array(Math.ceil((tensor.storageOffset + end) / elementsPerByte) - firstByte)
  await source.readInto(packed, tensor.storage.source.offsetBytes + firstByte)
  for (let index = begin; index < end; index++) {
    const at = tensor.storageOffset + index - firstByte * elementsPerByte
    const byte = packed[Math.floor(at / elementsPerByte)] as number
    piece[index - begin] = (byte >> ((at % elementsPerByte) * bits)) & ((1 << bits) - 1)
  }
}

/** Number of elements. Refuses more than there may be. */
function requireElements(file: Pick<TorchFile, 'path'>, tensor: TensorRecord, limit?: number): number {
  const { itemSizeBytes, elementsPerByte } = dtypes[tensor.dtype]
  const held = Math.floor(tensor.storage.sizeBytes / itemSizeBytes) * elementsPerByte
  const most = limit ?? Math.max(held, 2 ** 30)
  const count = elementCount(tensor.sizes)
  if (count > most) {
    throw new TorchkeepError(
      'ERR_CHECKPOINT_UNSAFE',
      `${file.path}: a tensor of sizes [${tensor.sizes.join(', ')}] has ${count} elements, at most ${most} are read`,
      { finding: 'pickle.limit' },
    )
  }
  if (elementsPerByte > 1 && !isContiguous(tensor)) {
    throw new TorchkeepError(
      'ERR_CHECKPOINT_UNSUPPORTED',
      `${file.path}: a ${tensor.dtype} tensor that is not contiguous`,
      {
        finding: 'pickle.unsupported',
      },
    )
  }
  return count
}

/**
 * The values of a quantized tensor in C order as `tensor.dequantize()` gives them: `(integer - zero point) * scale`, rounded to float32. See {@link readElements}.
 */
export async function* readDequantized(
  file: Pick<TorchFile, 'path'>,
  { integers, quantizer }: QuantizedTensorRecord,
  options: ElementOptions = {},
): AsyncGenerator<Float64Array> {
  const perTensor = !('scales' in quantizer)
  const scales = perTensor ? [quantizer.scale] : await allElements(file, quantizer.scales)
  const zeroPoints = perTensor ? [quantizer.zeroPoint] : await allElements(file, quantizer.zeroPoints)
  const inner = perTensor ? Infinity : elementCount(integers.sizes.slice(quantizer.axis + 1))
  const multiply = quantizer.scheme === 'torch.per_channel_affine' ? inDouble : inFloat
  let done = 0
  for await (const values of readElements(file, integers, options)) {
    for (let index = 0; index < values.length; index++) {
      const channel = perTensor ? 0 : Math.floor((done + index) / inner) % scales.length
      const centred = (values[index] as number) - (zeroPoints[channel] as number)
      values[index] = multiply(centred, scales[channel] as number)
    }
    done += values.length
    yield values
  }
}

/** Affine quantization by channel computes in double, the other schemes in float32: so does PyTorch's CPU. */
const inDouble = (centred: number, scale: number): number => Math.fround(centred * scale)
const inFloat = (centred: number, scale: number): number => Math.fround(Math.fround(centred) * Math.fround(scale))

/** No tensor that is read into memory whole (scales and zero points, one a channel; the parts of a nested tensor) comes near. */
const mostInMemory = 1 << 22

/**
 * All values of a small tensor, see {@link readElements}.
 * @throws TorchkeepError ERR_CHECKPOINT_UNSAFE beyond 4,194,304 of them: an expanded tensor can claim far more than its file holds.
 */
export async function allElements(
  file: Pick<TorchFile, 'path'>,
  tensor: TensorRecord,
  options: ElementOptions = {},
): Promise<number[]> {
  const all: number[] = []
  const limited = { ...options, maxElements: mostInMemory }
  for await (const values of readElements(file, tensor, limited)) for (const value of values) all.push(value)
  return all
}
