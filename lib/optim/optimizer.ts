/** `torch.optim.Optimizer`: parameter groups, state, and both in Python's state dict. */
import { TorchkeepError } from '../../src/format/errors.js'
import type { OptimizerSpec } from '../contract.js'
import { noGrad } from '../grad-mode.js'
import { Parameter } from '../nn/parameter.js'
import { knownOptions } from '../options.js'
import { keep, scope } from '../scope.js'
import type { Tensor } from '../tensor.js'
import { copyFor, readGroups, readState, snakeCase, toPython, type StateKeys } from './state-dict.js'

/** A hyperparameter. */
export type OptionValue = number | boolean | null | undefined | readonly number[]

/** Parameters with their hyperparameters: PyTorch's in camelCase (`lr`, `weightDecay`...). */
export interface ParamGroup {
  params: Parameter[]
  lr: number
  [option: string]: OptionValue | Parameter[]
}

/** What a constructor takes as a group: what is absent takes the constructor's options. */
export interface ParamGroupOptions {
  params: readonly Parameter[]
  [option: string]: OptionValue | readonly Parameter[]
}

/** Optimizers that the native session knows too. */
export type OptimizerName = OptimizerSpec['name']

/** `lr` of 1e-3 and so on: what a subclass gives its groups. */
export type Defaults = Readonly<Record<string, OptionValue>> & { readonly lr: number }

/** What schedulers keep in the groups, as in Python. */
const schedulerNotes = new Set(['initialLr', 'maxLr', 'minLr', 'maxMomentum', 'baseMomentum'])

export abstract class Optimizer {
  abstract readonly name: OptimizerName
  readonly paramGroups: ParamGroup[]
  /**
   * By parameter, under Python's keys (`step`, `exp_avg`, `momentum_buffer`...). Parameters that never got a gradient
   * have none.
   */
  readonly state = new Map<Tensor, Map<string, Tensor>>()

  protected constructor(
    params: readonly Parameter[] | readonly ParamGroupOptions[],
    private readonly defaults: Defaults,
  ) {
    const groups = params.every((item) => item instanceof Parameter)
      ? [{ params }]
      : (params as readonly ParamGroupOptions[])
    if (params.length === 0)
      throw new TorchkeepError('ERR_INVALID_ARGUMENT', 'An optimizer needs parameters, got an empty list')
    this.paramGroups = groups.map(
      (group) => ({ ...defined(group), ...missing(group, defaults), params: [...group.params] }) as ParamGroup,
    )
    const names = ['params', 'initialLr', ...Object.keys(defaults)]
    groups.forEach((group, i) => knownOptions(`Parameter group ${i}`, group, names))
    this.#checkUnique()
    for (const group of this.paramGroups) this.check(group)
  }

  /** Refuses hyperparameters that make no sense. */
  protected abstract check(group: ParamGroup): void

  /** Which state a parameter of the group has after its first step. */
  protected abstract stateKeys(group: ParamGroup): StateKeys

  /** Options that a loaded state dict cannot change. */
  protected get fixedOptions(): Readonly<Record<string, OptionValue>> {
    return {}
  }

  /** Updates one parameter in place. Runs without gradients, inside a scope. */
  protected abstract update(parameter: Parameter, grad: Tensor, group: ParamGroup): void

  /** Updates all parameters that have a gradient, in Python's single-tensor order. */
  step(): void {
    noGrad(() => {
      for (const group of this.paramGroups) {
        if (group['fused'] === true) {
          throw new TorchkeepError('ERR_INVALID_ARGUMENT', `${this.name}: step() has no fused path; a session has`, {
            suggestions: ['Leave fused out, or train through a session.'],
          })
        }
        for (const parameter of group.params) {
          scope(() => {
            const grad = parameter.grad
            if (grad !== null) this.update(parameter, group['maximize'] === true ? grad.neg() : grad, group)
          })
        }
      }
    })
  }

  /** Drops the gradients of all parameters. */
  zeroGrad(): void {
    for (const { params } of this.paramGroups) for (const parameter of params) parameter.grad = null
  }

