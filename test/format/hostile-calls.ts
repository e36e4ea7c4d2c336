/** The ways in which the opcodes of a pickle can call a function, each as a maker of pickles. See `hostile-gadgets.ts` for what they call. */
import { op } from './fixtures.js'
import type { Gadget } from './hostile-gadgets.js'

/** A way to call a gadget. */
export interface Caller {
  readonly title: string
  /** The opcodes between PROTO and STOP. */
  readonly opcodes: (gadget: Gadget, marker: string) => string
  readonly protocol: 2 | 4
  /** Whether it works with functions of any arguments, or only with those of one `str`. */
  readonly takes: 'anything' | 'one str'
  /** Globals besides the gadget that a reader may name as the culprit. */
  readonly culprits?: readonly string[]
}

const shortStr = (text: string) => `\x8c${String.fromCharCode(Buffer.byteLength(text))}${text}`
const stackGlobal = (module: string, name: string) => op.str(module) + op.str(name) + '\x93'
const memoize = '\x94'
const pop = '0'
const pythonModule = (module: string) => (module === '__builtin__' ? 'builtins' : module)
const argumentsOf = ({ args }: Gadget, marker: string) => op.mark + args(marker) + op.tuple
const direct = ({ module, name }: Gadget) => op.global(module, name)
const called = (gadget: Gadget, marker: string) => direct(gadget) + argumentsOf(gadget, marker) + op.reduce
const tupleOf = (...items: string[]) => op.mark + items.join('') + op.tuple
const emptyObject = op.global('argparse', 'Namespace') + op.tuple0 + op.newobj
/** Gives an object an attribute that is the gadget: special methods that the unpickler looks up on the object are then the attacker's. */
const withMethod = (method: string, gadget: Gadget) =>
  emptyObject + op.dict + op.str(method) + direct(gadget) + op.setitem + op.build
const command = (gadget: Gadget, marker: string) => gadget.args(marker)
const framed = (opcodes: string) => {
  const length = Buffer.alloc(8)
  length.writeBigUInt64LE(BigInt(opcodes.length + 1))
  return `\x95${length.toString('latin1')}${opcodes}`
}

