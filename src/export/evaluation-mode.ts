/** Whether a graph is one of evaluation: the same outputs for the same inputs, and nothing changed by a run. */
import type { Argument, ExportedProgram, Node } from '../format/export-schema.js'
import { callProblem, stateSpecs } from './graph-tensors.js'

/** Why a graph cannot be exported for inference: how it is called, or a node of training; null where it can. */
export function whyNotEvaluation(program: ExportedProgram): string | null {
  const { major } = program.schema_version
  if (major !== 8) return `it has the schema version ${major} of torch.export, of which only 8 is known`
  const problem = callProblem(program)
  if (problem !== null) return problem
  const training = trainingNode(program)
  return training === null ? null : `it was recorded in training mode: node ${training.node}: ${training.reason}`
}

/** A node that only a training graph has, and why; null for a graph of evaluation. */
export function trainingNode(program: ExportedProgram): { node: string; reason: string } | null {
  const state = new Map(stateSpecs(program).map(({ argument, name }) => [argument, name]))
  for (const node of program.graph_module.graph.nodes) {
    const reason = changesState(node, state) ?? trains(node)
    if (reason !== null) return { node: `${nameOf(node)} (${node.target}${placeOf(node)})`, reason }
  }
  return null
}

/** Its own, or the value's that it makes. */
function nameOf({ name, outputs: [output] }: Node): string {
  const own = name as string | null | undefined
  return own ?? (output !== undefined && 'as_tensor' in output ? output.as_tensor.name : 'without a name')
}

function placeOf(node: Node): string {
  const path = node.metadata['nn_module_stack']?.split(';').at(-1)?.split(',')[1] ?? ''
  return path === '' ? '' : `, module ${path}`
}

/** An operator in place (its name ends in _) over a parameter or buffer, as `num_batches_tracked.add_` of a batch norm that trains. */
function changesState(node: Node, state: ReadonlyMap<string, string>): string | null {
  const [, name = ''] = /^torch\.ops\.[^.]+\.([^.]+)\./.exec(node.target) ?? []
  if (!name.endsWith('_') || name.endsWith('__')) return null
  const self = node.inputs[0]?.arg
  const changed = self !== undefined && 'as_tensor' in self ? state.get(self.as_tensor.name) : undefined
  return changed === undefined ? null : `it changes '${changed}'`
}

function trains(node: Node): string | null {
  const at = (name: string): Argument | undefined => node.inputs.find((input) => input.name === name)?.arg
  const isOn = (name: string): boolean => {
    const arg = at(name)
    return arg !== undefined && 'as_bool' in arg && arg.as_bool
  }
  const number = (name: string): number => {
    const arg = at(name)
    return arg === undefined ? 0 : 'as_float' in arg ? Number(arg.as_float) : 'as_int' in arg ? Number(arg.as_int) : 0
  }
  if (isOn('train')) {
    // dropout says p, recurrent networks dropout; a probability of 0 drops nothing.
    if (number('p') !== 0 || number('dropout') !== 0) return 'it drops values at random'
  }
  if (number('dropout_p') !== 0) return 'it drops values at random'
  if (isOn('training') || isOn('use_input_stats')) {
    const mean = at('running_mean')
    // Without running statistics a norm takes those of its input in evaluation too.
    if (mean !== undefined && !('as_none' in mean)) return 'it follows the statistics of its batch'
    if (at('lower') !== undefined) return 'it draws slopes at random'
  }
  return null
}
