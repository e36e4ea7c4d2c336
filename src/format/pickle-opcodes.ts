/** What the opcodes of pickle protocols 0 to 5 do. Left out, and so refused: EXT1, EXT2, EXT4 (codes of the running process), NEXT_BUFFER, READONLY_BUFFER (bytes outside the pickle). */
import { opcode, type OpcodeName } from './opcodes.js'
import type { OpcodeHandler, OpcodeTable, PickleReader } from './pickle-read.js'
import { decodeRawUnicodeEscape, decodeStrictUtf8, decodeStringLiteral } from './python-text.js'
import { ByteArray, FrozenSet, PyFloat, Tuple } from './values.js'

type Refused = 'EXT1' | 'EXT2' | 'EXT4' | 'NEXT_BUFFER' | 'READONLY_BUFFER'

/** Bytes that an empty Map or Set takes in V8. */
const mapBytes = 200

/** Bytes that V8 reserves in an empty list for its first items. */
const firstItemsBytes = 150

/** Bytes that a small object takes. */
const objectBytes = 64

const handlers: Record<Exclude<OpcodeName, Refused>, OpcodeHandler> = {
  PROTO: (reader) => {
    const protocol = reader.u8()
    if (protocol > 5) reader.fail(`pickle protocol ${protocol} does not exist`)
  },
  FRAME: (reader) => {
    const sizeBytes = reader.u64()
    const left = reader.bytes.length - reader.position
    if (sizeBytes > left) reader.fail(`a frame of ${sizeBytes} bytes, ${left} are left`)
  },
  STOP: (reader) => {
    reader.stopped = true
  },
  MARK: (reader) => reader.mark(),
  POP: (reader) => reader.drop(),
  POP_MARK: (reader) => void reader.popMark(),
  DUP: (reader) => reader.duplicate(),

  NONE: (reader) => reader.push(null),
  NEWTRUE: (reader) => reader.push(true),
  NEWFALSE: (reader) => reader.push(false),
  BININT: (reader) => reader.push(reader.i32()),
  BININT1: (reader) => reader.push(reader.u8()),
  BININT2: (reader) => reader.push(reader.u16()),
  LONG1: (reader) => pushLong(reader, reader.u8()),
  LONG4: (reader) => {
    const sizeBytes = reader.i32()
    if (sizeBytes < 0) reader.fail(`an int of ${sizeBytes} bytes`)
    pushLong(reader, sizeBytes)
  },
  INT: (reader) => {
    const line = reader.line()
    reader.push(line === '00' ? false : line === '01' ? true : decimal(reader, line))
  },
  LONG: (reader) => {
    const line = reader.line()
    reader.push(decimal(reader, line.endsWith('L') ? line.slice(0, -1) : line))
  },
  BINFLOAT: (reader) => pushFloat(reader, reader.f64()),
  FLOAT: (reader) => pushFloat(reader, decimalFloat(reader, reader.line())),

  BINUNICODE: (reader) => reader.push(reader.text(reader.u32())),
  SHORT_BINUNICODE: (reader) => reader.push(reader.text(reader.u8())),
  BINUNICODE8: (reader) => reader.push(reader.text(reader.u64())),
  UNICODE: (reader) => reader.push(decodeRawUnicodeEscape(reader, reader.line('latin1'))),
  SHORT_BINSTRING: (reader) => pushByteString(reader, reader.take(reader.u8())),
  BINSTRING: (reader) => {
    const sizeBytes = reader.i32()
    if (sizeBytes < 0) reader.fail(`a string of ${sizeBytes} bytes`)
    pushByteString(reader, reader.take(sizeBytes))
  },
  STRING: (reader) => pushByteString(reader, decodeStringLiteral(reader, reader.line('latin1'))),
  SHORT_BINBYTES: (reader) => pushBytes(reader, reader.take(reader.u8())),
  BINBYTES: (reader) => pushBytes(reader, reader.take(reader.u32())),
  BINBYTES8: (reader) => pushBytes(reader, reader.take(reader.u64())),
  BYTEARRAY8: (reader) => {
    const bytes = reader.take(reader.u64())
    reader.allocate(mapBytes)
    reader.push(new ByteArray(bytes))
  },

  EMPTY_LIST: (reader) => pushObject(reader, objectBytes, []),
  LIST: (reader) => pushItems(reader, reader.popMark()),
  APPEND: (reader) => {
    const item = reader.pop()
    growing(reader).push(item)
  },
  APPENDS: (reader) => {
    const items = reader.popMark()
    const list = growing(reader)
    for (const item of items) list.push(item)
  },
  EMPTY_DICT: (reader) => pushObject(reader, mapBytes, new Map()),
  DICT: (reader) => {
    const items = reader.popMark()
    pushObject(reader, mapBytes, new Map())
    reader.setItems(items)
  },
  SETITEM: (reader) => {
    const value = reader.pop()
    const key = reader.pop()
    reader.setItem(reader.topEntries(), key, value)
  },
  SETITEMS: (reader) => reader.setItems(reader.popMark()),
  EMPTY_SET: (reader) => pushObject(reader, mapBytes, new Set()),
  ADDITEMS: (reader) => {
    const items = reader.popMark()
    const set = reader.top()
    if (!(set instanceof Set) || set instanceof FrozenSet) return reader.fail('ADDITEMS on something that is no set')
    addMembers(reader, set, items)
  },
  FROZENSET: (reader) => {
    const set = new FrozenSet()
    addMembers(reader, set, reader.popMark())
    pushObject(reader, mapBytes, set)
  },
  EMPTY_TUPLE: (reader) => reader.push(reader.emptyTuple),
  TUPLE: (reader) => {
    const items = reader.popMark()
    if (items.length === 0) return reader.push(reader.emptyTuple)
    reader.allocate(objectBytes + 8 * items.length)
    reader.push(new Tuple(items))
  },
  TUPLE1: (reader) => reader.pushTuple(1),
  TUPLE2: (reader) => reader.pushTuple(2),
  TUPLE3: (reader) => reader.pushTuple(3),

  BINGET: (reader) => reader.memoGet(reader.u8()),
  LONG_BINGET: (reader) => reader.memoGet(reader.u32()),
  GET: (reader) => reader.memoGet(memoIndex(reader)),
  BINPUT: (reader) => reader.memoPut(reader.u8()),
  LONG_BINPUT: (reader) => reader.memoPut(reader.u32()),
  PUT: (reader) => reader.memoPut(memoIndex(reader)),
  MEMOIZE: (reader) => reader.memoAppend(),

  GLOBAL: (reader) => {
    const module = reader.line()
    reader.push(reader.hooks.global(module, reader.line(), reader))
  },
  STACK_GLOBAL: (reader) => {
    const name = reader.pop()
    const module = reader.pop()
    if (typeof name !== 'string' || typeof module !== 'string')
      return reader.fail('STACK_GLOBAL of something that is no str')
    reader.push(reader.hooks.global(module, name, reader))
  },
  REDUCE: (reader) => {
    const args = popArguments(reader)
    reader.push(reader.hooks.reduce(reader.pop(), args, reader))
  },
  INST: (reader) => {
    const module = reader.line()
    const cls = reader.hooks.global(module, reader.line(), reader)
    const args = new Tuple(reader.popMark())
    reader.push(reader.hooks.reduce(cls, args, reader))
  },
  OBJ: (reader) => {
    const [cls, ...args] = reader.popMark()
    if (cls === undefined) reader.fail('OBJ without a class')
    reader.push(reader.hooks.reduce(cls, new Tuple(args), reader))
  },
  NEWOBJ: (reader) => {
    const args = popArguments(reader)
    reader.push(reader.hooks.newObject(reader.pop(), args, null, reader))
  },
  NEWOBJ_EX: (reader) => {
    const keywordArgs = reader.pop()
    if (!(keywordArgs instanceof Map)) return reader.fail('the keyword arguments of a call are no dict')
    const args = popArguments(reader)
    reader.push(reader.hooks.newObject(reader.pop(), args, keywordArgs, reader))
  },
  BUILD: (reader) => {
    const state = reader.pop()
    reader.hooks.build(reader.top(), state, reader)
  },
  BINPERSID: (reader) => reader.push(reader.hooks.persistentLoad(reader.pop(), reader)),
  PERSID: (reader) => reader.push(reader.hooks.persistentLoad(reader.line(), reader)),
}

