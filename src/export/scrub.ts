/** Takes out of a value what should not be shared: out of texts wherever they stand, keys included, and out of what stands under keys such as `password`. */
import { scalarText, namedParts } from '../checkpoint/plain-values.js'
import { TorchkeepError } from '../format/errors.js'
import { nearNames } from '../format/near-names.js'
import { isTensorRecord } from '../format/tensor-record.js'
import { NumpyArray, NumpyScalar, OpaqueObject, OrderedDict, PyFloat, Tuple } from '../format/values.js'
import { findSecrets, removed, scrubText, type SecretContext } from './secrets.js'
import { isEnvironment, isToldBy, tellingKey, type TellingKey } from './secrets-telling-keys.js'
import { IdentityWords } from './secrets-words.js'
import type { Removal } from './types.js'

/** How {@link scrub} goes about it. */
export interface ScrubOptions extends Omit<SecretContext, 'key'> {
  /** Dotted keys (`config.data.contact`) whose values stay as they are, with all below them. */
  allow?: readonly string[]
  /** Whether keys such as `password` tell of their values. Default true; in graphs they are names of inputs. */
  keysTell?: boolean
  /** What the value is called in keys: `config`. Default: empty, keys begin with those of the value. */
  root?: string
}

/** What {@link scrub} gives. */
export interface Scrubbed {
  value: unknown
  /** In the order of the value; one for each key and kind. Keys are those after the scrub. */
  removals: Removal[]
  /** Secrets that stayed because of `allow`: they may stand in other files too. */
  allowed: Set<string>
  /** Those of `allow` that name something. */
  used: Set<string>
}

/** Deepest nesting. */
const maxDepth = 200

/**
 * A copy without secrets. Where no `words` are given, those of this machine and of the value are looked for. Dicts, lists, tuples and sets are copied; texts, keys and bytes are scrubbed; what stands under a telling key is replaced whole; objects of unknown classes become dicts of their parts. Numbers and
 * tensors stay, but for numbers under keys such as `latitude` or `phone`. Scrubbing twice is scrubbing once.
 *
 * @throws TorchkeepError `ERR_CHECKPOINT_UNSAFE` for a value that is nested without end.
 */
export function scrub(value: unknown, options: ScrubOptions = {}): Scrubbed {
  const words = options.words ?? IdentityWords.ofThisMachine()
  if (options.words === undefined) gatherWords(value, words, options)
  const run = new Scrub({ ...options, words })
  const scrubbed = run.copy(value, {
    path: options.root ?? '',
    original: options.root ?? '',
    key: '',
    rule: null,
    depth: 0,
  })
  return { value: scrubbed, removals: run.removals, allowed: run.allowed, used: run.used }
}

/** Adds the names of people and machines that a value tells, so that they are found in all others too. */
export function gatherWords(
  value: unknown,
  words: IdentityWords,
  { allow = [], root = '', names }: ScrubOptions = {},
): void {
  const visit = (item: unknown, path: string, rule: TellingKey | null, depth: number): void => {
    if (allow.includes(path) || depth > maxDepth) return
    if (typeof item === 'string') {
      words.addFrom(item, names)
      if (rule !== null && rule.names !== null && isToldBy(rule, item) && !item.includes('[removed: ')) {
        words.add(item, rule.names)
        if (rule.names === 'host_name') words.add(item.split('.')[0] ?? '', 'host_name')
      }
    } else if (item instanceof Uint8Array) words.addFrom(Buffer.from(item).toString('latin1'), names)
    else
      for (const [key, child] of childrenOf(item)) {
        if (typeof key === 'string') words.addFrom(key, names)
        const own = Array.isArray(item) ? null : typeof key === 'string' ? tellingKey(key) : null
        visit(child, joined(path, key), own ?? rule, depth + 1)
      }
  }
  visit(value, root, null, 0)
}

/**
 * Refuses `--allow` keys that name nothing.
 *
 * @throws TorchkeepError `ERR_INVALID_ARGUMENT` with the nearest keys that there are.
 */
