/** What the allowed globals of a torch pickle stand for: values and descriptions of tensors. Nothing is called; each name has its own few lines here. */
import { describe, CallArguments } from './arguments.js'
import { allowedGlobals, dtypeGlobals, modernName } from './globals.js'
import type { PickleHooks, PickleReader } from './pickle-read.js'
import {
  coveredBytes,
  elementCount,
  MetaTensorRecord,
  NestedTensorRecord,
  QuantizedTensorRecord,
  SparseTensorRecord,
  StorageRecord,
  TensorRecord,
  type TensorFacts,
} from './tensor-record.js'
import {
  ByteArray,
  Complex,
  Counter,
  Device,
  Layout,
  OrderedDict,
  PythonGlobal,
  Size,
  TorchDType,
  Tuple,
} from './values.js'

type Rebuild = (args: CallArguments, reader: PickleReader) => unknown

/** Hooks for the pickle of a torch file; `loadStorage` gives the storage of a persistent id. */
export function torchHooks(options: {
  loadStorage: PickleHooks['persistentLoad']
  /** Gathers the names of the globals that the pickle mentions. */
  globals: Set<string>
}): PickleHooks {
  const known = new Map<string, unknown>()
  return {
    global(module, name, reader) {
      const fullName = modernName(module, name)
      options.globals.add(fullName)
      if (!allowedGlobals.has(fullName)) {
        reader.fail(
          `the pickle refers to the global ${fullName.slice(0, 200)}, which could run code; it is not loaded`,
          'ERR_CHECKPOINT_UNSAFE',
        )
      }
      const found =
        known.get(fullName) ?? (dtypeGlobals.has(fullName) ? TorchDType.of(name) : new PythonGlobal(fullName))
      known.set(fullName, found)
      return found
    },
    reduce: (callable, args, reader) => call(callable, args, reader),
    newObject: (cls, args, reader) => call(cls, args, reader),
    build: buildState,
    persistentLoad: options.loadStorage,
  }
}

function call(callable: unknown, args: Tuple, reader: PickleReader): unknown {
  if (!(callable instanceof PythonGlobal)) reader.fail(`${describe(callable)} is called`)
  const rebuild = rebuilders.get(callable.name)
  if (rebuild === undefined)
    reader.fail(`the pickle calls ${callable.name}, which is not supported`, 'ERR_CHECKPOINT_UNSUPPORTED')
  return rebuild(new CallArguments(callable.name, args, reader), reader)
}

/** weights_only sets state on tensors, parameters and OrderedDicts; files since 1.6 have it on OrderedDicts only. */
function buildState(instance: unknown, state: unknown, reader: PickleReader): void {
  if (!(instance instanceof OrderedDict)) {
    reader.fail(`state is set on ${describe(instance)}, expected an OrderedDict`, 'ERR_CHECKPOINT_UNSUPPORTED')
  }
  if (!(state instanceof Map)) reader.fail(`the state of an OrderedDict is ${describe(state)}, expected a dict`)
  instance.attributes ??= new Map()
  reader.charge(state.size)
  for (const [name, value] of state as Map<unknown, unknown>) instance.attributes.set(name, value)
}