/** Table for `PickleReader`. */
export const pickleOpcodes: OpcodeTable = makeTable()

function makeTable(): OpcodeTable {
  const table = new Array<OpcodeHandler | undefined>(256).fill(undefined)
  for (const [name, handler] of Object.entries(handlers)) table[opcode[name as OpcodeName]] = handler
  return table
}

/** The list on the top of the stack, which takes room for many items with its first one. */
function growing(reader: PickleReader): unknown[] {
  const list = reader.topList()
  if (list.length === 0) reader.allocate(firstItemsBytes)
  return list
}

function pushObject(reader: PickleReader, sizeBytes: number, value: object): void {
  reader.allocate(sizeBytes)
  reader.push(value)
}

function pushItems(reader: PickleReader, items: unknown[]): void {
  reader.allocate(objectBytes + 8 * items.length)
  reader.push(items)
}

/** Adds members to a set, whose hashing rules are Python's. */
export function addMembers(reader: PickleReader, set: Set<unknown>, members: readonly unknown[]): void {
  for (const member of members) {
    reader.checkKey(set, member)
    set.add(member)
  }
}

function popArguments(reader: PickleReader): Tuple {
  const args = reader.pop()
  if (!(args instanceof Tuple)) reader.fail('the arguments of a call are no tuple')
  return args
}

