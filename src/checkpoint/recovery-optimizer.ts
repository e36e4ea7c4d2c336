/**
 * Keeps an optimizer's state at one with a model that lost tensors. A lost parameter leaves `state` and the groups' `params` (and `param_names`, and the names in `phase_state`); the other indices keep their
 * numbers, as PyTorch's `load_state_dict` goes by their order. A parameter that is there but lost a moment keeps its place in the groups and loses its whole state: PyTorch then begins it anew, as for a
 * parameter that had no gradient yet, while half a state would fail at the next step.
 */
import { isTensorRecord, type AnyTensorRecord } from '../format/tensor-record.js'
import { listTensors } from '../format/walk.js'
import type { TopLevel } from './migrations.js'
import type { RecoveryActs } from './recovery-record.js'
import { parametersOf, stateTensors, tensorRoles } from './tensor-roles.js'

/** What has to leave the optimizer. */
export interface OptimizerLosses {
  /** Entries of `state` that leave. */
  readonly states: ReadonlySet<unknown>
  /** Indices of parameters that are gone. */
  readonly parameters: ReadonlySet<unknown>
  /** Their names. */
  readonly names: ReadonlySet<string>
  /** Whether nobody can tell which indices are gone, so that the whole optimizer has to leave. */
  readonly isUnknown: boolean
}

const itemsOf = (value: unknown): readonly unknown[] => (Array.isArray(value) ? (value as unknown[]) : [])
const dictOf = (value: unknown): TopLevel => (value instanceof Map ? (value as TopLevel) : new Map<unknown, unknown>())

/** Looks at the checkpoint (in the current form) while it still describes what it lost. */
export function optimizerLosses(checkpoint: TopLevel, isLost: (record: AnyTensorRecord) => boolean): OptimizerLosses {
  const optimizer = dictOf(checkpoint.get('optimizer_state_dict'))
  const states = new Set<unknown>()
  for (const [index, entry] of dictOf(optimizer.get('state')))
    if (listTensors(entry).some(({ record }) => isLost(record))) states.add(index)
  const roles = tensorRoles(checkpoint)
  const lost = [...stateTensors(checkpoint)].filter(
    ([name, record]) => roles.get(name) === 'parameter' && isLost(record),
  )
  const names = new Set(lost.map(([name]) => name))
  const listed = groupsOf(optimizer).flatMap((group) => itemsOf(group.get('params')))
  if (names.size === 0 || listed.length === 0) return { states, parameters: new Set(), names, isUnknown: false }
  const byIndex = parameterNames(checkpoint, optimizer, listed)
  if (byIndex === null) return { states, parameters: new Set(), names, isUnknown: true }
  const parameters = new Set(listed.filter((_index, place) => byIndex[place]?.some((name) => names.has(name)) === true))
  return { states: new Set([...states, ...parameters]), parameters, names, isUnknown: false }
}

const groupsOf = (optimizer: TopLevel): TopLevel[] => itemsOf(optimizer.get('param_groups')).map(dictOf)

/** Names of the parameters that the indices mean, in order; null where the file does not tell. */
function parameterNames(
  checkpoint: TopLevel,
  optimizer: TopLevel,
  listed: readonly unknown[],
): (readonly string[])[] | null {
  const ofPhase = itemsOf(dictOf(checkpoint.get('phase_state')).get('groups')).flatMap(itemsOf)
  const named = groupsOf(optimizer).flatMap((group) => itemsOf(group.get('param_names')))
  for (const names of [ofPhase, named, listed])
    if (names.length === listed.length && names.every((name) => typeof name === 'string'))
      return names.map((name) => [name])
  const { sure } = parametersOf(checkpoint)
  if (groupsOf(optimizer).length !== 1 || sure.length < listed.length) return null
  const state = dictOf(optimizer.get('state'))
  const wanted = listed.map((index) => momentShape(dictOf(state.get(index))))
  const shapes = sure.map(({ sizes }) => sizes.join())
  // One group lists the parameters in the model's order. The model may have more of them than the optimizer: then the shapes must leave one choice only.
  const first = embed(wanted, shapes)
  const last = embed([...wanted].reverse(), [...shapes].reverse())?.map((place) => shapes.length - 1 - place)
  if (first === null || first.join() !== last?.reverse().join()) return null
  return first.map((place) => sure[place]?.names ?? [])
}

/** The shape of a parameter by its moments, as text; null where it has none. */
function momentShape(state: TopLevel): string | null {
  for (const moment of state.values())
    if (isTensorRecord(moment) && moment.kind === 'strided' && moment.sizes.length > 0) return moment.sizes.join()
  return null
}

/** The first places in `shapes` that have the wanted shapes in order; null where there are none. */
function embed(wanted: readonly (string | null)[], shapes: readonly string[]): number[] | null {
  const places: number[] = []
  let place = 0
  for (const shape of wanted) {
    while (place < shapes.length && shape !== null && shapes[place] !== shape) place++
    if (place >= shapes.length) return null
    places.push(place++)
  }
  return places
}

/** Takes what is lost out of the copy that is written. */
export function dropFromOptimizer(value: Map<unknown, unknown>, losses: OptimizerLosses, acts: RecoveryActs): void {
  const optimizer = value.get('optimizer_state_dict')
  if (!(optimizer instanceof Map)) return
  if (losses.isUnknown) {
    value.delete('optimizer_state_dict')
    acts.lost.push('optimizer_state_dict: nothing tells which of its entries belong to the lost parameters')
    return
  }
  const state: unknown = optimizer.get('state')
  for (const index of losses.states) {
    if (!(state instanceof Map) || !state.delete(index)) continue
    acts.lost.push(`optimizer_state_dict.state.${String(index)}: the state of a parameter that lost tensors`)
  }
  for (const group of itemsOf(optimizer.get('param_groups'))) if (group instanceof Map) dropFromGroup(group, losses)
  const phase = value.get('phase_state')
  if (!(phase instanceof Map) || losses.names.size === 0) return
  const without = (names: unknown) => itemsOf(names).filter((name) => !losses.names.has(name as string))
  if (Array.isArray(phase.get('groups'))) phase.set('groups', itemsOf(phase.get('groups')).map(without))
  if (Array.isArray(phase.get('frozen'))) phase.set('frozen', without(phase.get('frozen')))
}

function dropFromGroup(group: Map<unknown, unknown>, { parameters }: OptimizerLosses): void {
  const listed = itemsOf(group.get('params'))
  if (!listed.some((index) => parameters.has(index))) return
  const names = itemsOf(group.get('param_names'))
  const stays = (_item: unknown, place: number) => !parameters.has(listed[place])
  if (names.length === listed.length) group.set('param_names', names.filter(stays))
  group.set('params', listed.filter(stays))
}
