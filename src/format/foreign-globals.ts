/** What is known of the classes and functions that `torch.load(weights_only=True)` does not allow: which are harmless to construct, which could do anything. */

import { addedSafeGlobals, allowedGlobals } from './globals.js'

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
  'torch._dynamo.decorators._DimRange',
  'torch._tensor._rebuild_from_type',
  ...names('torch.autograd.', 'Variable variable.Variable'),
  'torch.distributed.checkpoint.metadata._MEM_FORMAT_ENCODING',
  'torch.nn.backends.thnn._get_thnn_function_backend',
  ...names('torch.nn.parameter.', 'UninitializedBuffer UninitializedParameter'),
  // Enumerations in the training_args.bin of transformers: a call looks a member up by its value.
  ...names('transformers.trainer_utils.', 'FSDPOption HubStrategy IntervalStrategy SaveStrategy SchedulerType'),
  ...names('transformers.training_args.', 'OptimizerNames ParallelMode'),
  'transformers.debug_utils.DebugOption',
  ...names('accelerate.utils.dataclasses.', 'DistributedType DynamoBackend PrecisionType'),
])

/** What C++'s `torch::pickle_save` and TorchScript call. */
const archiveCalls: ReadonlySet<string> = new Set(
  names('torch.jit._pickle.', 'build_boollist build_doublelist build_intlist build_tensorlist restore_type_tag'),
)

/** Parts of numpy 1 and 2 whose call builds a value and does nothing else. */
const numpyCalls: ReadonlySet<string> = new Set([
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
    '_aix_support _ctypes _frozen_importlib _frozen_importlib_external _imp _io _operator _osx_support _pickle _posixsubprocess _pyrepl _socket _sqlite3 ' +
    '_thread _winapi aiohttp antigravity ast asyncio atexit bdb builtins bz2 cProfile cffi cgi cgitb cloudpickle codecs codeop compileall concurrent ' +
    'contextlib copyreg ctypes curses dbm dill distutils doctest ensurepip faulthandler fcntl fileinput ftplib functools gc getpass glob gzip httplib ' +
    'idlelib imaplib imp importlib inspect io itertools joblib jsonpickle lib2to3 linecache logging lzma marshal mmap msvcrt multiprocessing nntplib nt ' +
    'ntpath operator os paramiko pathlib pdb pickle pip pkgutil popen2 poplib posix posixpath pty py_compile pydoc random re readline rlcompleter runpy ' +
    'selectors setuptools shelve shutil smtpd smtplib socket socketserver sqlite3 ssl subprocess symtable sys sysconfig syslog tarfile telnetlib tempfile ' +
    'termios thread threading timeit tkinter traceback tracemalloc tty turtle typing unittest urllib urllib2 uuid venv weakref webbrowser winreg wsgiref ' +
    'xmlrpc yaml zipapp zipfile zipimport'
  ).split(' '),
)

/** The same inside packages whose other parts are harmless, and in modules whose names people give to their own. */
const dangerousParts: ReadonlySet<string> = new Set([
  'code.InteractiveConsole',
  'code.InteractiveInterpreter',
  'code.interact',
  'numpy.ctypeslib',
  'numpy.distutils',
  'numpy.f2py',
  'numpy.lib.npyio',
  'numpy.load',
  'numpy.memmap',
  'numpy.save',
  'numpy.savetxt',
  'numpy.testing',
  'pandas.eval',
  'pandas.read_pickle',
  'profile.Profile',
  'profile.run',
  'torch._C',
  'torch._dynamo',
  'torch._inductor',
  'torch._weights_only_unpickler',
  'torch.classes',
  'torch.compile',
  'torch.distributed.rpc',
  'torch.distributed.run',
  'torch.from_file',
  'torch.fx.experimental',
  'torch.fx.graph_module._exec_with_source',
  'torch.hub',
  'torch.jit',
  'torch.load',
  'torch.multiprocessing',
  'torch.ops',
  'torch.package',
  'torch.save',
  'torch.serialization',
  'torch.storage._load_from_bytes',
  'torch.testing',
  'torch.utils.bottleneck',
  'torch.utils.collect_env',
  'torch.utils.cpp_extension',
  'torch.utils.model_zoo',
  'trace.Trace',
  'types.CodeType',
  'types.FunctionType',
  'types.MethodType',
  'types.ModuleType',
  'types.new_class',
])

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
  for (let dot = full.indexOf('.'); dot >= 0; dot = full.indexOf('.', dot + 1)) {
    if (dangerousParts.has(full.slice(0, dot))) return `${full.slice(0, dot)} could run code`
  }
  return dangerousParts.has(full) ? 'it could run code' : null
}

/** Modules that other modules import under their own names, such as `torch.serialization.os`. */
const modulesByName: ReadonlySet<string> = new Set(
  'builtins ctypes importlib io nt os pickle posix runpy shutil socket subprocess sys'.split(' '),
)

/** How `torch.load(weights_only=True)` and we take a global. */
export type Standing =
  /** Allowed there. */
  | 'allowed'
  /** Harmless, refused there. */
  | 'harmless'
  /** Part of numpy, refused there. */
  | 'numpy'
  /** Never heard of: instances are kept, calls are dangerous. */
  | 'unknown'
  /** Could run code. */
  | 'dangerous'

/** How a global is taken. */
export function standingOf(module: string, name: string): Standing {
  const fullName = `${module}.${name}`
  if (allowedGlobals.has(fullName) || addedSafeGlobals.has(fullName)) return 'allowed'
  if (numpyCalls.has(fullName)) return 'numpy'
  if (harmlessCalls.has(fullName) || archiveCalls.has(fullName)) return 'harmless'
  return dangerOf(module, name) === null ? 'unknown' : 'dangerous'
}
