/**
 * Plans a safetensors file as the public library writes it: the header's order (dtypes from the widest alignment down, then names), white space to a multiple of 8, and `save_model`'s way with tied tensors. Source: safetensors 0.8,
 * `serialize` of its Rust part and `safetensors.torch.save_model`.
 */
import { denseBytes, denseOrigin, type DenseTensor } from './contiguous.js'
import type { DTypeName } from './dtypes.js'
import { TorchkeepError } from './errors.js'
import type { TorchFilePlan } from './plan.js'
import { maxSafetensorsHeaderBytes } from './recognize.js'
import { safetensorsDTypes } from './safetensors.js'
import {
  ChunkedTensorRecord,
  coveredBytes,
  isContiguous,
  TensorRecord,
  type AnyTensorRecord,
  type ByteOrigin,
} from './tensor-record.js'
import type { PlannedPart } from './zip-write.js'

/** A planned safetensors file, and what it could not keep. */
export interface SafetensorsPlan extends TorchFilePlan<ByteOrigin> {
  /** Names that are another tensor's: that one's. They are in `__metadata__`, and `safetensors.torch.load_model` finds them. */
  aliases: ReadonlyMap<string, string>
  /** Names of tensors that shared a part of their storage with others: each has bytes of its own now. */
  unshared: readonly string[]
}

/** In the order of the header. */
const order =
  'U64 I64 F64 C64 F32 U32 I32 BF16 F16 U16 I16 F8_E5M2FNUZ F8_E4M3FNUZ F8_E8M0 F8_E4M3 F8_E5M2 I8 U8 F4 BOOL'.split(
    ' ',
  )

const namesOfDTypes: ReadonlyMap<DTypeName, string> = new Map(
  [...safetensorsDTypes].map(([name, dtype]) => [dtype, name]),
)

/**
 * Plans the file. The tensors are written in C order; of several names of one tensor the first in the order of names stays, as `save_model` has it.
 *
 * @param metadata texts for `__metadata__`; `{format: 'pt'}` tells other libraries that these are PyTorch's.
 * @throws TorchkeepError ERR_INVALID_ARGUMENT naming the tensor that the format cannot hold: sparse, quantized, nested, without values, or of a dtype that it does not have.
 */
export function planSafetensors(
  tensors: ReadonlyMap<string, AnyTensorRecord<ByteOrigin>>,
  metadata: Readonly<Record<string, string>> = {},
): SafetensorsPlan {
  const dense = new Map([...tensors].map(([name, tensor]) => [name, requireDense(name, tensor)]))
  const { aliases, unshared } = sharing(dense)
  const rank = (name: string): number => order.indexOf(dtypeName(name, dense.get(name) as DenseTensor))
  const names = [...dense.keys()]
    .filter((name) => !aliases.has(name))
    .sort((left, right) => rank(left) - rank(right) || byBytes(left, right))
  const texts = { ...Object.fromEntries(aliases), ...metadata }
  const header: [string, unknown][] = Object.keys(texts).length === 0 ? [] : [['__metadata__', sorted(texts)]]
  const storages: PlannedPart<ByteOrigin>[] = []
  let end = 0
  for (const name of names) {
    const tensor = dense.get(name) as DenseTensor
    const sizeBytes = denseBytes(tensor)
    header.push([
      name,
      { dtype: dtypeName(name, tensor), shape: shapeOf(tensor), data_offsets: [end, end + sizeBytes] },
    ])
    end += sizeBytes
    if (sizeBytes === 0) continue
    const { source, offsetBytes } = denseOrigin(name, tensor)
    storages.push({ kind: 'storage', tensor: source, offsetBytes, sizeBytes, crcSlot: storages.length })
  }
  const bytes = headerBytes(header)
  return {
    sizeBytes: bytes.length + end,
    parts: [{ kind: 'bytes', bytes }, ...storages],
    storages: [],
    crcSlots: storages.length,
    aliases,
    unshared,
  }
}

