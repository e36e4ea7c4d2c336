/** Changes of pickles that know opcodes, so that what comes out is mostly a pickle again. */
import { opcode, opcodeArguments } from '../dist/src/format/opcodes.js'
import { oddNumbers } from './random.mjs'

const widths = { u1: 1, u4: 4, u8: 8 }

/** The operations of the pickle at the start of `bytes`, each as its bytes; the rest after STOP (or after what is no pickle) as `rest`. */
export function parsePickle(bytes) {
  const operations = []
  let at = 0
  while (at < bytes.length) {
    const end = endOf(bytes, at)
    if (end === undefined) break
    operations.push(bytes.subarray(at, end))
    const stopped = bytes[at] === opcode.STOP
    at = end
    if (stopped) break
  }
  return { operations, rest: bytes.subarray(at) }
}

function endOf(bytes, at) {
  const argument = opcodeArguments.get(bytes[at])
  const after = at + 1
  if (argument === undefined) return after
  if (typeof argument === 'number') return after + argument <= bytes.length ? after + argument : undefined
  if (argument.endsWith('line') || argument === 'two lines') {
    let end = bytes.indexOf(10, after) + 1
    if (argument === 'two lines' && end > 0) end = bytes.indexOf(10, end) + 1
    return end > 0 ? end : undefined
  }
  const width = widths[argument]
  if (after + width > bytes.length) return undefined
  const length = width === 8 ? Number(bytes.readBigUInt64LE(after)) : bytes.readUIntLE(after, width)
  return after + width + length <= bytes.length ? after + width + length : undefined
}

const text = (value) => {
  const bytes = Buffer.from(value)
  const length = Buffer.alloc(4)
  length.writeUInt32LE(bytes.length)
  return Buffer.concat([Buffer.of(opcode.BINUNICODE), length, bytes])
}

const integer = (number) => {
  const bytes = Buffer.alloc(8)
  bytes.writeBigUInt64LE(BigInt.asUintN(64, number))
  return Buffer.concat([Buffer.of(opcode.LONG1, 8), bytes])
}

const global = (name) => {
  const dot = name.lastIndexOf('.')
  return Buffer.from(`c${name.slice(0, dot)}\n${name.slice(dot + 1)}\n`)
}

const globals = [
  ...[
    'os.system',
    'builtins.eval',
    '__builtin__.bytearray',
    '__builtin__.set',
    'collections.OrderedDict',
    'collections.Counter',
    'collections.defaultdict',
  ],
  ...[
    '_codecs.encode',
    'torch.Size',
    'torch.device',
    'torch.FloatStorage',
    'torch.DoubleStorage',
    'torch.storage.UntypedStorage',
    'torch.BoolStorage',
  ],
  ...[
    'torch._utils._rebuild_tensor_v2',
    'torch._utils._rebuild_tensor_v3',
    'torch._utils._rebuild_parameter',
    'torch._utils._rebuild_sparse_tensor',
  ],
  ...[
    'torch._utils._rebuild_qtensor',
    'torch._utils._rebuild_meta_tensor_no_storage',
    'torch._utils._rebuild_nested_tensor',
    'torch.float8_e4m3fn',
  ],
  ...[
    'torch._tensor._rebuild_from_type_v2',
    'torch.Tensor',
    'torch.nn.parameter.Parameter',
    'torch.serialization._get_layout',
    'torch.uint64',
  ],
  ...[
    'numpy.core.multiarray.scalar',
    'numpy._core.multiarray._reconstruct',
    'numpy.dtype',
    'numpy.ndarray',
    'argparse.Namespace',
    'decimal.Decimal',
  ],
  ...[
    'datetime.datetime',
    'pathlib.PosixPath',
    '__builtin__.range',
    '__builtin__.slice',
    '__builtin__.frozenset',
    'uuid.UUID',
    'models.Net',
    'copy_reg._reconstructor',
  ],
]
const words = [
  'storage',
  '0',
  '1',
  'cpu',
  'cuda:0',
  'module',
  'torch.sparse_coo',
  'latin1',
  '',
  'state',
  'epoch',
  '__proto__',
  'i8',
  'f4',
  'O',
  'V1000000000',
  'S9',
  '\u{1f600}',
]
const plain =
  'NONE NEWTRUE NEWFALSE EMPTY_TUPLE EMPTY_DICT EMPTY_LIST EMPTY_SET MARK TUPLE TUPLE1 TUPLE2 TUPLE3 REDUCE NEWOBJ BUILD BINPERSID APPEND APPENDS SETITEM SETITEMS DUP POP POP_MARK STACK_GLOBAL MEMOIZE NEWOBJ_EX OBJ LIST DICT ADDITEMS FROZENSET'.split(
    ' ',
  )

function invent(random) {
  const makers = [
    () => text(random.pick(words)),
    () => integer(random.pick(oddNumbers) * random.pick([1n, 1n, -1n])),
    () => global(random.pick(globals)),
    () => Buffer.of(opcode.BINGET, random.below(64)),
    () => Buffer.of(opcode.BINPUT, random.below(64)),
    () => Buffer.of(opcode[random.pick(plain)]),
    () => Buffer.of(opcode[random.pick(plain)]),
    () => Buffer.from('G\x7f\xf8\0\0\0\0\0\0', 'latin1'),
  ]
  return random.pick(makers)()
}

/** Replaces the argument of an operation, keeping the opcode. */
function changeArgument(random, operation) {
  const copy = Buffer.from(operation)
  if (copy[0] === opcode.GLOBAL) return global(random.pick(globals))
  if (copy[0] === opcode.BINUNICODE) return text(random.pick(words))
  const argument = opcodeArguments.get(copy[0])
  if (typeof argument !== 'number') return invent(random)
  const number = random.pick(oddNumbers)
  for (let index = 0; index < argument; index++) copy[1 + index] = Number((number >> BigInt(8 * index)) & 0xffn)
  return copy
}

/** A pickle (and what follows it) with one or several operations changed, taken out, put in, repeated or swapped. */
export function mutatePickle(random, bytes) {
  const { operations, rest } = parsePickle(bytes)
  if (operations.length < 3) return bytes
  for (let count = random.few(5); count > 0; count--) {
    const at = 1 + random.below(operations.length - 2)
    const kind = random.below(10)
    if (kind <= 2 || kind >= 8) operations[at] = changeArgument(random, operations[at])
    else if (kind === 3) operations.splice(at, 1)
    else if (kind === 4) operations.splice(at, 0, invent(random))
    else if (kind === 5) operations[at] = invent(random)
    else if (kind === 6) operations.splice(at, 0, ...operations.slice(at, at + random.below(12)))
    else operations.splice(random.below(operations.length), 0, ...operations.splice(at, random.below(4)))
  }
  return Buffer.concat([...operations, rest])
}
