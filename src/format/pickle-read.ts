/**
 * Reads a pickle without running anything: a stack machine over bytes that knows only the opcodes of {@link weightsOnlyOpcodes}. What globals mean is the business
 * of {@link PickleHooks}. Work and memory are bounded by the length of the pickle.
 */
import { TorchkeepError, type ErrorCode } from './errors.js'
import { refusedOpcodeNames } from './opcodes.js'
import { equalKey, isHashable } from './python-keys.js'
import { Tuple } from './values.js'

/** What globals, calls and persistent ids of a pickle stand for. Failures are raised through the reader's `fail`. */
export interface PickleHooks {
  /** A class or function by module and name; must refuse all but what is known to be harmless. */
  global(module: string, name: string, reader: PickleReader): unknown
  /** What calling `callable` would give (REDUCE). */
  reduce(callable: unknown, args: Tuple, reader: PickleReader): unknown
  /** What `cls.__new__(cls, *args)` would give (NEWOBJ). */
  newObject(cls: unknown, args: Tuple, reader: PickleReader): unknown
  /** Sets an object's state (BUILD). */
  build(instance: unknown, state: unknown, reader: PickleReader): void
  /** The object behind a persistent id (BINPERSID): a storage. */
  persistentLoad(id: unknown, reader: PickleReader): unknown
}

/** What one opcode does; the reader's position is after the opcode's byte. */
export type OpcodeHandler = (reader: PickleReader) => void

/** Handlers by opcode; opcodes without one are refused. */
export type OpcodeTable = readonly (OpcodeHandler | undefined)[]

/** How {@link PickleReader} reads. */
export interface PickleReadOptions {
  /** Names the pickle in messages: file and record. */
  label: string
  hooks: PickleHooks
  opcodes: OpcodeTable
  /** Whether floats of integral value become `PyFloat`, so that they are written as floats again. */
  keepFloats: boolean
}

/** Copies that a pickle may ask for (`bytes` from `str`, sets from lists), as a multiple of its own length: what CPython writes stays below 2. */
const expansionFactor = 8

/** Slack of {@link expansionFactor} for tiny pickles. */
const expansionSlack = 1 << 16

/** One pickle being read. */
export class PickleReader {
  readonly bytes: Buffer
  readonly keepFloats: boolean
  readonly hooks: PickleHooks
  /** Where the next byte is read. */
  position = 0
  /** Set by STOP. */
  stopped = false
  readonly #label: string
  readonly #opcodes: OpcodeTable
  readonly #stack: unknown[] = []
  readonly #marks: number[] = []
  readonly #memo: unknown[] = []
  #floor = 0
  #opcodeAt = 0
  #expansion: number

  constructor(bytes: Buffer, options: PickleReadOptions) {
    this.bytes = bytes
    this.hooks = options.hooks
    this.keepFloats = options.keepFloats
    this.#label = options.label
    this.#opcodes = options.opcodes
    this.#expansion = bytes.length * expansionFactor + expansionSlack
  }

