/** What goes into a recorded graph and what comes out: tensors of the model by name, inputs and outputs by place. */
import type { Argument, ExportedProgram, InputSpec, SymInt, TensorMeta } from '../format/export-schema.js'
import type { DTypeName } from '../format/dtypes.js'
import { TorchkeepError } from '../format/errors.js'
import { dtypeOfCode } from '../format/pt2-payloads.js'
import type { ModelTensor } from './types.js'

/** A parameter, buffer or constant that a graph takes. */
export interface StateSpec {
  role: 'parameter' | 'buffer' | 'constant'
  /** Dotted, as in the state dict; of a constant, the name in the graph's signature. */
  name: string
  /** Whether a state dict holds it. */
  persistent: boolean
  /** Name of the value in the graph. */
  argument: string
  dtype: DTypeName | null
  sizes: readonly number[]
  strides: readonly number[]
}

/** The tensors that a graph takes besides its inputs, in the order of its signature. Objects and values that are no tensors are refused. */
export function stateSpecs(program: ExportedProgram): StateSpec[] {
  return program.graph_module.signature.input_specs.flatMap((spec): StateSpec[] => {
    if ('user_input' in spec) return []
    const [role, name, persistent, argument] = roleOf(spec)
    const meta = program.graph_module.graph.tensor_values[argument]
    const fixed = (sizes: readonly SymInt[] = []): number[] =>
      sizes.map((size) => ('as_int' in size ? size.as_int : NaN))
    const dtype = dtypeOfCode(meta?.dtype) ?? null
    return [{ role, name, persistent, argument, dtype, sizes: fixed(meta?.sizes), strides: fixed(meta?.strides) }]
  })
}

function roleOf(spec: Exclude<InputSpec, { user_input: unknown }>): [StateSpec['role'], string, boolean, string] {
  if ('parameter' in spec) return ['parameter', spec.parameter.parameter_name, true, spec.parameter.arg.name]
  if ('buffer' in spec) return ['buffer', spec.buffer.buffer_name, spec.buffer.persistent, spec.buffer.arg.name]
  if ('tensor_constant' in spec)
    return ['constant', spec.tensor_constant.tensor_constant_name, false, spec.tensor_constant.arg.name]
  const [kind = 'nothing'] = Object.keys(spec)
  throw unsupported(`takes a ${kind}, which is no tensor`)
}

/**
 * Why a graph cannot be called with tensors in a row and give tensors in a row; null where it can. Everything else here counts on that.
 */
export function callProblem({ graph_module: { signature, module_call_graph: calls } }: ExportedProgram): string | null {
  for (const spec of signature.input_specs) {
    const [kind = 'nothing', body] = soleEntry(spec)
    const arg = kind === 'user_input' ? soleEntry((body as { arg?: object }).arg ?? {})[0] : 'as_tensor'
    if (!['user_input', 'parameter', 'buffer', 'tensor_constant'].includes(kind)) return `it takes a ${kind}`
    if (arg !== 'as_tensor') return `it takes an input of the kind ${arg}, expected tensors`
  }
  for (const spec of signature.output_specs) {
    const [kind = 'nothing', body] = soleEntry(spec)
    const arg = soleEntry((body as { arg?: object } | undefined)?.arg ?? {})[0]
    if (kind !== 'user_output') return `a run changes something besides giving outputs (${kind})`
    if (arg !== 'as_tensor') return `it gives an output of the kind ${arg}, expected tensors`
  }
  const call = calls.find(({ fqn }) => fqn === '')?.signature
  if (call === undefined || call === null) return null
  const [positional, named] = treeOf(call.in_spec)?.children_spec ?? []
  if ((named?.children_spec.length ?? 0) > 0) return 'it takes inputs by keyword: export it with positional ones'
  if (positional?.children_spec.some(isNested) === true) return 'it takes lists or dicts of tensors'
  const out = treeOf(call.out_spec)
  const isRow = out === null || !isNested(out) || /^builtins\.(tuple|list)$/.test(out.type ?? '')
  if (!isRow || out?.children_spec.some(isNested) === true)
    return 'it gives no tensor or tuple of tensors, but nested values'
  return null
}

/** A description of Python's pytree; a leaf has no type. */
interface Tree {
  type: string | null
  children_spec: Tree[]
}

const isNested = ({ type }: Tree): boolean => type !== null