/** Opcodes that call a gadget without REDUCE's usual shape. */
export const callers: readonly Caller[] = [
  { title: 'REDUCE', protocol: 2, takes: 'anything', opcodes: called },
  {
    title: 'REDUCE, its result popped',
    protocol: 2,
    takes: 'anything',
    opcodes: (gadget, marker) => called(gadget, marker) + pop + op.dict,
  },
  {
    title: 'REDUCE, its result popped with a mark',
    protocol: 2,
    takes: 'anything',
    opcodes: (gadget, marker) => op.dict + op.mark + called(gadget, marker) + '1',
  },
  {
    title: 'REDUCE of a function from the memo',
    protocol: 2,
    takes: 'anything',
    opcodes: (gadget, marker) =>
      direct(gadget) + op.put(7) + pop + op.none + op.get(7) + argumentsOf(gadget, marker) + op.reduce + op.tuple2,
  },
  {
    title: 'REDUCE of a function put twice by DUP',
    protocol: 2,
    takes: 'anything',
    opcodes: (gadget, marker) => direct(gadget) + '2' + argumentsOf(gadget, marker) + op.reduce + op.tuple2,
  },
  {
    title: 'REDUCE inside the arguments of a tensor',
    protocol: 2,
    takes: 'anything',
    opcodes: (gadget, marker) =>
      op.global('torch._utils', '_rebuild_tensor_v2') +
      op.mark +
      called(gadget, marker) +
      op.tuple +
      pop +
      pop +
      op.dict,
  },
  {
    title: 'REDUCE inside the state of an OrderedDict',
    protocol: 2,
    takes: 'anything',
    opcodes: (gadget, marker) =>
      op.global('collections', 'OrderedDict') +
      op.tuple0 +
      op.reduce +
      op.dict +
      op.str('_metadata') +
      called(gadget, marker) +
      op.setitem +
      op.build,
  },
  {
    title: 'INST',
    protocol: 2,
    takes: 'anything',
    opcodes: (gadget, marker) => `${op.mark}${gadget.args(marker)}i${gadget.module}\n${gadget.name}\n`,
  },
  {
    title: 'OBJ',
    protocol: 2,
    takes: 'anything',
    opcodes: (gadget, marker) => `${op.mark}${direct(gadget)}${gadget.args(marker)}o`,
  },
  {
    title: 'STACK_GLOBAL',
    protocol: 4,
    takes: 'anything',
    opcodes: (gadget, marker) =>
      stackGlobal(pythonModule(gadget.module), gadget.name) + argumentsOf(gadget, marker) + op.reduce,
  },
  {
    title: 'STACK_GLOBAL of short strings from the memo, in a frame',
    protocol: 4,
    takes: 'anything',
    opcodes: (gadget, marker) =>
      framed(
        shortStr(gadget.name) +
          memoize +
          shortStr(pythonModule(gadget.module)) +
          memoize +
          pop +
          pop +
          op.get(1) +
          op.get(0) +
          '\x93' +
          argumentsOf(gadget, marker) +
          op.reduce,
      ),
  },
  {
    title: 'dotted names behind an allowed module',
    protocol: 4,
    takes: 'anything',
    culprits: ['torch.serialization.os.__builtins__.get'],
    opcodes: (gadget, marker) => {
      const builtin = (name: string) =>
        stackGlobal('torch.serialization', 'os.__builtins__.get') + op.str(name) + op.tuple1 + op.reduce
      const imported = tupleOf(op.str(pythonModule(gadget.module)), op.none, op.none, op.str('x') + op.tuple1)
      return (
        builtin('getattr') +
        (builtin('__import__') + imported + op.reduce) +
        op.str(gadget.name) +
        op.tuple2 +
        op.reduce +
        argumentsOf(gadget, marker) +
        op.reduce
      )
    },
  },
  {
    title: 'EXT1 after the extension was registered',
    protocol: 2,
    takes: 'anything',
    culprits: ['copyreg.add_extension'],
    opcodes: (gadget, marker) =>
      op.global('copyreg', 'add_extension') +
      op.str(pythonModule(gadget.module)) +
      op.str(gadget.name) +
      op.int(extensionCode(gadget)) +
      op.tuple3 +
      op.reduce +
      pop +
      `\x82${String.fromCharCode(extensionCode(gadget))}` +
      argumentsOf(gadget, marker) +
      op.reduce,
  },
  {
    title: 'getattr of an imported module',
    protocol: 2,
    takes: 'anything',
    culprits: ['builtins.getattr', 'importlib.import_module'],
    opcodes: (gadget, marker) =>
      op.global('__builtin__', 'getattr') +
      op.global('importlib', 'import_module') +
      op.str(pythonModule(gadget.module)) +
      op.tuple1 +
      op.reduce +
      op.str(gadget.name) +
      op.tuple2 +
      op.reduce +
      argumentsOf(gadget, marker) +
      op.reduce,
  },
  {
    title: 'NEWOBJ of a map that NEWOBJ of tuple walks',
    protocol: 2,
    takes: 'one str',
    culprits: ['builtins.map', 'builtins.tuple'],
    opcodes: (gadget, marker) =>
      op.global('__builtin__', 'tuple') +
      op.global('__builtin__', 'map') +
      direct(gadget) +
      command(gadget, marker) +
      op.tuple1 +
      op.tuple2 +
      op.newobj +
      op.tuple1 +
      op.newobj,
  },
  {
    title: 'NEWOBJ_EX of a map that NEWOBJ_EX of tuple walks',
    protocol: 4,
    takes: 'one str',
    culprits: ['builtins.map', 'builtins.tuple'],
    opcodes: (gadget, marker) =>
      stackGlobal('builtins', 'tuple') +
      stackGlobal('builtins', 'map') +
      stackGlobal(pythonModule(gadget.module), gadget.name) +
      command(gadget, marker) +
      op.tuple1 +
      op.tuple2 +
      op.dict +
      '\x92' +
      op.tuple1 +
      op.dict +
      '\x92',
  },
  {
    title: 'NEWOBJ of functools.partial, called by REDUCE',
    protocol: 2,
    takes: 'anything',
    culprits: ['functools.partial', 'functools.partial(...)'],
    opcodes: (gadget, marker) =>
      op.global('functools', 'partial') +
      op.mark +
      direct(gadget) +
      gadget.args(marker) +
      op.tuple +
      op.newobj +
      op.tuple0 +
      op.reduce,
  },
  {
    title: 'operator.methodcaller of a module',
    protocol: 2,
    takes: 'anything',
    culprits: ['operator.methodcaller', 'importlib.import_module'],
    opcodes: (gadget, marker) =>
      op.global('operator', 'methodcaller') +
      op.mark +
      op.str(gadget.name) +
      gadget.args(marker) +
      op.tuple +
      op.reduce +
      op.global('importlib', 'import_module') +
      op.str(pythonModule(gadget.module)) +
      op.tuple1 +
      op.reduce +
      op.tuple1 +
      op.reduce,
  },
  {
    title: 'BUILD through __setstate__',
    protocol: 2,
    takes: 'one str',
    culprits: ['argparse.Namespace'],
    opcodes: (gadget, marker) => withMethod('__setstate__', gadget) + command(gadget, marker) + op.build,
  },
  {
    title: 'APPEND through append',
    protocol: 2,
    takes: 'one str',
    culprits: ['argparse.Namespace'],
    opcodes: (gadget, marker) => withMethod('append', gadget) + command(gadget, marker) + op.append,
  },
  {
    title: 'APPENDS through append',
    protocol: 2,
    takes: 'one str',
    culprits: ['argparse.Namespace'],
    opcodes: (gadget, marker) => withMethod('append', gadget) + op.mark + command(gadget, marker) + op.appends,
  },
  {
    title: 'ADDITEMS through add',
    protocol: 4,
    takes: 'one str',
    culprits: ['argparse.Namespace'],
    opcodes: (gadget, marker) => withMethod('add', gadget) + op.mark + command(gadget, marker) + '\x90',
  },
  {
    title: 'a defaultdict with a factory',
    protocol: 2,
    takes: 'anything',
    culprits: ['functools.partial', 'operator.getitem', 'collections.defaultdict'],
    opcodes: (gadget, marker) =>
      op.global('collections', 'defaultdict') +
      op.global('functools', 'partial') +
      op.mark +
      direct(gadget) +
      gadget.args(marker) +
      op.tuple +
      op.reduce +
      op.tuple1 +
      op.reduce +
      op.put(0) +
      pop +
      op.global('operator', 'getitem') +
      op.get(0) +
      op.int(1) +
      op.tuple2 +
      op.reduce,
  },
  {
    title: '_rebuild_from_type_v2, an allowed function that calls its argument',
    protocol: 2,
    takes: 'anything',
    opcodes: (gadget, marker) =>
      op.global('torch._tensor', '_rebuild_from_type_v2') +
      op.mark +
      direct(gadget) +
      op.global('torch', 'Tensor') +
      argumentsOf(gadget, marker) +
      op.none +
      op.tuple +
      op.reduce,
  },
  {
    title: 'the hooks of a Parameter',
    protocol: 2,
    takes: 'anything',
    opcodes: (gadget, marker) =>
      op.global('torch._utils', '_rebuild_parameter') +
      op.mark +
      op.none +
      op.no +
      called(gadget, marker) +
      op.tuple +
      pop +
      pop +
      op.none,
  },
]

/** copyreg wants one code for each name. */
const extensionCodes = new Map<string, number>()
function extensionCode({ module, name }: Gadget): number {
  const key = `${pythonModule(module)}.${name}`
  const code = extensionCodes.get(key) ?? extensionCodes.size + 1
  extensionCodes.set(key, code)
  return code
}

/** The pickle by which a caller calls a gadget. */
export function attackPickle(caller: Caller, gadget: Gadget, marker: string): Buffer {
  return Buffer.from(`\x80${String.fromCharCode(caller.protocol)}${caller.opcodes(gadget, marker)}.`, 'latin1')
}
