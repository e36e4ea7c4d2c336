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
    super()
    for (const item of items) this.push(item)
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
  ) {}
}

/** A numpy scalar (`numpy.float32(0.5)`), as metrics of older checkpoints often are. It stays what it was until somebody asks for its {@link value}. */
export class NumpyScalar {
  constructor(
    /** numpy's short name with the byte order: `<f4`, `<f8`, `<i8`, `|b1`, `<c16`, `<U3`, `|S3`. */
    readonly dtype: string,
    /** The item's bytes as the file holds them. */
    readonly bytes: Uint8Array,
    /** The value: number (bigint beyond 2^53), boolean, string, bytes or complex number; null for dtypes that have no counterpart (objects, records). */
    readonly value: number | bigint | boolean | string | Uint8Array | Complex | null,
  ) {}

  valueOf(): unknown {
    return this.value
  }
}

/** A numpy array. */
export class NumpyArray {
  constructor(
    /** See {@link NumpyScalar.dtype}. */
    readonly dtype: string,
    readonly shape: readonly number[],
    /** Whether the bytes are in Fortran's order instead of C's. */
    readonly fortranOrder: boolean,
    readonly bytes: Uint8Array,
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
  ) {}
}
