/** When a run saves and under which names. */
import { randomUUID } from 'node:crypto'
import { defaultMode } from '../checkpoint/best.js'
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
import { makeFolder, publishCopy, publishNewCopy, removeStaleTemporaries } from '../checkpoint/store.js'
import { TorchkeepError } from '../format/errors.js'
import { save, saveNew } from '../serialization.js'
import {
  type BestRule,
  defaultBestCount,
  defaultKeepLast,
  type ModelCheckpointOptions,
  modelCheckpointOptionsField,
} from './checkpoint-options.js'
import { improvement, type Monitor } from './monitor.js'

export type { BestRule, ModelCheckpointOptions } from './checkpoint-options.js'

/** What the run says of its metrics. */
export interface RunMonitors {
  /** What "best" means in the run; default the smallest `val_loss`. */
  primary?: Monitor
  /** The monitor that a rule in `best` means; throws for one that the run does not compute. By default any name will do, with the direction that it suggests. */
  resolve?: (wanted: Pick<BestRule, 'monitor' | 'mode'>) => Monitor
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
  /** Files that the rotation took away, sidecars included. */
  removed: string[]
  /** For the run's `warning` events; none of them ends it. */
  warnings: SaveWarning[]
}

/** A {@link BestRule}, settled. */
interface SettledRule extends Monitor {
  count: number | null
}

