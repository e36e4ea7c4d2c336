/** Emits pickle opcodes (protocol 2) into a growing buffer, and keeps the memo's numbering. Knows nothing of values. */
import { TorchkeepError } from './errors.js'
import { opcode } from './opcodes.js'

/** One writer of opcodes; finished by {@link PickleEmitter.finish}. */
export class PickleEmitter {
  #buffer = Buffer.allocUnsafe(4096)
  #length = 0
  #memoSize = 0
  readonly #strings = new Map<string, number>()
  readonly #storageKeys = new Map<string, number>()
  readonly #globals = new Map<string, number>()

  /** @param longInts whether ints of more than 255 bytes may be written, which weights_only cannot read */
  constructor(readonly longInts = false) {
    this.op(opcode.PROTO)
    this.#byte(2)
  }

  /** Ends the stream and returns its bytes. */
  finish(): Uint8Array {
    this.op(opcode.STOP)
    return new Uint8Array(this.#buffer.subarray(0, this.#length))
  }

  op(code: number): void {
    this.#byte(code)
  }

  /** Memoizes the top of the stack and returns its number. */
  put(): number {
    const index = this.#memoSize++
    if (index < 256) {
      this.op(opcode.BINPUT)
      this.#byte(index)
    } else {
      this.op(opcode.LONG_BINPUT)
      this.#u32(index)
    }
    return index
  }

  /** Pushes a memoized object. */
  get(index: number): void {
    if (index < 256) {
      this.op(opcode.BINGET)
      this.#byte(index)
    } else {
      this.op(opcode.LONG_BINGET)
      this.#u32(index)
    }
  }

  none(): void {
    this.op(opcode.NONE)
  }

  bool(value: boolean): void {
    this.op(value ? opcode.NEWTRUE : opcode.NEWFALSE)
  }

  /** An `int`, in the form that CPython chooses. */
  int(value: number | bigint): void {
    if (value >= -0x80000000 && value <= 0x7fffffff) this.#smallInt(Number(value))
    else this.#longInt(BigInt(value))
  }

  #smallInt(value: number): void {
    if (value >= 0 && value < 0x100) {
      this.op(opcode.BININT1)
      this.#byte(value)
    } else if (value >= 0 && value < 0x10000) {
      this.op(opcode.BININT2)
      const at = this.#take(2)
      this.#buffer.writeUInt16LE(value, at)
    } else {
      this.op(opcode.BININT)
      const at = this.#take(4)
      this.#buffer.writeInt32LE(value, at)
    }
  }

  #longInt(value: bigint): void {
    const sizeBytes = longSizeBytes(value)
    if (sizeBytes <= 255) {
      this.op(opcode.LONG1)
      this.#byte(sizeBytes)
    } else {
      if (!this.longInts) refuseLong()
      this.op(opcode.LONG4)
      this.#u32(sizeBytes)
    }
    const at = this.#take(sizeBytes)
    const digits = BigInt.asUintN(8 * sizeBytes, value)
      .toString(16)
      .padStart(2 * sizeBytes, '0')
    this.#buffer.set(Buffer.from(digits, 'hex').reverse(), at)
  }

  float(value: number): void {
    this.op(opcode.BINFLOAT)
    const at = this.#take(8)
    this.#buffer.writeDoubleBE(value, at)
  }

  /** A `str`, memoized by its value. Lone surrogates are kept, as Python's `surrogatepass` does. */
  string(value: string): void {
    this.#string(value, this.#strings)
  }

  /** The key of a storage: PyTorch makes these strings anew, so they share memo entries with each other but with no other string. */
  storageKey(value: string): void {
    this.#string(value, this.#storageKeys)
  }

  #string(value: string, memo: Map<string, number>): void {
    const memoized = memo.get(value)
    if (memoized !== undefined) return this.get(memoized)
    const bytes = encodeUtf8(value)
    this.op(opcode.BINUNICODE)
    this.#u32(bytes.length)
    const at = this.#take(bytes.length)
    this.#buffer.set(bytes, at)
    memo.set(value, this.put())
  }

  /** A class or function by its module and name, memoized. */
  global(module: string, name: string): void {
    const text = `${module}\n${name}\n`
    const memoized = this.#globals.get(text)
    if (memoized !== undefined) return this.get(memoized)
    this.op(opcode.GLOBAL)
    const bytes = Buffer.from(text, 'utf8')
    const at = this.#take(bytes.length)
    this.#buffer.set(bytes, at)
    this.#globals.set(text, this.put())
  }

  /** A tuple of what the callbacks push, memoized unless it is empty, as CPython does; its number, or -1 for the empty one. */
  tuple(pushItems: readonly (() => void)[]): number {
    if (pushItems.length === 0) {
      this.op(opcode.EMPTY_TUPLE)
      return -1
    }
    if (pushItems.length > 3) this.op(opcode.MARK)
    for (const push of pushItems) push()
    const short = [opcode.TUPLE1, opcode.TUPLE2, opcode.TUPLE3]
    this.op(short[pushItems.length - 1] ?? opcode.TUPLE)
    return this.put()
  }

  /** Calls a global with arguments and memoizes the result; returns its number. */
  reduce(module: string, name: string, pushArguments: readonly (() => void)[]): number {
    this.global(module, name)
    this.tuple(pushArguments)
    this.op(opcode.REDUCE)
    return this.put()
  }

  /** Makes an instance of a class by its `__new__` and memoizes it; returns its number. */
  newObject(module: string, name: string, pushArguments: readonly (() => void)[]): number {
    this.global(module, name)
    this.tuple(pushArguments)
    this.op(opcode.NEWOBJ)
    return this.put()
  }

  #byte(value: number): void {
    const at = this.#take(1)
    this.#buffer[at] = value
  }

  #u32(value: number): void {
    const at = this.#take(4)
    this.#buffer.writeUInt32LE(value, at)
  }

  /** Makes room, advances, and returns where the room starts. The buffer may be another one afterwards, so call this before naming it. */
  #take(sizeBytes: number): number {
    const at = this.#length
    if (at + sizeBytes > this.#buffer.length) {
      const larger = Buffer.allocUnsafe(Math.max(2 * this.#buffer.length, at + sizeBytes))
      this.#buffer.copy(larger, 0, 0, at)
      this.#buffer = larger
    }
    this.#length = at + sizeBytes
    return at
  }
}

/** Bytes of the two's complement of an int that needs more than four. */
function longSizeBytes(value: bigint): number {
  const magnitude = value < 0n ? -value - 1n : value
  return Math.floor(magnitude.toString(2).length / 8) + 1
}

function refuseLong(): never {
  throw new TorchkeepError(
    'ERR_INVALID_ARGUMENT',
    'an int of more than 255 bytes cannot be saved for torch.load(weights_only=True)',
  )
}

function encodeUtf8(value: string): Buffer {
  if (!/\p{Surrogate}/u.test(value)) return Buffer.from(value, 'utf8')
  const pieces: Buffer[] = []
  for (const character of value) {
    const code = character.codePointAt(0) ?? 0
    const lone = code >= 0xd800 && code <= 0xdfff
    pieces.push(
      lone
        ? Buffer.from([0xe0 | (code >> 12), 0x80 | ((code >> 6) & 0x3f), 0x80 | (code & 0x3f)])
        : Buffer.from(character),
    )
  }
  return Buffer.concat(pieces)
}
