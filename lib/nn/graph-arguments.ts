/** Arguments of a recorded call as torch.export writes them: by schema name, defaults left out. */
import { TorchkeepError } from '../../src/format/errors.js'
import type { Argument as CallArgument } from '../call.js'
import type { DType, OperatorSchema } from '../contract.js'
import type { RecordedCall } from '../recording.js'
import { TensorBase } from '../tensor-base.js'
import {
  argumentKinds,
  layouts,
  memoryFormats,
  scalarTypes,
  type Argument,
  type Device,
  type NamedArgument,
} from '../../src/format/export-schema.js'

type SchemaArgument = OperatorSchema['arguments'][number]
type NameOf = (tensor: TensorBase) => string

/**
 * Names every argument by the schema. As the dispatcher does for Python: of the positional ones, trailing defaults are
 * left out; of the keyword ones, all defaults.
 */
export function namedArguments(call: RecordedCall, schema: OperatorSchema, nameOf: NameOf): NamedArgument[] {
  const given = schema.arguments.map((argument, i): CallArgument => {
    // null is a value of its own: only what is absent takes the default.
    const value = call.args[i] === undefined ? call.kwargs[argument.name] : call.args[i]
    return value === undefined ? (argument.default as CallArgument) : value
  })
  const isDefault = (i: number): boolean => isSame(given[i], schema.arguments[i]?.default)
  const positional = schema.arguments.findLastIndex((argument, i) => !argument.kwargOnly && !isDefault(i)) + 1
  return schema.arguments.flatMap((argument, i): NamedArgument[] => {
    if (argument.kwargOnly ? isDefault(i) : i >= positional) return []
    const arg = toArgument(given[i], argument, `${call.op} ${argument.name}`, nameOf)
    return [{ name: argument.name, arg, kind: argument.kwargOnly ? argumentKinds.keyword : argumentKinds.positional }]
  })
}

/** `'cuda:0'` as the schema has it. */
export function toDevice(device: string): Device {
  const [type = device, index] = device.split(':')
  return { type, index: index === undefined ? null : Number(index) }
}

function toArgument(value: CallArgument, { type }: SchemaArgument, where: string, nameOf: NameOf): Argument {
  const plainType = type.replace(/\?$/, '')
  if (value === null || value === undefined) return { as_none: true }
  if (value instanceof TensorBase) return { as_tensor: { name: nameOf(value) } }
  if (Array.isArray(value)) return toList(value, plainType, where, nameOf)
  if (typeof value === 'boolean') return { as_bool: value }
  if (typeof value === 'number' || typeof value === 'bigint') return toNumber(value, plainType, where)
  if (typeof value === 'string') return toName(value, plainType)
  if (typeof value === 'object' && 're' in value) return { as_complex: { real: value.re, imag: value.im } }
  throw new TorchkeepError('ERR_INVALID_ARGUMENT', `${where}: a generator cannot be recorded in a graph`, {
    suggestions: ['Draw from the default generator inside forward().'],
  })
}

function toList(items: readonly CallArgument[], type: string, where: string, nameOf: NameOf): Argument {
  if (type.startsWith('Tensor')) {
    if (items.every((item) => item instanceof TensorBase))
      return { as_tensors: items.map((item) => ({ name: nameOf(item) })) }
    return {
      as_optional_tensors: items.map((item) =>
        item instanceof TensorBase ? { as_tensor: { name: nameOf(item) } } : { as_none: true },
      ),
    }
  }
  if (type === 'bool[]') return { as_bools: items.map(Boolean) }
  if (type === 'float[]' || (type === 'Scalar[]' && !items.every(Number.isInteger)))
    return { as_floats: items.map((item) => toFloat(Number(item))) }
  return { as_ints: items.map((item) => toInt(item as number | bigint, where)) }
}

function toNumber(value: number | bigint, type: string, where: string): Argument {
  // JavaScript does not tell 2 from 2.0: where the operator takes either (Scalar, Tensor), an integral number is an
  // int, but for -0 and those beyond 2^53, as in an eager call.
  const isInt = type === 'int' || type === 'SymInt' || (Number.isSafeInteger(value) && !Object.is(value, -0))
  if (type !== 'float' && (typeof value === 'bigint' || isInt)) return { as_int: toInt(value, where) }
  return { as_float: toFloat(Number(value)) }
}

function toInt(value: number | bigint, where: string): number {
  if (Number.isSafeInteger(Number(value))) return Number(value)
  throw new TorchkeepError('ERR_INVALID_ARGUMENT', `${where}: integer ${value} is beyond 2^53 and cannot be recorded`)
}

/** JSON has no infinities; torch.export writes their names. */
const toFloat = (value: number): number | string => (Number.isFinite(value) ? value : String(value))

function toName(value: string, type: string): Argument {
  if (type === 'ScalarType') return { as_scalar_type: scalarTypes[value as DType] ?? 0 }
  if (type === 'Layout') return { as_layout: layouts[value] ?? 0 }
  if (type === 'MemoryFormat') return { as_memory_format: memoryFormats[value] ?? 0 }
  return type === 'Device' ? { as_device: toDevice(value) } : { as_string: value }
}

function isSame(value: CallArgument, defaultValue: SchemaArgument['default']): boolean {
  if (defaultValue === undefined) return false
  if (Array.isArray(value) && Array.isArray(defaultValue)) {
    return (
      value.length === defaultValue.length &&
      value.every((item, i) => isSame(item as CallArgument, defaultValue[i] as SchemaArgument['default']))
    )
  }
  return (value ?? null) === defaultValue || (typeof value === 'bigint' && Number(value) === defaultValue)
}
