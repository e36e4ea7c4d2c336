/** Writes what Python's weights_only unpickler refuses, as it was read: numpy values, defaultdicts, frozensets, objects of unknown classes. */
import { standingOf } from './foreign-globals.js'
import { addedSafeGlobals, allowedGlobals, splitName } from './globals.js'
import { opcode } from './opcodes.js'
import type { PickleWriter } from './pickle-write.js'
import { DefaultDict, FrozenSet, NumpyArray, NumpyDType, NumpyScalar, OpaqueObject, Tuple } from './values.js'

type Foreign = DefaultDict | FrozenSet | NumpyArray | NumpyDType | NumpyScalar | OpaqueObject

/** Whether `value` is of a kind that {@link writeForeign} writes. */
export function isForeign(value: object): value is Foreign {
  return (
    value instanceof OpaqueObject ||
    value instanceof NumpyScalar ||
    value instanceof NumpyArray ||
    value instanceof NumpyDType ||
    value instanceof DefaultDict ||
    value instanceof FrozenSet
  )
}

/** Pushes the value, remembers it, and returns its memo number. */
export function writeForeign(writer: PickleWriter, value: Foreign): number {
  if (writer.foreign === 'refuse' && !(value instanceof OpaqueObject && isAllowed(value)))
    writer.refuse(`torch.load(weights_only=True) would refuse ${describeForeign(value)}`)
  if (value instanceof OpaqueObject) return writeOpaque(writer, value)
  if (value instanceof NumpyArray) return writeArray(writer, value)
  if (value instanceof NumpyDType) return writeDType(writer, value)
  if (value instanceof NumpyScalar) return writeScalar(writer, value)
  return value instanceof DefaultDict ? writeDefaultDict(writer, value) : writeFrozenSet(writer, value)
}

function isAllowed({ className, keywordArgs }: OpaqueObject): boolean {
  return keywordArgs === null && (allowedGlobals.has(className) || addedSafeGlobals.has(className))
}

function describeForeign(value: Foreign): string {
  if (value instanceof OpaqueObject) return `the object of ${value.className}`
  if (value instanceof DefaultDict) return 'a defaultdict'
  if (value instanceof FrozenSet) return 'a frozenset'
  return value instanceof NumpyDType ? `the numpy dtype ${value.name}` : `the numpy value of dtype ${value.dtype}`
}

function writeOpaque(writer: PickleWriter, object: OpaqueObject): number {
  const { emit } = writer
  const { keywordArgs, state, items, entries } = object
  const name = writer.nameOf(object.className, object.module)
  if (keywordArgs !== null) writer.refuse(`an object of ${object.className} made with keyword arguments`)
  if (object.how === 'call' && standingOf(...splitName(object.className, object.module)) === 'unknown')
    writer.refuse(`a call of ${object.className}, which could run code`)
  const args = object.args.map((argument) => () => writer.value(argument))
  const index = object.how === 'call' ? emit.reduce(...name, args) : emit.newObject(...name, args)
  writer.remember(object, index)
  if (items !== null) writer.appendItems(items)
  if (entries !== null) writer.setItems(entries, false)
  if (state !== undefined) {
    writer.value(state)
    emit.op(opcode.BUILD)
  }
  return index
}

function writeDefaultDict(writer: PickleWriter, dict: DefaultDict): number {
  const factory = dict.factory === null ? [] : [() => writer.value(dict.factory)]
  const index = writer.emit.reduce('collections', 'defaultdict', factory)
  writer.remember(dict, index)
  writer.setItems(dict, false)
  return index
}

function writeFrozenSet(writer: PickleWriter, set: FrozenSet): number {
  const index = writer.emit.reduce('__builtin__', 'frozenset', [() => writer.value([...set])])
  writer.remember(set, index)
  return index
}

function writeScalar(writer: PickleWriter, scalar: NumpyScalar): number {
  const dtype = descriptionOf(writer, scalar)
  const parts = [() => writer.value(dtype), () => writer.value(scalar.bytes)]
  const index = writer.emit.reduce(`${scalar.core}.multiarray`, 'scalar', parts)
  writer.remember(scalar, index)
  return index
}

/** An empty array whose state is set. */
function writeArray(writer: PickleWriter, array: NumpyArray): number {
  const { emit } = writer
  const empty = [
    () => emit.global('numpy', 'ndarray'),
    () => emit.tuple([() => emit.int(0)]),
    () => writer.value(new Uint8Array([0x62])), // the type code b'b'
  ]
  const index = emit.reduce(`${array.core}.multiarray`, '_reconstruct', empty)
  writer.remember(array, index)
  const content = array.objects === null ? array.bytes : [...array.objects]
  writer.value(new Tuple([1, new Tuple(array.shape), descriptionOf(writer, array), array.fortranOrder, content]))
  emit.op(opcode.BUILD)
  return index
}

function writeDType(writer: PickleWriter, dtype: NumpyDType): number {
  const { emit } = writer
  const parts = [() => emit.string(dtype.code), () => emit.bool(false), () => emit.bool(true)]
  const index = emit.reduce('numpy', 'dtype', parts)
  writer.remember(dtype, index)
  if (dtype.state !== null) {
    writer.value(new Tuple(dtype.state))
    emit.op(opcode.BUILD)
  }
  return index
}

/** The dtype as it was read, or made of the name of a plain one. */
function descriptionOf(writer: PickleWriter, value: NumpyScalar | NumpyArray): NumpyDType {
  if (value.description !== null) return value.description
  const [, order = '', kind = '', size = ''] = /^([<>|])([bifucSUO])(\d*)$/.exec(value.dtype) ?? []
  if (kind === '') return writer.refuse(`the numpy dtype ${value.dtype} is only known by its name`)
  const dtype = new NumpyDType(kind === 'O' ? 'O8' : kind + size)
  const [itemSize, alignment] = kind === 'U' ? [4 * Number(size), 4] : kind === 'S' ? [Number(size), 1] : [-1, -1]
  dtype.state = [3, order, null, null, null, itemSize, alignment, kind === 'O' ? 63 : 0]
  return dtype
}
