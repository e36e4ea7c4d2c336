import { empty } from '../creation.js'
import { knownOptions } from '../options.js'
import type { Tensor } from '../tensor.js'
import { checkCount, factoryNames, type FactoryOptions } from './arguments.js'
import { linear } from './functional.js'
import { calculateFanInAndFanOut, kaimingUniform_, uniform_ } from './init.js'
import { Module } from './module.js'
import { Parameter } from './parameter.js'

/** `y = x Wᵀ + b` over the last dimension. */
export class Linear extends Module {
  static readonly pythonName: string = 'torch.nn.modules.linear.Linear'
  /** [outFeatures, inFeatures] */
  weight: Parameter
  /** [outFeatures], or null without bias. */
  bias: Parameter | null

  constructor(
    readonly inFeatures: number,
    readonly outFeatures: number,
    options: { bias?: boolean } & FactoryOptions = {},
  ) {
    super()
    const { bias = true, ...factory } = knownOptions('Linear', options, ['bias', ...factoryNames])
    checkCount('inFeatures', inFeatures)
    checkCount('outFeatures', outFeatures)
    this.weight = new Parameter(empty([outFeatures, inFeatures], factory))
    this.bias = bias ? new Parameter(empty([outFeatures], factory)) : null
    this.resetParameters()
  }

  /** Draws new weights, as PyTorch does when the module is made. */
  resetParameters(): void {
    kaimingUniform_(this.weight, { a: Math.sqrt(5) })
    if (this.bias !== null) resetBias(this.bias, this.weight)
  }

  override forward(input: Tensor): Tensor {
    return linear(input, this.weight, this.bias)
  }
}

/** Uniform within 1 / sqrt(fan in), as Linear and the convolutions draw their bias. */
export function resetBias(bias: Parameter, weight: Parameter): void {
  const [fanIn] = calculateFanInAndFanOut(weight)
  const bound = fanIn > 0 ? 1 / Math.sqrt(fanIn) : 0
  // Not -bound: for 0 that is -0 in JavaScript, and the values would be -0 as well.
  uniform_(bias, 0 - bound, bound)
}
