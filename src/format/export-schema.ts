/**
 * The part of `torch.export`'s JSON schema (8.20, `torch/_export/serde/schema.py` of torch 2.13) that recorded graphs
 * use: `models/model.json` of a `.pt2`. Unions are objects with one member. Its enum numbers are its own, not c10's.
 */
import type { DTypeName } from './dtypes.js'

/** `ScalarType`. */
export const scalarTypes: Partial<Record<DTypeName, number>> = {
  uint8: 1,
  int8: 2,
  int16: 3,
  int32: 4,
  int64: 5,
  float16: 6,
  float32: 7,
  float64: 8,
  complex32: 9,
  complex64: 10,
  complex128: 11,
  bool: 12,
  bfloat16: 13,
  uint16: 28,
  float8_e4m3fn: 29,
  float8_e5m2: 30,
  float8_e4m3fnuz: 31,
  float8_e5m2fnuz: 32,
  float8_e8m0fnu: 33,
  uint32: 34,
  uint64: 35,
}

/** `Layout`. */
export const layouts: Readonly<Record<string, number>> = {
  sparse_coo: 1,
  sparse_csr: 2,
  sparse_csc: 3,
  sparse_bsr: 4,
  sparse_bsc: 5,
  _mkldnn: 6,
  strided: 7,
}

/** `MemoryFormat`. */
export const memoryFormats: Readonly<Record<string, number>> = {
  contiguous_format: 1,
  channels_last: 2,
  channels_last_3d: 3,
  preserve_format: 4,
}

/** `ArgumentKind`. */
export const argumentKinds = { positional: 1, keyword: 2 } as const

export interface TensorArgument {
  name: string
}

export type OptionalTensorArgument = { as_tensor: TensorArgument } | { as_none: true }

export interface Device {
  type: string
  index: number | null
}

/** A value of a node. Non-finite floats are the strings `Infinity`, `-Infinity`, `NaN`. */
export type Argument =
  | { as_none: true }
  | { as_tensor: TensorArgument }
  | { as_tensors: TensorArgument[] }
  | { as_optional_tensors: OptionalTensorArgument[] }
  | { as_int: number }
  | { as_ints: number[] }
  | { as_float: number | string }
  | { as_floats: (number | string)[] }
  | { as_bool: boolean }
  | { as_bools: boolean[] }
  | { as_string: string }
  | { as_scalar_type: number }
  | { as_layout: number }
  | { as_memory_format: number }
  | { as_device: Device }
  | { as_complex: { real: number; imag: number } }

export interface NamedArgument {
  /** From the operator's schema. */
  name: string
  arg: Argument
  kind: 1 | 2
}

export interface Node {
  /** `torch.ops.aten.linear.default` */
  target: string
  inputs: NamedArgument[]
  outputs: Argument[]
  metadata: Record<string, string>
  is_hop_single_tensor_return: null
  name: string
}

/** A size: fixed, or an expression of symbols (`sympy.srepr`) with its value in the example. */
export type SymInt = { as_int: number } | { as_expr: { expr_str: string; hint: { as_int: number } } }

export interface TensorMeta {
  dtype: number
  sizes: SymInt[]
  requires_grad: boolean
  device: Device
  strides: SymInt[]
  storage_offset: SymInt
  layout: number
}

export interface Graph {
  inputs: Argument[]
  outputs: Argument[]
  nodes: Node[]
  tensor_values: Record<string, TensorMeta>
  sym_int_values: Record<string, SymInt>
  sym_bool_values: Record<string, never>
  is_single_tensor_return: false
  custom_obj_values: Record<string, never>
  sym_float_values: Record<string, never>
}

export type InputSpec =
  | { parameter: { arg: TensorArgument; parameter_name: string } }
  | { buffer: { arg: TensorArgument; buffer_name: string; persistent: boolean } }
  | { tensor_constant: { arg: TensorArgument; tensor_constant_name: string } }
  | { user_input: { arg: Argument } }

export interface OutputSpec {
  user_output: { arg: Argument }
}

export interface ModuleCallEntry {
  fqn: string
  signature: {
    inputs: Argument[]
    outputs: Argument[]
    in_spec: string
    out_spec: string
    forward_arg_names: string[]
  } | null
}

/** `GraphModule`: what {@link trace} returns. Plain data, so it goes through JSON unchanged. */
export interface ExportedGraph {
  graph: Graph
  signature: { input_specs: InputSpec[]; output_specs: OutputSpec[] }
  module_call_graph: ModuleCallEntry[]
  metadata: Record<string, string>
  treespec_namedtuple_fields: Record<string, never>
}

/** `ExportedProgram`: the whole of `models/model.json`. */
export interface ExportedProgram {
  graph_module: ExportedGraph
  opset_version: Record<string, number>
  range_constraints: Record<string, { min_val: number | null; max_val: number | null }>
  schema_version: { major: number; minor: number }
  verifiers: string[]
  torch_version: string
  guards_code: string[]
}

/**
 * Puts a graph into the document that Python's `torch.export.load` reads. `torchVersion`: of the LibTorch that recorded
 * it.
 */
export function exportedProgram(graph: ExportedGraph, torchVersion: string): ExportedProgram {
  const sizes = Object.values(graph.graph.tensor_values).flatMap((meta) => [
    ...meta.sizes,
    ...meta.strides,
    meta.storage_offset,
  ])
  const symbols = sizes.flatMap((size) =>
    'as_expr' in size ? [...size.as_expr.expr_str.matchAll(/Symbol\('(\w+)'/g)] : [],
  )
  return {
    graph_module: graph,
    opset_version: { aten: 10 },
    range_constraints: Object.fromEntries(symbols.map((match) => [match[1] as string, { min_val: 0, max_val: null }])),
    schema_version: { major: 8, minor: 20 },
    verifiers: ['TRAINING'],
    torch_version: torchVersion,
    guards_code: [],
  }
}