export function requireUsed(allow: readonly string[], used: ReadonlySet<string>, removals: readonly Removal[]): void {
  const unknown = allow.find((key) => !used.has(key))
  if (unknown === undefined) return
  const near = nearNames(unknown, [...new Set(removals.map(({ key }) => key))])
  throw new TorchkeepError('ERR_INVALID_ARGUMENT', `allow: no key '${unknown}' is in what is exported`, {
    suggestions:
      near.length > 0
        ? near.map((key) => `--allow ${key}`)
        : ['the keys are those that a removal is reported with, such as config.data.contact'],
  })
}

/** Where a value stands. */
interface At {
  /** Dotted, as reported: keys scrubbed. */
  path: string
  /** Dotted, as in the source. */
  original: string
  key: string
  /** Of the key, or of one above it. */
  rule: TellingKey | null
  depth: number
}

class Scrub {
  readonly removals: Removal[] = []
  readonly allowed = new Set<string>()
  readonly used = new Set<string>()
  readonly #options: ScrubOptions
  readonly #texts = new Map<string, ReturnType<typeof scrubText>>()

  constructor(options: ScrubOptions) {
    this.#options = options
  }

  copy(value: unknown, at: At): unknown {
    const allowing = this.#allows(at.path) ?? this.#allows(at.original)
    if (allowing !== undefined) {
      this.used.add(allowing)
      this.#remember(value, at.depth)
      return value
    }
    if (typeof value === 'string' || typeof value === 'number' || typeof value === 'bigint')
      return this.#scalar(value, at)
    if (typeof value !== 'object' || value === null) return value
    if (at.depth > maxDepth)
      throw new TorchkeepError(
        'ERR_CHECKPOINT_UNSAFE',
        `${at.path.slice(0, 200)} is nested deeper than ${maxDepth} levels`,
      )
    return this.#leaf(value, at) ?? this.#container(value, at)
  }

