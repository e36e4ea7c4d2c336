/** Reading an optimizer's state dict: everything is checked before anything is taken over. */
import { TorchkeepError } from '../../src/format/errors.js'
import { PyFloat, Tuple } from '../../src/format/values.js'
import { isFloatingPoint } from '../dtype.js'
import { noGrad } from '../grad-mode.js'
import type { Parameter } from '../nn/parameter.js'
import { keep } from '../scope.js'
import { Tensor } from '../tensor.js'
import type { OptionValue, ParamGroup } from './optimizer.js'

/** Hyperparameters that Python always holds as float; others are int where integral, as Python's own defaults are. */
const floats = new Set(['lr', 'betas', 'eps', 'initialLr', 'maxLr', 'minLr', 'maxMomentum', 'baseMomentum'])

/** Which keys the state of a parameter has. */
export interface StateKeys {
  required: readonly string[]
  optional: readonly string[]
}

/** camelCase in the API, Python's snake_case inside state dicts. */
export const snakeCase = (name: string): string => name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`)

const camelCase = (name: string): string => name.replace(/_([a-z])/g, (_, letter: string) => letter.toUpperCase())

/** A hyperparameter as Python holds it. */
export function toPython(name: string, value: OptionValue): unknown {
  if (Array.isArray(value)) return new Tuple(value.map((item: number) => new PyFloat(item)))
  return typeof value === 'number' && floats.has(name) ? new PyFloat(value) : (value ?? null)
}

/** `param_groups` for the given groups; options that an older Python did not write are absent. */
export function readGroups(saved: unknown, groups: readonly ParamGroup[]): ParamGroup[] {
  const found = Array.isArray(saved) ? saved.length : 0
  if (!Array.isArray(saved) || found !== groups.length) {
    throw incompatible(`${found} parameter groups, expected ${groups.length}`)
  }
  return saved.map((group: unknown, i) => {
    const { params } = groups[i] as ParamGroup
    if (!(group instanceof Map)) throw incompatible(`group ${i} is no dict`)
    const numbers: unknown = group.get('params')
    const count = Array.isArray(numbers) ? numbers.length : 0
    if (count !== params.length) throw incompatible(`group ${i} has ${count} parameters, expected ${params.length}`)
    if (!group.has('lr')) throw incompatible(`group ${i} has no lr`)
    const options = [...(group as Map<string, unknown>)].filter(([name]) => name !== 'params' && name !== 'param_names')
    const entries = options.map(([name, value]) => [camelCase(name), fromPython(value, `group ${i}, ${name}`)])
    return { ...Object.fromEntries(entries), params } as ParamGroup
  })
}

/** `state` for the given parameters (counted over all groups), not yet copied. */
export function readState(
  saved: unknown,
  parameters: readonly Parameter[],
  keysOf: (parameter: Parameter) => StateKeys,
): Map<Parameter, Map<string, Tensor>> {
  if (!(saved instanceof Map)) throw incompatible('it has no state dict')
  const entries = [...(saved as Map<unknown, unknown>)].map(([number, own]) => {
    const parameter = parameters[Number(number)]
    if (parameter === undefined) {
      throw incompatible(`it has state of parameter ${String(number)}, but there are ${parameters.length}`)
    }
    return [parameter, readOwnState(own, parameter, String(number), keysOf(parameter))] as const
  })
  return new Map(entries)
}

function readOwnState(own: unknown, parameter: Parameter, number: string, keys: StateKeys): Map<string, Tensor> {
  if (!(own instanceof Map)) throw incompatible(`the state of parameter ${number} is no dict`)
  // SGD without momentum has written None for its buffer.
  const state = new Map([...(own as Map<string, unknown>)].filter(([, value]) => value !== null))
  for (const key of keys.required) if (!state.has(key)) throw incompatible(`parameter ${number} has no '${key}'`)
  for (const [key, tensor] of state) {
    if (!keys.required.includes(key) && !keys.optional.includes(key)) {
      throw incompatible(
        `parameter ${number} has '${key}', expected ${[...keys.required, ...keys.optional].join(', ')}`,
      )
    }
    if (!(tensor instanceof Tensor)) throw incompatible(`'${key}' of parameter ${number} is no tensor`)
    const [found, expected] = [tensor.shape, key === 'step' ? [] : parameter.shape]
    if (found.join() !== expected.join()) {
      throw incompatible(
        `'${key}' of parameter ${number} has shape [${found.join(', ')}], expected [${expected.join(', ')}]`,
      )
    }
  }
  return state as Map<string, Tensor>
}

/** A copy with the parameter's dtype and on its device; the step count stays as it is. */
export function copyFor(parameter: Parameter, key: string, tensor: Tensor): Tensor {
  return noGrad(() => {
    const copy = tensor.detach().clone()
    if (key === 'step') return keep(copy)
    const dtype = isFloatingPoint(parameter.dtype) ? parameter.dtype : tensor.dtype
    return keep(copy.to({ dtype, device: parameter.device }))
  })
}

function fromPython(value: unknown, where: string): OptionValue {
  if (value instanceof PyFloat) return value.value
  if (value instanceof Tensor && value.numel() === 1) return Number(value.item())
  if (Array.isArray(value)) return value.map((item) => Number(fromPython(item, where)))
  if (value === null || typeof value === 'number' || typeof value === 'boolean') return value
  throw incompatible(`${where} is ${String(value)}, expected a number, a flag or None`)
}

function incompatible(problem: string): TorchkeepError {
  return new TorchkeepError('ERR_CHECKPOINT_INCOMPATIBLE', `The optimizer's state dict does not fit: ${problem}`)
}
