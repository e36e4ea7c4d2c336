/** What PyTorch's dtypes are on disk: sizes, storage classes, typed arrays. Source: `torch.storage._dtype_to_storage_type_map`, `_new_dtypes` (2.13). */

/** PyTorch's dtype names without the `torch.` prefix, those that a tensor in a file can have. */
export type DTypeName = keyof typeof table

interface DTypeFacts {
  /** Bytes of one storage element. */
  itemSizeBytes: number
  /** Name of the typed storage class in `torch`, or null: such tensors are saved over `torch.UntypedStorage`. */
  storageClass: string | null
  /** How many tensor elements one storage byte packs; 1 where an element has bytes of its own. */
  elementsPerByte: number
  /** What holds the values in JavaScript; 16-bit floats travel as their bits, complex numbers as re, im pairs. */
  array: TypedArrayConstructor
}

/** The typed arrays that hold tensor values. */
export type TypedArray =
  | Uint8Array
  | Int8Array
  | Uint16Array
  | Int16Array
  | Uint32Array
  | Int32Array
  | BigUint64Array
  | BigInt64Array
  | Float32Array
  | Float64Array

interface TypedArrayConstructor {
  new (buffer: ArrayBuffer, byteOffset?: number, length?: number): TypedArray
  readonly BYTES_PER_ELEMENT: number
}

const typed = (
  itemSizeBytes: number,
  storageClass: string | null,
  array: TypedArrayConstructor,
  elementsPerByte = 1,
) => ({
  itemSizeBytes,
  storageClass,
  array,
  elementsPerByte,
})

const table = {
  float64: typed(8, 'DoubleStorage', Float64Array),
  float32: typed(4, 'FloatStorage', Float32Array),
  float16: typed(2, 'HalfStorage', Uint16Array),
  bfloat16: typed(2, 'BFloat16Storage', Uint16Array),
  int64: typed(8, 'LongStorage', BigInt64Array),
  int32: typed(4, 'IntStorage', Int32Array),
  int16: typed(2, 'ShortStorage', Int16Array),
  int8: typed(1, 'CharStorage', Int8Array),
  uint8: typed(1, 'ByteStorage', Uint8Array),
  bool: typed(1, 'BoolStorage', Uint8Array),
  complex128: typed(16, 'ComplexDoubleStorage', Float64Array),
  complex64: typed(8, 'ComplexFloatStorage', Float32Array),
  quint8: typed(1, 'QUInt8Storage', Uint8Array),
  qint8: typed(1, 'QInt8Storage', Int8Array),
  qint32: typed(4, 'QInt32Storage', Int32Array),
  quint4x2: typed(1, 'QUInt4x2Storage', Uint8Array, 2),
  quint2x4: typed(1, 'QUInt2x4Storage', Uint8Array, 4),
  complex32: typed(4, null, Uint16Array),
  uint16: typed(2, null, Uint16Array),
  uint32: typed(4, null, Uint32Array),
  uint64: typed(8, null, BigUint64Array),
  float8_e4m3fn: typed(1, null, Uint8Array),
  float8_e5m2: typed(1, null, Uint8Array),
  float8_e4m3fnuz: typed(1, null, Uint8Array),
  float8_e5m2fnuz: typed(1, null, Uint8Array),
  float8_e8m0fnu: typed(1, null, Uint8Array),
  float4_e2m1fn_x2: typed(1, null, Uint8Array),
  bits8: typed(1, null, Uint8Array),
  bits16: typed(2, null, Uint16Array),
  bits1x8: typed(1, null, Uint8Array),
  bits2x4: typed(1, null, Uint8Array),
  bits4x2: typed(1, null, Uint8Array),
} satisfies Record<string, DTypeFacts>

/** Facts of every dtype that a tensor in a file can have. */
export const dtypes: Readonly<Record<DTypeName, DTypeFacts>> = table

/** Whether `name` is a dtype that a tensor in a file can have. */
export function isDTypeName(name: string): name is DTypeName {
  return Object.hasOwn(table, name)
}

/** Storage class names (without module) to dtypes. */
export const storageClassDTypes: ReadonlyMap<string, DTypeName> = new Map(
  Object.entries(dtypes).flatMap(([name, facts]) =>
    facts.storageClass === null ? [] : [[facts.storageClass, name as DTypeName] as const],
  ),
)
