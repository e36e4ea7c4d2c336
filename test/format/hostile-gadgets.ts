/**
 * Functions and classes by which a pickle runs code in Python, and the ways in which a pickle's opcodes can call them. Written for the tests of our reader; `test/interop/hostile.test.ts`
 * shows with real Python that those marked live do what an attacker wants.
 */
import { op } from './fixtures.js'

/** One thing that a pickle can call. */
export interface Gadget {
  readonly module: string
  readonly name: string
  /** Opcodes that push the arguments, one after the other; `marker` is the path of a file that the call would make. */
  readonly args: (marker: string) => string
  /** Whether the call makes the marker in the Python that the tests use. */
  readonly live: boolean
}

const shell = (marker: string) => op.str(`touch '${marker}'`)
const code = (marker: string) => op.str(`open(${JSON.stringify(marker)}, 'w').close()`)
const words = (marker: string) => op.mark + op.str('touch') + op.str(marker) + 'l'
const path = (marker: string) => op.str(marker)
const forWriting = (marker: string) => op.str(marker) + op.str('w')
const list = (...items: string[]) => op.mark + items.join('') + 'l'
/** A pickle inside a pickle, as bytes. */
const inner = (marker: string) =>
  op.global('_codecs', 'encode') +
  op.str(`\x80\x02${op.global('os', 'system')}${shell(marker)}${op.tuple1}${op.reduce}.`) +
  op.str('latin1') +
  op.tuple2 +
  op.reduce

function live(fullName: string, args: Gadget['args']): Gadget {
  return { ...dormant(fullName), args, live: true }
}

function dormant(fullName: string): Gadget {
  const dot = fullName.lastIndexOf('.')
  return { module: fullName.slice(0, dot), name: fullName.slice(dot + 1), args: shell, live: false }
}

/** Those that make the marker. */
const liveGadgets: readonly Gadget[] = [
  live('os.system', shell),
  live('posix.system', shell),
  live('os.popen', shell),
  live('os.mkdir', path),
  live('os.makedirs', path),
  live('os.symlink', (marker) => op.str('/dev/null') + op.str(marker)),
  live('os.mknod', path),
  live('subprocess.Popen', words),
  live('subprocess.call', words),
  live('subprocess.run', words),
  live('subprocess.check_call', words),
  live('subprocess.check_output', words),
  live('subprocess.getoutput', shell),
  live('subprocess.getstatusoutput', shell),
  live('commands.getoutput', shell),
  live('__builtin__.eval', code),
  live('__builtin__.exec', code),
  live('builtins.eval', code),
  live('builtins.exec', code),
  live('builtins.open', forWriting),
  live('__builtin__.open', forWriting),
  live('io.open', forWriting),
  live('_io.open', forWriting),
  live('_io.FileIO', forWriting),
  live('io.FileIO', forWriting),
  live('codecs.open', forWriting),
  live('gzip.open', forWriting),
  live('bz2.open', forWriting),
  live('lzma.open', forWriting),
  live('tarfile.open', forWriting),
  live('zipfile.ZipFile', forWriting),
  live('logging.FileHandler', path),
  live('shutil.copyfile', (marker) => op.str('/dev/null') + op.str(marker)),
  live('shutil.copy', (marker) => op.str('/bin/true') + op.str(marker)),
  live('runpy._run_code', (marker) => code(marker) + op.dict),
  live('timeit.timeit', (marker) => op.str('pass') + code(marker)),
  live('timeit.repeat', (marker) => op.str('pass') + code(marker)),
  live('cProfile.run', code),
  live('profile.run', code),
  live('pydoc.pipepager', (marker) => op.str('') + shell(marker)),
  live('uuid._get_command_stdout', (marker) => op.str('touch') + op.str(marker)),
  live('pickle.loads', inner),
  live('_pickle.loads', inner),
  live('cPickle.loads', inner),
  live('torch.storage._load_from_bytes', inner),
  live('torch.save', (marker) => op.list + op.str(marker)),
  live('torch.serialization.save', (marker) => op.list + op.str(marker)),
  live('torch.utils.collect_env.run', shell),
  live('torch.fx.graph_module._exec_with_source', (marker) => code(marker) + op.dict),
  live('torch.jit.unsupported_tensor_ops.execWrapper', (marker) => code(marker) + op.dict + op.dict),
  live('numpy.testing._private.utils.runstring', (marker) => code(marker) + op.dict),
  live('numpy.memmap', (marker) => op.str(marker) + op.str('uint8') + op.str('w+') + op.int(0) + op.int(1)),
  live('numpy.savetxt', (marker) => op.str(marker) + list(op.int(1))),
]

