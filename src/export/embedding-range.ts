/** From which numbers an input is drawn that a graph looks up in a table. */
import type { Argument, ExportedProgram } from '../format/export-schema.js'

/** Operators that hand numbers on as they are: to another shape, place or integer dtype. */
const passing = new Set(
  `_to_copy alias broadcast_to chunk clone contiguous detach detach_ expand expand_as flatten lift_fresh_copy movedim permute repeat reshape select slice split squeeze t to transpose
   type_as unbind unflatten unsqueeze view view_as _unsafe_view`.split(/\s+/),
)

/** Operators that look numbers up: the argument that is the table, and the one with the numbers. */
const lookups: ReadonlyMap<string, readonly [table: string, numbers: string]> = new Map([
  ['embedding', ['weight', 'indices']],
  ['embedding_bag', ['weight', 'indices']],
])

/** How many numbers from 0 the tables have that an input is looked up in: the smallest of them; null where it goes into none. */
export function embeddingRange({ graph_module: { graph } }: ExportedProgram, input: string): number | null {
  const same = new Set([input])
  let range: number | null = null
  for (const { target, inputs, outputs } of graph.nodes) {
    const operator = /^torch\.ops\.aten\.([^.]+)\./.exec(target)?.[1] ?? ''
    const first = nameOf(inputs[0]?.arg)
    if (passing.has(operator) && first !== null && same.has(first))
      for (const output of outputs) for (const name of namesOf(output)) same.add(name)
    const [table, numbers] = lookups.get(operator) ?? []
    const looked = nameOf(inputs.find(({ name }) => name === numbers)?.arg)
    if (table === undefined || looked === null || !same.has(looked)) continue
    const weight = nameOf(inputs.find(({ name }) => name === table)?.arg)
    const [size] = weight === null ? [] : (graph.tensor_values[weight]?.sizes ?? [])
    if (size !== undefined && 'as_int' in size) range = Math.min(range ?? size.as_int, size.as_int)
  }
  return range
}

const nameOf = (arg: Argument | undefined): string | null =>
  arg !== undefined && 'as_tensor' in arg ? arg.as_tensor.name : null

const namesOf = (arg: Argument): string[] =>
  'as_tensors' in arg ? arg.as_tensors.map(({ name }) => name) : [nameOf(arg) ?? ''].filter((name) => name !== '')
