/** Rows of tables as samples: small tensors, which become a batch's when they are asked for. */
import type { Tensor } from '../../lib/index.js'
import { cat, Dataset, scope, tensor, TensorDataset } from '../../lib/index.js'
import type { Column } from './column.js'

/** One column of an input or of the target. */
export interface Part {
  column: Column
  /** {@link Column.compact}. */
  compact: Tensor
  as: 'alone' | 'joined'
  /** For columns of another file: its row for each row of the table, int64; null for columns of the table. */
  rows: Tensor | null
}

/** Up to this size the tensors of a table are made once, and the session gathers batches by itself. */
const maxWholeSizeBytes = 256 * 2 ** 20

export class TableDataset extends Dataset {
  readonly length: number
  readonly #inputs: readonly (readonly Part[])[]
  /** Row of the table for each sample, int64. */
  readonly #rows: Tensor
  #targets: Tensor | undefined

  /**
   * @param inputs the parts of each tensor of a sample, the target's last; several are joined along dimension 1.
   * @param rows of the table, in the order of the samples.
   */
  constructor(inputs: readonly (readonly Part[])[], rows: BigInt64Array) {
    super()
    this.length = rows.length
    this.#inputs = inputs
    this.#rows = tensor(rows)
  }

  override get(index: number): Tensor[] {
    return scope(() => this.getBatch(BigInt64Array.of(BigInt(index))).map((batch) => batch.select(0, 0)))
  }

  override getBatch(indices: BigInt64Array): Tensor[] {
    return scope(() => this.#make(this.#rows.indexSelect(0, tensor(indices))))
  }

  /** The targets of all samples, made once. */
  override allTargets(): Tensor {
    this.#targets ??= scope(() => this.#make(this.#rows, this.#inputs.slice(-1))[0] as Tensor)
    return this.#targets
  }

  /** The same samples as whole tensors where they are small, else this. Rows that several samples share (of looked-up files) would be there once for each. */
  settled(): Dataset {
    const [first] = this.length === 0 ? [undefined] : [this.getBatch(BigInt64Array.of(0n))]
    const sampleSizeBytes = (first ?? []).reduce((sum, one) => sum + one.numel() * 8, 0)
    for (const one of first ?? []) one.dispose()
    const isShared = this.#inputs.flat().some(({ rows }) => rows !== null)
    if (isShared || this.length === 0 || sampleSizeBytes * this.length > maxWholeSizeBytes) return this
    return new TensorDataset(...scope(() => this.#make(this.#rows)))
  }

  #make(rows: Tensor, inputs = this.#inputs): Tensor[] {
    return inputs.map((parts) => {
      const tensors = parts.map(({ column, compact, as, rows: there }) => {
        const own = there === null ? rows : there.indexSelect(0, rows)
        return column.expand(compact.indexSelect(0, own), as)
      })
      return tensors.length === 1 ? (tensors[0] as Tensor) : cat(tensors, 1)
    })
  }
}
