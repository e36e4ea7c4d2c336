import { TorchkeepError } from '../../src/format/errors.js'
import { empty } from '../creation.js'
import { knownOptions } from '../options.js'
import type { Tensor } from '../tensor.js'
import { checkCount, factoryNames, type FactoryOptions } from './arguments.js'
import { conv2d, conv2dNames, type Conv2dOptions, type Pair } from './functional.js'
import { kaimingUniform_ } from './init.js'
import { resetBias } from './linear.js'
import { Module } from './module.js'
import { Parameter } from './parameter.js'

/** 2-D convolution of inputs [N, inChannels, H, W]; padding is with zeros. */
export class Conv2d extends Module {
  static readonly pythonName: string = 'torch.nn.modules.conv.Conv2d'
  /** [outChannels, inChannels / groups, kernel height, kernel width] */
  weight: Parameter
  /** [outChannels], or null without bias. */
  bias: Parameter | null
  readonly options: Conv2dOptions

  constructor(
    readonly inChannels: number,
    readonly outChannels: number,
    readonly kernelSize: Pair,
    given: { bias?: boolean } & Conv2dOptions & FactoryOptions = {},
  ) {
    super()
    const names = ['bias', ...conv2dNames, ...factoryNames] as const
    const { bias = true, device, dtype, ...options } = knownOptions('Conv2d', given, names)
    const { groups = 1 } = options
    checkCount('inChannels', inChannels)
    checkCount('outChannels', outChannels)
    checkCount('groups', groups, 1)
    if (inChannels % groups !== 0 || outChannels % groups !== 0) {
      throw new TorchkeepError(
        'ERR_INVALID_ARGUMENT',
        `groups is ${groups}, expected a divisor of inChannels ${inChannels} and outChannels ${outChannels}`,
      )
    }
    const kernel = typeof kernelSize === 'number' ? [kernelSize, kernelSize] : kernelSize
    const factory = { ...(device === undefined ? {} : { device }), ...(dtype === undefined ? {} : { dtype }) }
    this.options = options
    this.weight = new Parameter(empty([outChannels, inChannels / groups, ...kernel], factory))
    this.bias = bias ? new Parameter(empty([outChannels], factory)) : null
    this.resetParameters()
  }

  /** Draws new weights, as PyTorch does when the module is made. */
  resetParameters(): void {
    kaimingUniform_(this.weight, { a: Math.sqrt(5) })
    if (this.bias !== null) resetBias(this.bias, this.weight)
  }

  override forward(input: Tensor): Tensor {
    return conv2d(input, this.weight, this.bias, this.options)
  }
}
