/** Proves an exported model against the checkpoint that it was made from: on the CPU with one thread, where bits can be compared. */
import { arange, scope, versions, type Tensor } from '../../lib/index.js'
import { TorchkeepError } from '../format/errors.js'
import type { TensorRecord } from '../format/tensor-record.js'
import { loadForInference } from '../inference/load.js'
import { startModel } from '../inference/model.js'
import type { InferenceModel } from '../inference/types.js'
import { disposeTensors } from '../training/dispose-tensors.js'
import { batchRange, inputsOf } from './graph-tensors.js'
import { liveTensors, recordOf } from './live-tensors-with-libtorch.js'
import type { ExportableModel, ExportCheck } from './types.js'

export { makeSample } from './sample-with-libtorch.js'

/** Threads of every comparison: with others, sums may be added up in another order. */
const threads = 1

/** Further batch sizes that an exported model is tried with. */
const otherRows = [1, 3]

/** What is compared. */
export interface CheckOptions {
  /** The model as the checkpoint has it: its graph, its weights. */
  model: ExportableModel
  /** What {@link makeSample} made. */
  inputs: readonly TensorRecord<Uint8Array>[]
  /** The exported `.pt2`, which is read back from the disk. */
  exportedPath: string
  signal?: AbortSignal
}

/** What came out for the sample. */
export interface CheckedOutputs {
  /** The checkpoint's own outputs. */
  outputs: TensorRecord<Uint8Array>[]
  /** Those of the exported file; the same bytes where `check.equal`. */
  exportedOutputs: TensorRecord<Uint8Array>[]
  check: ExportCheck
}

/**
 * Runs both models on the sample, and on batches of 1 and 3 rows where the graph takes other batches than its recording's, and compares every byte.
 *
 * @throws TorchkeepError `ERR_CHECKPOINT_INCOMPATIBLE` where the checkpoint's own model gives other outputs when it is run again (it draws random numbers, or changes its state), or where the exported one gives other shapes
 *   or dtypes; what the operators throw, naming the node; `ERR_ABORTED`.
 */
export async function checkExport({ model, inputs, exportedPath, signal }: CheckOptions): Promise<CheckedOutputs> {
  const live = [...(await liveTensors(new Map(inputs.map((input, index) => [`input ${index + 1}`, input])))).values()]
  const own = await startModel('the model of the checkpoint', model, { threads })
  try {
    const exported = await loadForInference(exportedPath, { threads })
    try {
      const compare = new Comparison(own, exported, signal)
      await compare.requireSteady(live)
      const [outputs, exportedOutputs] = await compare.run(live)
      const samples = rowsOf(live)
      const sizes = [samples]
      for (const rows of otherSizes(model, live)) {
        const batch = withRows(model, live, rows)
        if (await compare.takes(batch)) {
          await compare.run(batch)
          sizes.push(rows)
        }
        disposeTensors(batch)
      }
      const { equal, maxDifference } = compare
      const check = { equal, maxDifference, samples, batchSizes: sizes, threads }
      return { outputs, exportedOutputs, check: { ...check, libtorchVersion: versions().libtorchRuntime } }
    } finally {
      exported.dispose()
    }
  } finally {
    own.dispose()
    disposeTensors(live)
  }
}

/** Outputs of two models, and how far they are apart. */
class Comparison {
  equal = true
  maxDifference = 0

  constructor(
    private readonly own: InferenceModel,
    private readonly exported: InferenceModel,
    private readonly signal: AbortSignal | undefined,
  ) {}

  async run(inputs: readonly Tensor[]): Promise<[TensorRecord<Uint8Array>[], TensorRecord<Uint8Array>[]]> {
    const [left, right] = [await this.#outputs(this.own, inputs), await this.#outputs(this.exported, inputs)]
    const text = (tensors: readonly Tensor[]): string =>
      tensors.map(({ dtype, shape }) => `${dtype} [${shape.join(', ')}]`).join(' and ')
    if (text(left) !== text(right))
      throw changed(`the exported model gives ${text(right)}, but that of the checkpoint ${text(left)}`)
    const records = [left.map(recordOf), right.map(recordOf)] as const
    for (const [index, one] of left.entries())
      if (!isSame(records[0][index], records[1][index])) {
        this.equal = false
        this.maxDifference = Math.max(this.maxDifference, difference(one, right[index] as Tensor))
      }
    disposeTensors([...left, ...right])
    return [...records]
  }

  /** Whether the checkpoint's model was recorded for batches of this size: its conditions may name multiples and limits. */
  async takes(inputs: readonly Tensor[]): Promise<boolean> {
    try {
      disposeTensors(await this.#outputs(this.own, inputs))
      return true
    } catch (error) {
      if (error instanceof TorchkeepError && error.code === 'ERR_DATA') return false
      throw error
    }
  }

  /** On copies, as a model may change its inputs in place. */
  async #outputs(model: InferenceModel, inputs: readonly Tensor[]): Promise<Tensor[]> {
    const copies = inputs.map((input) => input.clone())
    try {
      return await model.predict(copies, this.signal === undefined ? {} : { signal: this.signal })
    } finally {
      disposeTensors(copies)
    }
  }

  /** The same outputs for the same inputs: else nothing can be said about an export. */
  async requireSteady(inputs: readonly Tensor[]): Promise<void> {
    const [once, again] = [await this.#outputs(this.own, inputs), await this.#outputs(this.own, inputs)]
    const steady = once.every((output, index) => isSame(recordOf(output), recordOf(again[index] as Tensor)))
    disposeTensors([...once, ...again])
    if (!steady)
      throw changed(
        'the model gives other outputs when it is run again on the same inputs: it draws random numbers or changes its own state',
      )
  }
}

function isSame(one: TensorRecord<Uint8Array> | undefined, other: TensorRecord<Uint8Array> | undefined): boolean {
  return one !== undefined && other !== undefined && Buffer.compare(one.storage.source, other.storage.source) === 0
}

/** NaN where only one of two values is a number. */
function difference(one: Tensor, other: Tensor): number {
  return scope(() => Number(one.to('float64').sub(other.to('float64')).abs().max().item()))
}

const rowsOf = ([first]: readonly Tensor[]): number => first?.shape[0] ?? 1

function otherSizes(model: ExportableModel, inputs: readonly Tensor[]): number[] {
  const range = batchRange(model.program)
  if (range === null) return []
  return otherRows.filter((rows) => rows >= range.min && rows <= range.max && rows !== rowsOf(inputs))
}

/** The sample with another number of rows, again from its first where it has too few. */
function withRows(model: ExportableModel, inputs: readonly Tensor[], rows: number): Tensor[] {
  const descriptions = inputsOf(model.program)
  return inputs.map((input, index) =>
    descriptions[index]?.shape[0] === null
      ? scope(() => input.indexSelect(0, arange(rows).remainder(input.size(0)).long()))
      : input.detach(),
  )
}

const changed = (message: string): TorchkeepError => new TorchkeepError('ERR_CHECKPOINT_INCOMPATIBLE', message)
