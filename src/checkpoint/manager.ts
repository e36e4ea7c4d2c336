/** What the older system's `CheckpointManager` does for a folder, on top of the functions that do it. */
import { writeFile } from 'node:fs/promises'
import { TorchkeepError } from '../format/errors.js'
import { findBestCheckpoint } from './best.js'
import { cleanCheckpoints, type CleanupOptions, type CleanupResult } from './cleanup.js'
import { findCheckpointFiles } from './find.js'
import { type CheckpointSelection, listCheckpoints, type ListedCheckpoint, selectCheckpoints } from './listing.js'
import { assessRecovery } from './recovery.js'
import { roleOf } from './roles.js'
import { publish } from './store.js'
import { type CheckpointSummary, summarizeCheckpoints } from './summary.js'
import { CheckpointValidator, type ValidationReport } from './validator.js'

/** A file with its verdict. */
export interface JudgedCheckpoint {
  path: string
  validation: ValidationReport
}

/** All checkpoints of a folder, each in one list. */
export interface CategorizedCheckpoints {
  valid: JudgedCheckpoint[]
  /** Not valid, and nothing of them could be recovered. */
  invalid: JudgedCheckpoint[]
  /** Not valid, but a recovery would give back tensors. */
  recoverable: JudgedCheckpoint[]
  /** Could not be read for reasons outside the file, such as permissions: nothing is known of them. */
  unreadable: { path: string; error: string }[]
}

/** What {@link CheckpointManager.exportCheckpointSummary} writes. */
export interface ExportedSummary extends CheckpointSummary {
  checkpointDir: string
  bestCheckpoints: ListedCheckpoint[]
  regularCheckpoints: ListedCheckpoint[]
  /** ISO 8601. */
  summaryGenerated: string
}

/**
 * Looks after a checkpoint folder with its subfolders. Backups, exports, foreign files, `trash/` and `quarantine/` are no checkpoints here. Nothing is created by looking: a folder that does not exist is
 * ERR_CHECKPOINT_MISSING.
 */
export class CheckpointManager {
  constructor(readonly checkpointDir = 'checkpoints') {}

  /**
   * Validates every checkpoint, all levels unless told.
   * @throws TorchkeepError ERR_CHECKPOINT_MISSING, `_UNREADABLE` for the folder itself; ERR_ABORTED.
   */
  async listAllCheckpoints(
    options: { level?: 'structure' | 'full'; signal?: AbortSignal } = {},
  ): Promise<CategorizedCheckpoints> {
    const lists: CategorizedCheckpoints = { valid: [], invalid: [], recoverable: [], unreadable: [] }
    for (const path of await findCheckpointFiles(this.checkpointDir)) {
      try {
        const validation = await CheckpointValidator.validateCheckpointFile(path, options)
        const recognized = !validation.errors.some(({ id }) => id === 'file.unrecognized')
        const role = roleOf({ path, folder: this.checkpointDir, kind: validation.kind, recognized })
        if (role !== 'checkpoint' && role !== 'recovered') continue
        const hopeless = validation.valid || (await assessRecovery(path)).potential === 'none'
        lists[validation.valid ? 'valid' : hopeless ? 'invalid' : 'recoverable'].push({ path, validation })
      } catch (error) {
        if (!(error instanceof TorchkeepError) || error.code !== 'ERR_CHECKPOINT_UNREADABLE') throw error
        lists.unreadable.push({ path, error: error.message })
      }
    }
    return lists
  }

  /** Removes what is provably invalid, see {@link cleanCheckpoints}: only shows what would go unless `confirm`. */
  cleanupInvalidCheckpoints(options: CleanupOptions = {}): Promise<CleanupResult> {
    return cleanCheckpoints(this.checkpointDir, { invalid: true }, options)
  }

  /** Totals, oldest, newest and best, from heads and tails of the files. */
  async getCheckpointSummary(): Promise<CheckpointSummary> {
    return summarizeCheckpoints(await this.#list())
  }

  /**
   * Writes the summary with the checkpoints of `best/` and `regular/` as strict JSON, durably and whole; numbers that JSON does not have become the strings "NaN", "Infinity" and "-Infinity".
   * @throws TorchkeepError ERR_CHECKPOINT_WRITE naming the path.
   */
  async exportCheckpointSummary(path: string): Promise<ExportedSummary> {
    const listed = await this.#list()
    const summary: ExportedSummary = {
      checkpointDir: this.checkpointDir,
      ...summarizeCheckpoints(listed),
      bestCheckpoints: selectCheckpoints(listed, 'best'),
      regularCheckpoints: selectCheckpoints(listed, 'regular'),
      summaryGenerated: new Date().toISOString(),
    }
    const json = JSON.stringify(summary, finiteOrText, 2)
    await publish(path, (temporaryPath) => writeFile(temporaryPath, `${json}\n`, { flag: 'wx' }))
    return summary
  }

  /** Path of the best checkpoint by a metric (`val_loss` unless told), see {@link findBestCheckpoint}; null where none has a value. */
  async getBestCheckpointPath(metric?: string): Promise<string | null> {
    return (await findBestCheckpoint(this.checkpointDir, metric === undefined ? {} : { metric }))?.path ?? null
  }

  /** Checkpoints with their metadata, newest first; `latest.pth`, `latest_best.pth` and the files of `phases/` are left out where they are copies of others. No tensor is read. */
  async listCheckpoints(selection: CheckpointSelection = 'all'): Promise<ListedCheckpoint[]> {
    return selectCheckpoints(await this.#list(), selection)
  }

  #list(): Promise<ListedCheckpoint[]> {
    return listCheckpoints(this.checkpointDir, { recursive: true, assess: assessRecovery })
  }
}

/** {@link CheckpointManager.getBestCheckpointPath} of a folder. */
export function getBestCheckpointPath(folder: string, metric?: string): Promise<string | null> {
  return new CheckpointManager(folder).getBestCheckpointPath(metric)
}

/** {@link CheckpointManager.exportCheckpointSummary} of a folder. */
export function exportCheckpointSummary(folder: string, path: string): Promise<ExportedSummary> {
  return new CheckpointManager(folder).exportCheckpointSummary(path)
}

const finiteOrText = (_key: string, value: unknown): unknown =>
  typeof value === 'number' && !Number.isFinite(value) ? String(value) : value
