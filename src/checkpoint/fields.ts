/**
 * Checked fields: how a value of the API (camelCase, typed) becomes a value inside a file (snake_case, Python's kinds) and back. A record is declared once
 * as a table of fields, which is the mapping in both directions, the check of what a user passes and the check of what a file holds.
 */
import { TorchkeepError, type ErrorCode } from '../format/errors.js'
import { PyFloat } from '../format/values.js'

/** Plain values: what a config may hold and `weights_only` accepts. */
export type Plain = null | boolean | number | bigint | string | readonly Plain[] | { readonly [key: string]: Plain }

/** Where a value stands, for messages: `trainingConfig.phases[0].lr`, `run/latest.pth: training_state.epoch`. */
export class Place {
  constructor(
    readonly code: ErrorCode,
    /** The file, or empty for a value of the API. */
    readonly file: string,
    readonly path = '',
  ) {}

  field(name: string): Place {
    return new Place(this.code, this.file, this.path === '' ? name : `${this.path}.${name}`)
  }

  item(index: number): Place {
    return new Place(this.code, this.file, `${this.path}[${index}]`)
  }

  /** Throws: this place should hold `expected` and holds `found`. */
  refuse(expected: string, found: unknown): never {
    this.fail(`should be ${expected}, but is ${describe(found)}`)
  }

  fail(what: string): never {
    throw new TorchkeepError(this.code, `${this.file === '' ? '' : `${this.file}: `}${this.path} ${what}`)
  }
}

/** One kind of value. `encode` and `decode` both check and both refuse at their place. */
export interface Field<T> {
  encode(value: T, at: Place): unknown
  decode(value: unknown, at: Place): T
}

/** For each property of `R`, its name in the file and its kind. A property that may be absent (`?`) may be absent in the file. */
export type Table<R> = {
  readonly [K in keyof R]-?: readonly [name: string, field: Field<Exclude<R[K], undefined>>, absent?: 'optional']
}

/** A record with the fields of `table`. Unknown properties of a user's value are refused; unknown keys of a file are left alone. */
export function record<R extends object>(table: Table<R>): Field<R> {
  const rows: Row[] = Object.entries<readonly [string, unknown, 'optional'?]>(table).map(
    ([property, [name, field, absent]]) => ({
      property,
      name,
      field: field as Field<unknown>,
      optional: absent === 'optional',
    }),
  )
  return {
    encode: (value, at) => encodeRecord(rows, value, at),
    decode: (value, at) => decodeRecord(rows, value, at) as R,
  }
}

interface Row {
  property: string
  name: string
  field: Field<unknown>
  optional: boolean
}

function encodeRecord(rows: readonly Row[], value: unknown, at: Place): Map<string, unknown> {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return at.refuse('an object', value)
  const properties = value as Readonly<Record<string, unknown>>
  const known = rows.map((row) => row.property)
  const unknown = Object.keys(properties).find((property) => !known.includes(property))
  if (unknown !== undefined) at.field(unknown).fail(`is not known here (known: ${known.join(', ')})`)
  const out = new Map<string, unknown>()
  for (const { property, name, field, optional } of rows) {
    if (properties[property] === undefined && optional) continue
    out.set(name, field.encode(properties[property], at.field(property)))
  }
  return out
}

function decodeRecord(rows: readonly Row[], value: unknown, at: Place): Record<string, unknown> {
  if (!(value instanceof Map)) return at.refuse('a dict', value)
  const out: Record<string, unknown> = {}
  for (const { property, name, field, optional } of rows) {
    if (value.has(name)) out[property] = field.decode(value.get(name), at.field(name))
    else if (!optional) at.field(name).fail('is missing')
  }
  return out
}

/** A list whose items are all of one kind. */
export function list<T>(item: Field<T>): Field<readonly T[]> {
  const check = (value: unknown, at: Place): readonly unknown[] =>
    Array.isArray(value) ? value : at.refuse('an array', value)
  return {
    encode: (value, at) => check(value, at).map((entry, index) => item.encode(entry as T, at.item(index))),
    decode: (value, at) => Array.from(check(value, at), (entry, index) => item.decode(entry, at.item(index))),
  }
}

/** A value of this kind, or null (None). */
export function nullable<T>(field: Field<T>): Field<T | null> {
  return {
    encode: (value, at) => (value === null ? null : field.encode(value, at)),
    decode: (value, at) => (value === null ? null : field.decode(value, at)),
  }
}

