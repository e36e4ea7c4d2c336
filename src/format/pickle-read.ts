/**
 * Reads a pickle without running anything: a stack machine over bytes. What the opcodes do stands in `pickle-opcodes.ts`, what globals mean is the business of
 * {@link PickleHooks}. Work and memory are bounded by the length of the pickle.
 */
import { TorchkeepError, type ErrorCode } from './errors.js'
import type { FormatFindingId } from './findings.js'
import { expandsBeyond, isContainer, mostParts } from './pickle-expansion.js'
import { opcodeNames, type OpcodeName } from './opcodes.js'
import { equalKey, isHashable, TupleKeys } from './python-keys.js'
import { fetchedMemoEntries } from './pickle-scan.js'
import { decodePythonUtf8 } from './python-text.js'
import { OpaqueObject, Tuple } from './values.js'

/** What globals, calls and persistent ids of a pickle stand for. Failures are raised through the reader's `fail`. */
export interface PickleHooks {
  /** A class or function by module and name; must refuse all but what is known to be harmless. */
  global(module: string, name: string, reader: PickleReader): unknown
  /** What calling `callable` would give (REDUCE, INST, OBJ). */
  reduce(callable: unknown, args: Tuple, reader: PickleReader): unknown
  /** What `cls.__new__(cls, *args)` (NEWOBJ), or with keywords `cls.__new__(cls, *args, **keywordArgs)` (NEWOBJ_EX) would give. */
  newObject(cls: unknown, args: Tuple, keywordArgs: ReadonlyMap<unknown, unknown> | null, reader: PickleReader): unknown
  /** Sets an object's state (BUILD). */
  build(instance: unknown, state: unknown, reader: PickleReader): void
  /** The object behind a persistent id (BINPERSID, PERSID): a storage. */
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

/** What an item counts for that is copied into a dict or set, see {@link PickleReader.charge}: hashing takes its time. */
export const hashedItemCost = 4

/** Slack of {@link expansionFactor} for tiny pickles. */
const expansionSlack = 1 << 16

/** Memory for the objects of a pickle, as a multiple of its length: state dicts and optimizer states take 8 to 12 times, a list of empty dicts without memo entries 200 times. */
const objectsFactor = 24

/** Slack of {@link objectsFactor}. */
const objectsSlackBytes = 24 << 20

/** Largest int as a key: comparing larger ones takes time. */
const maxKey = 1n << 1024n

/** With so few containers fetched from the memo, or taken twice, nothing can multiply. */
const fewFetched = 16

/** What the error codes of findings are, where it is not ERR_CHECKPOINT_CORRUPT. */
const codes: Partial<Record<FormatFindingId, ErrorCode>> = {
  'pickle.unsafe_global': 'ERR_CHECKPOINT_UNSAFE',
  'pickle.limit': 'ERR_CHECKPOINT_UNSAFE',
  'pickle.unsupported': 'ERR_CHECKPOINT_UNSUPPORTED',
}

/** One pickle being read. */
export class PickleReader {
  readonly bytes: Buffer
  readonly keepFloats: boolean
  readonly hooks: PickleHooks
  /** Where the next byte is read. */
  position = 0
  /** Set by STOP. */
  stopped = false
  /** Texts that came as bytes of Python 2 (STRING, BINSTRING) and are not ASCII: their bytes are their UTF-8. */
  readonly byteStrings = new Set<string>()
  /** How many byte strings of Python 2 were no UTF-8 and are kept as bytes. */
  undecodedStrings = 0
  /** Tensors of old classes whose storage comes with BUILD. */
  readonly awaitingState = new Set<object>()
  /** Shared, as Python has one empty tuple. */
  readonly emptyTuple = new Tuple<never>()
  readonly #label: string
  readonly #opcodes: OpcodeTable
  readonly #usedOpcodes = new Uint8Array(256)
  /** Entries from `#size` on are left over. */
  readonly #stack: unknown[] = []
  #size = 0
  readonly #marks: number[] = []
  /** Entries that are never fetched hold `true`, so that what they were can go. */
  readonly #memo: unknown[] = []
  readonly #fetchedEntries: Uint8Array
  #memoSize = 0
  #containersFetched = 0
  readonly #tupleKeys = new WeakMap<object, TupleKeys>()
  #floor = 0
  #opcodeAt = 0
  #expansion: number
  #objectBytes: number

  constructor(bytes: Buffer, options: PickleReadOptions) {
    this.bytes = bytes
    this.hooks = options.hooks
    this.keepFloats = options.keepFloats
    this.#label = options.label
    this.#opcodes = options.opcodes
    this.#fetchedEntries = fetchedMemoEntries(bytes)
    this.#expansion = bytes.length * expansionFactor + expansionSlack
    this.#objectBytes = bytes.length * objectsFactor + objectsSlackBytes
  }

