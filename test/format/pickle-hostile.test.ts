/** Hostile pickles: code by every opcode that can call, bombs, lies. Each is refused with its reason and the id of its finding; nothing is executed. */
import assert from 'node:assert/strict'
import { readTorchFile } from '../../src/format/index.js'
import { ints, op, pickle, torchFile, withFile } from './fixtures.js'
import { itRefuses, type Refusal } from './refusals.js'

const malformed = 'pickle.malformed'
const unsafe = 'pickle.unsafe_global'
const limit = 'pickle.limit'
const unsupported = 'pickle.unsupported'
const badTensor = 'tensor.malformed'

/** A file whose pickle is these opcodes. */
const code = (...opcodes: string[]) => torchFile(pickle(...opcodes))
const callNothing = op.tuple0 + op.reduce
const stackGlobal = '\x93'

const calls: Refusal[] = [
  ['os.system', code(op.global('os', 'system'), op.str('id'), op.tuple1, op.reduce), unsafe, /global os\.system/],
  ['posix.system', code(op.global('posix', 'system'), op.str('id'), op.tuple1, op.reduce), unsafe, /posix\.system/],
  ['eval by its Python 2 name', code(op.global('__builtin__', 'eval'), callNothing), unsafe, /builtins\.eval/],
  ['a global that is only mentioned', code(op.global('builtins', 'exec')), unsafe, /builtins\.exec/],
  [
    'a dotted name behind an allowed one',
    code(op.global('torch._utils', '_rebuild_tensor_v2.__globals__')),
    unsafe,
    /__globals__/,
  ],
  [
    'an allowed name in another module',
    code(op.global('evil', 'OrderedDict'), callNothing),
    unsafe,
    /evil\.OrderedDict/,
  ],
  [
    'torch.storage._load_from_bytes',
    code(op.global('torch.storage', '_load_from_bytes'), callNothing),
    unsafe,
    /_load_from_bytes/,
  ],
  ['INST', code(op.mark, op.str('id'), 'ios\nsystem\n'), unsafe, /os\.system/],
  ['INST of an unknown class', code(op.mark, 'imine\nRun\n'), unsafe, /mine\.Run: it is called/],
  ['OBJ', code(op.mark, op.global('mine', 'Run'), op.str('x'), 'o'), unsafe, /mine\.Run: it is called/],
  ['OBJ without a class', code(op.mark, 'o'), malformed, /OBJ without a class/],
  [
    'NEWOBJ of a function of os',
    code(op.global('os', 'system'), op.str('id'), op.tuple1, op.newobj),
    unsafe,
    /os\.system/,
  ],
  [
    'NEWOBJ_EX of an unknown class',
    code(op.global('mine', 'Run'), op.tuple0, op.dict, '\x92'),
    unsafe,
    /with keywords/,
  ],
  [
    'NEWOBJ_EX with a list of keywords',
    code(op.global('mine', 'Run'), op.tuple0, op.list, '\x92'),
    malformed,
    /no dict/,
  ],
  [
    'BUILD with __setstate__ of a call',
    code(op.global('mine', 'run'), callNothing, op.dict, op.build),
    unsafe,
    /mine\.run/,
  ],
  ['STACK_GLOBAL', code(op.str('os'), op.str('system'), stackGlobal), unsafe, /os\.system/],
  [
    'STACK_GLOBAL with names from the memo',
    code(op.str('system'), op.put(0), '0', op.str('os'), op.get(0), stackGlobal),
    unsafe,
    /os\.system/,
  ],
  [
    'STACK_GLOBAL with a computed name',
    code(
      op.str('os'),
      op.global('_codecs', 'encode'),
      op.str('system'),
      op.str('latin1'),
      op.tuple2,
      op.reduce,
      stackGlobal,
    ),
    malformed,
    /no str/,
  ],
  [
    'a dotted name into another module',
    code(op.str('torch.serialization'), op.str('os.system'), stackGlobal),
    unsafe,
    /module os/,
  ],
  [
    'a dotted name behind a harmless module',
    code(op.str('mine'), op.str('sys.modules'), stackGlobal),
    unsafe,
    /module sys/,
  ],
  ['a module as a value', code(op.global('torch.serialization', 'os')), unsafe, /it is the module os|could run code/],
  [
    'getattr',
    code(op.global('__builtin__', 'getattr'), op.str('a'), op.str('b'), op.tuple2, op.reduce),
    unsafe,
    /builtins\.getattr/,
  ],
  ['getattr of an allowed class', code(op.global('builtins', 'getattr')), unsafe, /builtins\.getattr/],
  ['eval behind a name of Python 2', code(op.global('__builtin__', 'reduce')), unsafe, /functools\.reduce/],
  [
    'operator.attrgetter',
    code(op.global('operator', 'attrgetter'), op.str('x'), op.tuple1, op.reduce),
    unsafe,
    /operator/,
  ],
  [
    'calling what a call gave',
    code(op.global('functools', 'partial'), op.global('mine', 'f'), op.tuple1, op.reduce, callNothing),
    unsafe,
    /functools\.partial\(\.\.\.\): what it gives is called/,
  ],
  [
    'a function of an unknown module',
    code(op.global('mine', 'run'), op.str('x'), op.tuple1, op.reduce),
    unsafe,
    /mine\.run: it is called/,
  ],
  [
    'an enum of an unknown class',
    code(op.global('mine', 'Color'), op.int(1), op.tuple1, op.reduce),
    unsafe,
    /mine\.Color/,
  ],
  [
    'a rebuild by an unknown function',
    code(
      op.global('torch._tensor', '_rebuild_from_type_v2'),
      op.mark,
      op.global('mine', 'run'),
      op.global('torch', 'Tensor'),
      op.tuple0,
      op.none,
      op.tuple,
      op.reduce,
    ),
    unsafe,
    /mine\.run: it is called/,
  ],
  [
    'copyreg with an unknown base',
    code(
      op.global('copy_reg', '_reconstructor'),
      op.global('mine', 'A'),
      op.global('mine', 'B'),
      op.none,
      op.tuple3,
      op.reduce,
    ),
    unsafe,
    /mine\.B: it is called/,
  ],
  [
    'a constructor given to a random generator of numpy',
    code(
      op.global('numpy.random._pickle', '__generator_ctor'),
      op.str('x'),
      op.global('mine', 'run'),
      op.tuple2,
      op.reduce,
    ),
    unsafe,
    /mine\.run: numpy would call it/,
  ],
  ['EXT1', code('\x82\x01'), unsupported, /opcode EXT1/],
  ['EXT2', code('\x83\x01\x00'), unsupported, /opcode EXT2/],
  ['EXT4', code('\x84\x01\x00\x00\x00'), unsupported, /opcode EXT4/],
  ['NEXT_BUFFER', code('\x97'), unsupported, /opcode NEXT_BUFFER/],
  ['READONLY_BUFFER', code(op.none, '\x98'), unsupported, /opcode READONLY_BUFFER/],
  ['PERSID', code('P0\n'), malformed, /persistent id/],
  ['a byte that is no opcode', code('\xff'), malformed, /0xff is no pickle opcode/],
  ['calling a str', code(op.str('x'), callNothing), malformed, /string x is called/],
  [
    'calling an OrderedDict',
    code(op.global('collections', 'OrderedDict'), callNothing, callNothing),
    malformed,
    /a OrderedDict is called/,
  ],
  [
    'a bytearray of 2 GB',
    code(op.global('__builtin__', 'bytearray'), op.int(2e9), op.tuple1, op.reduce),
    malformed,
    /instead of bytes/,
  ],
  [
    'FloatTensor(5e8)',
    code(op.global('torch', 'FloatTensor'), op.int(5e8), op.tuple1, op.reduce),
    unsupported,
    /instead of a storage/,
  ],
  [
    'UntypedStorage(2e9)',
    code(op.global('torch.storage', 'UntypedStorage'), op.int(2e9), op.tuple1, op.reduce),
    unsupported,
    /UntypedStorage/,
  ],
  [
    'NEWOBJ of a tensor that gets no storage',
    code(op.global('torch', 'FloatTensor'), op.tuple0, op.newobj),
    badTensor,
    /never gets its storage/,
  ],
  ['state on a list', code(op.list, op.dict, op.build), unsupported, /state is set on a Array/],
  [
    'another codec',
    code(op.global('_codecs', 'encode'), op.str('a'), op.str('zlib'), op.tuple2, op.reduce),
    unsupported,
    /"zlib"/,
  ],
  ['a persistent id of a module', code(op.str('module'), op.tuple1, op.persid), malformed, /persistent id/],
]

