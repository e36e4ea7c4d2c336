/** Python's names for the types of what a file holds, and short texts of its values. */
import {
  isTensorRecord,
  QuantizedTensorRecord,
  StorageRecord,
  TensorRecord,
  type AnyTensorRecord,
} from '../format/tensor-record.js'
import {
  ByteArray,
  Complex,
  Counter,
  DefaultDict,
  Device,
  FrozenSet,
  Layout,
  NumpyArray,
  NumpyDType,
  NumpyScalar,
  OpaqueObject,
  OrderedDict,
  PyFloat,
  PythonGlobal,
  Size,
  TorchDType,
  Tuple,
} from '../format/values.js'
import { dtypeOf, sizesOf } from './tensor-roles.js'

/** The type's full name, without `builtins.`: `dict`, `collections.OrderedDict`, `torch.nn.parameter.Parameter`, `numpy.float32`. */
export function pythonTypeName(value: unknown): string {
  if (value === null || value === undefined) return 'NoneType'
  if (typeof value === 'boolean') return 'bool'
  if (typeof value === 'string') return 'str'
  if (typeof value === 'bigint') return 'int'
  if (typeof value === 'number') return Number.isInteger(value) ? 'int' : 'float'
  if (isTensorRecord(value)) return tensorTypeName(value)
  if (value instanceof StorageRecord) return `torch.storage.${value.dtype === null ? 'Untyped' : 'Typed'}Storage`
  if (value instanceof OpaqueObject) return value.className
  if (value instanceof NumpyScalar) return `numpy.${numpyTypeName(value.dtype)}`
  // The order matters: subclasses stand before their classes.
  return classes.find(([type]) => value instanceof type)?.[1] ?? 'object'
}

// eslint-disable-next-line @typescript-eslint/no-unsafe-function-type -- any class may stand here
const classes: readonly (readonly [type: Function, name: string])[] = [
  [PyFloat, 'float'],
  [Complex, 'complex'],
  [OrderedDict, 'collections.OrderedDict'],
  [Counter, 'collections.Counter'],
  [DefaultDict, 'collections.defaultdict'],
  [Map, 'dict'],
  [Size, 'torch.Size'],
  [Tuple, 'tuple'],
  [Array, 'list'],
  [FrozenSet, 'frozenset'],
  [Set, 'set'],
  [ByteArray, 'bytearray'],
  [Uint8Array, 'bytes'],
  [NumpyArray, 'numpy.ndarray'],
  [NumpyDType, 'numpy.dtype'],
  [TorchDType, 'torch.dtype'],
  [Device, 'torch.device'],
  [Layout, 'torch.layout'],
  [PythonGlobal, 'type'],
]

function tensorTypeName(record: AnyTensorRecord): string {
  if (!(record instanceof TensorRecord)) return 'torch.Tensor'
  return record.className ?? (record.isParameter ? 'torch.nn.parameter.Parameter' : 'torch.Tensor')
}

const numpyKinds: Readonly<Record<string, string>> = { f: 'float', i: 'int', u: 'uint', c: 'complex' }

/** `float32` for `<f4`. */
function numpyTypeName(dtype: string): string {
  const [, kind = '', size = ''] = /^[<>=|]?([A-Za-z?])(\d*)/.exec(dtype) ?? []
  const number = numpyKinds[kind]
  if (number !== undefined) return `${number}${Number(size) * 8}`
  const others: Readonly<Record<string, string>> = {
    b: 'bool',
    U: 'str_',
    S: 'bytes_',
    M: 'datetime64',
    m: 'timedelta64',
    V: 'void',
    O: 'object_',
  }
  return others[kind] ?? dtype
}

/** Longest text of a value. */
const longestText = 60

/** A value on one short line, much as Python's `repr` gives it; null for containers that are better shown by their items. */
export function pythonText(value: unknown): string | null {
  if (value === null || value === undefined) return 'None'
  if (typeof value === 'boolean') return value ? 'True' : 'False'
  if (typeof value === 'string') return cut(JSON.stringify(value))
  if (typeof value === 'number') return floatText(value, Number.isInteger(value))
  if (typeof value === 'bigint') return cut(String(value))
  if (value instanceof PyFloat) return floatText(value.value, false)
  if (value instanceof Complex) return `(${value.re}${value.im < 0 ? '-' : '+'}${Math.abs(value.im)}j)`
  if (value instanceof NumpyScalar) return pythonText(value.value)
  if (value instanceof NumpyArray) return `${numpyTypeName(value.dtype)} [${value.shape.join(', ')}]`
  if (isTensorRecord(value)) return `${dtypeOf(value)} [${sizesOf(value).join(', ')}]${layoutText(value)}`
  if (value instanceof Layout) return `torch.${value.name}`
  if (value instanceof PythonGlobal) return value.name
  if (value instanceof TorchDType || value instanceof Device) return String(value)
  if (value instanceof Uint8Array) return `${value.length} bytes`
  if (value instanceof OpaqueObject) return value.how === 'call' ? 'the result of a call that is not made' : 'not built'
  return Array.isArray(value) ? sequenceText(value) : null
}

function layoutText(record: AnyTensorRecord): string {
  if (record.kind === 'strided') return ''
  if (record.kind === 'sparse') return ` ${record.layout.name}`
  return ` ${record instanceof QuantizedTensorRecord ? record.quantizer.scheme.replace(/^torch\./, '') : record.kind}`
}

/** Short sequences of plain values stand on one line. */
function sequenceText(items: readonly unknown[]): string | null {
  if (items.length > 8 || items.some((item) => typeof item === 'object' && item !== null && !(item instanceof PyFloat)))
    return null
  const text = items.map(pythonText).join(', ')
  if (text.length > longestText) return null
  return items instanceof Tuple ? `(${text}${items.length === 1 ? ',' : ''})` : `[${text}]`
}

function floatText(value: number, isInteger: boolean): string {
  if (Number.isNaN(value)) return 'nan'
  if (!Number.isFinite(value)) return value > 0 ? 'inf' : '-inf'
  return isInteger || !Number.isInteger(value) ? String(value) : value.toFixed(1)
}

const cut = (text: string): string => (text.length <= longestText ? text : `${text.slice(0, longestText - 3)}...`)
