/** Copies a value into a form that `torch.load(weights_only=True)` opens: what it refuses becomes its plain counterpart or leaves, and every change is told. Aliases and cycles stay. */
import { allowedGlobals } from '../format/globals.js'
import { swapBytes, swapUnitBytes } from '../format/byte-order.js'
import type { DTypeName } from '../format/dtypes.js'
import {
  elementCount,
  isTensorRecord,
  StorageRecord,
  tensorFromBytes,
  TensorRecord,
  type AnyTensorRecord,
  type ByteOrigin,
} from '../format/tensor-record.js'
import {
  Counter,
  DefaultDict,
  FrozenSet,
  NumpyArray,
  NumpyDType,
  NumpyScalar,
  OpaqueObject,
  OrderedDict,
  PyFloat,
  PythonGlobal,
  Size,
  Tuple,
} from '../format/values.js'
import type { RecoveryActs } from './recovery-record.js'

/** Stands for what leaves the tree. */
export const lost = Symbol('lost')

/** What becomes of tensors and storages. */
export interface TreeOptions {
  /** The tensor to write, or {@link lost} with the reason told by whoever decides. */
  tensor: (record: AnyTensorRecord, name: string) => AnyTensorRecord<ByteOrigin> | typeof lost
  storage: (record: StorageRecord, name: string) => StorageRecord<ByteOrigin> | typeof lost
  acts: RecoveryActs
}

/** Copies a tree. {@link lost} where nothing of it can be written. */
export function writableTree(root: unknown, options: TreeOptions): unknown {
  const tree = new TreeCopy(options)
  const copied = tree.copy(root, '')
  if (tree.numbers > 0) options.acts.repaired.push(`${tree.numbers} numpy numbers became plain ones`)
  return copied
}

const largestInt = 1n << 2000n

class TreeCopy {
  readonly #options: TreeOptions
  readonly #copies = new Map<object, unknown>()
  #numbers = 0

  constructor(options: TreeOptions) {
    this.#options = options
  }

  copy(value: unknown, name: string): unknown {
    if (typeof value === 'bigint' && (value > largestInt || value < -largestInt))
      return this.#lose(name, 'an int that torch.load(weights_only=True) refuses')
    if (typeof value !== 'object' || value === null) return value
    const known = this.#copies.get(value)
    if (known === lost) return this.#lose(name, 'the same as one that is lost')
    if (known !== undefined) return known
    const made = this.#container(value, name) ?? this.#leaf(value, name)
    this.#copies.set(value, made)
    return made
  }

