/** What the allowed globals of a torch pickle stand for. Nothing is called: each name has its own few lines, here for values, in `rebuild-tensors.ts` for tensors. */
import { describe, CallArguments } from './arguments.js'
import { allowedGlobals, dtypeGlobals, modernName } from './globals.js'
import type { PickleHooks, PickleReader } from './pickle-read.js'
import { tensorRebuilders, type Rebuild } from './rebuild-tensors.js'
import type { Tuple } from './values.js'
import { ByteArray, Complex, Counter, Device, Layout, OrderedDict, PythonGlobal, Size, TorchDType } from './values.js'

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
  ['collections.OrderedDict', rebuildOrderedDict],
  ['collections.Counter', rebuildCounter],
  ['builtins.set', rebuildSet],
  ['builtins.complex', (args) => (args.count(2), new Complex(args.float(0), args.float(1)))],
  ['builtins.bytearray', rebuildByteArray],
  ['_codecs.encode', rebuildBytes],
  ['torch.Size', (args) => new Size(args.count(0, 1) === 0 ? [] : args.sizes(0))],
  ['torch.device', rebuildDevice],
  ['torch.serialization._get_layout', rebuildLayout],
  ...tensorRebuilders,
])

/** An `OrderedDict`, from nothing (its entries follow), a dict or a list of pairs. */
function rebuildOrderedDict(args: CallArguments, reader: PickleReader): OrderedDict {
  const dict = new OrderedDict()
  if (args.count(0, 1) === 0) return dict
  const given = args.at(0)
  const entries: unknown = given instanceof Map ? [...given] : given
  if (!Array.isArray(entries)) return args.fail(`${describe(given)} instead of a dict or a list of pairs`)
  for (const entry of entries as unknown[]) {
    if (!Array.isArray(entry) || entry.length !== 2) return args.fail('an entry that is no pair')
    reader.charge(2)
    reader.checkKey(dict, entry[0])
    dict.set(entry[0], entry[1])
  }
  return dict
}

/** A `Counter`, from nothing or a dict of counts (of a list Python would count the items, which no pickle of a Counter does). */
function rebuildCounter(args: CallArguments, reader: PickleReader): Counter {
  if (args.count(0, 1) === 0) return new Counter()
  reader.charge(args.map(0).size)
  return new Counter(args.map(0))
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

/** `torch.device('cuda', 1)`, or in one text `torch.device('cuda:1')`. */
function rebuildDevice(args: CallArguments): Device {
  const both = args.count(1, 2) === 2
  const [, type, index] =
    /^(\w+)(?::(\d{1,3}))?$/.exec(args.string(0)) ?? args.fail(`${JSON.stringify(args.string(0))} is no device`)
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
  if (!layouts.has(name)) args.fail(`${JSON.stringify(args.string(0))} is no layout`)
  return new Layout(name)
}
