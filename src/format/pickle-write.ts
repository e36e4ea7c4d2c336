/** Writes Python values as a protocol 2 pickle that `torch.load(weights_only=True)` reads, byte for byte as CPython's pickler would where identities allow. */
import { TorchkeepError } from './errors.js'
import { standingOf } from './foreign-globals.js'
import { addedSafeGlobals, allowedGlobals, pickledName, splitName } from './globals.js'
import { opcode } from './opcodes.js'
import { PickleEmitter } from './pickle-emit.js'
import { isForeign, writeForeign } from './pickle-write-foreign.js'
import { equalKey, isHashable, TupleKeys } from './python-keys.js'
import {
  ByteArray,
  Complex,
  Counter,
  DefaultDict,
  Device,
  FrozenSet,
  Layout,
  OrderedDict,
  PyFloat,
  PythonGlobal,
  Size,
  TorchDType,
  Tuple,
} from './values.js'
import { formatPath, isPlainObject, maxDepth } from './walk.js'

/** CPython writes containers in batches of this many items. */
const batchSize = 1000

/**
 * Writes an object that is no Python value (a tensor, a storage): pushes exactly one value through the writer's emitter. Returns its memo number, `'unnumbered'`
 * where it has none, or `'unknown'` with nothing pushed.
 */
export type WriteObject = (writer: PickleWriter, value: object) => number | 'unnumbered' | 'unknown'

/**
 * What becomes of values that `torch.load(weights_only=True)` refuses (numpy values, defaultdicts, objects of other classes): `refuse` raises an error, `keep` writes them as
 * they were read.
 */
export type ForeignValues = 'refuse' | 'keep'

/** Pickles one value. @throws TorchkeepError ERR_INVALID_ARGUMENT naming the place of a value that cannot be written. */
export function writePickle(value: unknown, writeObject: WriteObject, foreign: ForeignValues = 'refuse'): Uint8Array {
  const writer = new PickleWriter(writeObject, foreign)
  writer.value(value)
  return writer.emit.finish()
}

/** One pickle in the making. The memo keeps shared and cyclic containers what they are. */
export class PickleWriter {
  readonly emit: PickleEmitter
  readonly foreign: ForeignValues
  readonly #memo = new Map<object, number>()
  readonly #openTuples = new Set<object>()
  readonly #path: unknown[] = []
  readonly #writeObject: WriteObject

  constructor(writeObject: WriteObject, foreign: ForeignValues) {
    this.#writeObject = writeObject
    this.foreign = foreign
    this.emit = new PickleEmitter(foreign === 'keep')
  }

  /** Pushes one value. */
  value(value: unknown): void {
    if (value === null) this.emit.none()
    else if (typeof value === 'boolean') this.emit.bool(value)
    else if (typeof value === 'number') this.#number(value)
    else if (typeof value === 'bigint') this.emit.int(value)
    else if (typeof value === 'string') this.emit.string(value)
    else if (typeof value === 'object') this.#object(value)
    else this.refuse(`a value of type ${typeof value} has no counterpart in Python`)
  }

  /** A `dict` of the entries, for the attributes of tensors too. */
  dict(entries: Map<unknown, unknown>): void {
    this.emit.op(opcode.EMPTY_DICT)
    this.#memo.set(entries, this.emit.put())
    this.setItems(entries, true)
  }

