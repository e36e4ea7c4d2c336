/** One description of a Python value, made by Python and by us, so that equality of the two texts is equality of types, values and tensor bytes. */
import { numpyValues } from '../../src/format/numpy-values.js'
import {
  ByteArray,
  Complex,
  Counter,
  DefaultDict,
  Device,
  FrozenSet,
  isTensorRecord,
  Layout,
  MetaTensorRecord,
  NestedTensorRecord,
  NumpyArray,
  NumpyDType,
  NumpyScalar,
  OpaqueObject,
  OrderedDict,
  PyFloat,
  PythonGlobal,
  QuantizedTensorRecord,
  readTensorBytes,
  Size,
  SparseTensorRecord,
  StorageRecord,
  TensorRecord,
  TorchDType,
  Tuple,
  type TorchFile,
} from '../../src/format/index.js'

type Json = null | boolean | string | number | Json[]

const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex')
const sameSet = (members: Json[]) => members.map((member) => JSON.stringify(member)).sort()

/** Describes the value of a file that was read with `keepFloats`. */
export function describeFile(file: TorchFile): Promise<Json> {
  return describeValue(file.value, file)
}

/** Describes a value that was read with `keepFloats`; tensors in it need their file. */
export async function describeValue(root: unknown, file?: TorchFile): Promise<Json> {
  const storages = new Map<string, number>()
  const shared = (storage: StorageRecord): Json => {
    if (storage.sizeBytes === 0) return null
    if (!storages.has(storage.id)) storages.set(storage.id, storages.size)
    return storages.get(storage.id) ?? null
  }

  async function value(of: unknown): Promise<Json> {
    if (of === null) return ['None']
    if (typeof of === 'boolean') return ['bool', of]
    if (typeof of === 'string') return ['str', [...Array(of.length).keys()].map((index) => of.charCodeAt(index))]
    if (typeof of === 'bigint') return ['int', String(of)]
    if (typeof of === 'number') return Number.isSafeInteger(of) && !Object.is(of, -0) ? ['int', String(of)] : float(of)
    if (of instanceof PyFloat) return float(of.value)
    if (of instanceof Complex) return ['complex', float(of.re), float(of.im)]
    if (of instanceof Size) return ['Size', await all(of)]
    if (of instanceof Tuple) return ['tuple', await all(of)]
    if (Array.isArray(of)) return ['list', await all(of)]
    if (of instanceof OrderedDict) return ['OrderedDict', await all([...of].flat()), await value(of.metadata ?? null)]
    if (of instanceof DefaultDict) return ['defaultdict', await value(of.factory), await all([...of].flat())]
    if (of instanceof Counter) return ['Counter', await all([...of].flat())]
    if (of instanceof Map) return ['dict', await all([...of].flat())]
    if (of instanceof FrozenSet) return ['frozenset', sameSet(await all([...of]))]
    if (of instanceof Set) return ['set', sameSet(await all([...of]))]
    if (of instanceof ByteArray) return ['bytearray', hex(of)]
    if (of instanceof Uint8Array) return ['bytes', hex(of)]
    if (of instanceof TorchDType) return ['dtype', of.toString()]
    if (of instanceof Device) return ['device', of.toString()]
    if (of instanceof Layout) return ['layout', `torch.${of.name}`]
    if (of instanceof PythonGlobal) return ['global', of.name]
    if (of instanceof NumpyScalar) return ['numpy', of.dtype, hex(of.bytes), await numpyItem(of.value)]
    if (of instanceof NumpyArray) return numpyArray(of)
    if (of instanceof NumpyDType) return ['numpy dtype', of.name]
    if (of instanceof OpaqueObject) return opaque(of)
    if (of instanceof StorageRecord) return ['storage', of.sizeBytes, shared(of)]
    if (isTensorRecord(of)) return tensor(of)
    throw new Error(`nothing describes ${String(of)}`)
  }

  async function numpyItem(item: NumpyScalar['value']): Promise<Json> {
    return typeof item === 'number' ? float(item) : item === null ? null : value(item)
  }

  async function numpyArray(array: NumpyArray): Promise<Json> {
    if (array.objects !== null) return ['object array', [...array.shape], await all(array.objects)]
    const items = numpyValues(array)?.map((item) => numpyItem(item)) ?? null
    return ['ndarray', array.dtype, [...array.shape], items === null ? hex(array.bytes) : await Promise.all(items)]
  }

  async function opaque(object: OpaqueObject): Promise<Json> {
    const { className, args, keywordArgs, state, items, entries } = object
    const rest = [keywordArgs, state, items, entries].map((part) => (part === undefined ? null : part))
    return ['object', className, await all(args), ...(await all(rest))]
  }

  async function all(values: readonly unknown[]): Promise<Json[]> {
    const described: Json[] = []
    for (const item of values) described.push(await value(item))
    return described
  }

  async function tensor(record: unknown): Promise<Json> {
    if (record instanceof MetaTensorRecord) {
      return ['meta', record.dtype, [...record.sizes], [...record.strides], record.requiresGrad]
    }
    if (record instanceof SparseTensorRecord) {
      return ['sparse', record.layout.name, await all(record.parts), [...record.sizes], record.isCoalesced]
    }
    if (record instanceof NestedTensorRecord) {
      return ['nested', await all([record.buffer, record.nestedSizes, record.nestedStrides, record.storageOffsets])]
    }
    if (record instanceof QuantizedTensorRecord) {
      const { quantizer } = record
      const parameters =
        'scales' in quantizer
          ? [await value(quantizer.scales), await value(quantizer.zeroPoints), quantizer.axis]
          : [float(quantizer.scale), quantizer.zeroPoint]
      return ['quantized', await tensor(record.integers), quantizer.scheme, parameters]
    }
    if (!(record instanceof TensorRecord)) throw new Error('an unknown kind of tensor')
    const { dtype, sizes, strides, requiresGrad, isParameter, conj, neg, attributes } = record as TensorRecord
    if (file === undefined) throw new Error('a tensor without a file')
    const bytes = await readTensorBytes(file, record as TensorRecord)
    const group = shared(record.storage as StorageRecord)
    const state = attributes === null ? ['None'] : await value(attributes)
    return ['tensor', dtype, [...sizes], [...strides], requiresGrad, isParameter, conj, neg, hex(bytes), group, state]
  }

  return value(root)
}

