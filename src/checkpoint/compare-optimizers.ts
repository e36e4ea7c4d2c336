/** Optimizer states in a form in which two of them can be compared: by parameter name where both files know the names. */
import type { TopLevel } from './migrations.js'

/** How the parameters of two optimizers were matched. */
export type ParameterMatching = 'names' | 'indices'

/** `state_dict()` of an optimizer: the state of each parameter by name, and the options of each group. */
export interface ComparableOptimizer {
  state: ReadonlyMap<unknown, unknown>
  groups: readonly unknown[]
}

/**
 * Two optimizers, ready to be compared. An optimizer's state is kept under numbers; names come from `param_names` of the groups, or from Torchkeep's `phase_state`. Where either file lacks them, the numbers match
 * (`[0]`, `[1]`...), which is right if both models list their parameters in the same order.
 */
export function comparableOptimizers(
  a: TopLevel,
  b: TopLevel,
): { matching: ParameterMatching; a: ComparableOptimizer | null; b: ComparableOptimizer | null } {
  const [left, right] = [dictOf(a.get('optimizer_state_dict')), dictOf(b.get('optimizer_state_dict'))]
  const [namesA, namesB] = [parameterNames(a), parameterNames(b)]
  const matching = namesA !== null && namesB !== null ? 'names' : 'indices'
  return {
    matching,
    a: left && comparable(left, matching === 'names' ? namesA : null),
    b: right && comparable(right, matching === 'names' ? namesB : null),
  }
}

function comparable(optimizer: TopLevel, names: ReadonlyMap<unknown, string> | null): ComparableOptimizer {
  const nameOf = (index: unknown): unknown => names?.get(index) ?? (typeof index === 'number' ? `[${index}]` : index)
  const state = [...(dictOf(optimizer.get('state')) ?? [])].map(([index, item]) => [nameOf(index), item] as const)
  const groups = listOf(optimizer.get('param_groups')).map((group) => {
    if (!(group instanceof Map)) return group as unknown
    const options = [...(group as TopLevel)].filter(([key]) => key !== 'param_names')
    return new Map(options.map(([key, item]) => [key, key === 'params' ? listOf(item).map(nameOf) : item]))
  })
  return { state: new Map(state), groups }
}

/** Names by the numbers that the state uses; null where the file does not say, or says another number of names than there are parameters. */
function parameterNames(checkpoint: TopLevel): ReadonlyMap<unknown, string> | null {
  const optimizer = dictOf(checkpoint.get('optimizer_state_dict'))
  const groups = listOf(optimizer?.get('param_groups')).map((group) => dictOf(group))
  const indices = groups.flatMap((group) => listOf(group?.get('params')))
  const stated = groups.flatMap((group) => listOf(group?.get('param_names')))
  const phase = listOf(dictOf(checkpoint.get('phase_state'))?.get('groups')).flatMap(listOf)
  const names = stated.length > 0 ? stated : phase
  if (indices.length === 0 || names.length !== indices.length) return null
  if (!names.every((name) => typeof name === 'string')) return null
  return new Map(indices.map((index, at) => [index, names[at] as string]))
}

const dictOf = (value: unknown): TopLevel | null => (value instanceof Map ? (value as TopLevel) : null)
const listOf = (value: unknown): readonly unknown[] => (Array.isArray(value) ? value : [])