  #lose(name: string, reason: string): typeof lost {
    this.#options.acts.lost.push(`${name}: ${reason}`)
    return lost
  }

  #repair(name: string, change: string): void {
    this.#options.acts.repaired.push(`${name}: ${change}`)
  }

  /** The copy of a container; undefined for anything else. */
  #container(value: object, name: string): unknown {
    if (value instanceof Map) return this.#map(value as Map<unknown, unknown>, name)
    if (Array.isArray(value) && !(value instanceof Size)) {
      const list: unknown[] = value instanceof Tuple ? new Tuple() : []
      this.#copies.set(value, list)
      for (const [index, item] of value.entries()) {
        const copied = this.copy(item, join(name, index))
        // Positions mean something in a list: what is lost leaves None behind.
        list.push(copied === lost ? null : copied)
      }
      return list
    }
    if (value instanceof Set) {
      if (value instanceof FrozenSet) this.#repair(name, 'a frozenset became a set')
      const set = new Set<unknown>()
      this.#copies.set(value, set)
      for (const item of value) {
        const copied = this.copy(item, join(name, '(member)'))
        if (copied !== lost) set.add(copied)
      }
      return set
    }
    return undefined
  }

  #map(value: Map<unknown, unknown>, name: string): Map<unknown, unknown> {
    const map = value instanceof OrderedDict ? new OrderedDict() : value instanceof Counter ? new Counter() : new Map()
    this.#copies.set(value, map)
    if (value instanceof DefaultDict) this.#repair(name, 'a defaultdict became a dict')
    for (const [key, item] of value) {
      const itemName = join(name, key)
      const newKey = key instanceof FrozenSet ? this.#lose(itemName, 'a frozenset as a key') : this.copy(key, itemName)
      const copied = newKey === lost ? lost : this.copy(item, itemName)
      if (copied !== lost) map.set(newKey, copied)
    }
    if (value instanceof OrderedDict && map instanceof OrderedDict && value.attributes !== null)
      map.attributes = this.#map(value.attributes, join(name, '(attributes)'))
    return map
  }

  #leaf(value: object, name: string): unknown {
    if (value instanceof StorageRecord) return this.#options.storage(value as StorageRecord, name)
    if (isTensorRecord(value)) return this.#tensor(value, name)
    if (value instanceof NumpyScalar) return this.#numpyScalar(value, name)
    if (value instanceof NumpyArray) return this.#numpyArray(value, name)
    if (value instanceof NumpyDType) {
      this.#repair(name, 'a numpy dtype became its name')
      return value.name
    }
    if (value instanceof OpaqueObject)
      return this.#lose(name, `an object of ${value.className}, which torch.load(weights_only=True) does not open`)
    if (value instanceof PythonGlobal && !allowedGlobals.has(value.name))
      return this.#lose(name, `the global ${value.name}, which torch.load(weights_only=True) does not open`)
    return value
  }

  #tensor(record: AnyTensorRecord, name: string): unknown {
    const made = this.#options.tensor(record, name)
    if (made === lost || !(made instanceof TensorRecord)) return made
    let { attributes, className } = made
    if (className !== null && !allowedGlobals.has(className)) {
      this.#repair(name, `a tensor of class ${className} became a plain one`)
      className = null
    }
    if (attributes !== null) attributes = this.#map(attributes, join(name, '(attributes)'))
    return className === made.className && attributes === made.attributes
      ? made
      : new TensorRecord({ ...made, attributes, className })
  }

  #numpyScalar({ value, dtype }: NumpyScalar, name: string): unknown {
    if (value === null) return this.#lose(name, `a numpy scalar of dtype ${dtype} has no counterpart`)
    this.#numbers++
    if (typeof value === 'number' && Number.isInteger(value) && /f\d/.test(dtype)) return new PyFloat(value)
    return value
  }

  /** How many numpy scalars became plain numbers; told once, since old checkpoints hold hundreds. */
  get numbers(): number {
    return this.#numbers
  }

  #numpyArray(array: NumpyArray, name: string): unknown {
    const tensor = tensorOfArray(array)
    if (tensor === null) return this.#lose(name, `a numpy array of dtype ${array.dtype} has no counterpart`)
    this.#repair(name, `a numpy array of dtype ${array.dtype} became a tensor`)
    return tensor
  }
}

const join = (name: string, key: unknown): string =>
  name === '' ? String(key) : `${name}.${typeof key === 'object' && key !== null ? '(key)' : String(key)}`

const kinds: Readonly<Record<string, DTypeName>> = {
  b1: 'bool',
  i1: 'int8',
  i2: 'int16',
  i4: 'int32',
  i8: 'int64',
  u1: 'uint8',
  u2: 'uint16',
  u4: 'uint32',
  u8: 'uint64',
  f2: 'float16',
  f4: 'float32',
  f8: 'float64',
  c8: 'complex64',
  c16: 'complex128',
}

/** A tensor with the items of a numpy array; null for dtypes that tensors do not have. */
function tensorOfArray(array: NumpyArray): TensorRecord<ByteOrigin> | null {
  const [, order = '', kind = ''] = /^([<>|=]?)(\w+)$/.exec(array.dtype) ?? []
  const dtype = kinds[kind]
  if (dtype === undefined || array.objects !== null) return null
  const bytes = new Uint8Array(array.bytes)
  if (order === '>') swapBytes(bytes, swapUnitBytes(dtype))
  const sizes = array.shape
  const tensor = tensorFromBytes({ dtype, sizes, bytes })
  if (!array.fortranOrder) return tensor
  const strides = sizes.map((_size, axis) => Math.max(elementCount(sizes.slice(0, axis)), 1))
  return new TensorRecord({ ...tensor, strides })
}
