/** Modules without parameters. */
import { knownOptions } from '../options.js'
import type { Tensor } from '../tensor.js'
import {
  checkProbability,
  dropout,
  maxPool2d,
  maxPool2dNames,
  relu,
  type MaxPool2dOptions,
  type Pair,
} from './functional.js'
import { Module } from './module.js'

/** `max(x, 0)`. */
export class ReLU extends Module {
  static readonly pythonName: string = 'torch.nn.modules.activation.ReLU'
  readonly inplace: boolean

  constructor(options: { inplace?: boolean } = {}) {
    super()
    this.inplace = knownOptions('ReLU', options, ['inplace']).inplace ?? false
  }

  override forward(input: Tensor): Tensor {
    return relu(input, { inplace: this.inplace })
  }
}

/** Largest value of each window of inputs [N, C, H, W]. */
export class MaxPool2d extends Module {
  static readonly pythonName: string = 'torch.nn.modules.pooling.MaxPool2d'

  constructor(
    readonly kernelSize: Pair,
    readonly options: MaxPool2dOptions = {},
  ) {
    super()
    knownOptions('MaxPool2d', options, maxPool2dNames)
  }

  override forward(input: Tensor): Tensor {
    return maxPool2d(input, this.kernelSize, this.options)
  }
}

/** Sets values to 0 with probability `p` in training; nothing in evaluation. */
export class Dropout extends Module {
  static readonly pythonName: string = 'torch.nn.modules.dropout.Dropout'
  readonly inplace: boolean

  constructor(
    readonly p = 0.5,
    options: { inplace?: boolean } = {},
  ) {
    super()
    checkProbability(p)
    this.inplace = knownOptions('Dropout', options, ['inplace']).inplace ?? false
  }

  override forward(input: Tensor): Tensor {
    return dropout(input, { p: this.p, training: this.training, inplace: this.inplace })
  }
}

/** Joins the dimensions `startDim` to `endDim` into one. */
export class Flatten extends Module {
  static readonly pythonName: string = 'torch.nn.modules.flatten.Flatten'

  constructor(
    readonly startDim = 1,
    readonly endDim = -1,
  ) {
    super()
  }

  override forward(input: Tensor): Tensor {
    return input.flatten(this.startDim, this.endDim)
  }
}