function requireDense(name: string, tensor: AnyTensorRecord<ByteOrigin>): DenseTensor {
  if (name === '__metadata__')
    throw new TorchkeepError('ERR_INVALID_ARGUMENT', "safetensors has no tensor '__metadata__'")
  if (tensor instanceof TensorRecord || tensor instanceof ChunkedTensorRecord) return tensor
  throw new TorchkeepError(
    'ERR_INVALID_ARGUMENT',
    `'${name}' is a ${tensor.kind} tensor, which safetensors cannot hold; a .pth can`,
  )
}

function dtypeName(name: string, { dtype }: DenseTensor): string {
  const known = namesOfDTypes.get(dtype)
  if (known !== undefined) return known
  throw new TorchkeepError(
    'ERR_INVALID_ARGUMENT',
    `'${name}' is ${dtype}, which safetensors does not have; a .pth does`,
  )
}

/** An element of `float4_e2m1fn_x2` is two numbers of the format. */
function shapeOf({ sizes, dtype }: DenseTensor): number[] {
  const last = sizes.length - 1
  return sizes.map((size, dimension) => (dtype === 'float4_e2m1fn_x2' && dimension === last ? 2 * size : size))
}

/** Which names are one tensor, and which only share bytes. */
function sharing(tensors: ReadonlyMap<string, DenseTensor>): { aliases: Map<string, string>; unshared: string[] } {
  const byStorage = new Map<string, [string, TensorRecord<ByteOrigin>][]>()
  for (const [name, tensor] of tensors) {
    if (!(tensor instanceof TensorRecord) || denseBytes(tensor) === 0) continue
    byStorage.set(tensor.storage.id, [...(byStorage.get(tensor.storage.id) ?? []), [name, tensor]])
  }
  const aliases = new Map<string, string>()
  const unshared = new Set<string>()
  for (const group of byStorage.values()) {
    if (group.length === 1) continue
    const views = new Map<string, [string, TensorRecord<ByteOrigin>][]>()
    for (const member of group) views.set(viewOf(member[1]), [...(views.get(viewOf(member[1])) ?? []), member])
    const kept = [...views.values()].map((members) => {
      const [first = '', ...others] = members.map(([name]) => name).sort(byBytes)
      for (const other of others) aliases.set(other, first)
      return [first, members[0]?.[1] as TensorRecord<ByteOrigin>] as const
    })
    for (const [name, tensor] of kept)
      if (kept.some(([other, { storage: _, ...view }]) => other !== name && overlap(tensor, view))) unshared.add(name)
  }
  return { aliases: new Map([...aliases].sort(([left], [right]) => byBytes(left, right))), unshared: [...unshared] }
}

const viewOf = ({ dtype, sizes, strides, storageOffset, conj, neg }: TensorRecord<ByteOrigin>): string =>
  `${dtype} ${storageOffset} ${sizes.join()} ${isContiguous({ sizes, strides }) ? '' : strides.join()} ${conj} ${neg}`

function overlap(one: Parameters<typeof coveredBytes>[0], other: Parameters<typeof coveredBytes>[0]): boolean {
  const [begin, end] = coveredBytes(one)
  const [otherBegin, otherEnd] = coveredBytes(other)
  return begin < otherEnd && otherBegin < end
}

function headerBytes(entries: readonly [string, unknown][]): Buffer {
  // Not an object: a tensor may be called __proto__ or 0.
  const json = `{${entries.map(([name, entry]) => `${JSON.stringify(name)}:${JSON.stringify(entry)}`).join(',')}}`
  const text = Buffer.from(json)
  const padded = Buffer.alloc(Math.ceil(text.length / 8) * 8, ' ')
  text.copy(padded)
  if (padded.length > maxSafetensorsHeaderBytes)
    throw new TorchkeepError(
      'ERR_INVALID_ARGUMENT',
      `a safetensors header of ${padded.length} bytes, at most ${maxSafetensorsHeaderBytes} are allowed`,
    )
  const length = Buffer.alloc(8)
  length.writeBigUInt64LE(BigInt(padded.length))
  return Buffer.concat([length, padded])
}

const sorted = (texts: Readonly<Record<string, string>>): Record<string, string> =>
  Object.fromEntries(Object.entries(texts).sort(([left], [right]) => byBytes(left, right)))

/** The order of UTF-8 bytes, as Rust and Python sort, which is not that of JavaScript. */
const byBytes = (left: string, right: string): number => Buffer.compare(Buffer.from(left), Buffer.from(right))
