/** Summarises the graph of a torch.export model (`models/model.json`) as plain JSON, for people who ask what a file holds. */
import type { JsonFields } from './json-fields.js'
import type { JsonValue } from './json-text.js'
import { dtypeOfCode } from './pt2-payloads.js'

/** One input or output of a graph. */
export interface GraphValue {
  name: string
  /** What it is for: `user_input`, `parameter`, `buffer`, `tensor_constant`, `user_output`, `buffer_mutation`... */
  role: string
  /** The parameter, buffer or constant that it is; null for what the user gives or gets. */
  target: string | null
  /** Null for what is no tensor. */
  dtype: string | null
  /** Numbers, and expressions such as `s0` where the size is dynamic; null for what is no tensor. */
  sizes: (number | string)[] | null
}

/** What a graph is. */
export interface GraphSummary {
  inputs: GraphValue[]
  outputs: GraphValue[]
  nodes: number
  /** How often each operator is called, most frequent first. */
  operators: Record<string, number>
  opsetVersion: Record<string, unknown>
  schemaVersion: string
  torchVersion: string | null
}

/** @throws TorchkeepError ERR_CHECKPOINT_CORRUPT (`pt2.structure`) for fields that are missing or of the wrong type. */
export function summarizeModel(model: JsonFields): GraphSummary {
  const module = model.object('graph_module')
  const graph = module.object('graph')
  const signature = module.object('signature')
  const nodes = graph.list('nodes')
  const tensors = graph.object('tensor_values')
  const version = model.object('schema_version')
  const torchVersion = model.at('torch_version')
  return {
    inputs: signature.list('input_specs').map((spec) => describeSpec(spec, tensors)),
    outputs: signature.list('output_specs').map((spec) => describeSpec(spec, tensors)),
    nodes: nodes.length,
    operators: countOperators(nodes),
    opsetVersion: Object.fromEntries(
      [...model.object('opset_version').entries].map(([name, value]) => [name, plain(value)]),
    ),
    schemaVersion: `${version.size('major')}.${version.size('minor')}`,
    torchVersion: typeof torchVersion === 'string' ? torchVersion : null,
  }
}

function countOperators(nodes: readonly JsonValue[]): Record<string, number> {
  const counts = new Map<string, number>()
  for (const node of nodes) {
    const target = textAt(node, 'target') ?? 'unknown'
    counts.set(target, (counts.get(target) ?? 0) + 1)
  }
  return Object.fromEntries([...counts].sort(([, left], [, right]) => right - left))
}

/** A specification is an object of one key, its role, with the argument and what it stands for. */
function describeSpec(spec: JsonValue, tensors: JsonFields): GraphValue {
  const [role, body] = soleEntry(spec) ?? ['unknown', null]
  const argument = at(body, 'arg')
  const name = textAt(argument, 'name') ?? textAt(soleEntry(argument)?.[1], 'name') ?? ''
  const target = ['parameter_name', 'buffer_name', 'tensor_constant_name', 'custom_obj_name', 'user_input_name']
    .map((key) => textAt(body, key))
    .find((text) => text !== undefined)
  const meta = tensors.at(name)
  const sizes = at(meta, 'sizes')
  return {
    name,
    role,
    target: target ?? null,
    dtype: meta === undefined ? null : (dtypeOfCode(at(meta, 'dtype')) ?? 'unknown'),
    sizes: Array.isArray(sizes) ? sizes.map(sizeOf) : null,
  }
}

function sizeOf(size: JsonValue): number | string {
  const int = at(size, 'as_int')
  return typeof int === 'number' ? int : (textAt(at(size, 'as_expr'), 'expr_str') ?? '?')
}

function at(value: JsonValue | undefined, key: string): JsonValue | undefined {
  return value instanceof Map ? value.get(key) : undefined
}

function textAt(value: JsonValue | undefined, key: string): string | undefined {
  const text = at(value, key)
  return typeof text === 'string' ? text : undefined
}

function soleEntry(value: JsonValue | undefined): [string, JsonValue] | undefined {
  return value instanceof Map && value.size === 1 ? [...value][0] : undefined
}

function plain(value: JsonValue): unknown {
  return typeof value === 'number' || typeof value === 'string' ? value : null
}
