/** Losses as modules. */
import { keep } from '../scope.js'
import type { Tensor } from '../tensor.js'
import { crossEntropy, mseLoss, type CrossEntropyOptions, type Reduction } from './functional.js'
import { Module } from './module.js'

/** Mean of squared differences. Input and target have the same shape. */
export class MSELoss extends Module {
  static readonly pythonName: string = 'torch.nn.modules.loss.MSELoss'
  readonly reduction: Reduction

  constructor({ reduction = 'mean' }: { reduction?: Reduction } = {}) {
    super()
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

  constructor({ weight = null, ...options }: CrossEntropyOptions = {}) {
    super()
    this.options = options
    this.registerBuffer('weight', weight === null ? null : keep(weight))
  }

  override forward(input: Tensor, target: Tensor): Tensor {
    return crossEntropy(input, target, { ...this.options, weight: this.buffer('weight') })
  }
}
