/** What calls in a pickle give that are no tensors and no numpy values: containers, bytes, devices, layouts. Nothing is called: each name has its own few lines. */
import type { CallArguments } from './arguments.js'
import { describe } from './arguments.js'
import { harmlessCalls } from './foreign-globals.js'
import { encodeLatin1 } from './numpy.js'
import { addMembers } from './pickle-opcodes.js'
import { hashedItemCost, type PickleReader } from './pickle-read.js'
import type { Rebuild } from './rebuild-tensors.js'
import {
  ByteArray,
  Complex,
  Counter,
  DefaultDict,
  Device,
  FrozenSet,
  Layout,
  OpaqueObject,
  OrderedDict,
  PythonGlobal,
  Size,
  Tuple,
} from './values.js'

/** Bytes that a Map takes in V8. */
const mapBytes = 240

/** By the full name of the global. */
export const valueRebuilders: ReadonlyMap<string, Rebuild> = new Map<string, Rebuild>([
  ['collections.OrderedDict', rebuildOrderedDict],
  ['collections.Counter', rebuildCounter],
  ['collections.defaultdict', rebuildDefaultDict],
  ['builtins.set', (args, reader) => rebuildSet(args, reader, new Set())],
  ['builtins.frozenset', (args, reader) => rebuildSet(args, reader, new FrozenSet())],
  ['builtins.complex', (args) => (args.count(2), new Complex(args.float(0), args.float(1)))],
  ['builtins.bytearray', rebuildByteArray],
  ['builtins.bytes', rebuildPlainBytes],
  ['_codecs.encode', rebuildBytes],
  ['torch.Size', (args) => new Size(args.count(0, 1) === 0 ? [] : args.sizes(0))],
  ['torch.device', rebuildDevice],
  ['torch.serialization._get_layout', rebuildLayout],
  ['copyreg._reconstructor', reconstruct],
  ...['boollist', 'doublelist', 'intlist', 'tensorlist'].map((kind): [string, Rebuild] => [
    `torch.jit._pickle.build_${kind}`,
    rebuildTypedList,
  ]),
  ['torch.jit._pickle.restore_type_tag', (args) => (args.count(2), args.string(1), args.at(0))],
])

/** An `OrderedDict`, from nothing (its entries follow), a dict or a list of pairs. */
function rebuildOrderedDict(args: CallArguments, reader: PickleReader): OrderedDict {
  reader.allocate(mapBytes)
  const dict = new OrderedDict()
  if (args.count(0, 1) === 0) return dict
  const given = args.at(0)
  const entries: unknown = given instanceof Map ? [...given] : given
  if (!Array.isArray(entries)) return args.fail(`${describe(given)} instead of a dict or a list of pairs`)
  for (const entry of entries as unknown[]) {
    if (!Array.isArray(entry) || entry.length !== 2) return args.fail('an entry that is no pair')
    reader.charge(hashedItemCost)
    reader.setItem(dict, entry[0], entry[1])
  }
  return dict
}

/** A `Counter`, from nothing, a dict of counts, or a list (or tuple) of items to count. */
function rebuildCounter(args: CallArguments, reader: PickleReader): Counter {
  reader.allocate(mapBytes)
  const counter = new Counter()
  if (args.count(0, 1) === 0 || args.at(0) === null) return counter
  const given = args.at(0)
  if (given instanceof Map) {
    reader.charge(hashedItemCost * given.size)
    return new Counter(given)
  }
  if (!Array.isArray(given)) return args.fail(`${describe(given)} instead of a dict of counts or a list of items`)
  reader.charge(hashedItemCost * given.length)
  for (const item of given as unknown[]) {
    reader.checkKey(counter, item)
    counter.set(item, ((counter.get(item) as number | undefined) ?? 0) + 1)
  }
  return counter
}

/** A `defaultdict`: the factory of missing values is kept as a name. Entries follow, or are given as a dict. */
function rebuildDefaultDict(args: CallArguments, reader: PickleReader): DefaultDict {
  reader.allocate(mapBytes)
  const count = args.count(0, 2)
  const entries = count === 2 ? args.map(1) : new Map<unknown, unknown>()
  reader.charge(hashedItemCost * entries.size)
  const dict = new DefaultDict(entries)
  dict.factory = count === 0 ? null : args.at(0)
  return dict
}

