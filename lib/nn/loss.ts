/** Losses as modules. */
import { knownOptions } from '../options.js'
import { keep } from '../scope.js'
import type { Tensor } from '../tensor.js'
import {
  binaryCrossEntropyNames,
  binaryCrossEntropyWithLogits,
  checkReduction,
  crossEntropy,
  crossEntropyNames,
  l1Loss,
  mseLoss,
  type BinaryCrossEntropyOptions,
  type CrossEntropyOptions,
  type Reduction,
} from './functional-loss.js'
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

/** Mean of absolute differences. Input and target have the same shape. */
export class L1Loss extends Module {
  static readonly pythonName: string = 'torch.nn.modules.loss.L1Loss'
  readonly reduction: Reduction

  constructor(options: { reduction?: Reduction } = {}) {
    super()
    const { reduction = 'mean' } = knownOptions('L1Loss', options, ['reduction'])
    checkReduction(reduction)
    this.reduction = reduction
  }

  override forward(input: Tensor, target: Tensor): Tensor {
    return l1Loss(input, target, { reduction: this.reduction })
  }
}

/** Cross entropy of scores with probabilities (0 or 1 where classes are known) of the same shape. */
export class BCEWithLogitsLoss extends Module {
  static readonly pythonName: string = 'torch.nn.modules.loss.BCEWithLogitsLoss'
  readonly reduction: Reduction

  constructor(given: BinaryCrossEntropyOptions = {}) {
    super()
    const options = knownOptions('BCEWithLogitsLoss', given, binaryCrossEntropyNames)
    const { weight = null, posWeight = null, reduction = 'mean' } = options
    checkReduction(reduction)
    this.reduction = reduction
    this.registerBuffer('weight', weight === null ? null : keep(weight))
    this.registerBuffer('pos_weight', posWeight === null ? null : keep(posWeight))
  }

  override forward(input: Tensor, target: Tensor): Tensor {
    const weights = { weight: this.buffer('weight'), posWeight: this.buffer('pos_weight') }
    return binaryCrossEntropyWithLogits(input, target, { ...weights, reduction: this.reduction })
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
