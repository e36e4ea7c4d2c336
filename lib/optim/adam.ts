import { TorchkeepError } from '../../src/format/errors.js'
import { tensor, zerosLike } from '../creation.js'
import type { Parameter } from '../nn/parameter.js'
import { knownOptions } from '../options.js'
import type { Tensor } from '../tensor.js'
import { checkNonNegative } from './checks.js'
import { Optimizer, type OptimizerName, type ParamGroup, type ParamGroupOptions } from './optimizer.js'
import { pow } from './pow.js'
import type { StateKeys } from './state-dict.js'

export interface AdamOptions {
  /** 1e-3 unless told. */
  lr?: number
  /** How fast the running means of gradient and squared gradient forget; 0.9 and 0.999 unless told. */
  betas?: readonly number[]
  /** 1e-8 unless told. */
  eps?: number
  /** L2 penalty (Adam, 0 unless told) or decay of the weights themselves (AdamW, 0.01 unless told). */
  weightDecay?: number
  /** Whether the largest squared mean so far is used. */
  amsgrad?: boolean
  maximize?: boolean
  /** true: the fused operator of LibTorch, in sessions; other bits than the default path, as in Python. */
  fused?: boolean | null
}

/** Adam, with Python's operations in Python's order (`_single_tensor_adam`). */
export class Adam extends Optimizer {
  override readonly name: OptimizerName = 'Adam'

  constructor(
    params: readonly Parameter[] | readonly ParamGroupOptions[],
    options: AdamOptions = {},
    decoupledWeightDecay = false,
  ) {
    const names = ['lr', 'betas', 'eps', 'weightDecay', 'amsgrad', 'maximize', 'fused'] as const
    const {
      lr = 1e-3,
      betas = [0.9, 0.999],
      eps = 1e-8,
      weightDecay = 0,
      amsgrad = false,
      maximize = false,
      fused = null,
    } = knownOptions(decoupledWeightDecay ? 'AdamW' : 'Adam', options, names)
    const rest = { foreach: null, capturable: false, differentiable: false, fused, decoupledWeightDecay }
    super(params, { lr, betas, eps, weightDecay, amsgrad, maximize, ...rest })
  }

  protected override check(group: ParamGroup): void {
    for (const name of ['lr', 'eps', 'weightDecay']) checkNonNegative(this.constructor.name, group, name)
    const betas = group['betas']
    if (Array.isArray(betas) && betas.length === 2 && betas.every((beta) => Number(beta) >= 0 && Number(beta) < 1))
      return
    throw new TorchkeepError(
      'ERR_INVALID_ARGUMENT',
      `${this.constructor.name}: betas is [${String(betas)}], expected two numbers in [0, 1)`,
    )
  }

  protected override stateKeys(group: ParamGroup): StateKeys {
    const moments = ['step', 'exp_avg', 'exp_avg_sq']
    const [required, optional] =
      group['amsgrad'] === true ? [[...moments, 'max_exp_avg_sq'], []] : [moments, ['max_exp_avg_sq']]
    return { required, optional }
  }

  protected override update(parameter: Parameter, gradient: Tensor, group: ParamGroup): void {
    const { lr, betas, eps, weightDecay, amsgrad, decoupledWeightDecay } = group as ParamGroup & Required<AdamOptions>
    const [beta1, beta2] = betas as readonly [number, number]
    const state = this.#initialised(parameter, amsgrad)
    const [stepCount, expAvg, expAvgSq] = [state.get('step'), state.get('exp_avg'), state.get('exp_avg_sq')] as [
      Tensor,
      Tensor,
      Tensor,
    ]
    stepCount.add_(1)
    let grad = gradient
    if (weightDecay !== 0) {
      if (decoupledWeightDecay === true) parameter.mul_(1 - lr * weightDecay)
      else grad = grad.add(parameter, { alpha: weightDecay })
    }
    expAvg.lerp_(grad, 1 - beta1)
    expAvgSq.mul_(beta2).addcmul_(grad, grad, { value: 1 - beta2 })
    const step = Number(stepCount.item())
    const stepSize = lr / (1 - pow(beta1, step))
    const biasCorrection2Sqrt = pow(1 - pow(beta2, step), 0.5)
    const second = amsgrad ? this.#maximum(state, expAvgSq) : expAvgSq
    const denominator = second.sqrt().div(biasCorrection2Sqrt).add_(eps)
    parameter.addcdiv_(expAvg, denominator, { value: -stepSize })
  }

  #initialised(parameter: Parameter, amsgrad: boolean): Map<string, Tensor> {
    const state = this.stateOf(parameter)
    if (state.size > 0) return state
    this.remember(state, 'step', tensor(0))
    this.remember(state, 'exp_avg', zerosLike(parameter))
    this.remember(state, 'exp_avg_sq', zerosLike(parameter))
    if (amsgrad) this.remember(state, 'max_exp_avg_sq', zerosLike(parameter))
    return state
  }

  #maximum(state: Map<string, Tensor>, expAvgSq: Tensor): Tensor {
    const maximum = state.get('max_exp_avg_sq') as Tensor
    return maximum.copy_(maximum.maximum(expAvgSq))
  }
}

/** Adam whose weight decay acts on the weights themselves. */
export class AdamW extends Adam {
  override readonly name = 'AdamW'

  constructor(params: readonly Parameter[] | readonly ParamGroupOptions[], options: AdamOptions = {}) {
    super(params, { ...options, weightDecay: options.weightDecay ?? 1e-2 }, true)
  }
  /** As in Python: a state dict of Adam that AdamW loads decays the weights from then on. */
  protected override get fixedOptions(): { decoupledWeightDecay: true } {
    return { decoupledWeightDecay: true }
  }
}
