/** The functions that rebuild tensors in a torch pickle, as descriptions whose views were checked against their storages. Source: `torch/_utils.py` (2.13). */
import type { CallArguments } from './arguments.js'
import { describe } from './arguments.js'
import { dtypes, type DTypeName } from './dtypes.js'
import type { PickleReader } from './pickle-read.js'
import {
  elementCount,
  isTensorRecord,
  MetaTensorRecord,
  NestedTensorRecord,
  QuantizedTensorRecord,
  SparseTensorRecord,
  StorageRecord,
  TensorRecord,
} from './tensor-record.js'
import { OpaqueObject, PythonGlobal, Tuple } from './values.js'

/** What calling one global would give. */
export type Rebuild = (args: CallArguments, reader: PickleReader) => unknown

const plainRebuilders: ReadonlyMap<string, Rebuild> = new Map<string, Rebuild>([
  ['torch._utils._rebuild_tensor', (args) => (args.count(4), viewOf(args))],
  ['torch._utils._rebuild_tensor_v2', rebuildTensorV2],
  ['torch._utils._rebuild_tensor_v3', rebuildTensorV3],
  ['torch._utils._rebuild_parameter', (args) => (args.count(3), rebuildParameter(args, null))],
  [
    'torch._utils._rebuild_parameter_with_state',
    (args) => (args.count(4), rebuildParameter(args, attributesOf(args, 3))),
  ],
  ['torch._utils._rebuild_qtensor', rebuildQuantized],
  ['torch._utils._rebuild_sparse_tensor', rebuildSparse],
  ['torch._utils._rebuild_meta_tensor_no_storage', rebuildMeta],
  ['torch._utils._rebuild_nested_tensor', rebuildNested],
  ['torch._utils._rebuild_device_tensor_from_cpu_tensor', rebuildDeviceTensor],
])

/** By the full name of the global. */
export const tensorRebuilders: ReadonlyMap<string, Rebuild> = new Map([
  ...plainRebuilders,
  ['torch._tensor._rebuild_from_type', rebuildFromType],
  ['torch._tensor._rebuild_from_type_v2', rebuildFromType],
])

/** A tensor over the arguments storage, offset, size, stride. */
export function viewOf(args: CallArguments): TensorRecord {
  return viewed(args, typedStorageDType(args), false, null)
}

function typedStorageDType(args: CallArguments): DTypeName {
  return args.storage(0).dtype ?? args.fail('an untyped storage without a dtype')
}

function rebuildTensorV2(args: CallArguments): TensorRecord {
  const count = args.count(6, 7)
  args.map(5)
  return viewed(args, typedStorageDType(args), args.bool(4), count === 7 ? flagsOf(args, 6) : null)
}

function rebuildTensorV3(args: CallArguments): TensorRecord {
  const count = args.count(7, 8)
  args.map(5)
  return viewed(args, args.dtype(6), args.bool(4), count === 8 ? flagsOf(args, 7) : null)
}

interface Flags {
  conj: boolean
  neg: boolean
}

/** The tensor's extra metadata: the conjugate and negative bits, nothing else exists in 2.13. */
function flagsOf(args: CallArguments, index: number): Flags | null {
  if (args.at(index) === null) return null
  const flags = args.map(index)
  for (const [name, value] of flags) {
    if ((name !== 'conj' && name !== 'neg') || typeof value !== 'boolean')
      args.fail(`unknown tensor metadata ${String(name)}`)
  }
  return { conj: flags.get('conj') === true, neg: flags.get('neg') === true }
}

/** Bytes that a description takes. */
const recordBytes = 250

/** A tensor over the arguments storage, offset, size, stride, whose view lies inside its storage. */
function viewed(args: CallArguments, dtype: DTypeName, requiresGrad: boolean, flags: Flags | null): TensorRecord {
  const tensor = new TensorRecord({
    storage: args.storage(0),
    dtype,
    storageOffset: args.size(1),
    sizes: args.sizes(2),
    strides: args.sizes(3),
    requiresGrad,
    isParameter: false,
    conj: flags !== null && flags.conj,
    neg: flags !== null && flags.neg,
    attributes: null,
    className: null,
  })
  args.allocate(recordBytes)
  checkView(args, tensor)
  return tensor.storage.viewOf === null ? tensor : overRoot(tensor)
}

