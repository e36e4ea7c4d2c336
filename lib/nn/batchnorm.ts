import { TorchkeepError } from '../../src/format/errors.js'
import { ones, tensor, zeros } from '../creation.js'
import { knownOptions } from '../options.js'
import type { Tensor } from '../tensor.js'
import { checkCount, factoryNames, type FactoryOptions } from './arguments.js'
import { batchNorm } from './functional.js'
import { Module } from './module.js'
import { Parameter } from './parameter.js'

export interface BatchNormModuleOptions extends FactoryOptions {
  /** 1e-5 unless told. */
  eps?: number
  /** Weight of a batch in the running statistics, 0.1 unless told; null: all batches count the same. */
  momentum?: number | null
  /** Whether weight and bias are learned. */
  affine?: boolean
  /** Whether running statistics are kept for evaluation. */
  trackRunningStats?: boolean
}

/** Normalises each channel of inputs [N, C, H, W] over batch and place. */
export class BatchNorm2d extends Module {
  static readonly pythonName: string = 'torch.nn.modules.batchnorm.BatchNorm2d'
  weight: Parameter | null
  bias: Parameter | null
  readonly eps: number
  readonly momentum: number | null
  readonly trackRunningStats: boolean

  constructor(
    readonly numFeatures: number,
    options: BatchNormModuleOptions = {},
  ) {
    super()
    const names = ['eps', 'momentum', 'affine', 'trackRunningStats', ...factoryNames] as const
    const given = knownOptions('BatchNorm2d', options, names)
    const { eps = 1e-5, momentum = 0.1, affine = true, trackRunningStats = true, ...factory } = given
    checkCount('numFeatures', numFeatures)
    this.eps = eps
    this.momentum = momentum
    this.trackRunningStats = trackRunningStats
    this.weight = affine ? new Parameter(ones([numFeatures], factory)) : null
    this.bias = affine ? new Parameter(zeros([numFeatures], factory)) : null
    const { dtype: _floating, ...place } = factory
    this.registerBuffer('running_mean', trackRunningStats ? zeros([numFeatures], factory) : null)
    this.registerBuffer('running_var', trackRunningStats ? ones([numFeatures], factory) : null)
    this.registerBuffer('num_batches_tracked', trackRunningStats ? tensor(0, { dtype: 'int64', ...place }) : null)
  }

  /** Mean of the batches seen, [numFeatures]; null without running statistics. */
  get runningMean(): Tensor | null {
    return this.buffer('running_mean')
  }

  /** Variance of the batches seen, [numFeatures]; null without running statistics. */
  get runningVar(): Tensor | null {
    return this.buffer('running_var')
  }

  /** Number of batches seen, int64 scalar; null without running statistics. */
  get numBatchesTracked(): Tensor | null {
    return this.buffer('num_batches_tracked')
  }

  /** 2 since `num_batches_tracked` exists. */
  override get stateVersion(): number {
    return 2
  }

  override mayLack(version: number | undefined): readonly string[] {
    return version === undefined || version < 2 ? ['num_batches_tracked'] : []
  }

  override forward(input: Tensor): Tensor {
    const sizes = input.shape
    if (sizes.length !== 4)
      throw new TorchkeepError(
        'ERR_INVALID_ARGUMENT',
        `BatchNorm2d expects an input [N, C, H, W], got [${sizes.join(', ')}]`,
      )
    const { runningMean, runningVar, weight, bias, eps } = this
    const momentum = this.#countBatch()
    const training = this.training || runningMean === null
    return batchNorm(input, runningMean, runningVar, { weight, bias, training, momentum, eps })
  }

  /** Counts the batch in training; returns its weight in the running statistics. */
  #countBatch(): number {
    const { numBatchesTracked } = this
    if (this.training && numBatchesTracked !== null) {
      numBatchesTracked.add_(1)
      if (this.momentum === null) return 1 / Number(numBatchesTracked.item())
    }
    return this.momentum ?? 0
  }
}