function float(value: number): Json {
  const bytes = Buffer.alloc(8)
  bytes.writeDoubleBE(value)
  return ['float', bytes.toString('hex')]
}

/** The same description in Python: `describe(value)` gives a JSON-able tree. */
export const pythonDescribe = `
import struct, collections, zipfile, io, os
def described_float(v): return ['float', struct.pack('>d', v).hex()]
def describe(root):
    storages = {}
    def shared(s):
        s = s._untyped_storage if isinstance(s, torch.storage.TypedStorage) else s
        return None if s.nbytes() == 0 else storages.setdefault(s.data_ptr(), len(storages))
    def raw(t):
        item = t.element_size()
        u8 = torch.tensor([], dtype=torch.uint8).set_(t.untyped_storage())
        view = u8.as_strided(list(t.size()) + [item], [s * item for s in t.stride()] + [1], t.storage_offset() * item)
        return bytes(view.contiguous().reshape(-1).tolist()).hex()
    def strided(t):
        name = str(t.dtype).removeprefix('torch.')
        state = t.__dict__ if hasattr(t, '__dict__') and t.__dict__ else None
        return ['tensor', name, list(t.size()), list(t.stride()), t.requires_grad, isinstance(t, torch.nn.Parameter),
                t.is_conj(), t.is_neg(), raw(t), shared(t.untyped_storage()), value(state)]
    def tensor(t):
        if t.device.type == 'meta':
            return ['meta', str(t.dtype).removeprefix('torch.'), list(t.size()), list(t.stride()), t.requires_grad]
        if t.is_quantized:
            if t.qscheme() == torch.per_tensor_affine:
                parameters = [described_float(t.q_scale()), t.q_zero_point()]
            else:
                parameters = [value(t.q_per_channel_scales()), value(t.q_per_channel_zero_points()), t.q_per_channel_axis()]
            return ['quantized', strided(t), str(t.qscheme()), parameters]
        if t.layout == torch.sparse_coo:
            return ['sparse', 'sparse_coo', [value(t._indices()), value(t._values())], list(t.size()), t.is_coalesced()]
        if t.layout in (torch.sparse_csr, torch.sparse_bsr):
            parts = [t.crow_indices(), t.col_indices(), t.values()]
            return ['sparse', str(t.layout).removeprefix('torch.'), [value(p) for p in parts], list(t.size()), None]
        if t.layout in (torch.sparse_csc, torch.sparse_bsc):
            parts = [t.ccol_indices(), t.row_indices(), t.values()]
            return ['sparse', str(t.layout).removeprefix('torch.'), [value(p) for p in parts], list(t.size()), None]
        if t.is_nested:
            parts = [t.values(), t._nested_tensor_size(), t._nested_tensor_strides(), t._nested_tensor_storage_offsets()]
            return ['nested', [value(p) for p in parts]]
        return strided(t)
    def items(d): return [value(x) for pair in d.items() for x in pair]
    def value(v):
        if v is None: return ['None']
        if isinstance(v, bool): return ['bool', v]
        if type(v).__module__ == 'numpy': return numpy_value(v)
        if isinstance(v, str):
            units = v.encode('utf-16-le', 'surrogatepass')
            return ['str', list(struct.unpack('<%dH' % (len(units) // 2), units))]
        if isinstance(v, int): return ['int', str(v)]
        if isinstance(v, float): return described_float(v)
        if isinstance(v, complex): return ['complex', described_float(v.real), described_float(v.imag)]
        if type(v).__module__ == 'mine': return opaque(v)
        if isinstance(v, torch.Size): return ['Size', [value(x) for x in v]]
        if isinstance(v, tuple): return ['tuple', [value(x) for x in v]]
        if type(v).__module__ == 'mine': return opaque(v)
        if isinstance(v, list): return ['list', [value(x) for x in v]]
        if isinstance(v, collections.OrderedDict): return ['OrderedDict', items(v), value(getattr(v, '_metadata', None))]
        if isinstance(v, collections.defaultdict): return ['defaultdict', value(v.default_factory), items(v)]
        if isinstance(v, collections.Counter): return ['Counter', items(v)]
        if type(v).__module__.startswith('numpy.dtypes'): return numpy_value(v)
        if isinstance(v, dict): return ['dict', items(v)]
        if isinstance(v, frozenset): return ['frozenset', sorted(json.dumps(value(x), separators=(',', ':')) for x in v)]
        if isinstance(v, set): return ['set', sorted(json.dumps(value(x), separators=(',', ':')) for x in v)]
        if isinstance(v, bytearray): return ['bytearray', v.hex()]
        if isinstance(v, bytes): return ['bytes', v.hex()]
        if isinstance(v, torch.dtype): return ['dtype', str(v)]
        if isinstance(v, torch.device): return ['device', str(v)]
        if isinstance(v, torch.layout): return ['layout', str(v)]
        if isinstance(v, type) or type(v).__name__ == 'function': return ['global', v.__module__ + '.' + v.__qualname__]
        if isinstance(v, (torch.storage.TypedStorage, torch.UntypedStorage)): return ['storage', v.nbytes(), shared(v)]
        if isinstance(v, torch.Tensor): return tensor(v)
        return opaque(v)
    def opaque(v):
        parts = list(v.__reduce_ex__(2)) + [None] * 5
        how, keywords = parts[0].__name__, None
        if how == '__newobj__': cls, args = parts[1][0], parts[1][1:]
        elif how == '__newobj_ex__': cls, args, keywords = parts[1]
        else: cls, args = parts[0], parts[1]
        listed = None if parts[3] is None else list(parts[3])
        entries = None if parts[4] is None else dict(parts[4])
        name = cls.__module__ + '.' + cls.__qualname__
        return ['object', name, [value(x) for x in args], value(keywords), value(parts[2]), value(listed), value(entries)]
    def numpy_item(v):
        if isinstance(v, bool): return ['bool', v]
        if isinstance(v, (int, float)): return described_float(v) if abs(v) < 2**53 or isinstance(v, float) else ['int', str(v)]
        return value(v)
    def numpy_value(v):
        import numpy
        if isinstance(v, numpy.dtype): return ['numpy dtype', v.str]
        plain = v.dtype.kind in 'biufc' and v.dtype.itemsize <= (16 if v.dtype.kind == 'c' else 8)
        if isinstance(v, numpy.ndarray):
            if v.dtype == object: return ['object array', list(v.shape), [value(x) for x in v.reshape(-1)]]
            return ['ndarray', v.dtype.str, list(v.shape), [numpy_item(x) for x in v.reshape(-1).tolist()] if plain else v.tobytes().hex()]
        item = numpy_item(v.item()) if plain or v.dtype.kind in 'SU' else None
        return ['numpy', v.dtype.str, v.tobytes().hex(), item]
    return value(root)
import warnings; warnings.simplefilter('ignore')
`
