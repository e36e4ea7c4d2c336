/** The opcodes that `torch.load(weights_only=True)` of torch 2.13 accepts, and what they do. A wider reader makes a larger table. */
import { opcode } from './opcodes.js'
import { decodePythonUtf8, type OpcodeHandler, type OpcodeTable, type PickleReader } from './pickle-read.js'
import { PyFloat, Tuple } from './values.js'

const handlers: Record<keyof typeof opcode, OpcodeHandler> = {
  PROTO: (reader) => {
    const protocol = reader.u8()
    if (protocol > 5) reader.fail(`pickle protocol ${protocol} does not exist`)
  },
  STOP: (reader) => {
    reader.stopped = true
  },
  MARK: (reader) => reader.mark(),
  NONE: (reader) => reader.push(null),
  NEWTRUE: (reader) => reader.push(true),
  NEWFALSE: (reader) => reader.push(false),
  BININT: (reader) => reader.push(reader.i32()),
  BININT1: (reader) => reader.push(reader.u8()),
  BININT2: (reader) => reader.push(reader.u16()),
  LONG1: (reader) => reader.push(decodeLong(reader.take(reader.u8()))),
  BINFLOAT: (reader) => {
    const value = reader.f64()
    const looksInt = Number.isSafeInteger(value) && !Object.is(value, -0)
    reader.push(reader.keepFloats && looksInt ? new PyFloat(value) : value)
  },
  BINUNICODE: (reader) => reader.push(decodePythonUtf8(reader, reader.take(reader.u32()))),
  SHORT_BINSTRING: (reader) => reader.push(decodePythonUtf8(reader, reader.take(reader.u8()))),
  EMPTY_LIST: (reader) => reader.push([]),
  EMPTY_DICT: (reader) => reader.push(new Map()),
  EMPTY_SET: (reader) => reader.push(new Set()),
  EMPTY_TUPLE: (reader) => reader.push(new Tuple()),
  TUPLE: (reader) => reader.push(new Tuple(reader.popMark())),
  TUPLE1: (reader) => reader.push(new Tuple([reader.pop()])),
  TUPLE2: (reader) => reader.push(new Tuple(popLast(reader, 2))),
  TUPLE3: (reader) => reader.push(new Tuple(popLast(reader, 3))),
  APPEND: (reader) => reader.appendItems([reader.pop()]),
  APPENDS: (reader) => reader.appendItems(reader.popMark()),
  SETITEM: (reader) => reader.setItems(popLast(reader, 2)),
  SETITEMS: (reader) => reader.setItems(reader.popMark()),
  BINGET: (reader) => reader.memoGet(reader.u8()),
  LONG_BINGET: (reader) => reader.memoGet(reader.u32()),
  BINPUT: (reader) => reader.memoPut(reader.u8()),
  LONG_BINPUT: (reader) => reader.memoPut(reader.u32()),
  GLOBAL: (reader) => {
    const module = reader.line()
    reader.push(reader.hooks.global(module, reader.line(), reader))
  },
  REDUCE: (reader) => {
    const args = popArguments(reader)
    reader.push(reader.hooks.reduce(reader.pop(), args, reader))
  },
  NEWOBJ: (reader) => {
    const args = popArguments(reader)
    reader.push(reader.hooks.newObject(reader.pop(), args, reader))
  },
  BUILD: (reader) => {
    const state = reader.pop()
    reader.hooks.build(reader.top(), state, reader)
  },
  BINPERSID: (reader) => reader.push(reader.hooks.persistentLoad(reader.pop(), reader)),
}

/** Table for {@link PickleReader}. */
export const weightsOnlyOpcodes: OpcodeTable = makeTable()

function makeTable(): OpcodeTable {
  const table = new Array<OpcodeHandler | undefined>(256).fill(undefined)
  for (const [name, code] of Object.entries(opcode)) table[code] = handlers[name as keyof typeof opcode]
  return table
}

function popLast(reader: PickleReader, count: 2 | 3): unknown[] {
  const items = Array.from({ length: count }, () => reader.pop())
  return items.reverse()
}

function popArguments(reader: PickleReader): Tuple {
  const args = reader.pop()
  if (!(args instanceof Tuple)) reader.fail('the arguments of a call are no tuple')
  return args
}

/** Two's complement, little-endian; empty is 0. A number where it is exact. */
function decodeLong(bytes: Buffer): number | bigint {
  if (bytes.length === 0) return 0
  const digits = Buffer.from(bytes).reverse().toString('hex')
  const value = BigInt.asIntN(8 * bytes.length, BigInt(`0x${digits}`))
  const exact = value >= BigInt(Number.MIN_SAFE_INTEGER) && value <= BigInt(Number.MAX_SAFE_INTEGER)
  return exact ? Number(value) : value
}
