/**
 * Compares two checkpoints, whatever their containers, layouts and sizes.
 *
 * What makes two checkpoints different:
 * - Tensors of the model and of every other part: names, shapes, dtypes and bits. With a tolerance, values only: numpy's rule `|a - b| <= atol + rtol * |b|`, NaN equal to NaN, whatever the dtypes.
 * - Plain values of every part (optimizer options, scheduler, config, training config, history, epoch, phase, losses, random states...), by value. With a tolerance, numbers of which one is not
 *   integral may differ by it.
 * - A top-level key that only one has, where both files have the same layout. Between layouts (a training checkpoint and a safetensors file) what both have is compared.
 *
 * What does not: metadata (title, description, tags, versions, libraries), moments and durations, memory usage, the container, strides, which tensors share memory, devices, `requires_grad`, `_metadata` of state dicts, the order of keys.
 */
import { TorchkeepError } from '../format/errors.js'
import { readTorchFile } from '../format/read.js'
import type { Tolerance } from './compare-figures.js'
import { compareHistories, type HistoryComparison } from './compare-histories.js'
import { changedLayers, type ComparedTensor, type LayerComparison } from './compare-layers.js'
import type { ParameterMatching } from './compare-optimizers.js'
import { compareTensorsOf, differs, sizeBytesOfPairs, type PartComparison } from './compare-parts.js'
import {
  beginParts,
  keysWithout,
  metadataDifferences,
  notCompared,
  requireCommonKey,
  sharing,
  sideOf,
  type BegunParts,
  type ComparedFile,
} from './compare-sides.js'
import { TensorComparer } from './compare-tensors.js'
import type { ValueDifference } from './compare-values.js'

/** How {@link compareCheckpoints} compares. */
export interface CompareOptions {
  /** Relative tolerance. With this or `atol`, the other is 0 unless told; without both, bits are compared. */
  rtol?: number
  /** Absolute tolerance. */
  atol?: number
  /** Called as bytes are compared, with the tensor that is being compared. */
  progress?: (progress: { done: number; total: number; label: string }) => void
  signal?: AbortSignal
}

/** Parts of a checkpoint. `rest` is every top-level key that is none of the others. */
export type PartName = 'model' | 'optimizer' | 'scheduler' | 'config' | 'trainingConfig' | 'history' | 'rest'

export interface ModelComparison extends PartComparison {
  /** Layers with a tensor that differs, most changed first. */
  layers: LayerComparison[]
  /** Names that share one tensor in one file and not in the other. */
  sharedOnlyInA: string[][]
  sharedOnlyInB: string[][]
}

/** What {@link compareCheckpoints} finds. */
export interface Comparison {
  a: ComparedFile
  b: ComparedFile
  /** See the rules of what makes two checkpoints different. */
  same: boolean
  /** Null where bits are compared. */
  tolerance: Tolerance | null
  /** The parts that make them different. */
  differentParts: PartName[]
  /** Top-level keys that the other does not have. */
  keysOnlyInA: string[]
  keysOnlyInB: string[]
  model: ModelComparison
  /** The state of each parameter (`fc.weight.exp_avg`) and the options of the groups (`param_groups[0].lr`). */
  optimizer: PartComparison & { matching: ParameterMatching }
  scheduler: PartComparison
  /** `sameHash`: whether the configurations describe one model; null where a file has none. */
  config: PartComparison & { hashA: string | null; hashB: string | null; sameHash: boolean | null }
  trainingConfig: PartComparison
  history: HistoryComparison
  rest: PartComparison
  /** Never makes two checkpoints different. */
  metadata: ValueDifference[]
}

/**
 * Compares two checkpoints: see the rules at the head of this file for what counts. Both are read once (tensors that differ, up to three times), in pieces, in constant memory, and the CRC-32 of what is read is
 * checked.
 * @throws TorchkeepError what reading the files throws; ERR_CHECKPOINT_INCOMPATIBLE where they have nothing in common; ERR_INVALID_ARGUMENT for a tolerance that is none; ERR_ABORTED.
 */