/** A tensor over a part of another storage is one over that storage, so that aliases stay aliases. */
function overRoot(tensor: TensorRecord): TensorRecord {
  const { storage, dtype, storageOffset } = tensor
  if (storage.viewOf === null) return tensor
  const { storage: root, offsetBytes } = storage.viewOf
  return new TensorRecord({
    ...tensor,
    storage: root,
    storageOffset: storageOffset + offsetBytes / dtypes[dtype].itemSizeBytes,
  })
}

function checkView(args: CallArguments, { storage, dtype, sizes, strides, storageOffset }: TensorRecord): void {
  if (sizes.length !== strides.length)
    args.fail(`${sizes.length} sizes and ${strides.length} strides`, 'tensor.malformed')
  const endBytes = viewEndBytes({ dtype, sizes, strides, storageOffset })
  if (!Number.isSafeInteger(elementCount(sizes) * 16) || !Number.isSafeInteger(endBytes)) {
    args.fail(`a tensor of sizes [${shortList(sizes)}] is beyond any memory`, 'tensor.malformed')
  }
  if (endBytes > storage.sizeBytes) {
    args.fail(
      `a ${dtype} tensor of sizes [${shortList(sizes)}], strides [${shortList(strides)}] and offset ${storageOffset} needs ` +
        `${endBytes} bytes of storage, there are ${storage.sizeBytes}`,
      'storage.too_small',
      storage.recordName ?? storage.id,
    )
  }
}

/** Where the last byte that the view touches ends; 0 for an empty tensor. */
function viewEndBytes(view: {
  dtype: DTypeName
  sizes: readonly number[]
  strides: readonly number[]
  storageOffset: number
}): number {
  let last = view.storageOffset
  for (let dimension = 0; dimension < view.sizes.length; dimension++) {
    const size = view.sizes[dimension] as number
    if (size === 0) return 0
    last += (size - 1) * (view.strides[dimension] as number)
  }
  const { itemSizeBytes, elementsPerByte } = dtypes[view.dtype]
  return Math.ceil(((last + 1) * itemSizeBytes) / elementsPerByte)
}

const shortList = (values: readonly number[]) => values.slice(0, 16).join(', ') + (values.length > 16 ? ', ...' : '')

function rebuildParameter(args: CallArguments, attributes: Map<unknown, unknown> | null): TensorRecord {
  const tensor = args.tensor(0)
  args.map(2)
  return new TensorRecord({ ...tensor, isParameter: true, requiresGrad: args.bool(1), attributes })
}

/** Python attributes: a dict, or a dict and a dict of slots. */
function attributesOf(args: CallArguments, index: number): Map<unknown, unknown> | null {
  const state = args.at(index)
  if (state === null) return null
  if (!(state instanceof Tuple)) return args.map(index)
  const pair = args.tuple(index)
  pair.count(2)
  const merged = new Map<unknown, unknown>()
  for (const part of [0, 1]) {
    if (pair.at(part) === null) continue
    pair.charge(pair.map(part).size)
    for (const [name, value] of pair.map(part)) merged.set(name, value)
  }
  return merged
}