const rebuilders: ReadonlyMap<string, Rebuild> = new Map<string, Rebuild>([
  ['collections.OrderedDict', (args, reader) => fillDict(new OrderedDict(), args, reader)],
  ['collections.Counter', (args, reader) => fillDict(new Counter(), args, reader)],
  ['builtins.set', rebuildSet],
  ['builtins.complex', (args) => (args.count(2), new Complex(args.float(0), args.float(1)))],
  ['builtins.bytearray', rebuildByteArray],
  ['_codecs.encode', rebuildBytes],
  ['torch.Size', (args) => new Size(args.count(0, 1) === 0 ? [] : args.sizes(0))],
  ['torch.device', (args) => new Device(args.string(0), args.count(1, 2) === 1 ? null : args.size(1))],
  ['torch.serialization._get_layout', rebuildLayout],
  ['torch._utils._rebuild_tensor', (args) => (args.count(4), checkedTensor(args, typedView(args)))],
  ['torch._utils._rebuild_tensor_v2', rebuildTensorV2],
  ['torch._utils._rebuild_tensor_v3', rebuildTensorV3],
  ['torch._utils._rebuild_parameter', (args) => (args.count(3), rebuildParameter(args, null))],
  [
    'torch._utils._rebuild_parameter_with_state',
    (args) => (args.count(4), rebuildParameter(args, attributesOf(args, 3))),
  ],
  ['torch._tensor._rebuild_from_type_v2', rebuildFromType],
  ['torch._utils._rebuild_qtensor', rebuildQuantized],
  ['torch._utils._rebuild_sparse_tensor', rebuildSparse],
  ['torch._utils._rebuild_meta_tensor_no_storage', rebuildMeta],
  ['torch._utils._rebuild_nested_tensor', rebuildNested],
  ['torch._utils._rebuild_device_tensor_from_cpu_tensor', rebuildDeviceTensor],
])

/** Entries of an `OrderedDict` or `Counter` from a dict or a list of pairs. */
function fillDict<T extends Map<unknown, unknown>>(target: T, args: CallArguments, reader: PickleReader): T {
  if (args.count(0, 1) === 0) return target
  const given = args.at(0)
  const entries: unknown = given instanceof Map ? [...given] : given
  if (!Array.isArray(entries)) return args.fail(`${describe(given)} instead of a dict or a list of pairs`)
  for (const entry of entries as unknown[]) {
    if (!Array.isArray(entry) || entry.length !== 2) return args.fail('an entry that is no pair')
    reader.charge(2)
    reader.checkKey(target, entry[0])
    target.set(entry[0], entry[1])
  }
  return target
}

function rebuildSet(args: CallArguments, reader: PickleReader): Set<unknown> {
  const members: unknown = args.count(0, 1) === 0 ? [] : args.at(0)
  if (!Array.isArray(members)) return args.fail(`${describe(members)} instead of a list`)
  reader.charge(members.length)
  const set = new Set<unknown>()
  for (const member of members as unknown[]) {
    reader.checkKey(set, member)
    set.add(member)
  }
  return set
}

function rebuildBytes(args: CallArguments, reader: PickleReader): Uint8Array {
  args.count(2)
  const [text, encoding] = [args.string(0), args.string(1)]
  if (encoding !== 'latin1')
    reader.fail(`_codecs.encode with ${JSON.stringify(encoding)}, expected "latin1"`, 'ERR_CHECKPOINT_UNSUPPORTED')
  reader.charge(text.length)
  const bytes = new Uint8Array(text.length)
  for (let index = 0; index < text.length; index++) {
    const code = text.charCodeAt(index)
    if (code > 0xff) args.fail('a character beyond latin-1')
    bytes[index] = code
  }
  return bytes
}

function rebuildByteArray(args: CallArguments, reader: PickleReader): ByteArray {
  if (args.count(0, 1) === 0) return new ByteArray()
  const bytes = args.at(0)
  if (!(bytes instanceof Uint8Array)) return args.fail(`${describe(bytes)} instead of bytes`)
  reader.charge(bytes.length)
  return new ByteArray(bytes)
}

const layouts = new Set([
  'strided',
  'sparse_coo',
  'sparse_csr',
  'sparse_csc',
  'sparse_bsr',
  'sparse_bsc',
  'jagged',
  '_mkldnn',
])

function rebuildLayout(args: CallArguments): Layout {
  args.count(1)
  const name = args.string(0).replace(/^torch\./, '')
  if (!layouts.has(name)) args.fail(`${JSON.stringify(args.string(0))} is no layout`)
  return new Layout(name)
}

