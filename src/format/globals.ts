/** Which Python names torch 2.13's weights-only unpickler allows, and how its readers map old names. Other names: `foreign-globals.ts`. */
import { dtypes } from './dtypes.js'

const names = (prefix: string, list: string) => list.split(' ').map((name) => prefix + name)

const dense = 'BFloat16 Byte Char Double Float Half Int Long Short'
const storages = `${dense} Bool ComplexDouble ComplexFloat`
const tensors = `${dense} Bool`
const withSuffix = (list: string, suffix: string) =>
  list
    .split(' ')
    .map((name) => name + suffix)
    .join(' ')

/** `torch.int1` ... `torch.uint7`: dtypes that exist as objects; tensors of them cannot be saved. */
const subByteDTypes = [1, 2, 3, 4, 5, 6, 7].flatMap((bits) => [`torch.int${bits}`, `torch.uint${bits}`])

/** Full names of the dtypes that may stand in a pickle. */
export const dtypeGlobals: ReadonlySet<string> = new Set([
  ...Object.keys(dtypes).map((name) => `torch.${name}`),
  ...subByteDTypes,
])

/** Quantization schemes. */
const quantizationSchemes: ReadonlySet<string> = new Set(
  names(
    'torch.',
    'per_tensor_affine per_tensor_symmetric per_channel_affine per_channel_symmetric per_channel_affine_float_qparams',
  ),
)

/** Every allowed global by its full name, after {@link modernName}. Source: `torch._weights_only_unpickler._get_allowed_globals()`. */
export const allowedGlobals: ReadonlySet<string> = new Set([
  ...names('collections.', 'OrderedDict Counter'),
  '_codecs.encode',
  ...names('builtins.', 'bytearray set complex'),
  'torch.nn.parameter.Parameter',
  'torch.serialization._get_layout',
  ...names('torch.', 'Size Tensor device'),
  'torch._tensor._rebuild_from_type_v2',
  ...names(
    'torch._utils._rebuild_',
    'tensor tensor_v2 tensor_v3 parameter parameter_with_state qtensor sparse_tensor meta_tensor_no_storage nested_tensor ' +
      'wrapper_subclass device_tensor_from_numpy device_tensor_from_cpu_tensor',
  ),
  ...dtypeGlobals,
  ...quantizationSchemes,
  ...names('torch.', withSuffix(`${storages} QInt8 QInt32 QUInt8 QUInt4x2 QUInt2x4`, 'Storage')),
  ...names('torch.cuda.', withSuffix(storages, 'Storage')),
  ...names('torch.storage.', 'TypedStorage UntypedStorage'),
  ...names('torch.', withSuffix(tensors, 'Tensor')),
  ...names('torch.cuda.', withSuffix(tensors, 'Tensor')),
  ...names('torch.sparse.', withSuffix(dense, 'Tensor')),
  ...names('torch.cuda.sparse.', withSuffix(dense, 'Tensor')),
])

/** Globals that torch itself adds to the allow-list when it is imported. Source: `torch._weights_only_unpickler._get_user_allowed_globals()` after `import torch`. */
export const addedSafeGlobals: ReadonlySet<string> = new Set([
  ...names('torch.nested._internal.nested_tensor.', 'NestedTensor _rebuild_njt'),
  ...names('torch.distributed._mesh_layout.', '_FlatLayout _MeshLayout'),
])

/** Modules of Python 2 by their names in Python 3. Source: `torch._utils.IMPORT_MAPPING`. */
const modernModules: ReadonlyMap<string, string> = new Map([
  ['__builtin__', 'builtins'],
  ['copy_reg', 'copyreg'],
  ['Queue', 'queue'],
  ['repr', 'reprlib'],
  ['_abcoll', 'collections.abc'],
  ['UserDict', 'collections'],
  ['UserList', 'collections'],
  ['UserString', 'collections'],
  ['whichdb', 'dbm'],
  ['StringIO', 'io'],
  ['cStringIO', 'io'],
])

/** Names of Python 2 that moved. Source: `torch._utils.NAME_MAPPING`. */
const modernNames: ReadonlyMap<string, readonly [module: string, name: string]> = new Map([
  ['__builtin__.xrange', ['builtins', 'range']],
  ['__builtin__.reduce', ['functools', 'reduce']],
  ['__builtin__.intern', ['sys', 'intern']],
  ['__builtin__.unichr', ['builtins', 'chr']],
  ['__builtin__.unicode', ['builtins', 'str']],
  ['__builtin__.long', ['builtins', 'int']],
  ['__builtin__.basestring', ['builtins', 'str']],
  ['itertools.izip', ['builtins', 'zip']],
  ['itertools.imap', ['builtins', 'map']],
  ['itertools.ifilter', ['builtins', 'filter']],
  ['itertools.ifilterfalse', ['itertools', 'filterfalse']],
  ['itertools.izip_longest', ['itertools', 'zip_longest']],
  ['UserDict.IterableUserDict', ['collections', 'UserDict']],
  ['exceptions.StandardError', ['builtins', 'Exception']],
])

/** Module and name of a global in Python 3's terms (protocol 2 pickles name builtins by Python 2's module). */
export function modernGlobal(module: string, name: string): readonly [module: string, name: string] {
  return modernNames.get(`${module}.${name}`) ?? [modernModules.get(module) ?? module, name]
}

/** Names of Python 2, as protocol 2 has them. */
const oldModules: Readonly<Record<string, string>> = { builtins: '__builtin__', copyreg: 'copy_reg' }

/** Module and name of a full name; `module` where it is not all but the last part. */
export function splitName(fullName: string, module: string | null = null): [module: string, name: string] {
  const from = module ?? fullName.slice(0, Math.max(fullName.lastIndexOf('.'), 0))
  return [from, fullName.slice(from.length + 1)]
}

/** Module and name as a protocol 2 pickle holds them. See {@link splitName}. */
export function pickledName(fullName: string, module: string | null = null): [module: string, name: string] {
  const [from, name] = splitName(fullName, module)
  return [oldModules[from] ?? from, name]
}
