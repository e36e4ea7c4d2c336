/** State dicts of schedulers: what an attribute is in Python, how it is written and how it is checked on reading. */
import { TorchkeepError } from '../../src/format/errors.js'
import { PyFloat } from '../../src/format/values.js'

/** How one attribute is written; `read` gives undefined for what it cannot be. */
export interface Kind<T> {
  readonly expected: string
  write(value: T): unknown
  read(value: unknown): T | undefined
  /** What an attribute has that the dict lacks; absent: it may not lack. */
  readonly missing?: T
}

/** The attributes of a scheduler: Python's names in the order of its `__dict__`. An attribute that is undefined is not written. */
export type Kinds<S extends object> = { readonly [K in keyof S]-?: Kind<Exclude<S[K], undefined>> }

const toNumber = (value: unknown): number | undefined => {
  const number = value instanceof PyFloat ? value.value : value
  return typeof number === 'number' ? number : undefined
}

function kind<T>(expected: string, read: (value: unknown) => T | undefined, write: (value: T) => unknown): Kind<T> {
  return { expected, read, write }
}

const integer = (value: unknown): number | undefined => {
  const number = toNumber(value)
  return Number.isSafeInteger(number) ? number : undefined
}

/** All items of a list, where each can be read. */
export function readList<T>(value: unknown, item: (value: unknown) => T | undefined): T[] | undefined {
  if (!Array.isArray(value)) return undefined
  const items = Array.from(value, item)
  return items.includes(undefined) ? undefined : (items as T[])
}

export const int: Kind<number> = kind('an integer', integer, (value) => value)
export const ints: Kind<readonly number[]> = kind(
  'a list of integers',
  (value) => readList(value, integer),
  (value) => value,
)
/** A Python float, also where it is integral. */
export const float: Kind<number> = kind('a number', toNumber, (value) => new PyFloat(value))
/** A number that Python holds as the user gave it: 0 is an int. */
export const number: Kind<number> = kind('a number', toNumber, (value) => value)
export const flag: Kind<boolean> = kind(
  'a flag',
  (value) => (typeof value === 'boolean' ? value : undefined),
  (value) => value,
)

/** One float a parameter group. */
export function floats(count: () => number): Kind<readonly number[]> {
  return perGroup(count, (value) => new PyFloat(value))
}

/** One number a parameter group, as the user gave it. */
export function numbers(count: () => number): Kind<readonly number[]> {
  return perGroup(count, (value) => value)
}

function perGroup(count: () => number, write: (value: number) => unknown): Kind<readonly number[]> {
  return {
    get expected() {
      return `a list of ${count()} numbers`
    },
    write: (value) => value.map(write),
    read(value) {
      const list = readList(value, toNumber)
      return list?.length === count() ? list : undefined
    },
  }
}

/** One of a few strings. */
export function choice<const T extends string>(...choices: readonly T[]): Kind<T> {
  return kind(
    `one of ${choices.join(', ')}`,
    (value) => choices.find((one) => one === value),
    (value) => value,
  )
}

/** The kind, or None. */
export function nullable<T>(inner: Kind<T>): Kind<T | null> {
  return kind(
    `${inner.expected} or None`,
    (value) => (value === null ? null : inner.read(value)),
    (value) => (value === null ? null : inner.write(value)),
  )
}

/** An attribute that Python's dict may lack, and what it then is. */
export const optional = <T>(inner: Kind<T>, missing: T): Kind<T> => ({
  expected: inner.expected,
  write: (value) => inner.write(value),
  read: (value) => inner.read(value),
  missing,
})

/** The state dict of a scheduler. */
export function writeState<S extends object>(kinds: Kinds<S>, state: S): Map<string, unknown> {
  const names = (Object.keys(kinds) as (keyof S & string)[]).filter((name) => state[name] !== undefined)
  return new Map(names.map((name) => [name, kinds[name].write(state[name] as Exclude<S[keyof S & string], undefined>)]))
}

/**
 * The attributes from a state dict; other keys, such as an older Python's `verbose`, are left alone.
 *
 * @throws TorchkeepError `ERR_CHECKPOINT_INCOMPATIBLE` naming the scheduler and the key.
 */
export function readState<S extends object>(
  scheduler: string,
  kinds: Kinds<S>,
  dict: ReadonlyMap<unknown, unknown>,
): S {
  const entries = Object.entries<Kind<unknown>>(kinds).map(([name, { expected, read, ...rest }]): [string, unknown] => {
    if (!dict.has(name) && 'missing' in rest) return [name, rest.missing]
    const value = dict.get(name)
    const found = read(value)
    if (found !== undefined) return [name, found]
    throw incompatible(
      scheduler,
      dict.has(name) ? `${name} is ${String(value)}, expected ${expected}` : `it has no ${name}`,
    )
  })
  return Object.fromEntries(entries) as S
}

export function incompatible(scheduler: string, problem: string): TorchkeepError {
  return new TorchkeepError(
    'ERR_CHECKPOINT_INCOMPATIBLE',
    `The scheduler's state dict does not fit ${scheduler}: ${problem}`,
  )
}