/** A Python int of at least `minimum`. */
export function integer(minimum: number): Field<number> {
  const check = (value: unknown, at: Place): number =>
    typeof value === 'number' && Number.isSafeInteger(value) && value >= minimum
      ? value
      : at.refuse(`an integer of at least ${minimum}`, value)
  return { encode: check, decode: check }
}

/** A Python float that `accepts`; written as a float even where it is integral. */
export function float(expected = 'a number', accepts: (value: number) => boolean = () => true): Field<number> {
  const check = (value: unknown, at: Place): number =>
    typeof value === 'number' && accepts(value) ? value : at.refuse(expected, value)
  return { encode: (value, at) => new PyFloat(check(value, at)), decode: check }
}

export const flag: Field<boolean> = scalar('true or false', (value): value is boolean => typeof value === 'boolean')
export const text: Field<string> = scalar('a string', (value): value is string => typeof value === 'string')

/** One of a few strings. */
export function oneOf<const T extends string>(...choices: readonly T[]): Field<T> {
  return scalar(`one of ${choices.map((choice) => `'${choice}'`).join(', ')}`, (value): value is T =>
    choices.includes(value as T),
  )
}

/** Anything plain: written as it is, read back as objects and arrays. */
export const plain: Field<Plain> = {
  encode(value, at) {
    checkPlain(value, at)
    return value
  },
  decode: toPlain,
}

/** A value that this module does not look into (tensors and dicts of tensors). `accepts` is checked on reading. */
export function opaque<T>(expected: string, accepts: (value: unknown) => boolean): Field<T> {
  return {
    encode: (value) => value,
    decode: (value, at) => (accepts(value) ? (value as T) : at.refuse(expected, value)),
  }
}

function scalar<T>(expected: string, accepts: (value: unknown) => value is T): Field<T> {
  const check = (value: unknown, at: Place): T => (accepts(value) ? value : at.refuse(expected, value))
  return { encode: check, decode: check }
}

/**
 * Refuses anything but null, booleans, numbers, bigints, strings, arrays and plain objects of such, by path: a function, a class instance or an
 * undefined would be lost or changed in the file.
 */
function checkPlain(value: unknown, at: Place, above: readonly object[] = []): void {
  if (value === null || ['boolean', 'number', 'bigint', 'string'].includes(typeof value)) return
  const expected = 'a plain value (null, boolean, number, string, array or plain object)'
  if (typeof value !== 'object') at.refuse(expected, value)
  if (above.includes(value)) at.refuse(expected, 'a reference to an object that contains it')
  if (Array.isArray(value)) {
    value.forEach((item, index) => checkPlain(item, at.item(index), [...above, value]))
    return
  }
  const prototype: unknown = Object.getPrototypeOf(value)
  if (prototype !== Object.prototype && prototype !== null) at.refuse(expected, value)
  for (const [key, item] of Object.entries(value)) checkPlain(item, at.field(key), [...above, value])
}

function toPlain(value: unknown, at: Place): Plain {
  if (value instanceof Map)
    return Object.fromEntries([...value].map(([key, item]) => [String(key), toPlain(item, at.field(String(key)))]))
  if (Array.isArray(value)) return Array.from(value, (item, index) => toPlain(item, at.item(index)))
  if (value === null || ['boolean', 'number', 'bigint', 'string'].includes(typeof value)) return value as Plain
  return at.refuse('a plain value', value)
}

/** A short text for a value in a message. */
function describe(value: unknown): string {
  if (value === null || value === undefined) return value === null ? 'null' : 'missing'
  if (typeof value === 'string') return JSON.stringify(value)
  if (typeof value === 'function') return `the function ${value.name || '(anonymous)'}`
  if (typeof value === 'object')
    return Array.isArray(value)
      ? `an array of ${value.length}`
      : `an object of class ${value.constructor?.name ?? 'Object'}`
  return `${typeof value} ${String(value)}`
}

/** The paths at which two plain values differ, for messages: `['phases[1].lr']`. */
export function differences(left: Plain | undefined, right: Plain | undefined, path = ''): string[] {
  if (Object.is(left, right)) return []
  if (
    typeof left === 'object' &&
    typeof right === 'object' &&
    left !== null &&
    right !== null &&
    Array.isArray(left) === Array.isArray(right)
  ) {
    const keys = new Set([...Object.keys(left), ...Object.keys(right)])
    const at = (key: string): string => (Array.isArray(left) ? `${path}[${key}]` : path === '' ? key : `${path}.${key}`)
    const pick = (value: object, key: string): Plain | undefined => (value as Record<string, Plain>)[key]
    return [...keys].flatMap((key) => differences(pick(left, key), pick(right, key), at(key)))
  }
  return [path]
}