  /** Runs to STOP, which must be the last byte unless `moreFollows`, and returns the value. */
  load(options: { moreFollows?: boolean } = {}): unknown {
    const { bytes } = this
    while (!this.stopped) {
      this.#opcodeAt = this.position
      const code = bytes[this.position]
      if (code === undefined) this.fail('the pickle ends before STOP')
      this.position++
      const handle = this.#opcodes[code]
      if (handle === undefined) this.#refuseOpcode(code)
      this.#usedOpcodes[code] = 1
      handle(this)
    }
    if (this.#marks.length > 0 || this.#size !== 1) this.fail('values or marks are left over at STOP')
    if (this.awaitingState.size > 0) this.fail('a tensor never gets its storage', 'tensor.malformed')
    if (options.moreFollows !== true && this.position !== bytes.length)
      this.fail(`${bytes.length - this.position} bytes follow STOP`)
    const value = this.pop()
    if (this.#containersFetched > fewFetched && expandsBeyond(value, mostParts(bytes.length)))
      this.fail('the value has far more parts than the pickle, shared ones counted at each place', 'pickle.limit')
    return value
  }

  /** The stack split at its marks, outermost first: what is there when a broken pickle ends the reading. */
  frames(): unknown[][] {
    const begins = this.#marks.length === 0 ? [0] : [...this.#marks, this.#floor]
    return begins.map((begin, index) => this.#stack.slice(begin, begins[index + 1] ?? this.#size))
  }

  /** Names of the opcodes that occurred. */
  get usedOpcodes(): OpcodeName[] {
    const names: OpcodeName[] = []
    for (let code = 0; code < 256; code++)
      if (this.#usedOpcodes[code] === 1) names.push(opcodeNames.get(code) as OpcodeName)
    return names
  }

  /** Raises an error that names the pickle and the opcode's place; `subject` is the global, storage or tensor at fault. */
  fail(reason: string, finding: FormatFindingId = 'pickle.malformed', subject?: string): never {
    throw new TorchkeepError(
      codes[finding] ?? 'ERR_CHECKPOINT_CORRUPT',
      `${this.#label}, offset ${this.#opcodeAt}: ${reason}`,
      subject === undefined ? { finding } : { finding, subject },
    )
  }

  /** Accounts for `count` bytes or items of a copy that the pickle asks for. */
  charge(count: number): void {
    this.#expansion -= count
    if (this.#expansion < 0)
      this.fail(`the pickle blows up to more than ${expansionFactor} times its length`, 'pickle.limit')
  }

  /** Accounts for the memory of a new object. */
  allocate(sizeBytes: number): void {
    this.#objectBytes -= sizeBytes
    if (this.#objectBytes < 0)
      this.fail(`the objects of the pickle take more than ${objectsFactor} times its length`, 'pickle.limit')
  }

  push(value: unknown): void {
    this.#stack[this.#size++] = value
  }

  pop(): unknown {
    if (this.#size <= this.#floor) this.fail('the stack is empty')
    return this.#stack[--this.#size]
  }

  top(): unknown {
    if (this.#size <= this.#floor) this.fail('the stack is empty')
    return this.#stack[this.#size - 1]
  }

  /** DUP: the top once more. */
  duplicate(): void {
    this.#containersFetched++
    this.push(this.top())
  }

  /** POP: takes the top, or the last mark where nothing is above it. */
  drop(): void {
    if (this.#size > this.#floor) this.#size--
    else this.popMark()
  }

  mark(): void {
    this.#marks.push(this.#floor)
    this.#floor = this.#size
  }

  /** Takes everything since the last mark. */
  popMark(): unknown[] {
    const below = this.#marks.pop()
    if (below === undefined) this.fail('there is no mark')
    const items = this.#stack.slice(this.#floor, this.#size)
    this.#size = this.#floor
    this.#floor = below
    return items
  }

  /** Replaces the last `count` values by a tuple of them. */
  pushTuple(count: 1 | 2 | 3): void {
    const start = this.#size - count
    if (start < this.#floor) this.fail('the stack is empty')
    this.allocate(80)
    const stack = this.#stack
    const items =
      count === 1 ? [stack[start]] : count === 2 ? [stack[start], stack[start + 1]] : stack.slice(start, this.#size)
    stack[start] = new Tuple(items)
    this.#size = start + 1
  }

  memoGet(index: number): void {
    const value = this.#memo[index]
    if (value === undefined) this.fail(`the memo has no entry ${index}`)
    if (isContainer(value)) this.#containersFetched++
    this.#stack[this.#size++] = value
  }

  memoPut(index: number): void {
    if (index > this.bytes.length)
      this.fail(`a memo entry ${index} in a pickle of ${this.bytes.length} bytes`, 'pickle.limit')
    if (this.#memo[index] === undefined) this.#memoSize++
    const value = this.top()
    this.#memo[index] = ((this.#fetchedEntries[index >> 3] as number) & (1 << (index & 7))) === 0 ? true : value
  }

  /** MEMOIZE: the next entry. */
  memoAppend(): void {
    this.memoPut(this.#memoSize)
  }

  u8(): number {
    return this.bytes[this.#advance(1)] as number
  }

  u16(): number {
    return this.bytes.readUInt16LE(this.#advance(2))
  }

  u32(): number {
    return this.bytes.readUInt32LE(this.#advance(4))
  }

  /** A length of eight bytes. */
  u64(): number {
    const length = this.bytes.readBigUInt64LE(this.#advance(8))
    if (length > this.bytes.length) this.fail(`${length} bytes are wanted, the pickle has ${this.bytes.length}`)
    return Number(length)
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

  /** The next `length` bytes as text. */
  text(length: number): string {
    const at = this.#advance(length)
    return decodePythonUtf8(this, this.bytes, at, at + length)
  }

  /** Text up to a newline, as `utf8` or byte by byte. */
  line(encoding: 'utf8' | 'latin1' = 'utf8'): string {
    const start = this.position
    const end = this.bytes.indexOf(0x0a, start)
    if (end < 0) this.fail('a line of text does not end')
    this.position = end + 1
    if (encoding === 'latin1') return this.bytes.toString('latin1', start, end)
    return decodePythonUtf8(this, this.bytes, start, end)
  }

  /** Adds entries to the dict on the top of the stack. */
  setItems(items: readonly unknown[]): void {
    const target = this.topEntries()
    if (items.length % 2 !== 0) this.fail('a dict key without a value')
    for (let index = 0; index < items.length; index += 2) this.setItem(target, items[index], items[index + 1])
  }

  /** Adds an entry to a dict. */
  setItem(target: Map<unknown, unknown>, key: unknown, value: unknown): void {
    if (typeof key !== 'string') this.checkKey(target, key)
    target.set(key, value)
  }

  /** The dict on the top of the stack, for SETITEM. */
  topEntries(): Map<unknown, unknown> {
    const target = this.top()
    if (target instanceof Map) return target
    if (!(target instanceof OpaqueObject)) this.fail('SETITEM on something that is no dict')
    this.#checkItems(target)
    return (target.entries ??= new Map())
  }

  /** The list on the top of the stack, for APPEND. */
  topList(): unknown[] {
    const target = this.top()
    if (target instanceof OpaqueObject) {
      this.#checkItems(target)
      return (target.items ??= [])
    }
    if (!Array.isArray(target) || target instanceof Tuple) this.fail('APPEND on something that is no list')
    return target
  }

  /** Items come before the state in all that Python pickles. After it, they would be given to the `append` or `extend` that the state has put into the object. */
  #checkItems({ className, state }: OpaqueObject): void {
    if (state === undefined) return
    const danger = `an object of ${className} gets items after its state, which Python would give to a method of the state`
    this.fail(danger, 'pickle.unsafe_global', className)
  }

  /** Refuses what Python could not hash, and a key that Python takes for another one of the same container. */
  checkKey(container: ReadonlyMap<unknown, unknown> | ReadonlySet<unknown>, key: unknown): void {
    if (!isHashable(key)) this.fail('a list, dict, set or bytearray as a key or a member of a set')
    if (key instanceof Tuple) this.#checkTuple(container, key)
    else this.#checkKeySize(key)
    const twin = equalKey(container, key)
    if (twin !== undefined) this.fail(`Python takes the keys ${String(key)} and ${String(twin)} for the same`)
  }

  #checkKeySize(key: unknown): void {
    if (typeof key === 'bigint' && (key > maxKey || key < -maxKey))
      this.fail('an int beyond 1024 bits as a key', 'pickle.limit')
  }

  #checkTuple(container: object, key: Tuple): void {
    this.charge(hashedItemCost * (1 + key.length))
    for (const item of key) {
      if (typeof item === 'string') this.charge(item.length)
      else this.#checkKeySize(item)
    }
    const tuples = this.#tupleKeys.get(container) ?? new TupleKeys()
    this.#tupleKeys.set(container, tuples)
    if (!tuples.add(key)) this.fail('two tuples with equal items as keys, which Python takes for the same')
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
    const name = opcodeNames.get(code)
    if (name === undefined) this.fail(`0x${code.toString(16)} is no pickle opcode`)
    this.fail(`the opcode ${name}, which no checkpoint needs`, 'pickle.unsupported', name)
  }
}