function rebuildSet(args: CallArguments, reader: PickleReader, set: Set<unknown>): Set<unknown> {
  reader.allocate(mapBytes)
  const members: unknown = args.count(0, 1) === 0 ? [] : args.at(0)
  if (!Array.isArray(members)) return args.fail(`${describe(members)} instead of a list`)
  reader.charge(hashedItemCost * members.length)
  addMembers(reader, set, members as unknown[])
  return set
}

function rebuildBytes(args: CallArguments, reader: PickleReader): Uint8Array {
  args.count(2)
  const [text, encoding] = [args.string(0), args.string(1)]
  if (encoding !== 'latin1' && encoding !== 'latin-1')
    args.fail(
      `the encoding ${JSON.stringify(encoding.slice(0, 40))}, expected "latin1"`,
      'pickle.unsupported',
      args.name,
    )
  reader.charge(text.length)
  reader.allocate(mapBytes)
  return encodeLatin1(text) ?? args.fail('a character beyond latin-1')
}

/** `bytes()`, as protocol 2 writes empty bytes. */
function rebuildPlainBytes(args: CallArguments): Uint8Array {
  args.count(0)
  return new Uint8Array()
}

/** From nothing, `bytes`, or a text with its encoding. A number would ask for as many zeros. */
function rebuildByteArray(args: CallArguments, reader: PickleReader): ByteArray {
  reader.allocate(mapBytes)
  const count = args.count(0, 2)
  if (count === 0) return new ByteArray()
  const bytes = count === 2 ? rebuildBytes(args, reader) : args.at(0)
  if (!(bytes instanceof Uint8Array)) return args.fail(`${describe(bytes)} instead of bytes`)
  reader.charge(bytes.length)
  return new ByteArray(bytes)
}

/** `torch.device('cuda', 1)`, or in one text `torch.device('cuda:1')`. */
function rebuildDevice(args: CallArguments): Device {
  const both = args.count(1, 2) === 2
  const [, type, index] =
    /^(\w+)(?::(\d{1,3}))?$/.exec(args.string(0)) ??
    args.fail(`${JSON.stringify(args.string(0).slice(0, 40))} is no device`)
  if (both && index !== undefined) args.fail('an index twice')
  return new Device(type ?? '', both ? args.size(1) : index === undefined ? null : Number(index))
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
  if (!layouts.has(name)) args.fail(`${JSON.stringify(args.string(0).slice(0, 40))} is no layout`)
  return new Layout(name)
}

/** A list whose element type C++ knows. */
function rebuildTypedList(args: CallArguments): unknown[] {
  args.count(1)
  const list = args.at(0)
  return Array.isArray(list) && !(list instanceof Tuple) ? list : args.fail(`${describe(list)} instead of a list`)
}

/** `copyreg._reconstructor(cls, base, state)`: how protocols 0 and 1 make an instance of a class, from a value of the builtin type that it extends. */
function reconstruct(args: CallArguments, reader: PickleReader): unknown {
  args.count(3)
  const [cls, base, value] = [args.at(0), args.at(1), args.at(2)]
  if (!(cls instanceof PythonGlobal) || !(base instanceof PythonGlobal)) return args.fail('something that is no class')
  if (!base.name.startsWith('builtins.') || !harmlessCalls.has(base.name))
    return reader.hooks.reduce(base, new Tuple([value]), reader)
  const made = reader.hooks.newObject(cls, new Tuple(base.name === 'builtins.object' ? [] : [value]), null, reader)
  if (!(made instanceof OpaqueObject) || !Array.isArray(made.args)) return made
  const given = made.args[0]
  if (base.name !== 'builtins.list' && base.name !== 'builtins.dict') return made
  const object = new OpaqueObject(made.className, [], null, 'new', made.module)
  if (Array.isArray(given)) object.items = given
  else if (given instanceof Map) object.entries = given
  else args.fail(`${describe(given)} instead of a list or dict`)
  return object
}
