/** `torch.optim.Optimizer`: parameter groups, state, and both in Python's state dict. */
import { TorchkeepError } from '../../src/format/errors.js'
import { PyFloat, Tuple } from '../../src/format/values.js'
import type { OptimizerSpec } from '../contract.js'
import { isFloatingPoint } from '../dtype.js'
import { noGrad } from '../grad-mode.js'
import { Parameter } from '../nn/parameter.js'
import { keep, scope } from '../scope.js'
import { Tensor } from '../tensor.js'

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

/** Hyperparameters that Python always holds as float; others are int where integral, as Python's own defaults are. */
const floats = new Set(['lr', 'betas', 'eps', 'initialLr'])

/** `lr` of 1e-3 and so on: what a subclass gives its groups. */
export type Defaults = Readonly<Record<string, OptionValue>> & { readonly lr: number }

export abstract class Optimizer {
  abstract readonly name: OptimizerName
  readonly paramGroups: ParamGroup[]
  /** By parameter, under Python's keys (`step`, `exp_avg`, `momentum_buffer`...). Parameters that never got a gradient have none. */
  readonly state = new Map<Tensor, Map<string, Tensor>>()

  protected constructor(params: readonly Parameter[] | readonly ParamGroupOptions[], defaults: Defaults) {
    const groups = params.every((item) => item instanceof Parameter)
      ? [{ params }]
      : (params as readonly ParamGroupOptions[])
    if (params.length === 0)
      throw new TorchkeepError('ERR_INVALID_ARGUMENT', 'An optimizer needs parameters, got an empty list')
    this.paramGroups = groups.map(
      (group) => ({ ...defined(group), ...missing(group, defaults), params: [...group.params] }) as ParamGroup,
    )
    this.#checkUnique()
    for (const group of this.paramGroups) this.check(group)
  }

  /** Refuses hyperparameters that make no sense. */
  protected abstract check(group: ParamGroup): void

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

  /** Python's layout: `state` by the parameter's number (counted over all groups), `param_groups` with its keys in its order. Tensors are the live ones. */
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

  /** Takes over hyperparameters and copies of the state. Everything is checked before anything changes; what does not fit is `ERR_CHECKPOINT_INCOMPATIBLE`. */
  loadStateDict(dict: ReadonlyMap<unknown, unknown>): void {
    const groups = this.#readGroups(dict.get('param_groups'))
    const state = this.#readState(dict.get('state'))
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
        Object.entries(options).map(([name, value]) => [snakeCase(name), (value ?? null) as number | boolean | null]),
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

  #readGroups(saved: unknown): ParamGroup[] {
    const found = Array.isArray(saved) ? saved.length : 0
    if (!Array.isArray(saved) || found !== this.paramGroups.length)
      throw incompatible(`${found} parameter groups, expected ${this.paramGroups.length}`)
    return saved.map((group: unknown, i) => {
      const { params } = this.paramGroups[i] as ParamGroup
      if (!(group instanceof Map)) throw incompatible(`group ${i} is no dict`)
      const numbers: unknown = group.get('params')
      const count = Array.isArray(numbers) ? numbers.length : 0
      if (count !== params.length) throw incompatible(`group ${i} has ${count} parameters, expected ${params.length}`)
      const options = [...(group as Map<string, unknown>)].filter(
        ([name]) => name !== 'params' && name !== 'param_names',
      )
      return {
        ...Object.fromEntries(
          options.map(([name, value]) => [camelCase(name), fromPython(value, `group ${i}, ${name}`)]),
        ),
        params,
      } as ParamGroup
    })
  }

  #readState(saved: unknown): Map<Parameter, Map<string, Tensor>> {
    const parameters = this.#parameters()
    if (!(saved instanceof Map)) throw incompatible('it has no state dict')
    const entries = [...(saved as Map<unknown, unknown>)].map(([number, own]): [Parameter, Map<string, Tensor>] => {
      const parameter = parameters[Number(number)]
      if (parameter === undefined)
        throw incompatible(`it has state of parameter ${String(number)}, but there are ${parameters.length}`)
      if (!(own instanceof Map)) throw incompatible(`the state of parameter ${String(number)} is no dict`)
      for (const [key, tensor] of own as Map<string, unknown>) checkState(parameter, Number(number), key, tensor)
      return [parameter, own as Map<string, Tensor>]
    })
    return new Map(entries)
  }
}

function checkState(parameter: Parameter, number: number, key: string, tensor: unknown): asserts tensor is Tensor {
  if (!(tensor instanceof Tensor)) throw incompatible(`'${key}' of parameter ${number} is no tensor`)
  const [found, expected] = [tensor.shape, key === 'step' ? [] : parameter.shape]
  if (found.join() !== expected.join())
    throw incompatible(
      `'${key}' of parameter ${number} has shape [${found.join(', ')}], expected [${expected.join(', ')}]`,
    )
}

/** A copy with the parameter's dtype and on its device; the step count stays as it is. */
function copyFor(parameter: Parameter, key: string, tensor: Tensor): Tensor {
  return noGrad(() => {
    if (key === 'step') return keep(tensor.detach().clone())
    const dtype = isFloatingPoint(parameter.dtype) ? parameter.dtype : tensor.dtype
    return keep(tensor.detach().clone().to({ dtype, device: parameter.device }))
  })
}

function incompatible(problem: string): TorchkeepError {
  return new TorchkeepError('ERR_CHECKPOINT_INCOMPATIBLE', `The optimizer's state dict does not fit: ${problem}`)
}

function defined(group: ParamGroupOptions): Partial<ParamGroupOptions> {
  return Object.fromEntries(Object.entries(group).filter(([, value]) => value !== undefined))
}

function missing(group: ParamGroupOptions, defaults: Defaults): Record<string, OptionValue> {
  return Object.fromEntries(Object.entries(defaults).filter(([name]) => group[name] === undefined))
}

/** camelCase in the API, Python's snake_case inside state dicts. */
const snakeCase = (name: string): string => name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`)

const camelCase = (name: string): string => name.replace(/_([a-z])/g, (_, letter: string) => letter.toUpperCase())

function toPython(name: string, value: OptionValue): unknown {
  if (Array.isArray(value)) return new Tuple(value.map((item: number) => new PyFloat(item)))
  return typeof value === 'number' && floats.has(name) ? new PyFloat(value) : (value ?? null)
}

function fromPython(value: unknown, where: string): OptionValue {
  if (value instanceof PyFloat) return value.value
  if (value instanceof Tensor && value.numel() === 1) return Number(value.item())
  if (Array.isArray(value)) return value.map((item) => Number(fromPython(item, where)))
  if (value === null || typeof value === 'number' || typeof value === 'boolean') return value
  throw incompatible(`${where} is ${String(value)}, expected a number, a flag or None`)
}