/** Those whose effect is another one (network, process state, waiting for a person, another platform), or that only prepare a call. */
const dormantNames = `
  os.execv os.execvp os.execl os.spawnl os.spawnv os.fork os.kill os.remove os.unlink os.rmdir os.rename os.putenv os.chmod os.walk os.startfile os._exit os.abort os.fdopen os.open
  os.write os.listdir os.environ.update posix.execv posix.fork posix.unlink nt.system nt.startfile
  sys.exit sys.settrace sys.setprofile sys.setrecursionlimit sys.modules.get sys._getframe
  subprocess._args_from_interpreter_flags multiprocessing.util.spawnv_passfds asyncio.create_subprocess_shell asyncio.create_subprocess_exec
  asyncio.unix_events._UnixSubprocessTransport._start asyncio.run
  builtins.getattr builtins.setattr builtins.delattr builtins.compile builtins.__import__ builtins.globals builtins.locals builtins.vars builtins.breakpoint builtins.input
  builtins.map builtins.filter builtins.print builtins.exit builtins.quit builtins.help builtins.__build_class__ builtins.type builtins.super
  __builtin__.apply __builtin__.execfile __builtin__.getattr __builtin__.__import__ __builtin__.file __builtin__.reload __builtin__.input __builtin__.compile
  runpy.run_path runpy.run_module runpy._run_module_code runpy._run_module_as_main
  pip.main pip._internal.main pip._internal.cli.main.main ensurepip._run_pip venv.create setuptools.setup distutils.core.run_setup distutils.file_util.write_file
  importlib.import_module importlib.__import__ importlib.reload importlib.util.spec_from_file_location importlib._bootstrap._load imp.load_source imp.load_dynamic
  zipimport.zipimporter pkgutil.resolve_name pkgutil.get_loader pydoc.locate site.addsitedir site.execsitecustomize
  functools.reduce functools.partialmethod operator.attrgetter operator.itemgetter operator.methodcaller operator.call itertools.starmap itertools.accumulate
  types.CodeType types.FunctionType types.MethodType types.ModuleType types.new_class types.coroutine new.function new.code
  marshal.loads marshal.load pickle.load pickle.Unpickler shelve.open dill.loads dill.load dill._dill._load_type cloudpickle.loads joblib.load jsonpickle.decode yaml.load yaml.unsafe_load
  code.interact code.InteractiveInterpreter code.InteractiveConsole codeop.compile_command pdb.run pdb.runeval pdb.Pdb bdb.Bdb.run bdb.run trace.Trace.run trace.Trace.runctx profile.Profile.run
  cProfile.runctx timeit.main pty.spawn tty.setraw platform.popen platform._syscmd_file pydoc.tempfilepager pydoc.plainpager webbrowser.open antigravity.geohash this.s turtle.done
  idlelib.run.Executive.runcode idlelib.pyshell.ModifiedInterpreter.runcode idlelib.calltip.get_entity idlelib.autocomplete.AutoComplete.get_entity
  lib2to3.pgen2.grammar.Grammar.loads lib2to3.pgen2.pgen.ParserGenerator.make_label test.support.script_helper.assert_python_ok
  ctypes.CDLL ctypes.cdll.LoadLibrary ctypes.PyDLL ctypes.windll.LoadLibrary _ctypes.dlopen cffi.FFI.dlopen
  socket.socket socket.create_connection socket.gethostbyname ssl.wrap_socket urllib.request.urlopen urllib.request.urlretrieve urllib.urlopen urllib2.urlopen http.client.HTTPSConnection
  httplib.HTTPSConnection requests.api.get requests.get requests.post aiohttp.client.ClientSession smtplib.SMTP ftplib.FTP telnetlib.Telnet poplib.POP3 imaplib.IMAP4 imaplib.IMAP4_stream
  nntplib.NNTP xmlrpc.client.ServerProxy paramiko.SSHClient
  shutil.rmtree shutil.move shutil.copytree shutil.chown shutil.unpack_archive tempfile.mktemp tempfile.NamedTemporaryFile pathlib.Path.write_text pathlib.Path.unlink pathlib.Path.read_text
  fileinput.input linecache.getlines glob.glob fcntl.fcntl mmap.mmap sqlite3.connect sqlite3.dbapi2.connect
  threading.Thread threading.Timer _thread.start_new_thread thread.start_new_thread concurrent.futures.ThreadPoolExecutor sched.scheduler atexit.register signal.signal signal.alarm gc.get_objects
  gc.get_referrers inspect.getattr_static inspect.currentframe faulthandler._sigsegv resource.setrlimit
  logging.config.fileConfig logging.config.dictConfig logging.config._resolve cgitb.lookup doctest.run_docstring_examples doctest.debug_script unittest.mock.patch unittest.main
  _osx_support._read_output _osx_support._find_build_tool _aix_support._read_cmd_output _pyrepl.pager.pipe_pager uuid._popen commands.getstatusoutput popen2.popen2
  copyreg.add_extension copyreg.pickle weakref.finalize contextlib.ExitStack enum._make_class_unpicklable typing.get_type_hints typing.ForwardRef._evaluate dataclasses.make_dataclass
  dataclasses._create_fn collections.namedtuple string.Formatter.vformat jinja2.Template jinja2.Environment.from_string pandas.read_pickle pandas.eval pandas.core.computation.eval.eval
  numpy.load numpy.save numpy.lib.npyio.load numpy.fromfile numpy.DataSource numpy.loadtxt numpy.genfromtxt numpy.ctypeslib.load_library numpy.f2py.crackfortran.getlincoef numpy.f2py.crackfortran.myeval
  numpy.f2py.diagnose.run_command numpy.distutils.exec_command.exec_command numpy.testing.rundocs numpy.vectorize numpy.core.numeric.load numpy.core._multiarray_umath.set_string_function
  torch.load torch.serialization.load torch.serialization._legacy_load torch.hub.load torch.hub._load_local torch.hub.load_state_dict_from_url torch.hub.download_url_to_file torch.jit.load torch.jit.script
  torch.jit._serialization.load torch.package.PackageImporter torch._C._jit_get_operation torch.ops.load_library torch.classes.load_library torch.compile torch._dynamo.guards.GuardBuilder.get
  torch._inductor.codecache.compile_file torch._inductor.codecache.PyCodeCache.load torch._inductor.async_compile.AsyncCompile torch.utils.cpp_extension.load torch.utils.cpp_extension.load_inline
  torch.utils.data.datapipes.utils.decoder.basichandlers torch.utils._config_module.ConfigModule.load_config torch.utils.bottleneck.__main__.run_autograd_prof
  torch.utils.bottleneck.__main__.run_cprofile torch.fx.experimental.symbolic_shapes.ShapeEnv.evaluate_guards_expression torch.fx.graph_module.reduce_graph_module
  torch.fx.graph_module.reduce_package_graph_module torch.distributed.rpc.rpc_sync torch.distributed.run.main torch.multiprocessing.spawn torch.multiprocessing.reductions.rebuild_storage_filename
  torch.multiprocessing.reductions.rebuild_cuda_tensor torch._export.serde.serialize.deserialize_torch_artifact torch.testing._internal.common_utils.shell
  torch._dynamo.testing.make_test_cls_with_patches torch.onnx._internal.exporter.export torch.autograd.Function torch.autograd.backward torch._weights_only_unpickler.load
  torch.serialization.add_safe_globals torch.set_default_device torch.from_file torch.UntypedStorage.from_file torch.cuda.memory._dump_snapshot torch._C._cuda_init torch.manual_seed
  tensorflow.io.write_file tensorflow.keras.models.load_model transformers.AutoModel.from_pretrained transformers.pipelines.pipeline huggingface_hub.hf_hub_download safetensors.torch.load_file
  __main__.main __main__.evil nowhere.function
`
  .trim()
  .split(/\s+/)

/** Every gadget. */
export const gadgets: readonly Gadget[] = [...liveGadgets, ...dormantNames.map(dormant)]

/** The name under which the reader reports a gadget: in Python 3's terms, as Python's own unpickler maps it. */
export const reportedName = ({ module, name }: Gadget): string =>
  `${module === '__builtin__' ? 'builtins' : module}.${name}`
