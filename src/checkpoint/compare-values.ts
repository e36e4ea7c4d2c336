/** Compares trees of plain values with tensors in them: where they differ, and which tensors stand at the same place of both. */
import { NumpyArray, NumpyScalar, OpaqueObject, PyFloat, Complex } from '../format/values.js'
import { isTensorRecord, StorageRecord, TensorRecord, type AnyTensorRecord } from '../format/tensor-record.js'
import type { Tolerance } from './compare-figures.js'
import type { Plain } from './fields.js'
import { keyText, namedParts, plainValue, scalarText } from './plain-values.js'

/** One place where plain values differ. A side that has nothing there has no value. */
export interface ValueDifference {
  /** `protein_config.output_dim`, `phases[1].lr`. */
  path: string
  before?: Plain
  after?: Plain
}

/** A tensor at the same place of both trees. */
export interface TensorPair {
  name: string
  a: AnyTensorRecord
  b: AnyTensorRecord
}

/** What a comparison of two trees finds. */
export interface TreeComparison {
  /** At most {@link mostDifferences}. */
  differences: ValueDifference[]
  /** All of them. */
  numDifferences: number
  pairs: TensorPair[]
  /** Names of tensors, in order. */
  tensorsOnlyInA: string[]
  tensorsOnlyInB: string[]
}

/** Differences that are listed of one part; more are only counted. */
const mostDifferences = 1000

export interface TreeOptions {
  /** Keys of dicts that are passed over, wherever they stand. */
  ignored?: ReadonlySet<string>
  /** Applies to numbers of which one at least is not integral. */
  tolerance?: Tolerance | null
}

/**
 * Compares two values. Dicts are compared by key, whatever their order and class; lists and tuples place by place, as equals. Numbers are equal by value whatever their type (1 is 1.0, a numpy float its number), NaN
 * equals NaN. Attributes of dicts and tensors (`_metadata`, `requires_grad`) are not compared.
 * @param root what paths begin with.
 */
export function compareTrees(a: unknown, b: unknown, options: TreeOptions = {}, root = ''): TreeComparison {
  const walker = new TreeWalker(options)
  walker.compare(a, b, root)
  return walker.result
}

class TreeWalker {
  readonly result: TreeComparison = {
    differences: [],
    numDifferences: 0,
    pairs: [],
    tensorsOnlyInA: [],
    tensorsOnlyInB: [],
  }
  /** Pairs of containers that were met: cycles end, and what is shared is compared once. */
  readonly #met = new WeakMap<object, WeakSet<object>>()
  /** Stand for the side that lacks a list or dict with tensors. */
  readonly #noList: unknown[] = []
  readonly #noDict = new Map<unknown, unknown>()
  readonly #ignored: ReadonlySet<string>
  readonly #tolerance: Tolerance | null

  constructor({ ignored = new Set(), tolerance = null }: TreeOptions) {
    this.#ignored = ignored
    this.#tolerance = tolerance
  }

  compare(a: unknown, b: unknown, path: string): void {
    if (a === undefined && b === undefined) return
    const [left, right] = [asTensor(a), asTensor(b)]
    if (left !== null && right !== null) this.result.pairs.push({ name: path, a: left, b: right })
    else if (left !== null && b === undefined) this.result.tensorsOnlyInA.push(path)
    else if (right !== null && a === undefined) this.result.tensorsOnlyInB.push(path)
    else if (a === undefined || b === undefined) this.#oneSided(a, b, path)
    else this.#values(a, b, path)
  }

  #values(a: unknown, b: unknown, path: string): void {
    const [kindA, kindB] = [kindOf(a), kindOf(b)]
    if (kindA !== kindB) return this.#differ(a, b, path)
    if (kindA === 'leaf') {
      if (!equalLeaves(a, b, this.#tolerance)) this.#differ(a, b, path)
      return
    }
    if (this.#meet(a as object, b as object)) return
    if (kindA === 'list') {
      const [left, right] = [[...(a as Iterable<unknown>)], [...(b as Iterable<unknown>)]]
      for (let index = 0; index < Math.max(left.length, right.length); index++) {
        this.compare(left[index], right[index], `${path}[${index}]`)
      }
    } else {
      const [left, right] = [new Map(partsOf(a as object)), new Map(partsOf(b as object))]
      for (const key of new Set([...left.keys(), ...right.keys()])) {
        if (!this.#ignored.has(key)) this.compare(left.get(key), right.get(key), path === '' ? key : `${path}.${key}`)
      }
    }
  }

  /** A part that one side lacks: its tensors by name, all else as one difference. */
  #oneSided(a: unknown, b: unknown, path: string): void {
    const there = a ?? b
    if (kindOf(there) !== 'leaf' && holdsTensor(there)) {
      const other = kindOf(there) === 'list' ? this.#noList : this.#noDict
      if (a === undefined) this.#values(other, b, path)
      else this.#values(a, other, path)
    } else this.#differ(a, b, path)
  }

  #differ(a: unknown, b: unknown, path: string): void {
    if (++this.result.numDifferences > mostDifferences) return
    this.result.differences.push({
      path,
      ...(a !== undefined && { before: plainValue(a) }),
      ...(b !== undefined && { after: plainValue(b) }),
    })
  }

  /** Whether the two were compared before; they count as met from now on. */
  #meet(a: object, b: object): boolean {
    const met = this.#met.get(a) ?? new WeakSet<object>()
    this.#met.set(a, met)
    if (met.has(b)) return true
    met.add(b)
    return false
  }
}

