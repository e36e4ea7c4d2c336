/**
 * Whether an optimizer's state fits the model beside it. PyTorch's `load_state_dict` compares nothing but the number of parameters in each group: moments of other shapes go in silently and fail, or broadcast, at the
 * next step.
 */
import type { Finding } from '../format/findings.js'
import { isTensorRecord, TensorRecord } from '../format/tensor-record.js'
import { finding, type FindingId } from './findings.js'
import { numberOf } from './metrics.js'
import type { TopLevel } from './migrations.js'
import { parametersOf, sizesOf, type NamedTensor } from './tensor-roles.js'

/** State tensors that have the shape of their parameter in every optimizer of `torch.optim`. */
const moments = new Set([
  ...['exp_avg', 'exp_avg_sq', 'max_exp_avg_sq', 'momentum_buffer', 'square_avg', 'grad_avg', 'sum', 'acc_delta'],
  ...['exp_inf', 'prev', 'step_size', 'ax'],
])

/** The state of one parameter. */
interface Entry {
  readonly index: unknown
  readonly state: TopLevel
  readonly moments: readonly (readonly [name: string, tensor: TensorRecord])[]
}

/** Findings about `optimizer_state_dict` against `model_state_dict`. */
export function checkOptimizer(checkpoint: TopLevel): Finding<FindingId>[] {
  const optimizer = checkpoint.get('optimizer_state_dict')
  if (!(optimizer instanceof Map)) return []
  const found: Finding<FindingId>[] = []
  const say = (id: FindingId, message: string) => void found.push(finding(id, 'optimizer_state_dict', message))
  const [state, groups] = [optimizer.get('state') as unknown, optimizer.get('param_groups') as unknown]
  if (!(state instanceof Map) || !Array.isArray(groups)) {
    const missing = [...(state instanceof Map ? [] : ['state']), ...(Array.isArray(groups) ? [] : ['param_groups'])]
    const empty = !(state instanceof Map) || state.size === 0
    say(
      empty ? 'optimizer.unusual' : 'optimizer.mismatch',
      `optimizer_state_dict ${optimizer.size === 0 ? 'is empty' : `has no ${missing.join(' and no ')}`}: PyTorch's load_state_dict refuses it`,
    )
    return found
  }
  const listed = groups.flatMap((group) => (group instanceof Map ? itemsOf(group.get('params')) : []))
  const known = placesOf(listed)
  if (known.size < listed.length) {
    const twice = listed.find((index, place) => known.get(index) !== place)
    say('optimizer.mismatch', `param_groups list the parameter ${String(twice)} twice`)
  }
  const entries: Entry[] = []
  for (const [index, value] of state as TopLevel) {
    if (!known.has(index)) {
      const limits = `param_groups list ${listed.length} parameters${listed.length > 0 ? `, ${String(listed[0])} to ${String(listed.at(-1))}` : ''}`
      say('optimizer.mismatch', `the state has an entry for parameter ${String(index)}, but ${limits}`)
    } else if (!(value instanceof Map))
      say('optimizer.mismatch', `the state of parameter ${String(index)} is no dictionary`)
    else entries.push({ index, state: value as TopLevel, moments: momentsOf(value as TopLevel) })
  }
  for (const entry of entries) checkEntry(entry, say)
  if (found.every(({ severity }) => severity === 'warning')) {
    if (checkpoint.get('model_state_dict') instanceof Map) compareWithModel(checkpoint, listed, groups, entries, say)
  }
  return found
}

/** Where each index is listed, first. */
function placesOf(listed: readonly unknown[]): ReadonlyMap<unknown, number> {
  const places = new Map<unknown, number>()
  for (const [place, index] of listed.entries()) if (!places.has(index)) places.set(index, place)
  return places
}

type Say = (id: FindingId, message: string) => void

const itemsOf = (value: unknown): readonly unknown[] => (Array.isArray(value) ? value : [])
const shape = (sizes: readonly number[]): string => `[${sizes.join(', ')}]`

function momentsOf(state: TopLevel): [string, TensorRecord][] {
  return [...state].filter(
    (item): item is [string, TensorRecord] => moments.has(item[0] as string) && item[1] instanceof TensorRecord,
  )
}

/** What one entry says, by itself. */
function checkEntry({ index, state, moments: [first, ...others] }: Entry, say: Say): void {
  for (const [name, tensor] of others) {
    if (first === undefined || shape(tensor.sizes) === shape(first[1].sizes)) continue
    const message = `parameter ${String(index)}: ${name} has shape ${shape(tensor.sizes)}, ${first[0]} has ${shape(first[1].sizes)}`
    say('optimizer.mismatch', message)
  }
  const step = state.get('step')
  if (isTensorRecord(step)) {
    const dtype = step instanceof TensorRecord ? step.dtype : step.kind
    const single = sizesOf(step).every((size) => size === 1)
    const text = `parameter ${String(index)}: step is a ${dtype} tensor of shape ${shape(sizesOf(step))}, expected a float32 scalar`
    if (!single || /^(float16|bfloat16|float8|bool|complex)/.test(dtype)) say('optimizer.mismatch', text)
    else if (dtype !== 'float32' && dtype !== 'float64') say('optimizer.unusual', text)
  } else if (state.has('step') && numberOf(step) === null) {
    say('optimizer.mismatch', `parameter ${String(index)}: step is neither a tensor nor a number`)
  } else if (!state.has('step') && state.has('exp_avg')) {
    say('optimizer.mismatch', `parameter ${String(index)}: step is missing beside exp_avg`)
  }
}

