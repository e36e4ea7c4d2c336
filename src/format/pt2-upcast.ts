/** A graph over weights that are stored in another dtype than it computes in: each is brought back first. */
import { TorchkeepError } from './errors.js'
import type { DTypeName } from './dtypes.js'
import { codeOfDType } from './pt2-payloads.js'

/** What this file needs to know of torch.export's `ExportedProgram`; all else stays as it is. */
interface Program {
  graph_module: {
    graph: { nodes: Node[]; outputs: unknown[]; tensor_values: Record<string, { dtype: number }> }
    signature: { input_specs: object[]; output_specs: unknown[] }
  }
}

interface Node {
  target: string
  inputs: { name: string; arg: unknown; kind?: unknown }[]
  outputs: unknown[]
  metadata: Record<string, string>
  is_hop_single_tensor_return: null
  name: string
}

/**
 * A program whose parameters and buffers come in the dtypes of `stored`: `aten._to_copy` nodes at its begin give each the dtype that the graph was recorded with, so that it computes as before on rounded weights. Weights of other names stay.
 *
 * @param stored dtypes by the names of the state dict. The given program is not changed.
 */
export function upcastProgram<Given extends Program>(given: Given, stored: ReadonlyMap<string, DTypeName>): Given {
  const program = structuredClone(given)
  const { graph, signature } = program.graph_module
  const taken = new Set(Object.keys(graph.tensor_values))
  const renames = new Map<string, string>()
  const nodes: Node[] = []
  for (const { argument, name } of stateArguments(signature.input_specs)) {
    const dtype = stored.get(name)
    const meta = graph.tensor_values[argument]
    if (dtype === undefined || meta === undefined || meta.dtype === codeOf(dtype)) continue
    const value = freeName('_to_copy', taken)
    graph.tensor_values[value] = { ...structuredClone(meta), ...('requires_grad' in meta && { requires_grad: false }) }
    nodes.push(copyNode(value, argument, meta.dtype))
    renames.set(argument, value)
    meta.dtype = codeOf(dtype)
  }
  for (const node of graph.nodes) for (const input of node.inputs) input.arg = renamed(input.arg, renames)
  graph.outputs = graph.outputs.map((output) => renamed(output, renames))
  signature.output_specs = signature.output_specs.map((spec) => renamedSpec(spec, renames))
  graph.nodes.unshift(...nodes)
  return program
}

/** Values of the graph that are parameters and buffers, with their names. */
function stateArguments(specs: readonly object[]): { argument: string; name: string }[] {
  return specs.flatMap((spec) => {
    const [body] = Object.values(spec) as Record<string, unknown>[]
    const name = body?.['parameter_name'] ?? body?.['buffer_name']
    const argument = (body?.['arg'] as { name?: unknown } | undefined)?.name
    return typeof name === 'string' && typeof argument === 'string' ? [{ argument, name }] : []
  })
}

function copyNode(value: string, argument: string, dtype: number): Node {
  return {
    target: 'torch.ops.aten._to_copy.default',
    inputs: [
      { name: 'self', arg: { as_tensor: { name: argument } }, kind: 1 },
      { name: 'dtype', arg: { as_scalar_type: dtype }, kind: 2 },
    ],
    outputs: [{ as_tensor: { name: value } }],
    metadata: {},
    is_hop_single_tensor_return: null,
    name: value,
  }
}

function freeName(stem: string, taken: Set<string>): string {
  for (let count = 0; ; count++) {
    const name = count === 0 ? stem : `${stem}_${count}`
    if (taken.has(name)) continue
    taken.add(name)
    return name
  }
}

/** An argument with the new names of its tensors. */
function renamed(arg: unknown, renames: ReadonlyMap<string, string>): unknown {
  if (typeof arg !== 'object' || arg === null) return arg
  const tensor = (value: unknown): unknown => {
    const { name } = value as { name: string }
    return { ...(value as object), name: renames.get(name) ?? name }
  }
  const entries = Object.entries(arg).map(([kind, value]): [string, unknown] => {
    if (kind === 'as_tensor') return [kind, tensor(value)]
    if (kind === 'as_tensors') return [kind, (value as unknown[]).map(tensor)]
    if (kind === 'as_optional_tensors') return [kind, (value as unknown[]).map((item) => renamed(item, renames))]
    return [kind, value]
  })
  return Object.fromEntries(entries)
}

function renamedSpec(spec: unknown, renames: ReadonlyMap<string, string>): unknown {
  const entries = Object.entries(spec as object).map(([role, body]): [string, unknown] => [
    role,
    { ...(body as object), arg: renamed((body as { arg: unknown }).arg, renames) },
  ])
  return Object.fromEntries(entries)
}

function codeOf(dtype: DTypeName): number {
  const code = codeOfDType(dtype)
  if (code !== undefined) return code
  throw new TorchkeepError('ERR_INVALID_ARGUMENT', `torch.export has no dtype ${dtype}`)
}
