/** When a run saves and under which names. */
import { randomUUID } from 'node:crypto'
import { basename, dirname } from 'node:path'
import { findBestCheckpoint } from '../checkpoint/best.js'
import { describeCheckpoint } from '../checkpoint/describe.js'
import { Place } from '../checkpoint/fields.js'
import {
  bestPath,
  checkpointFolders,
  latestBestPath,
  latestPath,
  metricsFolder,
  phasePath,
  regularPath,
} from '../checkpoint/layout.js'
import { encodeCheckpoint, type Checkpoint, type TrainingMetrics } from '../checkpoint/schema.js'
import { type CheckpointSelection, listCheckpoints, type ListedCheckpoint } from '../checkpoint/listing.js'
import { exportCheckpointSummary, type ExportedSummary } from '../checkpoint/manager.js'
import { metricsOf } from '../checkpoint/metrics.js'
import { finishRemovals } from '../checkpoint/removal.js'
import type { RetentionChoice } from '../checkpoint/retention.js'
import { Rotation } from '../checkpoint/rotation.js'
import { publishSidecar } from '../checkpoint/sidecar.js'
import {
  exists,
  type FileOperations,
  makeFolder,
  nodeFiles,
  publishLink,
  publishNewLink,
  removeStaleTemporaries,
} from '../checkpoint/store.js'
import { TorchkeepError } from '../format/errors.js'
import { save, saveNew } from '../serialization.js'
import { guessMonitor, isAmongBest, rotationPolicy, type SettledRule, settleRules } from './best-rules.js'
import { type BestRule, type ModelCheckpointOptions, modelCheckpointOptionsField } from './checkpoint-options.js'
import { loadCheckpoint, type LoadCheckpointOptions, type LoadedCheckpoint } from './load-checkpoint.js'
import type { Monitor } from './monitor.js'

export type { BestRule, ModelCheckpointOptions } from './checkpoint-options.js'

/** What the run says of itself. */
export interface RunFacts {
  /** What "best" means in the run; default the smallest `val_loss`. */
  primary?: Monitor
  /** The monitor that a rule in `best` means; throws for one that the run does not compute. By default any name will do, with the direction that it suggests. */
  resolve?: (wanted: Pick<BestRule, 'monitor' | 'mode'>) => Monitor
  /** The file operations; tests put failures between them. */
  files?: FileOperations
}

/** Why a checkpoint is written; each reason gives it a name. */
export interface SaveReasons {
  /** An interval is due, or the run ends or is interrupted. */
  regular?: boolean
  /** A new best of the run; default the checkpoint's own label. */
  isBest?: boolean
  /** A new best of its phase. */
  phaseBest?: boolean
  /** Its phase has ended. */
  phaseEnd?: boolean
}

/** Something went wrong after the checkpoint was durable. */
export interface SaveWarning {
  /** `sidecar` or `rotation`. */
  id: string
  message: string
}

/** What one save made. */
export interface SavedCheckpoint {
  path: string
  /** The other names that the same content got. */
  copies: string[]
  /** The JSON file in `metrics/`; null where none was due or it could not be written. */
  sidecar: string | null
  /** What the rotation decided for each file in `regular/` and `best/`, and why. */
  plan: RetentionChoice[]
  /** Files that it took away, sidecars included. */
  removed: string[]
  /** For the run's `warning` events; none of them ends it. */
  warnings: SaveWarning[]
}

/**
 * Writes checkpoints into a folder laid out as `docs/checkpointing.md` says. One file is written a save; the other names that are due (the best, the phase's, `latest.pth`) are further links to it (copies where the file system has none), so no two labels of one moment can disagree.
 */
export class ModelCheckpoint {
  /** The file of the last save that became durable, or that the run was resumed from; null before. */
  newestPath: string | null = null
  readonly saveBest: boolean
  readonly #everyEpochs: number | null
  readonly #everySteps: number | null
  readonly #everySeconds: number
  readonly #primary: Monitor
  readonly #rules: readonly SettledRule[]
  readonly #rotation: Rotation
  readonly #files: FileOperations
  readonly #phaseEnds: boolean
  readonly #saveOptimizer: boolean
  readonly #saveMetrics: boolean
  #runId: string | null = null
  /** Of the clock of `dueAfterStep`. */
  #savedSeconds: number | null = null
  #nowSeconds: number | null = null
  /** The last epoch saved in `best/`. */
  #bestEpoch = 0

