/** The one way from TypeScript to an operator: eager calls and recorded ones all pass through here. */
import { TorchkeepError } from '../src/format/errors.js'
import { activeAutocast } from './autocast.js'
import type { Complex, GeneratorHandle, TensorHandle, Value } from './contract.js'
import { isGradEnabled } from './grad-mode.js'
import { addon } from './native.js'
import { activeRecorder, type Kwargs } from './recording.js'
import { TensorBase } from './tensor-base.js'
// A tensor's methods call operators and operators return tensors, so these two modules need each other; both use the
// other only inside functions.
import { Tensor } from './tensor.js'

/** An object that stands for a native generator (`Generator` of random.ts). */
export interface GeneratorLike {
  readonly generatorHandle: GeneratorHandle
}

/** What an operator takes. */
export type Argument =
  null | undefined | boolean | number | bigint | string | TensorBase | GeneratorLike | Complex | readonly Argument[]

/** What an operator returns; several results come as an array, nothing as null. */
export type Result = null | boolean | number | bigint | string | Tensor | Complex | Result[]

/**
 * Calls any operator through the dispatcher. `op` is its schema name, with or without `aten::`, with the overload after
 * a dot: `'conv1d'`, `'add.Tensor'`, `'aten::max.dim'`. Positional arguments in schema order, keyword arguments by
 * schema name; what is absent takes the schema's default.
 *
 * An in-place operator (`add_`) returns its first argument itself. A failure of LibTorch is `ERR_TORCH`.
 *
 * @example call('aten::conv1d', [input, weight, bias], { padding: [1] })
 */
export function call(op: string, args: readonly Argument[], kwargs: Kwargs = {}): Result {
  const recorder = activeRecorder()
  const [name, overload] = splitOperator(op)
  if (recorder === null) return run(name, overload, args, kwargs)
  return recorder.record({ op: name, overload, args, kwargs }, (ownArgs, ownKwargs) =>
    run(name, overload, ownArgs, ownKwargs),
  )
}

/** {@link call} for an operator that returns one tensor. */
export function callTensor(op: string, args: readonly Argument[], kwargs: Kwargs = {}): Tensor {
  const result = call(op, args, kwargs)
  if (result instanceof Tensor) return result
  throw new TorchkeepError('ERR_INVALID_ARGUMENT', `${op} returns ${describe(result)}, expected one tensor`)
}

/** {@link call} for an operator that returns several tensors or a list of them. */
export function callTensors(op: string, args: readonly Argument[], kwargs: Kwargs = {}): Tensor[] {
  const result = call(op, args, kwargs)
  if (Array.isArray(result) && result.every((item) => item instanceof Tensor)) return result
  throw new TorchkeepError('ERR_INVALID_ARGUMENT', `${op} returns ${describe(result)}, expected a list of tensors`)
}

/** `add_`, but neither `__and__` nor `add`. */
export function isInPlace(op: string): boolean {
  return op.endsWith('_') && !op.endsWith('__')
}

function run(op: string, overload: string, args: readonly Argument[], kwargs: Kwargs): Result {
  const native: Record<string, Value> = {}
  for (const [name, value] of Object.entries(kwargs)) if (value !== undefined) native[name] = toNative(value)
  const modes = { gradEnabled: isGradEnabled(), autocast: activeAutocast() }
  const result = addon().call({ op, overload, args: args.map(toNative), kwargs: native, ...modes })
  const self = args[0]
  if (isInPlace(op) && self instanceof Tensor && isTensorHandle(result)) {
    result.dispose()
    return self
  }
  return fromNative(result)
}

function splitOperator(op: string): [name: string, overload: string] {
  const dot = op.indexOf('.')
  const name = dot < 0 ? op : op.slice(0, dot)
  return [name.includes('::') ? name : `aten::${name}`, dot < 0 ? '' : op.slice(dot + 1)]
}

function toNative(value: Argument): Value {
  if (value instanceof TensorBase) return value.handle
  if (Array.isArray(value)) return (value as readonly Argument[]).map(toNative)
  if (typeof value === 'object' && value !== null && 'generatorHandle' in value) return value.generatorHandle
  return value as Value
}

function fromNative(value: Value): Result {
  if (value === undefined) return null
  if (Array.isArray(value)) return (value as readonly Value[]).map(fromNative)
  if (isTensorHandle(value)) return new Tensor(value)
  return value as Result
}

function isTensorHandle(value: Value): value is TensorHandle {
  return typeof value === 'object' && value !== null && 'dispose' in value
}

function describe(value: Result): string {
  if (value === null) return 'nothing'
  if (Array.isArray(value)) return 'a list'
  return value instanceof Tensor ? 'a tensor' : `${typeof value} ${String(value)}`
}
