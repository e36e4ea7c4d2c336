import { TorchkeepError } from '../../src/format/errors.js'
import type { Parameter } from '../nn/parameter.js'
import { knownOptions } from '../options.js'
import type { Tensor } from '../tensor.js'
import { checkNonNegative } from './checks.js'
import type { StateKeys } from './state-dict.js'
import { Optimizer, type ParamGroup, type ParamGroupOptions } from './optimizer.js'

export interface SGDOptions {
  /** 1e-3 unless told. */
  lr?: number
  momentum?: number
  dampening?: number
  /** L2 penalty. */
  weightDecay?: number
  nesterov?: boolean
  maximize?: boolean
  /** true: the fused operator of LibTorch, in sessions; other bits than the default path, as in Python. */
  fused?: boolean | null
}

/** Stochastic gradient descent, with Python's operations in Python's order (`_single_tensor_sgd`). */
export class SGD extends Optimizer {
  override readonly name = 'SGD'

  constructor(params: readonly Parameter[] | readonly ParamGroupOptions[], options: SGDOptions = {}) {
    const names = ['lr', 'momentum', 'dampening', 'weightDecay', 'nesterov', 'maximize', 'fused'] as const
    const {
      lr = 1e-3,
      momentum = 0,
      dampening = 0,
      weightDecay = 0,
      nesterov = false,
      maximize = false,
      fused = null,
    } = knownOptions('SGD', options, names)
    super(params, {
      lr,
      momentum,
      dampening,
      weightDecay,
      nesterov,
      maximize,
      foreach: null,
      differentiable: false,
      fused,
    })
  }

  protected override check(group: ParamGroup): void {
    for (const name of ['lr', 'momentum', 'weightDecay']) checkNonNegative('SGD', group, name)
    if (group['nesterov'] === true && (group['momentum'] === 0 || group['dampening'] !== 0)) {
      throw new TorchkeepError(
        'ERR_INVALID_ARGUMENT',
        `SGD: nesterov needs momentum and zero dampening, got ${String(group['momentum'])} and ${String(group['dampening'])}`,
      )
    }
  }

  protected override stateKeys(): StateKeys {
    return { required: [], optional: ['momentum_buffer'] }
  }

  protected override update(parameter: Parameter, gradient: Tensor, group: ParamGroup): void {
    const { lr, momentum, dampening, weightDecay, nesterov } = group as ParamGroup & Required<SGDOptions>
    let grad = weightDecay === 0 ? gradient : gradient.add(parameter, { alpha: weightDecay })
    if (momentum !== 0) {
      const buffer = this.#buffer(parameter, grad, momentum, dampening)
      grad = nesterov ? grad.add(buffer, { alpha: momentum }) : buffer
    }
    parameter.add_(grad, { alpha: -lr })
  }

  /** The first buffer is the gradient itself, without dampening. */
  #buffer(parameter: Parameter, grad: Tensor, momentum: number, dampening: number): Tensor {
    const state = this.stateOf(parameter)
    const buffer = state.get('momentum_buffer')
    if (buffer === undefined) return this.remember(state, 'momentum_buffer', grad.detach().clone())
    return buffer.mul_(momentum).add_(grad, { alpha: 1 - dampening })
  }
}
