/**
 * Python values in JavaScript. What has a natural counterpart uses it: `None` null, `bool` boolean, `int` number (bigint beyond 2^53), `float` number,
 * `str` string, `list` Array, `dict` Map, `set` Set, `bytes` Uint8Array. The classes here stand for the rest, so that a value read from a file is written back
 * as what it was.
 */

/** A Python `tuple`. Methods that make new arrays (`map`, `filter`, `slice`) give plain arrays. */
export class Tuple<T = unknown> extends Array<T> {
  static override get [Symbol.species](): ArrayConstructor {
    return Array
  }

  /** `new Tuple([0.9, 0.999])`. */
  constructor(items: Iterable<T> = []) {
    if (Array.isArray(items)) {
      super(items.length) // exact: growing by push would reserve room for 17 items
      for (let index = 0; index < items.length; index++) this[index] = items[index] as T
    } else {
      super()
      for (const item of items) this.push(item)
    }
  }

  /** `Tuple.of(0.9, 0.999)`. */
  static override of<T extends unknown[]>(...items: T): Tuple<T[number]> {
    return new Tuple(items)
  }
}

/** `torch.Size`: a tuple of dimensions. */
export class Size extends Tuple<number> {}

/** A Python `float` whose value is integral: plain numbers such as 1 are written as `int`, `new PyFloat(1)` as `1.0`. */
export class PyFloat {
  constructor(readonly value: number) {}

  valueOf(): number {
    return this.value
  }

  toString(): string {
    return Number.isInteger(this.value) ? `${this.value}.0` : String(this.value)
  }
}

/** A Python `complex`. */
export class Complex {
  constructor(
    readonly re: number,
    readonly im: number,
  ) {}
}

/** A Python `bytearray`; plain `Uint8Array` stands for `bytes`. */
export class ByteArray extends Uint8Array {}

/** `collections.OrderedDict`; PyTorch's `state_dict()` gives one whose `_metadata` attribute holds module versions. */
export class OrderedDict<K = unknown, V = unknown> extends Map<K, V> {
  /** The instance's Python attributes, or null without any. */
  attributes: Map<unknown, unknown> | null = null

  /** The `_metadata` attribute, undefined where there is none. */
  get metadata(): unknown {
    return this.attributes?.get('_metadata')
  }

  set metadata(metadata: unknown) {
    this.attributes ??= new Map()
    this.attributes.set('_metadata', metadata)
  }
}

/** `collections.Counter`, as `MultiStepLR` keeps its milestones. */
export class Counter<K = unknown> extends Map<K, unknown> {}

/** `collections.defaultdict`. */
export class DefaultDict<K = unknown, V = unknown> extends Map<K, V> {
  /** The class or function that makes missing values, such as `builtins.list`; null without one. */
  factory: unknown = null
}

/** A Python `frozenset`. */
export class FrozenSet<T = unknown> extends Set<T> {}

/** A dtype as a value, such as `torch.float32`. Equal dtypes are the same object. */
export class TorchDType {
  static readonly #interned = new Map<string, TorchDType>()

  private constructor(
    /** PyTorch's name without the `torch.` prefix. */
    readonly name: string,
  ) {}

  static of(name: string): TorchDType {
    const found = TorchDType.#interned.get(name) ?? new TorchDType(name)
    TorchDType.#interned.set(name, found)
    return found
  }

  toString(): string {
    return `torch.${this.name}`
  }
}

/** `torch.device`. */
export class Device {
  constructor(
    /** `'cpu'`, `'cuda'`, `'meta'`... */
    readonly type: string,
    readonly index: number | null = null,
  ) {}

  toString(): string {
    return this.index === null ? this.type : `${this.type}:${this.index}`
  }
}

/** `torch.layout`, such as `torch.sparse_coo`. */
export class Layout {
  constructor(
    /** PyTorch's name without the `torch.` prefix. */
    readonly name: string,
  ) {}
}

/** A class or function that the pickle refers to by name and does not call. Nothing is imported: it is only the name. */
export class PythonGlobal {
  constructor(
    /** Full dotted name, such as `torch.FloatStorage`. */
    readonly name: string,
    /** Its module, where that is not all but the last part of the name (classes inside classes). */
    readonly module: string | null = null,
  ) {}
}

/** A numpy dtype (`numpy.dtype('float32')`). */
export class NumpyDType {
  /** What BUILD sets: version, byte order, subarray, names, fields, item size, alignment, flags and metadata; null before. */
  state: readonly unknown[] | null = null