/** A tensor of another class than Tensor, or with attributes: `func(*args)`, then the class and the state. What is no plain tensor stays an opaque object. */
function rebuildFromType(args: CallArguments, reader: PickleReader): TensorRecord | OpaqueObject {
  args.count(4)
  const type = args.at(1)
  if (!(type instanceof PythonGlobal)) return args.fail(`${describe(type)} instead of a class`)
  const inner = args.at(2)
  if (!(inner instanceof Tuple)) return args.fail('arguments that are no tuple')
  const func = args.at(0)
  if (!(func instanceof PythonGlobal) || func.name.startsWith('torch._tensor.'))
    return args.fail(`${describe(func)} instead of a function that rebuilds a tensor`)
  const tensor = reader.hooks.reduce(func, inner, reader)
  if (!(tensor instanceof TensorRecord)) {
    if (!isTensorRecord(tensor) && !(tensor instanceof OpaqueObject))
      return args.fail(`attributes on ${describe(tensor)}`)
    return new OpaqueObject(args.name, Array.from(args.values), null, 'call')
  }
  const className = type.name === 'torch.Tensor' || type.name === 'torch.nn.parameter.Parameter' ? null : type.name
  const isParameter = type.name === 'torch.nn.parameter.Parameter'
  return new TensorRecord({ ...(tensor as TensorRecord), isParameter, className, attributes: attributesOf(args, 3) })
}

function rebuildQuantized(args: CallArguments): QuantizedTensorRecord {
  args.count(7)
  args.map(6)
  const integers = viewed(args, typedStorageDType(args), args.bool(5), null)
  const parameters = args.tuple(4)
  const scheme = parameters.at(0)
  if (!(scheme instanceof PythonGlobal)) return args.fail(`${describe(scheme)} instead of a quantization scheme`)
  if (scheme.name === 'torch.per_tensor_affine') {
    parameters.count(3)
    return new QuantizedTensorRecord(integers, {
      scheme: scheme.name,
      scale: parameters.float(1),
      zeroPoint: parameters.int(2),
    })
  }
  parameters.count(4)
  const [scales, zeroPoints, axis] = [parameters.tensor(1), parameters.tensor(2), parameters.size(3)]
  const channels = integers.sizes[axis] ?? args.fail(`axis ${axis} of a tensor of ${integers.sizes.length} dimensions`)
  if (elementCount(scales.sizes) !== channels || elementCount(zeroPoints.sizes) !== channels) {
    args.fail(
      `${elementCount(scales.sizes)} scales and ${elementCount(zeroPoints.sizes)} zero points for ${channels} channels`,
    )
  }
  return new QuantizedTensorRecord(integers, { scheme: scheme.name, scales, zeroPoints, axis })
}

function rebuildSparse(args: CallArguments): SparseTensorRecord {
  args.count(2)
  const [layout, data] = [args.layout(0), args.tuple(1)]
  if (layout.name === 'sparse_coo') {
    const isCoalesced = data.count(3, 4) === 3 || data.at(3) === null ? null : data.bool(3)
    return new SparseTensorRecord(layout, [data.tensor(0), data.tensor(1)], data.sizes(2), isCoalesced)
  }
  if (!/^sparse_(csr|csc|bsr|bsc)$/.test(layout.name)) return args.fail(`the layout ${layout.name} is not sparse`)
  data.count(4)
  return new SparseTensorRecord(layout, [data.tensor(0), data.tensor(1), data.tensor(2)], data.sizes(3), null)
}

function rebuildMeta(args: CallArguments): MetaTensorRecord {
  args.count(4)
  const [sizes, strides] = [args.sizes(1), args.sizes(2)]
  if (sizes.length !== strides.length)
    args.fail(`${sizes.length} sizes and ${strides.length} strides`, 'tensor.malformed')
  return new MetaTensorRecord(args.dtype(0), sizes, strides, args.bool(3))
}

function rebuildNested(args: CallArguments): NestedTensorRecord {
  args.count(4)
  return new NestedTensorRecord(args.tensor(0), args.tensor(1), args.tensor(2), args.tensor(3))
}

/** A tensor of a device without storages, saved through a CPU copy: the copy, said to belong to that device. */
function rebuildDeviceTensor(args: CallArguments): TensorRecord {
  args.count(4)
  const tensor = args.tensor(0)
  if (args.dtype(1) !== tensor.dtype) args.fail(`a ${tensor.dtype} tensor that is to become ${args.dtype(1)}`)
  const storage = new StorageRecord({ ...tensor.storage, location: args.string(2) })
  return new TensorRecord({ ...tensor, storage, requiresGrad: args.bool(3) })
}