/** Storage, offset, size, stride over a typed storage. */
function typedView(args: CallArguments): TensorFacts {
  const storage = args.storage(0)
  if (storage.dtype === null) return args.fail('an untyped storage without a dtype')
  return { storage, dtype: storage.dtype, storageOffset: args.size(1), sizes: args.sizes(2), strides: args.sizes(3) }
}

function rebuildTensorV2(args: CallArguments): TensorRecord {
  const count = args.count(6, 7)
  const view = typedView(args)
  args.map(5)
  return checkedTensor(args, { ...view, requiresGrad: args.bool(4), ...(count === 7 ? flagsOf(args, 6) : {}) })
}

function rebuildTensorV3(args: CallArguments): TensorRecord {
  const count = args.count(7, 8)
  const dtype = args.dtype(6)
  args.map(5)
  const view = {
    storage: args.storage(0),
    dtype,
    storageOffset: args.size(1),
    sizes: args.sizes(2),
    strides: args.sizes(3),
  }
  return checkedTensor(args, { ...view, requiresGrad: args.bool(4), ...(count === 8 ? flagsOf(args, 7) : {}) })
}

/** The tensor's extra metadata: the conjugate and negative bits, nothing else exists in 2.13. */
function flagsOf(args: CallArguments, index: number): { conj: boolean; neg: boolean } {
  if (args.at(index) === null) return { conj: false, neg: false }
  const flags = args.map(index)
  for (const [name, value] of flags) {
    if ((name !== 'conj' && name !== 'neg') || typeof value !== 'boolean')
      args.fail(`unknown tensor metadata ${String(name)}`)
  }
  return { conj: flags.get('conj') === true, neg: flags.get('neg') === true }
}

/** A tensor whose view lies inside its storage. */
function checkedTensor(args: CallArguments, facts: TensorFacts): TensorRecord {
  const { storage, dtype, sizes, strides, storageOffset = 0 } = facts
  if (sizes.length !== strides.length) args.fail(`${sizes.length} sizes and ${strides.length} strides`)
  const [, end] = coveredBytes({ dtype, sizes, strides, storageOffset })
  if (!Number.isSafeInteger(elementCount(sizes) * 16) || !Number.isSafeInteger(end)) {
    args.fail(`a tensor of sizes [${shortList(sizes)}] is beyond any memory`)
  }
  if (end > storage.sizeBytes) {
    args.fail(
      `a ${dtype} tensor of sizes [${shortList(sizes)}], strides [${shortList(strides)}] and offset ${storageOffset} needs ` +
        `${end} bytes of storage, there are ${storage.sizeBytes}`,
    )
  }
  return new TensorRecord(facts)
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

function rebuildFromType(args: CallArguments, reader: PickleReader): TensorRecord {
  args.count(4)
  const type = args.at(1)
  if (!(type instanceof PythonGlobal)) return args.fail(`${describe(type)} instead of a class`)
  const inner = args.at(2)
  if (!(inner instanceof Tuple)) return args.fail('arguments that are no tuple')
  const rebuild = args.at(0)
  if (!(rebuild instanceof PythonGlobal) || !rebuild.name.startsWith('torch._utils._rebuild_')) {
    return args.fail(`${describe(rebuild)} instead of a function that rebuilds a tensor`)
  }
  const tensor = call(rebuild, inner, reader)
  if (!(tensor instanceof TensorRecord)) return args.fail(`attributes on ${describe(tensor)}`)
  const className = type.name === 'torch.Tensor' || type.name === 'torch.nn.parameter.Parameter' ? null : type.name
  const isParameter = type.name === 'torch.nn.parameter.Parameter'
  return new TensorRecord({ ...(tensor as TensorRecord), isParameter, className, attributes: attributesOf(args, 3) })
}

function rebuildQuantized(args: CallArguments): QuantizedTensorRecord {
  args.count(7)
  args.map(6)
  const integers = checkedTensor(args, { ...typedView(args), requiresGrad: args.bool(5) })
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
  if (sizes.length !== strides.length) args.fail(`${sizes.length} sizes and ${strides.length} strides`)
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
