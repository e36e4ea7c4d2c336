/** Losses as modules. */
import { knownOptions } from '../options.js'
import { keep } from '../scope.js'
import type { Tensor } from '../tensor.js'
import {
  checkReduction,
  crossEntropy,
  crossEntropyNames,
  mseLoss,
  type CrossEntropyOptions,
  type Reduction,
} from './functional.js'
import { Module } from './module.js'

/** Mean of squared differences. Input and target have the same shape. */
export class MSELoss extends Module {
  static readonly pythonName: string = 'torch.nn.modules.loss.MSELoss'
  readonly reduction: Reduction

  constructor(options: { reduction?: Reduction } = {}) {
    super()
    const { reduction = 'mean' } = knownOptions('MSELoss', options, ['reduction'])
    checkReduction(reduction)
    this.reduction = reduction
  }

  override forward(input: Tensor, target: Tensor): Tensor {
    return mseLoss(input, target, { reduction: this.reduction })
  }
}

/** Cross entropy of scores [N, classes, ...] with class numbers (int64) or probabilities. */
export class CrossEntropyLoss extends Module {
  static readonly pythonName: string = 'torch.nn.modules.loss.CrossEntropyLoss'
  readonly options: Omit<CrossEntropyOptions, 'weight'>

  constructor(given: CrossEntropyOptions = {}) {
    super()
    const { weight = null, ...options } = knownOptions('CrossEntropyLoss', given, crossEntropyNames)
    if (options.reduction !== undefined) checkReduction(options.reduction)
    this.options = options
    this.registerBuffer('weight', weight === null ? null : keep(weight))
  }

  override forward(input: Tensor, target: Tensor): Tensor {
    return crossEntropy(input, target, { ...this.options, weight: this.buffer('weight') })
  }
}
