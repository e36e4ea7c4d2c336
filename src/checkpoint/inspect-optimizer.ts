/** What an optimizer's state dict tells: which optimizer it most likely is, its groups and how many steps it has done. */
import { readTensorValues } from '../format/read-bytes.js'
import type { TorchFile } from '../format/read.js'
import { elementCount, TensorRecord } from '../format/tensor-record.js'
import { numberOf } from './metrics.js'
import type { TopLevel } from './migrations.js'
import { inspectedValue } from './inspect-values.js'

/** What is said of an optimizer. */
export interface InspectedOptimizer {
  /** The class that has these options, such as `AdamW`; null where none is known. PyTorch does not save the name. */
  name: string | null
  groups: { options: Record<string, unknown>; parameters: number }[]
  /** Parameters that have a state. */
  states: number
  /** Names of what a state holds: `exp_avg`, `momentum_buffer`... */
  stateKeys: string[]
  /** Least and most steps of the first {@link mostSteps} parameters that count them; null where none does. */
  steps: { least: number; most: number } | null
}

/** Each optimizer of torch 2.13 by options that, together, no other one has; `not` names options that it must not have. The first match wins. */
const signatures: readonly { name: string; has: readonly string[]; not?: readonly string[] }[] = [
  { name: 'LBFGS', has: ['history_size', 'tolerance_grad'] },
  { name: 'Muon', has: ['ns_steps'] },
  { name: 'Adafactor', has: ['beta2_decay'] },
  { name: 'Rprop', has: ['etas', 'step_sizes'] },
  { name: 'ASGD', has: ['lambd', 't0'] },
  { name: 'Adadelta', has: ['rho'] },
  { name: 'Adagrad', has: ['lr_decay', 'initial_accumulator_value'] },
  { name: 'RMSprop', has: ['alpha', 'centered'] },
  { name: 'NAdam', has: ['momentum_decay'] },
  { name: 'SGD', has: ['momentum', 'dampening', 'nesterov'] },
  { name: 'RAdam', has: ['betas', 'decoupled_weight_decay'], not: ['amsgrad'] },
  { name: 'Adam or AdamW', has: ['betas', 'amsgrad'] },
  { name: 'Adamax', has: ['betas', 'weight_decay'], not: ['amsgrad'] },
  { name: 'SparseAdam', has: ['betas', 'eps'], not: ['amsgrad', 'weight_decay'] },
]

const mostSteps = 64

/** Looks at the optimizer of a checkpoint in the current form; null without one. Reads the step counts, which are tensors of one element. */
export async function inspectOptimizer(file: TorchFile, checkpoint: TopLevel): Promise<InspectedOptimizer | null> {
  const optimizer = checkpoint.get('optimizer_state_dict')
  if (!(optimizer instanceof Map)) return null
  const groups = listOf(optimizer.get('param_groups')).filter((group): group is TopLevel => group instanceof Map)
  const states = dictsOf(optimizer.get('state'))
  // All at once, since what plain values may take is bounded for each call.
  const options = inspectedValue(groups.map((group) => new Map([...group].filter(([key]) => key !== 'params'))))
  return {
    name: optimizerName(groups[0]),
    groups: groups.map((group, index) => ({
      options: (options as Record<string, unknown>[])[index] ?? {},
      parameters: listOf(group.get('params')).length,
    })),
    states: states.length,
    stateKeys: [...new Set(states.flatMap((state) => [...state.keys()].map(String)))],
    steps: await stepsOf(file, states),
  }
}

/** The optimizer that has the options of this group. Adam and AdamW have the same ones; newer versions of PyTorch say which of them it is. */
export function optimizerName(group: TopLevel | undefined): string | null {
  if (group === undefined) return null
  const found = signatures.find(
    ({ has, not = [] }) => has.every((option) => group.has(option)) && !not.some((option) => group.has(option)),
  )
  if (found?.name !== 'Adam or AdamW') return found?.name ?? null
  const decoupled = group.get('decoupled_weight_decay')
  return typeof decoupled === 'boolean' ? (decoupled ? 'AdamW' : 'Adam') : found.name
}

async function stepsOf(file: TorchFile, states: readonly TopLevel[]): Promise<InspectedOptimizer['steps']> {
  const counted = states.flatMap((state) => (state.has('step') ? [state.get('step')] : [])).slice(0, mostSteps)
  const steps: number[] = []
  for (const step of counted) {
    const isOne = step instanceof TensorRecord && elementCount(step.sizes) === 1
    const value = isOne ? Number((await readTensorValues(file, step))[0]) : numberOf(step)
    if (value !== null) steps.push(value)
  }
  return steps.length === 0 ? null : { least: Math.min(...steps), most: Math.max(...steps) }
}

const listOf = (value: unknown): readonly unknown[] => (Array.isArray(value) ? value : [])

/** The dicts in a dict; optimizers of one state (LBFGS) have it under one parameter as well. */
function dictsOf(value: unknown): TopLevel[] {
  return value instanceof Map
    ? [...(value as TopLevel).values()].filter((item): item is TopLevel => item instanceof Map)
    : []
}