const nested = (depth: number) => op.none + op.tuple1.repeat(depth)
const manyBytes =
  op.mark +
  op.str('x'.repeat(1e6)) +
  op.put(0) +
  (op.global('_codecs', 'encode') + op.get(0) + op.str('latin1') + op.tuple2 + op.reduce).repeat(50) +
  op.tuple
const manySets =
  op.mark +
  op.list +
  op.put(0) +
  op.mark +
  op.int(7).repeat(20000) +
  op.appends +
  (op.global('__builtin__', 'set') + op.get(0) + op.tuple1 + op.reduce).repeat(100) +
  op.tuple
const fromType = (inner: string) =>
  op.mark +
  op.global('torch._tensor', '_rebuild_from_type_v2') +
  op.global('torch', 'Tensor') +
  inner +
  op.none +
  op.tuple
const endless = Array.from({ length: 3000 }).reduce<string>((inner) => fromType(inner), op.tuple0)

const pickles: Refusal[] = [
  ['tuples in each other 100,000 deep', code(nested(100_000)), limit, /nested deeper than 1000/],
  ['bytes from one str again and again', code(manyBytes), limit, /more than 8 times its length/],
  ['sets from one list again and again', code(manySets), limit, /more than 8 times its length/],
  [
    'a rebuild inside a rebuild',
    code(op.global('torch._tensor', '_rebuild_from_type_v2'), endless, op.reduce),
    malformed,
    /instead of a function/,
  ],
  ['an empty pickle', torchFile(Buffer.alloc(0)), malformed, /ends before STOP/],
  ['a pickle without STOP', torchFile(Buffer.from('\x80\x02N', 'latin1')), malformed, /ends before STOP/],
  ['an empty stack', code(), malformed, /left over|stack is empty/],
  ['bytes after STOP', torchFile(Buffer.from('\x80\x02N.N', 'latin1')), malformed, /1 bytes follow STOP/],
  ['a mark without use', code(op.mark, op.none), malformed, /left over/],
  ['two values', code(op.none, op.none), malformed, /left over/],
  ['a pop through a mark', code(op.none, op.mark, op.tuple1), malformed, /stack is empty/],
  ['a tuple without a mark', code(op.none, op.tuple), malformed, /no mark/],
  ['an unknown memo entry', code(op.get(3)), malformed, /memo has no entry 3/],
  ['a memo entry far away', code(op.none, op.putFar(0x7fffffff)), limit, /memo entry 2147483647/],
  ['a str of 2 GB', code('X\xff\xff\xff\x7f'), malformed, /2147483647 bytes are wanted/],
  ['a str that is not UTF-8', code('X\x02\x00\x00\x00\xc3\x28'), malformed, /not UTF-8/],
  ['a name without an end', torchFile(Buffer.from('\x80\x02ctorch', 'latin1')), malformed, /line of text does not end/],
  ['APPEND on a tuple', code(op.tuple0, op.none, op.append), malformed, /no list/],
  ['SETITEM on a list', code(op.list, op.none, op.none, op.setitem), malformed, /no dict/],
  ['a key without a value', code(op.dict, op.mark, op.none, op.setitems), malformed, /without a value/],
  ['a list as a key', code(op.dict, op.list, op.none, op.setitem), malformed, /as a key/],
  [
    '1 and True as keys',
    code(op.dict, op.mark, op.int(1), op.none, op.yes, op.none, op.setitems),
    malformed,
    /keys true and 1/,
  ],
  [
    'two equal tuples as keys',
    code(op.dict, op.mark, ints(1, 2), op.none, ints(1, 2), op.none, op.setitems),
    malformed,
    /two tuples with equal items/,
  ],
  [
    'a list in a set',
    code(op.global('__builtin__', 'set'), op.list, op.list, op.append, op.tuple1, op.reduce),
    malformed,
    /member of a set/,
  ],
  ['arguments that are a list', code(op.global('torch', 'Size'), op.list, op.reduce), malformed, /no tuple/],
  [
    'a Size of strings',
    code(op.global('torch', 'Size'), op.str('a'), op.tuple1, op.tuple1, op.reduce),
    malformed,
    /expected a tuple of ints/,
  ],
  [
    'a layout that does not exist',
    code(op.global('torch.serialization', '_get_layout'), op.str('torch.os'), op.tuple1, op.reduce),
    malformed,
    /no layout/,
  ],
]

describe('format: hostile pickles', () => {
  describe('code and calls', () => itRefuses(calls))
  describe('pickles', () => itRefuses(pickles))

  const doubling = (times: number) =>
    op.list +
    op.put(0) +
    Array.from({ length: times }, (_, index) => op.get(index) + op.get(index) + op.tuple2 + op.put(index + 1)).join('')

  it('takes a memo that doubles 15 times, since shared parts stay shared', () =>
    withFile(code(op.mark + doubling(15) + op.tuple), async (path) =>
      assert.equal(((await readTorchFile(path)).value as unknown[]).length, 16),
    ))

  it('refuses one that doubles 60 times, by the memo or by DUP: whoever prints or compares it would never end', async () => {
    const bombs = [op.mark + doubling(60) + op.tuple, op.list + ('2' + op.tuple2).repeat(60)]
    for (const bomb of bombs) {
      await withFile(code(bomb), (path) =>
        assert.rejects(readTorchFile(path), { finding: 'pickle.limit', message: /far more parts than the pickle/ }),
      )
    }
  })
})
