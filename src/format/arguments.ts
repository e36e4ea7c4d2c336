/** Checks the arguments of pickled calls. Each checker raises ERR_CHECKPOINT_CORRUPT naming the call and what was found. */
import { isDTypeName, type DTypeName } from './dtypes.js'
import type { FormatFindingId } from './findings.js'
import type { PickleReader } from './pickle-read.js'
import { StorageRecord, TensorRecord } from './tensor-record.js'
import { Layout, PyFloat, TorchDType, Tuple } from './values.js'

/** The arguments of one pickled call. */
export class CallArguments {
  /** What is called. */
  readonly name: string
  readonly values: Tuple
  readonly #reader: PickleReader

  constructor(name: string, values: Tuple, reader: PickleReader) {
    this.name = name
    this.values = values
    this.#reader = reader
  }

  /** Raises an error that names the call. */
  fail(reason: string, finding: FormatFindingId = 'pickle.malformed', subject?: string): never {
    return this.#reader.fail(`${this.name}: ${reason}`, finding, subject)
  }

  /** Refuses another number of arguments than `least` to `most`. */
  count(least: number, most = least): number {
    const { length } = this.values
    if (length < least || length > most)
      this.fail(`${length} arguments, expected ${least === most ? least : `${least} to ${most}`}`)
    return length
  }

  /** Accounts for a copy of `count` items; see {@link PickleReader.charge}. */
  charge(count: number): void {
    this.#reader.charge(count)
  }

  /** Accounts for the memory of a new object; see {@link PickleReader.allocate}. */
  allocate(sizeBytes: number): void {
    this.#reader.allocate(sizeBytes)
  }

  at(index: number): unknown {
    return this.values[index]
  }

  string(index: number): string {
    const value = this.at(index)
    return typeof value === 'string' ? value : this.#expected(index, 'a str')
  }

  bool(index: number): boolean {
    const value = this.at(index)
    return typeof value === 'boolean' ? value : this.#expected(index, 'a bool')
  }

  float(index: number): number {
    const value = this.at(index)
    if (value instanceof PyFloat) return value.value
    return typeof value === 'number' ? value : this.#expected(index, 'a float')
  }

  /** An integer from 0 to 2^53 - 1. */
  size(index: number): number {
    const value = this.at(index)
    return isSize(value) ? value : this.#expected(index, 'an int of at least 0')
  }

  int(index: number): number {
    const value = this.at(index)
    return Number.isSafeInteger(value) ? (value as number) : this.#expected(index, 'an int')
  }

  /** A tuple (or list) of sizes. */
  sizes(index: number): number[] {
    const value = this.at(index)
    if (!Array.isArray(value)) return this.#expected(index, 'a tuple of ints of at least 0')
    const { length } = value
    this.#reader.charge(length)
    const sizes = new Array<number>(length)
    for (let position = 0; position < length; position++) {
      const size: unknown = value[position]
      if (!isSize(size)) return this.#expected(index, 'a tuple of ints of at least 0')
      sizes[position] = size
    }
    return sizes
  }

  tuple(index: number): CallArguments {
    const value = this.at(index)
    if (!(value instanceof Tuple)) return this.#expected(index, 'a tuple')
    return new CallArguments(this.name, value, this.#reader)
  }

  map(index: number): Map<unknown, unknown> {
    const value = this.at(index)
    return value instanceof Map ? value : this.#expected(index, 'a dict')
  }

  storage(index: number): StorageRecord {
    const value = this.at(index)
    return value instanceof StorageRecord ? (value as StorageRecord) : this.#expected(index, 'a storage')
  }

  tensor(index: number): TensorRecord {
    const value = this.at(index)
    return value instanceof TensorRecord ? (value as TensorRecord) : this.#expected(index, 'a tensor')
  }

  layout(index: number): Layout {
    const value = this.at(index)
    return value instanceof Layout ? value : this.#expected(index, 'a layout')
  }

  dtype(index: number): DTypeName {
    const value = this.at(index)
    if (!(value instanceof TorchDType) || !isDTypeName(value.name))
      return this.#expected(index, 'a dtype that tensors can have')
    return value.name
  }

  #expected(index: number, what: string): never {
    return this.fail(`argument ${index + 1} is ${describe(this.at(index))}, expected ${what}`)
  }
}

function isSize(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0
}

/** A short name of a value for messages. */
export function describe(value: unknown): string {
  if (value === null) return 'None'
  if (value === undefined) return 'missing'
  if (typeof value === 'object') return `a ${value.constructor.name}`
  return `${typeof value} ${String(value).slice(0, 40)}`
}