  /** Runs to STOP, which must be the last byte unless `moreFollows`, and returns the value. */
  load(options: { moreFollows?: boolean } = {}): unknown {
    while (!this.stopped) {
      this.#opcodeAt = this.position
      const code = this.u8()
      const handle = this.#opcodes[code]
      if (handle === undefined) this.#refuseOpcode(code)
      handle(this)
    }
    if (this.#marks.length > 0 || this.#stack.length !== 1) this.fail('values or marks are left over at STOP')
    if (options.moreFollows !== true && this.position !== this.bytes.length)
      this.fail(`${this.bytes.length - this.position} bytes follow STOP`)
    return this.pop()
  }

  /** Raises an error that names the pickle and the opcode's place. */
  fail(reason: string, code: ErrorCode = 'ERR_CHECKPOINT_CORRUPT'): never {
    throw new TorchkeepError(code, `${this.#label}, offset ${this.#opcodeAt}: ${reason}`)
  }

  /** Accounts for `count` bytes or items of a copy that the pickle asks for. */
  charge(count: number): void {
    this.#expansion -= count
    if (this.#expansion < 0) {
      this.fail(`the pickle blows up to more than ${expansionFactor} times its length`, 'ERR_CHECKPOINT_UNSAFE')
    }
  }

  push(value: unknown): void {
    this.#stack.push(value)
  }

  pop(): unknown {
    if (this.#stack.length <= this.#floor) this.fail('the stack is empty')
    return this.#stack.pop()
  }

  top(): unknown {
    if (this.#stack.length <= this.#floor) this.fail('the stack is empty')
    return this.#stack[this.#stack.length - 1]
  }

  mark(): void {
    this.#marks.push(this.#floor)
    this.#floor = this.#stack.length
  }

  /** Takes everything since the last mark. */
  popMark(): unknown[] {
    const below = this.#marks.pop()
    if (below === undefined) this.fail('there is no mark')
    const items = this.#stack.splice(this.#floor)
    this.#floor = below
    return items
  }

  memoGet(index: number): void {
    if (!(index in this.#memo)) this.fail(`the memo has no entry ${index}`)
    this.push(this.#memo[index])
  }

  memoPut(index: number): void {
    if (index > this.bytes.length) this.fail(`a memo entry ${index} in a pickle of ${this.bytes.length} bytes`)
    this.#memo[index] = this.top()
  }

  u8(): number {
    return this.bytes[this.#advance(1)] ?? 0
  }

  u16(): number {
    return this.bytes.readUInt16LE(this.#advance(2))
  }

  u32(): number {
    return this.bytes.readUInt32LE(this.#advance(4))
  }

  i32(): number {
    return this.bytes.readInt32LE(this.#advance(4))
  }

  f64(): number {
    return this.bytes.readDoubleBE(this.#advance(8))
  }

  /** The next `length` bytes, as a view. */
  take(length: number): Buffer {
    const at = this.#advance(length)
    return this.bytes.subarray(at, at + length)
  }

  /** Text up to a newline. */
  line(): string {
    const end = this.bytes.indexOf(0x0a, this.position)
    if (end < 0) this.fail('a name does not end')
    const text = decodePythonUtf8(this, this.bytes.subarray(this.position, end))
    this.position = end + 1
    return text
  }

  /** Adds entries to the dict on the top of the stack. */
  setItems(items: readonly unknown[]): void {
    const target = this.top()
    if (!(target instanceof Map)) this.fail('SETITEM on something that is no dict')
    if (items.length % 2 !== 0) this.fail('a dict key without a value')
    for (let index = 0; index < items.length; index += 2) {
      const key = items[index]
      if (typeof key !== 'string') this.checkKey(target, key)
      target.set(key, items[index + 1])
    }
  }

  /** Adds items to the list on the top of the stack. */
  appendItems(items: readonly unknown[]): void {
    const target = this.top()
    if (!Array.isArray(target) || target instanceof Tuple) this.fail('APPEND on something that is no list')
    for (const item of items) target.push(item)
  }

  /** Refuses what Python could not hash, and a key that Python takes for another one of the same container. */
  checkKey(container: { has(key: unknown): boolean }, key: unknown): void {
    if (key instanceof Tuple) this.charge(key.length)
    if (!isHashable(key)) this.fail('a list, dict, set or bytearray as a key or a member of a set')
    const twin = equalKey(container, key)
    if (twin !== undefined) this.fail(`Python takes the keys ${String(key)} and ${String(twin)} for the same`)
  }

  #advance(length: number): number {
    const at = this.position
    if (length > this.bytes.length - at) {
      this.fail(`${length} bytes are wanted at ${at}, the pickle has ${this.bytes.length}`)
    }
    this.position = at + length
    return at
  }

  #refuseOpcode(code: number): never {
    const name = refusedOpcodeNames.get(code)
    if (name === undefined) this.fail(`0x${code.toString(16)} is no pickle opcode`)
    this.fail(`the opcode ${name}, which torch.load(weights_only=True) refuses`, 'ERR_CHECKPOINT_UNSUPPORTED')
  }
}

/** Python's `str(bytes, 'utf-8', 'surrogatepass')`. */
export function decodePythonUtf8(reader: PickleReader, bytes: Buffer): string {
  const text = bytes.toString('utf8')
  if (!text.includes('\ufffd')) return text
  if (Buffer.from(text).equals(bytes)) return text
  return decodeSurrogates(reader, bytes)
}

/** UTF-8 in which lone surrogates stand as three bytes of their own. */
function decodeSurrogates(reader: PickleReader, bytes: Buffer): string {
  let text = ''
  let start = 0
  for (let at = 0; at + 2 < bytes.length; at++) {
    const [first = 0, second = 0, third = 0] = bytes.subarray(at, at + 3)
    if (first !== 0xed || second < 0xa0) continue
    const plain = bytes.subarray(start, at)
    const unit = 0xd000 | ((second & 0x3f) << 6) | (third & 0x3f)
    const previous = text.charCodeAt(text.length - 1)
    if (plain.length === 0 && unit >= 0xdc00 && previous >= 0xd800 && previous < 0xdc00) {
      reader.fail('a string with two surrogates that would become one character', 'ERR_CHECKPOINT_UNSUPPORTED')
    }
    text += strictUtf8(reader, plain) + String.fromCharCode(unit)
    start = at + 3
    at += 2
  }
  return text + strictUtf8(reader, bytes.subarray(start))
}

function strictUtf8(reader: PickleReader, bytes: Buffer): string {
  const text = bytes.toString('utf8')
  if (!Buffer.from(text).equals(bytes)) reader.fail('a string that is not UTF-8')
  return text
}
