import { TorchkeepError } from '../../src/format/errors.js'
import { empty } from '../creation.js'
import { noGrad } from '../grad-mode.js'
import { knownOptions } from '../options.js'
import type { Tensor } from '../tensor.js'
import { checkCount, factoryNames, type FactoryOptions } from './arguments.js'
import { embedding } from './functional.js'
import { normal_ } from './init.js'
import { Module } from './module.js'
import { Parameter } from './parameter.js'

/** A table of rows by index. The row `paddingIdx` (negative: from the end) starts at 0 and is not learned. */
export class Embedding extends Module {
  static readonly pythonName: string = 'torch.nn.modules.sparse.Embedding'
  /** [numEmbeddings, embeddingDim] */
  weight: Parameter
  readonly paddingIdx: number | null

  constructor(
    readonly numEmbeddings: number,
    readonly embeddingDim: number,
    options: { paddingIdx?: number | null } & FactoryOptions = {},
  ) {
    super()
    const { paddingIdx = null, ...factory } = knownOptions('Embedding', options, ['paddingIdx', ...factoryNames])
    checkCount('numEmbeddings', numEmbeddings)
    checkCount('embeddingDim', embeddingDim)
    if (
      paddingIdx !== null &&
      !(Number.isInteger(paddingIdx) && paddingIdx >= -numEmbeddings && paddingIdx < numEmbeddings)
    ) {
      throw new TorchkeepError(
        'ERR_INVALID_ARGUMENT',
        `paddingIdx is ${paddingIdx}, expected one of the ${numEmbeddings} rows`,
      )
    }
    this.paddingIdx = paddingIdx !== null && paddingIdx < 0 ? numEmbeddings + paddingIdx : paddingIdx
    this.weight = new Parameter(empty([numEmbeddings, embeddingDim], factory))
    this.resetParameters()
  }

  /** Draws new rows, as PyTorch does when the module is made. */
  resetParameters(): void {
    const { paddingIdx } = this
    normal_(this.weight)
    if (paddingIdx === null) return
    noGrad(() => {
      using row = this.weight.select(0, paddingIdx)
      row.fill_(0)
    })
  }

  override forward(input: Tensor): Tensor {
    return embedding(input, this.weight, { paddingIdx: this.paddingIdx })
  }
}