  /** Integral numbers are `int` where JavaScript is exact; -0 and everything larger is `float`. */
  #number(value: number): void {
    if (Number.isSafeInteger(value) && !Object.is(value, -0)) this.emit.int(value)
    else this.emit.float(value)
  }

  #object(value: object): void {
    const memoized = this.#memo.get(value)
    if (memoized !== undefined) return this.emit.get(memoized)
    if (this.#path.length > maxDepth) this.refuse(`values are nested deeper than ${maxDepth} levels`)
    if (value instanceof DefaultDict || value instanceof FrozenSet) writeForeign(this, value)
    else if (value instanceof Size)
      this.remember(value, this.emit.reduce('torch', 'Size', [() => this.#plainTuple(value)]))
    else if (value instanceof Tuple) this.#tuple(value)
    else if (Array.isArray(value)) this.#list(value)
    else if (value instanceof OrderedDict) this.#orderedDict(value)
    else if (value instanceof Counter) this.#counter(value)
    else if (value instanceof Map) this.dict(value)
    else if (value instanceof Set) this.#set(value)
    else if (value instanceof PyFloat) this.emit.float(value.value)
    else if (value instanceof Uint8Array) this.#bytes(value)
    else if (isPlainObject(value)) this.#plainObject(value)
    else if (!this.#torchValue(value)) {
      const index = isForeign(value) ? writeForeign(this, value) : this.#writeObject(this, value)
      if (index === 'unknown') this.refuse(describeUnknown(value))
      if (index !== 'unnumbered') this.#memo.set(value, index)
    }
  }

  #torchValue(value: object): boolean {
    const text = (content: string) => () => this.emit.string(content)
    if (value instanceof TorchDType) this.emit.global('torch', value.name)
    else if (value instanceof Complex) {
      const parts = [value.re, value.im].map((part) => () => this.emit.float(part))
      this.remember(value, this.emit.reduce('__builtin__', 'complex', parts))
    } else if (value instanceof Device) {
      const { type, index } = value
      const parts = [text(type), ...(index === null ? [] : [() => this.emit.int(index)])]
      this.remember(value, this.emit.reduce('torch', 'device', parts))
    } else if (value instanceof Layout) {
      this.remember(value, this.emit.reduce('torch.serialization', '_get_layout', [text(`torch.${value.name}`)]))
    } else if (value instanceof PythonGlobal) {
      this.emit.global(...this.nameOf(value.name, value.module))
    } else return false
    return true
  }

  /** Notes the memo entry of an object; -1 for none. */
  remember(value: object, index: number): void {
    if (index >= 0) this.#memo.set(value, index)
  }

  #tuple(items: Tuple): void {
    if (this.#openTuples.has(items))
      this.refuse('a tuple that contains itself cannot be saved for torch.load(weights_only=True)')
    this.#openTuples.add(items)
    this.remember(items, this.#plainTuple(items))
    this.#openTuples.delete(items)
  }

  #plainTuple(items: Tuple): number {
    return this.emit.tuple(Array.from(items, (item, index) => () => this.#at(index, item)))
  }

  #list(items: readonly unknown[]): void {
    this.emit.op(opcode.EMPTY_LIST)
    this.#memo.set(items, this.emit.put())
    this.appendItems(items)
  }

  /** Adds items to the list on the top of the stack. */
  appendItems(items: readonly unknown[]): void {
    if (items.length === 1) {
      this.#at(0, items[0])
      this.emit.op(opcode.APPEND)
      return
    }
    for (let start = 0; start < items.length; start += batchSize) {
      this.emit.op(opcode.MARK)
      for (let index = start; index < Math.min(start + batchSize, items.length); index++) this.#at(index, items[index])
      this.emit.op(opcode.APPENDS)
    }
  }

  #plainObject(value: Record<string, unknown>): void {
    this.emit.op(opcode.EMPTY_DICT)
    this.#memo.set(value, this.emit.put())
    const symbol = Object.getOwnPropertySymbols(value)[0]
    if (symbol !== undefined) this.refuse(`the key ${String(symbol)} has no counterpart in Python`)
    this.setItems(new Map(Object.entries(value)), true)
  }

  #orderedDict(value: OrderedDict): void {
    this.#memo.set(value, this.emit.reduce('collections', 'OrderedDict', []))
    this.setItems(value, false)
    if (value.attributes === null) return
    this.dict(value.attributes)
    this.emit.op(opcode.BUILD)
  }

  #counter(value: Counter): void {
    const counts = new Map(value)
    this.#memo.set(value, this.emit.reduce('collections', 'Counter', [() => this.dict(counts)]))
  }

  #checkKeys(entries: Map<unknown, unknown>): void {
    const tuples = new TupleKeys()
    for (const key of entries.keys()) {
      if (key instanceof Tuple && !tuples.add(key)) this.refuse('Python takes two tuples with equal items for one key')
      if (!isHashable(key)) this.refuse('a list, dict, set or bytearray cannot be the key of a dict')
      const twin = equalKey(entries, key)
      if (twin !== undefined) this.refuse(`Python takes the keys ${String(key)} and ${String(twin)} for the same`)
    }
  }

  /** Adds entries to the dict on the top of the stack, in CPython's batches: an exact `dict` ends a full last batch with an empty one, a subclass writes a single leftover with SETITEM. */
  setItems(entries: Map<unknown, unknown>, exactDict: boolean): void {
    this.#checkKeys(entries)
    const items = [...entries]
    if (items.length === 0) return
    for (let start = 0; ; start += batchSize) {
      const batch = items.slice(start, start + batchSize)
      const alone = batch.length === 1 && (!exactDict || items.length === 1)
      if (batch.length === 0 && !exactDict) return
      if (!alone) this.emit.op(opcode.MARK)
      for (const [key, value] of batch) {
        this.#at('(key)', key)
        this.#at(key, value)
      }
      this.emit.op(alone ? opcode.SETITEM : opcode.SETITEMS)
      if (batch.length < batchSize) return
    }
  }

  #set(value: Set<unknown>): void {
    const tuples = new TupleKeys()
    for (const member of value) {
      if (member instanceof Tuple && !tuples.add(member))
        this.refuse('Python takes two tuples with equal items for one member')
      if (!isHashable(member)) this.refuse('a list, dict, set or bytearray cannot be a member of a set')
      if (equalKey(value, member) !== undefined)
        this.refuse(`Python takes ${String(member)} for the same as another member`)
    }
    const members = () => {
      this.emit.op(opcode.EMPTY_LIST)
      this.emit.put()
      this.appendItems([...value])
    }
    this.#memo.set(value, this.emit.reduce('__builtin__', 'set', [members]))
  }

  /** `bytes` go as latin-1 text, as protocol 2 has none (an empty one too: CPython's form of it is refused by weights_only). */
  #bytes(value: Uint8Array): void {
    const text = Buffer.from(value.buffer, value.byteOffset, value.byteLength).toString('latin1')
    const encode = () =>
      this.emit.reduce('_codecs', 'encode', [() => this.emit.string(text), () => this.emit.string('latin1')])
    const index = value instanceof ByteArray ? this.emit.reduce('__builtin__', 'bytearray', [encode]) : encode()
    this.#memo.set(value, index)
  }

  /** Module and name of a global that may be written. */
  nameOf(fullName: string, module: string | null = null): [module: string, name: string] {
    if (this.foreign === 'refuse' && !allowedGlobals.has(fullName) && !addedSafeGlobals.has(fullName))
      this.refuse(`torch.load(weights_only=True) would refuse the global ${fullName}`)
    if (standingOf(...splitName(fullName, module)) === 'dangerous')
      this.refuse(`the global ${fullName}, which could run code`)
    const [from, name] = pickledName(fullName, module)
    if (!/^[\p{L}_][\p{L}\p{N}_]*$/u.test(name) || !/^[\p{L}_][\p{L}\p{N}_.]*$/u.test(from))
      this.refuse(`the global ${fullName} cannot be named in a pickle of protocol 2`)
    return [from, name]
  }

  #at(key: unknown, value: unknown): void {
    this.#path.push(key)
    this.value(value)
    this.#path.pop()
  }

  /** Raises an error that names the place of the value that is being written. */
  refuse(reason: string): never {
    throw new TorchkeepError('ERR_INVALID_ARGUMENT', `cannot save ${formatPath(this.#path)}: ${reason}`)
  }
}

function describeUnknown(value: object): string {
  const name = value.constructor.name
  if (ArrayBuffer.isView(value)) return `a ${name} is neither bytes (Uint8Array) nor a tensor; make a tensor of it`
  return `an object of class ${name} has no counterpart in Python`
}
