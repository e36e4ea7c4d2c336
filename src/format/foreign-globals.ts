/** What is known of the classes and functions that `torch.load(weights_only=True)` does not allow: which are harmless to construct, which could do anything. */

const names = (prefix: string, list: string) => list.split(' ').map((name) => prefix + name)

/** Types of Python that may be named (as the factory of a defaultdict, say). */
const plainTypes = names('builtins.', 'bool bytes dict float frozenset int list object range slice str tuple')

/** Classes and functions whose call builds a value and does nothing else. They become `OpaqueObject`s, or plain values where there is a counterpart. */
export const harmlessCalls: ReadonlySet<string> = new Set([
  ...plainTypes,
  'argparse.Namespace',
  ...names('collections.', 'defaultdict deque'),
  ...names('datetime.', 'date datetime time timedelta timezone'),
  'decimal.Decimal',
  'fractions.Fraction',
  'functools.partial',
  ...names('pathlib.', 'Path PosixPath PurePath PurePosixPath PureWindowsPath WindowsPath'),
  ...names('pathlib._local.', 'Path PosixPath PurePath PurePosixPath PureWindowsPath WindowsPath'),
  'random.Random',
  're._compile',
  'types.SimpleNamespace',
  'uuid.UUID',
  'copyreg._reconstructor',
  'torch._C.Generator',
  'torch._tensor._rebuild_from_type',
  ...names('torch.autograd.', 'Variable variable.Variable'),
  'torch.distributed.checkpoint.metadata._MEM_FORMAT_ENCODING',
  'torch.nn.backends.thnn._get_thnn_function_backend',
])

/** What C++'s `torch::pickle_save` and TorchScript call. */
export const archiveCalls: ReadonlySet<string> = new Set(
  names('torch.jit._pickle.', 'build_boollist build_doublelist build_intlist build_tensorlist restore_type_tag'),
)

/** Parts of numpy 1 and 2 whose call builds a value and does nothing else. */
export const numpyCalls: ReadonlySet<string> = new Set([
  ...names('numpy.', 'dtype ndarray'),
  ...['numpy.core', 'numpy._core'].flatMap((core) => [
    `${core}.multiarray.scalar`,
    `${core}.multiarray._reconstruct`,
    `${core}.numeric._frombuffer`,
  ]),
  ...names('numpy.random._pickle.', '__bit_generator_ctor __generator_ctor __randomstate_ctor'),
  'numpy.random.bit_generator.__pyx_unpickle_SeedSequence',
  'numpy.ma.core._mareconstruct',
])

/** Modules whose functions and classes can run code, start programs or touch files and networks; all that is in them, but for {@link harmlessCalls}, is refused. */
const dangerousModules: ReadonlySet<string> = new Set(
  (
    '_io _operator _pickle _posixsubprocess _thread antigravity ast asyncio atexit bdb builtins cProfile cloudpickle codeop compileall copyreg ctypes dbm dill ' +
    'distutils doctest ensurepip faulthandler fcntl ftplib functools gc httplib idlelib imaplib importlib inspect io joblib lib2to3 linecache logging marshal ' +
    'mmap multiprocessing nt ntpath operator os pathlib pdb pickle pip pkgutil popen2 poplib posix posixpath pty py_compile pydoc random re runpy setuptools ' +
    'shelve shutil smtplib socket socketserver sqlite3 ssl subprocess sys sysconfig tarfile telnetlib tempfile threading timeit tkinter unittest urllib uuid ' +
    'venv webbrowser wsgiref xmlrpc zipfile zipimport'
  ).split(' '),
)

/** The same inside packages whose other parts are harmless. */
const dangerousParts: readonly string[] = [
  'numpy.f2py',
  'numpy.load',
  'numpy.testing',
  'torch.hub',
  'torch.jit',
  'torch.load',
  'torch.multiprocessing',
  'torch.package',
  'torch.serialization',
  'torch.storage._load_from_bytes',
  'torch.utils.cpp_extension',
  'torch.utils.model_zoo',
]

/**
 * Why a name could run code by its mere nature, or null where it does not look so. An unknown class is not in itself dangerous to describe; Python would import its
 * module and make an instance of it.
 */
export function dangerOf(module: string, name: string): string | null {
  const full = `${module}.${name}`
  const parts = name.split('.')
  const hidden = parts.find((part) => /^__\w+__$/.test(part))
  if (hidden !== undefined) return `it reaches into ${hidden}`
  const reached = [module.split('.')[0] ?? '', ...parts.slice(0, -1)].find((part) => dangerousModules.has(part))
  if (reached !== undefined) return `the module ${reached} could run code`
  if (parts.length === 1 && modulesByName.has(name)) return `it is the module ${name}`
  const inside = dangerousParts.find((part) => full === part || full.startsWith(`${part}.`))
  return inside === undefined ? null : `${inside} could run code`
}

/** Modules that other modules import under their own names, such as `torch.serialization.os`. */
const modulesByName: ReadonlySet<string> = new Set(
  'builtins ctypes importlib io nt os pickle posix runpy shutil socket subprocess sys'.split(' '),
)
