import { TorchkeepError } from '../../src/format/errors.js'
import { empty } from '../creation.js'
import { knownOptions } from '../options.js'
import type { Tensor } from '../tensor.js'
import { checkCount, factoryNames, type FactoryOptions } from './arguments.js'
import { conv1d, conv2d, convNames, type Conv1dOptions, type Conv2dOptions, type Pair } from './functional.js'
import { kaimingUniform_ } from './init.js'
import { resetBias } from './linear.js'
import { Module } from './module.js'
import { Parameter } from './parameter.js'

/** What convolutions over any number of dimensions share. `O`: stride, padding, dilation, groups. */
abstract class Convolution<O extends Conv1dOptions | Conv2dOptions> extends Module {
  /** [outChannels, inChannels / groups, ...kernel] */
  weight: Parameter
  /** [outChannels], or null without bias. */
  bias: Parameter | null
  readonly options: O

  constructor(
    readonly inChannels: number,
    readonly outChannels: number,
    kernel: readonly number[],
    given: { bias?: boolean } & O & FactoryOptions,
  ) {
    super()
    const names = ['bias', ...convNames, ...factoryNames] as const
    const { bias = true, device, dtype, ...options } = knownOptions(new.target.name, given, names)
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
    const factory = { ...(device === undefined ? {} : { device }), ...(dtype === undefined ? {} : { dtype }) }
    this.options = options as unknown as O
    this.weight = new Parameter(empty([outChannels, inChannels / groups, ...kernel], factory))
    this.bias = bias ? new Parameter(empty([outChannels], factory)) : null
    this.resetParameters()
  }

  /** Draws new weights, as PyTorch does when the module is made. */
  resetParameters(): void {
    kaimingUniform_(this.weight, { a: Math.sqrt(5) })
    if (this.bias !== null) resetBias(this.bias, this.weight)
  }
}

/** 1-D convolution of inputs [N, inChannels, L]; padding is with zeros. */
export class Conv1d extends Convolution<Conv1dOptions> {
  static readonly pythonName: string = 'torch.nn.modules.conv.Conv1d'

  constructor(
    inChannels: number,
    outChannels: number,
    readonly kernelSize: number,
    given: { bias?: boolean } & Conv1dOptions & FactoryOptions = {},
  ) {
    super(inChannels, outChannels, [kernelSize], given)
  }

  override forward(input: Tensor): Tensor {
    return conv1d(input, this.weight, this.bias, this.options)
  }
}

/** 2-D convolution of inputs [N, inChannels, H, W]; padding is with zeros. */
export class Conv2d extends Convolution<Conv2dOptions> {
  static readonly pythonName: string = 'torch.nn.modules.conv.Conv2d'

  constructor(
    inChannels: number,
    outChannels: number,
    readonly kernelSize: Pair,
    given: { bias?: boolean } & Conv2dOptions & FactoryOptions = {},
  ) {
    super(inChannels, outChannels, typeof kernelSize === 'number' ? [kernelSize, kernelSize] : kernelSize, given)
  }

  override forward(input: Tensor): Tensor {
    return conv2d(input, this.weight, this.bias, this.options)
  }
}