export async function compareCheckpoints(
  pathA: string,
  pathB: string,
  options: CompareOptions = {},
): Promise<Comparison> {
  const tolerance = toleranceOf(options)
  const [fileA, fileB] = [await readTorchFile(pathA), await readTorchFile(pathB)]
  const [a, b] = [await sideOf(fileA), await sideOf(fileB)]
  const sameLayout = a.facts.layout === b.facts.layout && a.facts.kind === b.facts.kind
  requireCommonKey(a, b, sameLayout)
  const { begun, matching } = beginParts(a.value, b.value, tolerance, sameLayout)
  const progress = new ComparisonProgress(
    Object.values(begun).reduce((sum, { pairs }) => sum + sizeBytesOfPairs(pairs), 0),
    options,
  )
  const comparer = new TensorComparer(fileA, fileB, {
    tolerance,
    signal: options.signal ?? null,
    onProgress: (bytes) => progress.within(bytes),
  })
  const layers = await compareAllTensors(begun, comparer, progress, tolerance).finally(() => comparer.close())
  const history = compareHistories(a.value, b.value, notCompared, tolerance)
  const differentParts = Object.entries(begun)
    .filter(([, { part }]) => (sameLayout && part.inA !== part.inB) || differs(part, tolerance))
    .map(([name]) => name as PartName)
  if (historyDiffers(history, sameLayout)) differentParts.push('history')
  const [hashA, hashB] = [a.facts.configHash, b.facts.configHash]
  return {
    a: a.facts,
    b: b.facts,
    same: differentParts.length === 0,
    tolerance,
    differentParts,
    keysOnlyInA: keysWithout(a.value, b.value),
    keysOnlyInB: keysWithout(b.value, a.value),
    model: { ...begun.model.part, layers, ...sharing(a.value, b.value) },
    optimizer: { ...begun.optimizer.part, matching },
    scheduler: begun.scheduler.part,
    config: {
      ...begun.config.part,
      hashA,
      hashB,
      sameHash: hashA === null || hashB === null ? null : hashA === hashB,
    },
    trainingConfig: begun.trainingConfig.part,
    history,
    rest: begun.rest.part,
    metadata: metadataDifferences(a, b),
  }
}

/** Completes the parts; the layers of the model that changed. */
async function compareAllTensors(
  begun: BegunParts['begun'],
  comparer: TensorComparer,
  progress: ComparisonProgress,
  tolerance: Tolerance | null,
): Promise<LayerComparison[]> {
  const known = new Map<string, ComparedTensor[]>()
  const begin = (label: string, bytes: number): void => progress.begin(label, bytes)
  const { model, ...others } = begun
  const tensors = await compareTensorsOf(model, comparer, known, begin)
  for (const part of Object.values(others)) await compareTensorsOf(part, comparer, known, begin)
  return changedLayers(tensors, comparer, tolerance)
}

function historyDiffers({ rowsA, rowsB, divergesAt, continuedBy }: HistoryComparison, sameLayout: boolean): boolean {
  if (rowsA === null || rowsB === null) return sameLayout && rowsA !== rowsB
  return divergesAt !== null || continuedBy !== null
}

/** Null without a tolerance. */
function toleranceOf({ rtol, atol }: CompareOptions): Tolerance | null {
  for (const [name, value] of Object.entries({ rtol, atol })) {
    if (value === undefined || (Number.isFinite(value) && value >= 0)) continue
    throw new TorchkeepError('ERR_INVALID_ARGUMENT', `${name}: expected a finite number of at least 0, found ${value}`)
  }
  return rtol === undefined && atol === undefined ? null : { rtol: rtol ?? 0, atol: atol ?? 0 }
}

/** How many bytes of a's tensors are done. A tensor that is read again because it differs does not count twice. */
class ComparisonProgress {
  readonly #total: number
  readonly #report: CompareOptions['progress']
  #before = 0
  #current = 0
  #within = 0
  #label = ''

  constructor(total: number, { progress }: CompareOptions) {
    this.#total = total
    this.#report = progress
  }

  /** Goes on to another tensor of so many bytes. */
  begin(label: string, bytes: number): void {
    this.#before += this.#current
    this.#current = bytes
    this.#within = 0
    this.#label = label
    this.within(0)
  }

  within(bytes: number): void {
    this.#within = Math.max(this.#within, Math.min(bytes, this.#current))
    this.#report?.({ done: this.#before + this.#within, total: this.#total, label: this.#label })
  }
}