  #tells(key: string): TellingKey | null {
    return this.#options.keysTell === false ? null : tellingKey(key)
  }

  #allows(path: string): string | undefined {
    return this.#options.allow?.find((key) => key === path)
  }

  #report(at: At, kinds: readonly string[]): void {
    for (const kind of kinds) {
      const known = this.removals.find((removal) => removal.key === at.path && removal.kind === kind)
      if (known === undefined) this.removals.push({ key: at.path, kind, count: 1 })
      else known.count++
    }
  }

  /** All texts of a value that is allowed, so that the search of the written files knows them. */
  #remember(value: unknown, depth: number): void {
    if (typeof value === 'string') {
      for (const { start, end } of findSecrets(value, this.#options)) this.allowed.add(value.slice(start, end))
    } else if (depth <= maxDepth) for (const part of childrenOf(value).flat()) this.#remember(part, depth + 1)
  }

  #scalar(value: string | number | bigint, at: At): unknown {
    if (at.rule !== null && isToldBy(at.rule, value)) {
      this.#report(at, [at.rule.kind])
      return removed(at.rule.kind)
    }
    return typeof value === 'string' ? this.#text(value, at) : value
  }

  #text(text: string, at: At): string {
    const versioned = /version|release|build|driver|cudnn/i.test(at.key)
    const known = versioned ? undefined : this.#texts.get(text)
    const result = known ?? scrubText(text, versioned ? { ...this.#options, key: at.key } : this.#options)
    if (!versioned && text.length < 200) this.#texts.set(text, result)
    this.#report(at, result.kinds)
    return result.text
  }

  /** Undefined for what has parts. */
  #leaf(value: object, at: At): unknown {
    if (value instanceof PyFloat) {
      if (at.rule === null || !isToldBy(at.rule, value.value)) return value
      return this.#scalar(value.value, at)
    }
    if (value instanceof NumpyScalar && typeof value.value !== 'object') {
      return typeof value.value === 'boolean' ? value.value : this.#scalar(value.value, at)
    }
    if (value instanceof Uint8Array) {
      const text = Buffer.from(value).toString('latin1')
      const scrubbed = at.rule !== null && isToldBy(at.rule, text) ? this.#scalar(text, at) : this.#text(text, at)
      return scrubbed === text ? value : new Uint8Array(Buffer.from(String(scrubbed), 'latin1'))
    }
    if (isTensorRecord(value)) return value
    if (value instanceof NumpyArray && value.objects === null) return this.#text(String(scalarText(value)), at)
    if (Array.isArray(value) || value instanceof Map || value instanceof Set || value instanceof OpaqueObject)
      return undefined
    return value instanceof NumpyArray ? undefined : scalarText(value) === undefined ? undefined : value
  }

  #container(value: object, at: At): unknown {
    if (Array.isArray(value)) return this.#list(value as unknown[], at)
    if (value instanceof Set) return new Set(this.#list([...(value as Set<unknown>)], at))
    if (value instanceof NumpyArray) return this.#list(value.objects ?? [], at)
    const map = this.#dict(childrenOf(value), at, value instanceof OrderedDict ? new OrderedDict() : new Map())
    if (value instanceof OrderedDict && map instanceof OrderedDict && value.attributes !== null)
      map.attributes = this.#dict([...value.attributes], at, new Map())
    return value instanceof Map || value instanceof OpaqueObject ? map : Object.fromEntries(map as Map<string, unknown>)
  }

  #list(items: readonly unknown[], at: At): unknown[] {
    const list: unknown[] = items instanceof Tuple ? new Tuple() : []
    for (const [index, item] of items.entries()) {
      // `['--password', 'x']` of a command line; `('password', 'x')`.
      const before: unknown = items[index - 1]
      const named =
        typeof before === 'string' && /^-{0,2}[A-Za-z][\w-]*$/.test(before)
          ? this.#tells(before.replace(/^-+/, ''))
          : null
      const rule =
        at.rule ?? (typeof before === 'string' && (before.startsWith('-') || items.length === 2) ? named : null)
      const place = { path: joined(at.path, index), original: joined(at.original, index) }
      list.push(this.copy(item, { ...place, key: at.key, rule, depth: at.depth + 1 }))
    }
    return list
  }

  #dict(entries: readonly (readonly [unknown, unknown])[], at: At, into: Map<unknown, unknown>): Map<unknown, unknown> {
    const environment = isEnvironment(entries.map(([key]) => key))
    for (const [key, item] of entries) {
      const isAllowed = this.#allows(joined(at.original, key)) !== undefined
      if (isAllowed) this.#remember(key, at.depth)
      const newKey = isAllowed ? key : this.#key(key, at, into)
      const name = typeof key === 'string' ? key : ''
      const own: TellingKey | null = environment
        ? { kind: 'environment', names: null, accept: () => true }
        : this.#tells(name)
      const place = { path: joined(at.path, newKey), original: joined(at.original, key) }
      into.set(newKey, this.copy(item, { ...place, key: name, rule: own ?? at.rule, depth: at.depth + 1 }))
    }
    return into
  }

  /** A key is text too. Two that become the same get numbers, so that nothing is lost. */
  #key(key: unknown, at: At, into: ReadonlyMap<unknown, unknown>): unknown {
    if (key instanceof Tuple || (Array.isArray(key) && key.length > 0))
      return this.#list(key as unknown[], { ...at, rule: null })
    if (typeof key !== 'string') return key
    const found = scrubText(key, this.#options)
    if (found.kinds.length === 0) return key
    let name = found.text
    for (let count = 2; into.has(name); count++) name = `${found.text} ${count}`
    this.#report({ ...at, path: joined(at.path, name) }, found.kinds)
    return name
  }
}

/** Parts with their keys. */
function childrenOf(value: unknown): readonly (readonly [unknown, unknown])[] {
  if (typeof value !== 'object' || value === null || value instanceof Uint8Array || isTensorRecord(value)) return []
  if (Array.isArray(value)) return [...value.entries()]
  if (value instanceof Set) return [...[...(value as Set<unknown>)].entries()]
  if (value instanceof NumpyArray) return [...(value.objects ?? []).entries()]
  if (value instanceof Map) return [...(value as Map<unknown, unknown>)]
  return scalarText(value) === undefined ? namedParts(value) : []
}

const joined = (path: string, key: unknown): string => {
  const name = typeof key === 'object' && key !== null ? '(key)' : String(key)
  return path === '' ? name : `${path}.${name}`
}