  /**
   * @param run what a trainer knows.
   * @throws TorchkeepError `ERR_INVALID_ARGUMENT` naming the option; what `run.resolve` throws.
   */
  constructor(
    readonly folder: string,
    options: ModelCheckpointOptions = {},
    run: RunFacts = {},
  ) {
    modelCheckpointOptionsField.encode(options, new Place('ERR_INVALID_ARGUMENT', '', 'checkpoint'))
    this.#everyEpochs = options.everyEpochs === undefined ? 1 : options.everyEpochs
    this.#everySteps = options.everySteps ?? null
    this.#everySeconds = options.everySeconds ?? Infinity
    this.saveBest = options.saveBest ?? true
    this.#primary = run.primary ?? { name: 'val_loss', mode: 'min' }
    this.#rules = this.saveBest ? settleRules(options.best ?? [], this.#primary, run.resolve ?? guessMonitor) : []
    this.#rotation = new Rotation(folder, rotationPolicy(this.#rules, options.keepLast), run.files)
    this.#files = run.files ?? nodeFiles
    this.#phaseEnds = options.phaseEnds ?? true
    this.#saveOptimizer = options.saveOptimizer ?? true
    this.#saveMetrics = options.saveMetrics ?? true
  }

  /** Makes the folders and clears away what dead processes left half written. */
  async prepare(): Promise<void> {
    const folders = [...checkpointFolders(this.folder), ...(this.#saveMetrics ? [metricsFolder(this.folder)] : [])]
    for (const folder of folders) {
      await makeFolder(folder)
      await removeStaleTemporaries(folder)
      await finishRemovals(folder)
    }
  }

  /** Steps until a save inside the epoch is due by their number; at least 1, `Infinity` where none ever is. */
  stepsUntilDue(globalStep: number): number {
    return this.#everySteps === null ? Infinity : this.#everySteps - (globalStep % this.#everySteps)
  }

  /** @param seconds of a clock that only goes forward, such as `performance.now() / 1000`; they count from the last save, before the first from the first call. */
  dueAfterStep(globalStep: number, seconds = 0): boolean {
    this.#nowSeconds = seconds
    this.#savedSeconds ??= seconds
    return (
      (this.#everySteps !== null && globalStep % this.#everySteps === 0) ||
      seconds - this.#savedSeconds >= this.#everySeconds
    )
  }

  dueAfterEpoch(epoch: number): boolean {
    return this.#everyEpochs !== null && epoch % this.#everyEpochs === 0
  }

  /** Names of the metrics by which the last epoch of a history is among the best that `best/` keeps: a save is due then. NaN and infinite values never are, and a tie keeps the earlier epoch. */
  bestBy(history: readonly TrainingMetrics[]): string[] {
    return this.#rules.filter((rule) => isAmongBest(rule, history)).map(({ name }) => name)
  }

  /**
   * Writes a checkpoint durably under every name that is due, `latest.pth` last; where no reason gives it a name it is a regular one. Then its sidecar, and only then does the rotation take away what need not stay.
   *
   * @throws TorchkeepError `ERR_CHECKPOINT_WRITE`; all files that were there before still are. What goes wrong once the checkpoint is durable is in `warnings`.
   */
  async write(checkpoint: Checkpoint, reasons: SaveReasons = {}): Promise<SavedCheckpoint> {
    const runId = await this.runId()
    const encoded = encodeCheckpoint({ ...checkpoint, metadata: { ...checkpoint.metadata, runId } })
    if (!this.#saveOptimizer) for (const key of ['optimizer_state_dict', 'scheduler_state']) encoded.delete(key)
    const [first, ...others] = (await this.#names(checkpoint, reasons, encoded, runId)) as [Name, ...Name[]]
    const path = await this.#saveAs(first, encoded)
    this.newestPath = path
    this.#savedSeconds = this.#nowSeconds
    const copies: string[] = []
    for (const name of others) copies.push(await linkAs(name, path, this.#files))
    const saved: SavedCheckpoint = { path, copies, sidecar: null, plan: [], removed: [], warnings: [] }
    await warningOf(saved, 'sidecar', async () => {
      const named = [path, ...copies].find((name) => ['regular', 'best'].includes(basename(dirname(name))))
      if (this.#saveMetrics && named !== undefined) saved.sidecar = await publishSidecar(named, encoded, this.#files)
    })
    await warningOf(saved, 'rotation', async () => {
      const { failures, ...done } = await this.#rotation.rotate(runId, [path, ...copies])
      Object.assign(saved, done)
      for (const { message } of failures) saved.warnings.push({ id: 'rotation', message })
    })
    return saved
  }

  /** {@link loadCheckpoint}, which looks for relative paths in this folder too. */
  loadCheckpoint(path: string, options: Omit<LoadCheckpointOptions, 'folder'> = {}): Promise<LoadedCheckpoint> {
    return loadCheckpoint(path, { ...options, folder: this.folder })
  }

  /** The best checkpoint of the folder by the run's monitor, see `findBestCheckpoint`; null where none has a value. */
  async getBestCheckpointPath(): Promise<string | null> {
    const { name, mode } = this.#primary
    return (await findBestCheckpoint(this.folder, { metric: name, mode }))?.path ?? null
  }

  /** The checkpoints of the folder with their metadata, newest first: all, or those in `regular/` or `best/`. No tensor is read. */
  listCheckpoints(selection: CheckpointSelection = 'all'): Promise<ListedCheckpoint[]> {
    return listCheckpoints(this.folder, selection)
  }

  /** Writes what the folder holds as strict JSON, see `exportCheckpointSummary`. */
  exportCheckpointSummary(path: string): Promise<ExportedSummary> {
    return exportCheckpointSummary(this.folder, path)
  }

  /** The names due, the one to write first. */
  async #names(
    checkpoint: Checkpoint,
    reasons: SaveReasons,
    encoded: ReadonlyMap<string, unknown>,
    runId: string,
  ): Promise<Name[]> {
    const { regular = false, isBest = checkpoint.isBest, phaseBest = false, phaseEnd = false } = reasons
    const { folder } = this
    const { epoch, phase, timestamp, dataPosition, trainingState } = checkpoint
    if (isBest && !checkpoint.isBest)
      throw new TorchkeepError('ERR_INVALID_ARGUMENT', 'a checkpoint without the label isBest cannot be saved as best')
    const isAmongBest = this.saveBest && (isBest || this.#endsBestEpoch(checkpoint))
    if (isAmongBest) this.#bestEpoch = epoch
    const step = dataPosition === null ? {} : { step: trainingState.globalStep }
    const named = [
      ...(regular ? [fresh(regularPath(folder, { epoch, phase, timestamp, ...step }))] : []),
      ...(isAmongBest ? [fresh(bestPath(folder, { epoch, phase }))] : []),
      ...(phaseBest ? [lasting(phasePath(folder, phase, 'best'))] : []),
      ...(phaseEnd && this.#phaseEnds ? [lasting(phasePath(folder, phase, 'end'))] : []),
    ]
    if (named.length === 0) named.push(fresh(regularPath(folder, { epoch, phase, timestamp, ...step })))
    if (this.saveBest && isBest && (await this.#beatsLatestBest(encoded, runId)))
      named.push(lasting(latestBestPath(folder)))
    return [...named, lasting(latestPath(folder))]
  }

  /** Whether the epoch that just ended is among the best by one of the metrics; once an epoch. */
  #endsBestEpoch({ epoch, phase, dataPosition, trainingState: { metricsHistory } }: Checkpoint): boolean {
    const last = metricsHistory.at(-1)
    if (dataPosition !== null || last?.epoch !== epoch || last.phase !== phase || this.#bestEpoch === epoch)
      return false
    return this.bestBy(metricsHistory).length > 0
  }

  /** Whether a new best of the run takes the name `latest_best.pth`: not where that holds as good weights of this run, which one that was resumed from an older checkpoint has not seen. */
  async #beatsLatestBest(encoded: ReadonlyMap<string, unknown>, runId: string): Promise<boolean> {
    const path = latestBestPath(this.folder)
    if (!(await exists(path))) return true
    const other = await describeCheckpoint(path)
    const { name, mode } = this.#primary
    const [score, itsScore] = [metricsOf(encoded)[name] ?? NaN, other.metrics[name] ?? NaN]
    const isAsGood = mode === 'min' ? itsScore <= score : itsScore >= score
    return !(other.structure === 'ok' && other.runId === runId && isAsGood)
  }

  async #saveAs({ path, fresh }: Name, encoded: ReadonlyMap<string, unknown>): Promise<string> {
    if (fresh) return saveNew(path, encoded, { files: this.#files })
    await save(path, encoded, { files: this.#files })
    return path
  }

  /** What all files of the run bear: given once, or taken over from the file that the run was resumed from. */
  async runId(): Promise<string> {
    if (this.#runId === null) {
      const before = this.newestPath === null ? null : (await describeCheckpoint(this.newestPath)).runId
      this.#runId = before ?? randomUUID()
    }
    return this.#runId
  }
}

/** A name for a checkpoint: one that nothing has, or one that moves on to the newest. */
interface Name {
  path: string
  fresh: boolean
}

const fresh = (path: string): Name => ({ path, fresh: true })
const lasting = (path: string): Name => ({ path, fresh: false })

async function linkAs({ path, fresh }: Name, source: string, files: FileOperations): Promise<string> {
  if (fresh) return publishNewLink(source, path, { files })
  await publishLink(source, path, { files })
  return path
}

/** Does what a run need not end for; what the system refuses becomes a warning. */
async function warningOf({ warnings }: SavedCheckpoint, id: string, act: () => Promise<void>): Promise<void> {
  try {
    await act()
  } catch (error) {
    // Failures of the system have a code as ours have; anything else is a mistake in this code.
    if ((error as NodeJS.ErrnoException).code === undefined) throw error
    warnings.push({ id, message: (error as Error).message })
  }
}