/** @throws TorchkeepError `ERR_CHECKPOINT_CORRUPT` for a text that describes none. */
function treeOf(text: string): Tree | null {
  if (text === '') return null
  try {
    const parsed: unknown = JSON.parse(text)
    if (Array.isArray(parsed) && isTree(parsed[1])) return parsed[1]
  } catch (cause) {
    if (!(cause instanceof SyntaxError)) throw cause
  }
  throw new TorchkeepError(
    'ERR_CHECKPOINT_CORRUPT',
    `the recorded graph has no pytree where it should: ${text.slice(0, 80)}`,
    { finding: 'pt2.structure' },
  )
}

function isTree(value: unknown, depth = 0): value is Tree {
  if (typeof value !== 'object' || value === null || depth > 100) return false
  const { type, children_spec: children } = value as Record<string, unknown>
  const isTyped = type === null || typeof type === 'string'
  return isTyped && Array.isArray(children) && children.every((child) => isTree(child, depth + 1))
}

function soleEntry(union: object): [string | undefined, unknown] {
  const [entry] = Object.entries(union)
  return entry ?? [undefined, undefined]
}

/** What {@link inputsOf} and {@link outputsOf} tell, with the sizes of the recording. */
export interface GraphTensor extends ModelTensor {
  /** Null where a size is neither fixed nor the batch's: for that one the recording's is taken. */
  recordedShape: readonly number[]
}

/** What a model takes, in order: by the names of its graph. @throws TorchkeepError `ERR_CHECKPOINT_UNSUPPORTED` for what is no tensor. */
export function inputsOf(program: ExportedProgram): GraphTensor[] {
  const batch = batchSymbol(program)
  const args = program.graph_module.signature.input_specs.flatMap((spec) =>
    'user_input' in spec ? [spec.user_input.arg] : [],
  )
  return args.map((arg, index) => graphTensor(program, arg, `input ${index + 1}`, batch))
}

/** What a model gives, in order. */
export function outputsOf(program: ExportedProgram): GraphTensor[] {
  const batch = batchSymbol(program)
  return program.graph_module.signature.output_specs.map((spec, index) => {
    if ('user_output' in spec) return graphTensor(program, spec.user_output.arg, `output ${index + 1}`, batch)
    throw unsupported(`changes something when it is run (${Object.keys(spec)[0]})`)
  })
}

/** The symbol of the batch: the first size of the first input that has one, where it is dynamic. */
export function batchSymbol(program: ExportedProgram): string | null {
  const { graph, signature } = program.graph_module
  for (const spec of signature.input_specs) {
    if (!('user_input' in spec) || !('as_tensor' in spec.user_input.arg)) continue
    const [first] = graph.tensor_values[spec.user_input.arg.as_tensor.name]?.sizes ?? []
    if (first !== undefined) return symbolOf(first)
  }
  return null
}

/** Batch sizes that a model takes; null where it takes only that of its recording. */
export function batchRange(program: ExportedProgram): { min: number; max: number } | null {
  const symbol = batchSymbol(program)
  if (symbol === null) return null
  const range = program.range_constraints[symbol]
  return { min: range?.min_val ?? 0, max: range?.max_val ?? Infinity }
}

/** A plain symbol's name; null for a number or another expression. */
export function symbolOf(size: SymInt): string | null {
  return 'as_expr' in size ? (/^Symbol\('(\w+)'[^()]*\)$/.exec(size.as_expr.expr_str)?.[1] ?? null) : null
}

function graphTensor(program: ExportedProgram, arg: Argument, what: string, batch: string | null): GraphTensor {
  if (!('as_tensor' in arg)) throw unsupported(`has ${what} of the kind ${Object.keys(arg)[0]}, expected a tensor`)
  const { name } = arg.as_tensor
  const meta: TensorMeta | undefined = program.graph_module.graph.tensor_values[name]
  const dtype = dtypeOfCode(meta?.dtype)
  if (meta === undefined || dtype === undefined) throw unsupported(`does not say what its ${what} '${name}' is`)
  const recordedShape = meta.sizes.map((size) => ('as_int' in size ? size.as_int : hintOf(size)))
  const shape = meta.sizes.map((size, index) =>
    batch !== null && symbolOf(size) === batch ? null : (recordedShape[index] as number),
  )
  return { name, dtype, shape, recordedShape }
}

/** The size in the recording, which Python may leave out. */
function hintOf({ as_expr: { hint } }: Extract<SymInt, { as_expr: unknown }>): number {
  return (hint as { as_int?: number } | null)?.as_int ?? unhintedSize
}

/** Large enough for whatever is not decided by a size of 0 or 1. */
const unhintedSize = 2

const unsupported = (what: string): TorchkeepError =>
  new TorchkeepError('ERR_CHECKPOINT_UNSUPPORTED', `the recorded graph ${what}`)