/** A bare storage is compared as its bytes. */
function asTensor(value: unknown): AnyTensorRecord | null {
  if (isTensorRecord(value)) return value
  if (!(value instanceof StorageRecord)) return null
  return new TensorRecord({ storage: value as StorageRecord, dtype: 'uint8', sizes: [value.sizeBytes], strides: [1] })
}

type Kind = 'leaf' | 'list' | 'dict' | 'object'

function kindOf(value: unknown): Kind {
  if (typeof value !== 'object' || value === null) return 'leaf'
  if (Array.isArray(value) || value instanceof Set) return 'list'
  if (value instanceof OpaqueObject) return 'object'
  return scalarText(value) === undefined ? 'dict' : 'leaf'
}

/** Keys as texts. Where two keys have one text (1 and '1'), the later ones get their type added. */
function partsOf(value: object): (readonly [string, unknown])[] {
  if (!(value instanceof Map)) return namedParts(value)
  const seen = new Set<string>()
  return [...(value as Map<unknown, unknown>)].map(([key, item]) => {
    const text = keyText(key)
    const name = seen.has(text) ? `${text} (${typeof key})` : text
    seen.add(name)
    return [name, item] as const
  })
}

function holdsTensor(value: unknown, seen = new Set<unknown>()): boolean {
  if (asTensor(value) !== null) return true
  const kind = kindOf(value)
  if (kind === 'leaf' || seen.has(value)) return false
  seen.add(value)
  const items = kind === 'list' ? [...(value as Iterable<unknown>)] : partsOf(value as object).map(([, item]) => item)
  return items.some((item) => holdsTensor(item, seen))
}

function equalLeaves(a: unknown, b: unknown, tolerance: Tolerance | null): boolean {
  const [left, right] = [unwrapped(a), unwrapped(b)]
  if (typeof left === 'number' && typeof right === 'number') {
    if (left === right || (Number.isNaN(left) && Number.isNaN(right))) return true
    if (tolerance === null || (Number.isInteger(left) && Number.isInteger(right))) return false
    return Number.isFinite(right) && Math.abs(left - right) <= tolerance.atol + tolerance.rtol * Math.abs(right)
  }
  if (isNumeric(left) && isNumeric(right)) return left >= right && left <= right
  if (typeof left !== 'object' || typeof right !== 'object' || left === null || right === null) return left === right
  if (left instanceof Complex && right instanceof Complex)
    return equalLeaves(left.re, right.re, tolerance) && equalLeaves(left.im, right.im, tolerance)
  if (left instanceof Uint8Array && right instanceof Uint8Array) return Buffer.compare(left, right) === 0
  if (left instanceof NumpyScalar && right instanceof NumpyScalar)
    return left.dtype === right.dtype && Buffer.compare(left.bytes, right.bytes) === 0
  if (left instanceof NumpyArray && right instanceof NumpyArray) return equalArrays(left, right)
  return left.constructor === right.constructor && scalarText(left) === scalarText(right)
}

/** Comparisons between numbers and bigints are exact. */
const isNumeric = (value: unknown): value is number | bigint => typeof value === 'number' || typeof value === 'bigint'

function equalArrays(a: NumpyArray, b: NumpyArray): boolean {
  const facts = ({ dtype, shape, fortranOrder }: NumpyArray) => `${dtype} ${shape.join()} ${fortranOrder}`
  return facts(a) === facts(b) && Buffer.compare(a.bytes, b.bytes) === 0 && equalObjects(a.objects, b.objects)
}

function equalObjects(a: readonly unknown[] | null, b: readonly unknown[] | null): boolean {
  if (a === null || b === null) return a === b
  const { numDifferences, pairs, tensorsOnlyInA, tensorsOnlyInB } = compareTrees(a, b)
  return numDifferences + pairs.length + tensorsOnlyInA.length + tensorsOnlyInB.length === 0
}

/** A number, text or boolean out of the wrappers of a file. */
function unwrapped(value: unknown): unknown {
  if (value instanceof PyFloat) return value.value
  return value instanceof NumpyScalar && value.value !== null ? value.value : value
}
