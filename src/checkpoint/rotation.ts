/**
 * Takes a run's surplus checkpoints away while it goes on. What goes is decided by `retention.plan` from what lies in the folder, never from memory, so that it is the same after a restart and in a folder that was moved.
 *
 * Only files in `regular/` and `best/` with the trainer's own names are looked at, and of those only this run's go: no link, nothing tagged, nothing that cannot be read, nothing of another run or program.
 */
import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { describeCheckpoint } from './describe.js'
import { heldByPromotion } from './promotions.js'
import { deleteFile, type FileState, stateOf } from './removal.js'
import { plan, type RetentionChoice, type RetentionFile, type RetentionPolicy } from './retention.js'
import { sidecarNames } from './sidecar.js'
import { exists, type FileOperations, nodeFiles } from './store.js'
import { factsOf } from './survey.js'

/** What stays in a folder, by subfolder; null keeps all there and looks at nothing. */
export interface RotationPolicy {
  regular: RetentionPolicy | null
  best: RetentionPolicy | null
}

/** What a rotation did. */
export interface RotationResult {
  /** What became of each file and why. */
  plan: RetentionChoice[]
  /** Files that are gone, sidecars included. */
  removed: string[]
  /** What could not be removed, said once a file. */
  failures: { path: string; message: string }[]
}

/** A file that a rotation looks at. */
interface Candidate {
  state: FileState
  file: RetentionFile
}

const ownNames = {
  regular: /^checkpoint_epoch_\d+_phase_\d+_\d+(_step_\d+)?(-\d+)?\.pth$/,
  best: /^best_model_epoch_\d+_phase_\d+(-\d+)?\.pth$/,
} as const

/** The rotation of one run's folder. It remembers what it read of files that have not changed since, so that a save does not read a thousand heads. */
export class Rotation {
  readonly #known = new Map<string, Candidate>()
  readonly #complained = new Set<string>()

  constructor(
    readonly folder: string,
    readonly policy: RotationPolicy,
    readonly files: FileOperations = nodeFiles,
  ) {}

  /**
   * Removes what the policies do not keep. To be called when the newest checkpoint is durable.
   *
   * @param runId of the run: files of others stay.
   * @param newest names of the newest checkpoint, which stay whatever its timestamp says.
   */
  async rotate(runId: string, newest: readonly string[]): Promise<RotationResult> {
    const result: RotationResult = { plan: [], removed: [], failures: [] }
    if (this.policy.regular === null && this.policy.best === null) return result
    const going: Candidate[] = []
    const staying = new Set<string>()
    for (const place of ['regular', 'best'] as const) {
      const policy = this.policy[place]
      const candidates = await this.#candidates(place, runId, newest)
      const choices =
        policy === null
          ? null
          : plan(
              candidates.map(({ file }) => file),
              policy,
            )
      result.plan.push(...(choices ?? []))
      for (const [index, candidate] of candidates.entries()) {
        if (choices?.[index]?.keep === false) going.push(candidate)
        else for (const name of sidecarNames(candidate.file.path, candidate.file.timestamp)) staying.add(name)
      }
    }
    for (const candidate of going) await this.#remove(candidate, staying, result)
    return result
  }

  async #candidates(place: keyof RotationPolicy, runId: string, newest: readonly string[]): Promise<Candidate[]> {
    const folder = join(this.folder, place)
    const names = (await readdir(folder, { withFileTypes: true }))
      .filter((entry) => entry.isFile() && ownNames[place].test(entry.name))
      .map((entry) => join(folder, entry.name))
    const promoted = await heldByPromotion(this.folder)
    const candidates: Candidate[] = []
    for (const path of names) {
      const candidate = await this.#look(path, runId)
      if (candidate === null) continue
      const { file } = candidate
      const held = newest.includes(path) ? 'the newest' : promoted.get(path)
      candidates.push(held === undefined ? candidate : { ...candidate, file: { ...file, held } })
    }
    return candidates
  }

  /** What is known of a file; null where it is there no more. */
  async #look(path: string, runId: string): Promise<Candidate | null> {
    try {
      const state = await stateOf(path)
      const known = this.#known.get(path)
      if (known !== undefined && isSame(known.state, state)) return known
      const candidate = { state, file: await describe(path, this.folder, state, runId) }
      this.#known.set(path, candidate)
      return candidate
    } catch (error) {
      if (await exists(path)) throw error
      this.#known.delete(path)
      return null
    }
  }

  /** Removes a file and then its sidecars, but for those that a staying file has too. */
  async #remove({ file, state }: Candidate, staying: ReadonlySet<string>, result: RotationResult): Promise<void> {
    try {
      await deleteFile(file.path, state, this.files)
      this.#known.delete(file.path)
      result.removed.push(file.path)
      for (const sidecar of sidecarNames(file.path, file.timestamp)) {
        if (staying.has(sidecar) || !(await exists(sidecar))) continue
        await deleteFile(sidecar, await stateOf(sidecar), this.files)
        result.removed.push(sidecar)
      }
    } catch (error) {
      // Failures of the system have a code as ours have; anything else is a mistake in this code.
      if ((error as NodeJS.ErrnoException).code === undefined) throw error
      if (wasGone(error as Error) || this.#complained.has(file.path)) return
      this.#complained.add(file.path)
      result.failures.push({ path: file.path, message: (error as Error).message })
    }
  }
}

/** Whether somebody else had removed the file. */
const wasGone = ({ cause }: { cause?: unknown }): boolean =>
  (cause as NodeJS.ErrnoException | undefined)?.code === 'ENOENT'

const isSame = (left: FileState, right: FileState): boolean =>
  (['device', 'inode', 'sizeBytes', 'modifiedNs'] as const).every((key) => left[key] === right[key])

/** The facts of a file, with the reason for which it must stay. */
async function describe(path: string, folder: string, state: FileState, runId: string): Promise<RetentionFile> {
  const description = await describeCheckpoint(path, { folder })
  const whole = description.structure === 'ok'
  const held =
    description.runId !== runId
      ? 'of another run'
      : description.tags.length > 0
        ? `tagged ${description.tags.join(', ')}`
        : undefined
  return {
    ...factsOf(description, state),
    // Ranks count within the run, whatever else lies in its folder.
    run: description.runId ?? '',
    verdict: whole ? 'valid' : 'unknown',
    reason: whole ? '' : 'cannot be read whole',
    recoverable: false,
    ...(held !== undefined && { held }),
  }
}