/**
 * Counts and shapes. Which parameter an index means is known from names (`phase_state`, `param_names`, state keyed by name) or, with one group of all parameters, from the order; else only the shapes as a whole can be compared.
 */
function compareWithModel(
  checkpoint: TopLevel,
  listed: readonly unknown[],
  groups: readonly unknown[],
  entries: readonly Entry[],
  say: Say,
): void {
  const { sure, possible } = parametersOf(checkpoint)
  if (listed.length > possible.length) {
    const message = `the optimizer has ${listed.length} parameters, the model ${possible.length} (aliases once)`
    return say('optimizer.mismatch', message)
  }
  const places = placesOf(listed)
  const byName = new Map(possible.flatMap((tensor) => tensor.names.map((name) => [name, tensor] as const)))
  const names = namesOf(checkpoint, listed, groups)
  if (names !== undefined) {
    for (const [place, name] of names.entries()) {
      if (!byName.has(name as string))
        say('optimizer.mismatch', `the optimizer's parameter ${place} is ${String(name)}, which the model has not`)
    }
    compareShapes(entries, (index) => byName.get(names[places.get(index) ?? -1] as string), say)
    return
  }
  const inOrder = groups.length === 1 && listed.length === sure.length
  const candidates = listed.length > sure.length ? possible : sure
  const surplus = surplusShapes(entries, candidates)
  if (inOrder) {
    const parameterOf = (index: unknown) => sure[places.get(index) ?? -1]
    const fit = entries.every((entry) => fits(entry, parameterOf(entry.index)))
    if (fit || surplus.length > 0) return compareShapes(entries, parameterOf, say)
    return say('optimizer.unusual', "the optimizer's moments fit the model's parameters in another order only")
  }
  for (const text of surplus) say('optimizer.mismatch', `${text}, and no parameter of the model is left for it`)
}

/** Names of the listed parameters in order; undefined where the file has none. */
function namesOf(
  checkpoint: TopLevel,
  listed: readonly unknown[],
  groups: readonly unknown[],
): readonly unknown[] | undefined {
  if (listed.length > 0 && listed.every((index) => typeof index === 'string')) return listed
  const phase = checkpoint.get('phase_state')
  const ofPhase = phase instanceof Map ? itemsOf(phase.get('groups')).flatMap(itemsOf) : []
  if (ofPhase.length === listed.length && ofPhase.length > 0) return ofPhase
  const named = groups.flatMap((group) => (group instanceof Map ? itemsOf(group.get('param_names')) : []))
  return named.length === listed.length && named.length > 0 ? named : undefined
}

const fits = (entry: Entry, parameter: NamedTensor | undefined): boolean =>
  entry.moments.every(([, tensor]) => parameter !== undefined && shape(tensor.sizes) === shape(parameter.sizes))

function compareShapes(
  entries: readonly Entry[],
  parameterOf: (index: unknown) => NamedTensor | undefined,
  say: Say,
): void {
  for (const {
    index,
    moments: [first],
  } of entries) {
    const parameter = parameterOf(index)
    if (first === undefined || parameter === undefined) continue
    const [name, tensor] = first
    const place = `parameter ${String(index)} (${parameter.names[0]})`
    if (shape(tensor.sizes) !== shape(parameter.sizes)) {
      say(
        'optimizer.mismatch',
        `${place}: ${name} has shape ${shape(tensor.sizes)}, the parameter has ${shape(parameter.sizes)}`,
      )
    } else if (tensor.dtype !== parameter.dtype) {
      say('optimizer.unusual', `${place}: ${name} is ${tensor.dtype}, the parameter is ${parameter.dtype}`)
    }
  }
}

/** Moments for whose shape the model has no parameter left, as texts. */
function surplusShapes(entries: readonly Entry[], parameters: readonly NamedTensor[]): string[] {
  const left = new Map<string, number>()
  for (const { sizes } of parameters) left.set(shape(sizes), (left.get(shape(sizes)) ?? 0) + 1)
  return entries.flatMap(({ index, moments: [first] }) => {
    if (first === undefined) return []
    const wanted = shape(first[1].sizes)
    const count = left.get(wanted) ?? 0
    left.set(wanted, count - 1)
    return count > 0 ? [] : [`parameter ${String(index)}: ${first[0]} has shape ${wanted}`]
  })
}
