/** The optimizer of a phase: its groups, and the state that it takes over from a checkpoint or from the phase before. */
import { optim, type Parameter, type Tensor } from '../../lib/index.js'
import type { Dict } from '../checkpoint/schema.js'
import type { OptimizerConfig } from '../checkpoint/training-config.js'
import { TorchkeepError } from '../format/errors.js'
import type { PhaseNames } from './patterns.js'
import type { PhaseConfig } from './phase-config.js'

/** The optimizers by PyTorch's names. */
const optimizers = { SGD: optim.SGD, Adam: optim.Adam, AdamW: optim.AdamW }

const adamOptions = ['betas', 'eps', 'weightDecay', 'amsgrad', 'maximize', 'fused']
/** Which options of an `OptimizerConfig`, or of a group, each takes. */
const optionsOf: Readonly<Record<OptimizerConfig['name'], readonly string[]>> = {
  SGD: ['momentum', 'dampening', 'nesterov', 'weightDecay', 'maximize', 'fused'],
  Adam: adamOptions,
  AdamW: adamOptions,
}

/** Optimizer state under Python's keys, by parameter name. */
export type NamedState = ReadonlyMap<string, ReadonlyMap<string, Tensor>>

/**
 * The optimizer of a phase over its groups.
 *
 * @throws TorchkeepError `ERR_INVALID_ARGUMENT` for an option that is out of range or that the optimizer does not have.
 */
export function makeOptimizer(
  parameters: ReadonlyMap<string, Parameter>,
  names: PhaseNames,
  phase: PhaseConfig,
): optim.Optimizer {
  const { name, ...options } = phase.optimizer
  refuseForeign(`phase '${phase.name}'`, name, options)
  const groups = names.groups.map((group, index) => {
    const { params: _patterns, ...own } = phase.groups[index] ?? { params: [] }
    refuseForeign(`groups[${index}] of phase '${phase.name}'`, name, own, ['lr'])
    return { ...own, params: group.map((parameter) => parameters.get(parameter) as Parameter) }
  })
  return new optimizers[name](groups, { lr: phase.lr, ...options })
}

function refuseForeign(
  where: string,
  name: OptimizerConfig['name'],
  options: object,
  more: readonly string[] = [],
): void {
  const known = [...more, ...optionsOf[name]]
  const foreign = Object.keys(options).find((option) => !known.includes(option))
  if (foreign === undefined) return
  throw new TorchkeepError(
    'ERR_INVALID_ARGUMENT',
    `${where}: ${name} has no option ${foreign} (it has ${known.join(', ')})`,
  )
}

/**
 * Refuses phases that cannot go on with the optimizer of the phase before, before the first step.
 *
 * @throws TorchkeepError `ERR_INVALID_ARGUMENT`.
 */
export function checkKeptOptimizers(phases: readonly PhaseConfig[], names: readonly PhaseNames[]): void {
  /** Whether the state of each parameter that has one was made with `amsgrad`, which keeps one tensor more. */
  let amsgrad = new Map<string, boolean>()
  for (const [index, phase] of phases.entries()) {
    const before = phases[index - 1]
    const groups = (names[index] as PhaseNames).groups
    if (phase.keepOptimizer) checkKept(phase, before)
    else amsgrad = new Map()
    for (const [number, group] of groups.entries()) {
      const wanted = phase.groups[number]?.amsgrad ?? phase.optimizer.amsgrad ?? false
      for (const name of group) {
        if (wanted && amsgrad.get(name) === false)
          throw new TorchkeepError(
            'ERR_INVALID_ARGUMENT',
            `phase '${phase.name}' keeps the optimizer and has amsgrad, but the state of '${name}' was begun without`,
          )
        amsgrad.set(name, amsgrad.get(name) ?? wanted)
      }
    }
  }
}

function checkKept(phase: PhaseConfig, before: PhaseConfig | undefined): void {
  const fail = (why: string): never => {
    throw new TorchkeepError('ERR_INVALID_ARGUMENT', `phase '${phase.name}' has keepOptimizer, but ${why}`)
  }
  if (before === undefined) return fail('is the first: there is no optimizer to keep')
  if (before.optimizer.name !== phase.optimizer.name)
    fail(`its optimizer is ${phase.optimizer.name} and that of phase '${before.name}' ${before.optimizer.name}`)
}

/** Names of the optimizer's parameters, in the order of the numbers in its state dict. */
const numbered = ({ groups }: Pick<PhaseNames, 'groups'>): string[] => groups.flat()

/** The state in an `optimizer_state_dict` by parameter name. */
export function namedState(optimizer: Dict, groups: PhaseNames['groups']): NamedState {
  const names = numbered({ groups })
  const state = optimizer.get('state')
  if (!(state instanceof Map)) return new Map()
  return new Map(
    [...(state as Map<unknown, Map<string, Tensor>>)].flatMap(([number, own]) => {
      const name = names[Number(number)]
      return name === undefined ? [] : [[name, own]]
    }),
  )
}

/** Gives an optimizer copies of the state of those of its parameters that have one here; its hyperparameters stay. */
export function takeOverState(optimizer: optim.Optimizer, names: PhaseNames, state: NamedState): void {
  const own = numbered(names).flatMap((name, number): [number, unknown][] =>
    state.has(name) ? [[number, state.get(name)]] : [],
  )
  optimizer.loadStateDict(new Map([...optimizer.stateDict(), ['state', new Map(own)]]))
}

/** What a phase keeps, but cannot use itself: state of parameters that stand still in it. */
export function standingState(names: PhaseNames, state: NamedState): NamedState {
  const trained = new Set(names.trained)
  return new Map([...state].filter(([name]) => !trained.has(name)))
}

/** Disposes the tensors of a state. */
export function disposeState(state: NamedState): void {
  for (const own of state.values()) for (const tensor of own.values()) tensor.dispose()
}