  /** State of one parameter, made on its first step. */
  protected stateOf(parameter: Parameter): Map<string, Tensor> {
    let state = this.state.get(parameter)
    if (state === undefined) this.state.set(parameter, (state = new Map<string, Tensor>()))
    return state
  }

  /** Puts a tensor into a state, so that it outlives the step. */
  protected remember(state: Map<string, Tensor>, key: string, tensor: Tensor): Tensor {
    state.set(key, keep(tensor))
    return tensor
  }

  /**
   * Python's layout: `state` by the parameter's number (counted over all groups), `param_groups` with its keys in its
   * order. Tensors are the live ones.
   */
  stateDict(): Map<string, unknown> {
    const numbers = new Map(this.#parameters().map((parameter, number) => [parameter as Tensor, number]))
    const state = new Map([...this.state].map(([parameter, own]) => [numbers.get(parameter), new Map(own)]))
    const groups = this.paramGroups.map((group) => {
      const options = Object.entries(group).filter(([name]) => name !== 'params')
      const entries = options.map(([name, value]): [string, unknown] => [
        snakeCase(name),
        toPython(name, value as OptionValue),
      ])
      return new Map<string, unknown>([...entries, ['params', group.params.map((parameter) => numbers.get(parameter))]])
    })
    return new Map<string, unknown>([
      ['state', state],
      ['param_groups', groups],
    ])
  }

  /**
   * Takes over hyperparameters and copies of the state. Everything is checked before anything changes; what does not
   * fit is `ERR_CHECKPOINT_INCOMPATIBLE`.
   */
  loadStateDict(dict: ReadonlyMap<unknown, unknown>): void {
    const loaded = readGroups(dict.get('param_groups'), this.paramGroups)
    const groups = loaded.map((group) => ({ ...group, ...missing(group, this.defaults), ...this.fixedOptions }))
    const groupOf = new Map(groups.flatMap((group) => group.params.map((parameter) => [parameter, group])))
    const keysOf = (parameter: Parameter): StateKeys => this.stateKeys(groupOf.get(parameter) as ParamGroup)
    const state = readState(dict.get('state'), this.#parameters(), keysOf)
    for (const group of groups) this.check(group)
    this.paramGroups.splice(0, this.paramGroups.length, ...groups)
    this.state.clear()
    for (const [parameter, own] of state) {
      const copies = [...own].map(([key, tensor]) => [key, copyFor(parameter, key, tensor)] as const)
      this.state.set(parameter, new Map(copies))
    }
  }

  /** Groups (with parameters by name) and state for a session. */
  toNative(nameOf: (parameter: Tensor) => string): Pick<OptimizerSpec, 'groups' | 'state'> {
    const groups = this.paramGroups.map(({ params, ...options }) => ({
      params: params.map(nameOf),
      options: Object.fromEntries(
        Object.entries(options)
          .filter(([name]) => !schedulerNotes.has(name))
          .map(([name, value]) => [snakeCase(name), (value ?? null) as number | boolean | null]),
      ),
    }))
    const state = [...this.state].map(([parameter, own]) => [
      nameOf(parameter),
      Object.fromEntries([...own].map(([key, tensor]) => [key, tensor.handle])),
    ])
    return { groups, state: Object.fromEntries(state) as NonNullable<OptimizerSpec['state']> }
  }

  #parameters(): Parameter[] {
    return this.paramGroups.flatMap((group) => group.params)
  }

  #checkUnique(): void {
    const parameters = this.#parameters()
    if (new Set(parameters).size === parameters.length) return
    throw new TorchkeepError('ERR_INVALID_ARGUMENT', 'A parameter appears more than once in the groups of an optimizer')
  }
}

function defined(group: ParamGroupOptions): Partial<ParamGroupOptions> {
  return Object.fromEntries(Object.entries(group).filter(([, value]) => value !== undefined))
}

function missing(group: ParamGroupOptions, defaults: Defaults): Record<string, OptionValue> {
  return Object.fromEntries(Object.entries(defaults).filter(([name]) => group[name] === undefined))
}
