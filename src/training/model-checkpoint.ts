/** When a run saves and under which names. */
import { encodeCheckpoint, type Checkpoint } from '../checkpoint/schema.js'
import { bestPath, checkpointFolders, latestBestPath, latestPath, regularPath } from '../checkpoint/layout.js'
import { makeFolder, publishCopy, publishNewCopy, removeStaleTemporaries } from '../checkpoint/store.js'
import { TorchkeepError } from '../format/errors.js'
import { saveNew } from '../serialization.js'

export interface ModelCheckpointOptions {
  /** Saves after every so many epochs of the run; default 1. The end of the run is always saved. */
  everyEpochs?: number
  /** Saves also after every so many steps of the run, inside epochs; default: never. */
  everySteps?: number
  /** Saves each new best epoch under `best/`; default true. */
  saveBest?: boolean
}

/** The files that one save made. */
export interface SavedCheckpoint {
  path: string
  copies: string[]
}

/**
 * Writes checkpoints into a folder laid out as `docs/architecture.md` says. One file is written a save; the other names that are due (`latest.pth`, the
 * best) are copies of it, so no two labels of one moment can disagree.
 */
export class ModelCheckpoint {
  /** The file of the last save that became durable, or that the run was resumed from; null before. */
  newestPath: string | null = null
  readonly saveBest: boolean
  readonly #everyEpochs: number
  readonly #everySteps: number

  constructor(
    readonly folder: string,
    options: ModelCheckpointOptions = {},
  ) {
    this.#everyEpochs = interval('everyEpochs', options.everyEpochs ?? 1)
    this.#everySteps = options.everySteps === undefined ? Infinity : interval('everySteps', options.everySteps)
    this.saveBest = options.saveBest ?? true
  }

  /** Makes the folders and clears away what dead processes left half written. */
  async prepare(): Promise<void> {
    for (const folder of checkpointFolders(this.folder)) {
      await makeFolder(folder)
      await removeStaleTemporaries(folder)
    }
  }

  /** Steps until a save inside the epoch is due; at least 1. */
  stepsUntilDue(globalStep: number): number {
    return this.#everySteps - (globalStep % this.#everySteps)
  }

  dueAfterStep(globalStep: number): boolean {
    return globalStep % this.#everySteps === 0
  }

  dueAfterEpoch(epoch: number): boolean {
    return epoch % this.#everyEpochs === 0
  }

  /**
   * Writes a checkpoint durably: as a regular one if `regular` or if it is no new best, under the names of the best if it is one, and as `latest.pth`.
   *
   * @throws TorchkeepError `ERR_CHECKPOINT_WRITE`; all files that were there before still are.
   */
  async write(checkpoint: Checkpoint, regular: boolean): Promise<SavedCheckpoint> {
    const { epoch, phase, timestamp, dataPosition, trainingState } = checkpoint
    const step = dataPosition === null ? {} : { step: trainingState.globalStep }
    const best = this.saveBest && checkpoint.isBest
    const names = [
      ...(regular || !best ? [regularPath(this.folder, { epoch, phase, timestamp, ...step })] : []),
      ...(best ? [bestPath(this.folder, { epoch, phase })] : []),
    ]
    const path = await saveNew(names[0] as string, encodeCheckpoint(checkpoint))
    this.newestPath = path
    const copies: string[] = []
    for (const name of names.slice(1)) copies.push(await publishNewCopy(path, name))
    for (const name of [...(best ? [latestBestPath(this.folder)] : []), latestPath(this.folder)]) {
      await publishCopy(path, name)
      copies.push(name)
    }
    return { path, copies }
  }
}

function interval(name: string, value: number): number {
  if (Number.isSafeInteger(value) && value >= 1) return value
  throw new TorchkeepError(
    'ERR_INVALID_ARGUMENT',
    `checkpoint.${name} should be an integer of at least 1, but is ${value}`,
  )
}