function pushFloat(reader: PickleReader, value: number): void {
  const looksInt = reader.keepFloats && Number.isSafeInteger(value) && !Object.is(value, -0)
  reader.push(looksInt ? new PyFloat(value) : value)
}

function pushBytes(reader: PickleReader, bytes: Buffer): void {
  reader.allocate(mapBytes)
  reader.push(new Uint8Array(bytes))
}

/** A Python 2 `str`: text where it is UTF-8 (`torch.load` reads it so), else bytes. */
function pushByteString(reader: PickleReader, bytes: Buffer): void {
  const text = decodeStrictUtf8(bytes)
  if (text === undefined) {
    reader.undecodedStrings++
    return pushBytes(reader, bytes)
  }
  if (text.length !== bytes.length) reader.byteStrings.add(text)
  reader.push(text)
}

/** Longest int that is read: nothing in a checkpoint comes near it. */
const maxLongBytes = 1 << 16

/** Two's complement, little-endian; empty is 0. A number where it is exact. */
function pushLong(reader: PickleReader, sizeBytes: number): void {
  const bytes = reader.take(sizeBytes)
  if (sizeBytes === 0) return reader.push(0)
  if (sizeBytes > maxLongBytes)
    reader.fail(`an int of ${sizeBytes} bytes, at most ${maxLongBytes} are read`, 'pickle.limit')
  if (sizeBytes <= 6) return reader.push(bytes.readIntLE(0, sizeBytes))
  const digits = Buffer.from(bytes).reverse().toString('hex')
  reader.push(exactNumber(BigInt.asIntN(8 * sizeBytes, BigInt(`0x${digits}`))))
}

function exactNumber(value: bigint): number | bigint {
  const exact = value >= BigInt(Number.MIN_SAFE_INTEGER) && value <= BigInt(Number.MAX_SAFE_INTEGER)
  return exact ? Number(value) : value
}

/** Digits that Python's own `int` takes at most. */
const maxDigits = 4300

function decimal(reader: PickleReader, line: string): number | bigint {
  if (line.length > maxDigits) reader.fail(`an int of ${line.length} digits, Python reads ${maxDigits}`, 'pickle.limit')
  if (!/^-?\d+$/.test(line)) reader.fail(`${JSON.stringify(line.slice(0, 40))} is no int`)
  return exactNumber(BigInt(line))
}

function decimalFloat(reader: PickleReader, line: string): number {
  if (/^[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?$/.test(line)) return Number(line)
  const named = /^([+-]?)(inf|nan)$/.exec(line)
  if (named === null) return reader.fail(`${JSON.stringify(line.slice(0, 40))} is no float`)
  if (named[2] === 'nan') return NaN
  return named[1] === '-' ? -Infinity : Infinity
}

function memoIndex(reader: PickleReader): number {
  const line = reader.line()
  if (!/^\d{1,15}$/.test(line)) reader.fail(`${JSON.stringify(line.slice(0, 40))} is no memo entry`)
  return Number(line)
}