/**
 * Writes checkpoints into a folder laid out as `docs/checkpointing.md` says. One file is written a save; the other names that are due (the best, the phase's, `latest.pth`) are copies of it, so no two labels of one moment can disagree.
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
  readonly #keepLast: number | null
  readonly #phaseEnds: boolean
  readonly #saveOptimizer: boolean
  readonly #saveMetrics: boolean
  #runId: string | null = null
  /** Of the clock of `dueAfterStep`. */
  #savedSeconds: number | null = null
  #nowSeconds: number | null = null

  /**
   * @param monitors what the run monitors; a trainer gives its own.
   * @throws TorchkeepError `ERR_INVALID_ARGUMENT` naming the option; what `monitors.resolve` throws.
   */
  constructor(
    readonly folder: string,
    options: ModelCheckpointOptions = {},
    monitors: RunMonitors = {},
  ) {
    modelCheckpointOptionsField.encode(options, new Place('ERR_INVALID_ARGUMENT', '', 'checkpoint'))
    this.#everyEpochs = options.everyEpochs === undefined ? 1 : options.everyEpochs
    this.#everySteps = options.everySteps ?? null
    this.#everySeconds = options.everySeconds ?? Infinity
    this.saveBest = options.saveBest ?? true
    this.#primary = monitors.primary ?? { name: 'val_loss', mode: 'min' }
    this.#rules = this.saveBest ? settleRules(options.best ?? [], this.#primary, monitors.resolve ?? guessed) : []
    this.#keepLast = options.keepLast === undefined ? defaultKeepLast : options.keepLast
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

  /** Names of the metrics in `best` (the run's monitor apart) of which the last epoch of a history is a new best: a save is due then. NaN and infinite values never are, and a tie keeps the earlier epoch. */
  newBests(history: readonly TrainingMetrics[]): string[] {
    const others = this.#rules.filter(({ name }) => name !== this.#primary.name)
    return others.filter((rule) => isNewBest(rule, history)).map(({ name }) => name)
  }

  /**
   * Writes a checkpoint durably under every name that is due, `latest.pth` last; where no reason gives it a name it is a regular one.
   *
   * @throws TorchkeepError `ERR_CHECKPOINT_WRITE`; all files that were there before still are.
   */
  async write(checkpoint: Checkpoint, reasons: SaveReasons | boolean = {}): Promise<SavedCheckpoint> {
    const labelled = { ...checkpoint, metadata: { ...checkpoint.metadata, runId: await this.#run() } }
    const encoded = encodeCheckpoint(labelled)
    if (!this.#saveOptimizer) for (const key of ['optimizer_state_dict', 'scheduler_state']) encoded.delete(key)
    const names = this.#names(checkpoint, typeof reasons === 'boolean' ? { regular: reasons } : reasons)
    const [first, ...others] = names as [Name, ...Name[]]
    const path = await this.#saveAs(first, encoded)
    this.newestPath = path
    this.#savedSeconds = this.#nowSeconds
    const copies: string[] = []
    for (const name of others) copies.push(await copyAs(name, path))
    return { path, copies, sidecar: null, removed: [], warnings: [] }
  }

  /** The names due, the one to write first. */
  #names(
    checkpoint: Checkpoint,
    { regular = false, isBest, phaseBest = false, phaseEnd = false }: SaveReasons,
  ): Name[] {
    const { folder } = this
    const { epoch, phase, timestamp, dataPosition, trainingState } = checkpoint
    const best = isBest ?? checkpoint.isBest
    if (best && !checkpoint.isBest)
      throw new TorchkeepError(
        'ERR_INVALID_ARGUMENT',
        'a checkpoint that is not labelled isBest cannot be saved as best',
      )
    const step = dataPosition === null ? {} : { step: trainingState.globalStep }
    const secondary = dataPosition === null && this.newBests(trainingState.metricsHistory).length > 0
    const fresh = (path: string): Name => ({ path, fresh: true })
    const lasting = (path: string): Name => ({ path, fresh: false })
    const named = [
      ...(regular ? [fresh(regularPath(folder, { epoch, phase, timestamp, ...step }))] : []),
      ...(this.saveBest && (best || secondary) ? [fresh(bestPath(folder, { epoch, phase }))] : []),
      ...(this.saveBest && best ? [lasting(latestBestPath(folder))] : []),
      ...(phaseBest ? [lasting(phasePath(folder, phase, 'best'))] : []),
      ...(phaseEnd && this.#phaseEnds ? [lasting(phasePath(folder, phase, 'end'))] : []),
    ]
    const all = named.length > 0 ? named : [fresh(regularPath(folder, { epoch, phase, timestamp, ...step }))]
    return [...all, lasting(latestPath(folder))]
  }

  async #saveAs({ path, fresh }: Name, encoded: ReadonlyMap<string, unknown>): Promise<string> {
    if (fresh) return saveNew(path, encoded)
    await save(path, encoded)
    return path
  }

  /** What all files of the run bear: given once, and taken over from the file that the run was resumed from. */
  async #run(): Promise<string> {
    const before = this.newestPath === null ? null : (await describeCheckpoint(this.newestPath)).runId
    return (this.#runId ??= before ?? randomUUID())
  }
}

/** A name for a checkpoint: one that nothing has, or one that moves on to the newest. */
interface Name {
  path: string
  fresh: boolean
}

async function copyAs({ path, fresh }: Name, source: string): Promise<string> {
  if (fresh) return publishNewCopy(source, path)
  await publishCopy(source, path)
  return path
}

const guessed = ({ monitor, mode }: Pick<BestRule, 'monitor' | 'mode'>): Monitor => ({
  name: monitor,
  mode: mode ?? defaultMode(monitor),
})

/** The rules with their directions and counts, the run's own monitor first. */
function settleRules(
  listed: readonly BestRule[],
  primary: Monitor,
  resolve: NonNullable<RunMonitors['resolve']>,
): SettledRule[] {
  const settled = listed.map(({ count = defaultBestCount, ...wanted }) => ({
    ...(wanted.monitor === primary.name ? { ...primary, mode: wanted.mode ?? primary.mode } : resolve(wanted)),
    count,
  }))
  const twice = settled.find(({ name }, index) => settled.findIndex((other) => other.name === name) < index)
  if (twice !== undefined) wrongRule(`lists the monitor '${twice.name}' twice`)
  const own = settled.find(({ name }) => name === primary.name) ?? { ...primary, count: defaultBestCount }
  if (own.mode !== primary.mode)
    wrongRule(`has the mode '${own.mode}' for '${own.name}', which the run monitors with '${primary.mode}'`)
  return [own, ...settled.filter(({ name }) => name !== primary.name)]
}

function wrongRule(what: string): never {
  throw new TorchkeepError('ERR_INVALID_ARGUMENT', `checkpoint.best ${what}`)
}

/** Whether the last epoch is better than all before. */
function isNewBest(monitor: Monitor, history: readonly TrainingMetrics[]): boolean {
  let best = null
  let isNew = false
  for (const row of history) {
    const found = improvement(monitor, best, row)
    isNew = found !== null
    best = found ?? best
  }
  return isNew
}