  constructor(
    /** The argument of `numpy.dtype`: `f4`, `i8`, `b1`, `U3`, `S3`, `V8`, `O8`, `M8`. */
    readonly code: string,
  ) {}

  /** numpy's short name with the byte order (`dtype.str`): `<f4`, `>i8`, `|b1`, `<U3`, `|S3`, `|V8`, `|O`, `<M8[ns]`. */
  get name(): string {
    return numpyDTypeName(this)
  }
}

function numpyDTypeName({ code, state }: NumpyDType): string {
  const [, kind = '', size = ''] = /^([A-Za-z?])(\d*)$/.exec(code) ?? []
  const order = state?.[1] ?? '|'
  const itemSize = kind === 'O' ? '' : size
  const unit = kind === 'M' || kind === 'm' ? dateUnit(state?.[8]) : ''
  return `${order === '=' ? '<' : String(order)}${kind}${itemSize}${unit}`
}

/** `[ns]`, `[25s]` of the metadata `({}, (b'ns', 1, 1, 1))`. */
function dateUnit(metadata: unknown): string {
  const unit: unknown = Array.isArray(metadata) ? metadata[1] : undefined
  if (!Array.isArray(unit)) return ''
  const [name, count] = unit as unknown[]
  const text = name instanceof Uint8Array ? Buffer.from(name).toString('latin1') : String(name)
  return text === 'generic' ? '' : `[${count === 1 ? '' : String(count)}${text}]`
}

/** A numpy scalar (`numpy.float32(0.5)`), as metrics of older checkpoints often are. It stays what it was until somebody asks for its {@link value}. */
export class NumpyScalar {
  constructor(
    /** numpy's short name with the byte order: `<f4`, `<f8`, `<i8`, `|b1`, `<c16`, `<U3`, `|S3`. */
    readonly dtype: string,
    /** The item's bytes as the file holds them. */
    readonly bytes: Uint8Array,
    /** The value: number (bigint beyond 2^53), boolean, string, bytes or complex number; null for dtypes that have no counterpart (dates, records). */
    readonly value: number | bigint | boolean | string | Uint8Array | Complex | null,
    /** The dtype with all that its name leaves out (fields of records), where it was read. */
    readonly description: NumpyDType | null = null,
    /** numpy's inner package as the file names it: `numpy.core` before numpy 2, `numpy._core` since; numpy 1.26 and 2 know both. */
    readonly core: 'numpy.core' | 'numpy._core' = 'numpy.core',
  ) {}

  valueOf(): unknown {
    return this.value
  }
}

/** A numpy array. */
export class NumpyArray {
  constructor(
    /** See {@link NumpyScalar.dtype}; `|O` for objects, `|V8` for records. */
    readonly dtype: string,
    readonly shape: readonly number[],
    /** Whether the items are in Fortran's order instead of C's. */
    readonly fortranOrder: boolean,
    /** The items' bytes; empty for an array of objects. */
    readonly bytes: Uint8Array,
    /** The items of an array of objects, null for all others. */
    readonly objects: readonly unknown[] | null = null,
    /** See {@link NumpyScalar.description}. */
    readonly description: NumpyDType | null = null,
    /** See {@link NumpyScalar.core}. */
    readonly core: 'numpy.core' | 'numpy._core' = 'numpy.core',
  ) {}
}

/**
 * An object of a class that is not known here, or a call that is not made: its name and what the pickle gives it. Nothing is imported and nothing is called.
 */
export class OpaqueObject {
  /** What BUILD sets: usually the instance's `__dict__`; undefined without. */
  state: unknown = undefined
  /** What APPEND gives a subclass of list. */
  items: unknown[] | null = null
  /** What SETITEM gives a subclass of dict. */
  entries: Map<unknown, unknown> | null = null

  constructor(
    /** Full name of the class or function. */
    readonly className: string,
    readonly args: readonly unknown[],
    /** Keyword arguments (`NEWOBJ_EX`). */
    readonly keywordArgs: ReadonlyMap<unknown, unknown> | null,
    /** How the pickle makes it: `new` for `cls.__new__(cls, *args)`, `call` for `callable(*args)`. */
    readonly how: 'new' | 'call',
    /** See {@link PythonGlobal.module}. */
    readonly module: string | null = null,
  ) {}
}
