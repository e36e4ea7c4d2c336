/** Recovery of damaged checkpoints: what can be saved is written into a new file, and every act is told in it. The damaged file is never touched. */
import { createHash } from 'node:crypto'
import { basename, dirname, join, relative, resolve } from 'node:path'
import { ByteSource } from '../format/byte-source.js'
import { TorchkeepError } from '../format/errors.js'
import { planTorchFile, topFolderOf } from '../format/plan.js'
import { readTorchFile } from '../format/read.js'
import { salvageFile } from '../format/salvage.js'
import type { ByteOrigin } from '../format/tensor-record.js'
import { writePlan } from '../format/write-plan.js'
import { findCheckpointFiles } from './find.js'
import { assessRecovery, countTensors, type RecoveryAssessment } from './recovery-assess.js'
import { mend, recoveredName, type MendedValue } from './recovery-attempt.js'
import { attachRecord, isNothing, noActs, torchkeepVersion, type RecoveryActs } from './recovery-record.js'
import type { DamagedPolicy, NonFinitePolicy } from './recovery-values.js'
import { roleOf } from './roles.js'
import { runFolder } from './sidecar.js'
import { exists, makeFolder, publishNew, publishNewCopy } from './store.js'
import { CheckpointValidator, type ValidationReport } from './validator.js'

export { assessRecovery, type RecoveryAssessment, type RecoveryPotential } from './recovery-assess.js'
export { recoveryRecordOf, type RecoveryRecord } from './recovery-record.js'
export type { DamagedPolicy, NonFinitePolicy } from './recovery-values.js'

/** How {@link CheckpointRecovery.attemptRecovery} works. */
export interface RecoveryOptions {
  /** A sound checkpoint of the same model: names for records whose pickle is unreadable, and values for the policies `donor`. */
  like?: string
  /** What takes the place of NaN and infinite values in parameters and moments, and of NaN in buffers. `zero` unless told. */
  nonfinite?: NonFinitePolicy
  /** What becomes of tensors whose CRC-32 does not match. `keep` unless told. */
  damaged?: DamagedPolicy
  /** Whether the damaged file is copied to `backups/` first. True unless told. */
  backup?: boolean
  /** Called while bytes are read and written: of all steps together. */
  progress?: (doneBytes: number, totalBytes: number) => void
  /** Stops with ERR_ABORTED; nothing is left behind. */
  signal?: AbortSignal
}

/** What came of a recovery. */
export interface RecoveryResult extends Readonly<RecoveryActs> {
  path: string
  /** A file that validates was written, or the file is valid and nothing had to be done. */
  success: boolean
  /** The new file; null where none was written. */
  recoveredPath: string | null
  backupPath: string | null
  /** Texts of the older system. */
  issuesFixed: string[]
  /** What the new file still suffers from, or why there is none. */
  remainingIssues: string[]
  tensors: { total: number; saved: number; unnamed: number }
}

/** A file that {@link CheckpointRecovery.findRecoverableCheckpoints} found. */
export interface RecoverableCheckpoint extends RecoveryAssessment {
  /** Path from the folder. */
  name: string
  /** What the validator says is wrong. */
  errors: string[]
}

/** Recovers the checkpoints of a folder. */
export class CheckpointRecovery {
  /** @param folder the checkpoint folder, whose `backups/` takes the copies. */
  constructor(readonly folder = 'checkpoints') {}

  /**
   * The files of the folder that are not valid, with what a recovery would give of each; backups, recovered files and trash are left out.
   * @throws TorchkeepError ERR_CHECKPOINT_MISSING for the folder, ERR_CHECKPOINT_UNREADABLE, ERR_ABORTED.
   */
  async findRecoverableCheckpoints(
    options: {
      level?: 'structure' | 'full'
      signal?: AbortSignal
      progress?: (done: number, total: number) => void
    } = {},
  ): Promise<RecoverableCheckpoint[]> {
    const paths = await findCheckpointFiles(this.folder)
    const found: RecoverableCheckpoint[] = []
    for (const [index, path] of paths.entries()) {
      options.progress?.(index, paths.length)
      const role = roleOf({ path, folder: this.folder, kind: null, recognized: true })
      if (role === 'backup' || role === 'recovered' || role === 'trash') continue
      const report = await CheckpointValidator.validateCheckpointFile(path, {
        level: options.level ?? 'full',
        ...(options.signal !== undefined && { signal: options.signal }),
      })
      if (report.valid) continue
      const errors = report.errors.map(({ message }) => message)
      found.push({ ...(await assessRecovery(path)), name: relative(this.folder, path), errors })
    }
    return found
  }

  /**
   * Copies a file to `backups/backup_{T}_{name}`, T being unix seconds; `-2`, `-3`... on a collision.
   * @param folder of the backups; unless told `backups/` of the checkpoint folder where the file lies in it, else of the file's own run.
   * @returns the copy's path.
   */
  async createBackup(path: string, folder?: string): Promise<string> {
    const isInside = !relative(resolve(this.folder), resolve(path)).startsWith('..')
    const target = folder ?? join(isInside ? this.folder : runFolder(path), 'backups')
    if (!(await exists(path))) throw new TorchkeepError('ERR_CHECKPOINT_MISSING', `no such file: ${path}`)
    await makeFolder(target)
    return publishNewCopy(path, join(target, `backup_${Math.floor(Date.now() / 1000)}_${basename(path)}`))
  }

  /**
   * Saves what can be saved of a file into a new one, which is judged before it gets its name.
   * @param output path of the new file; `recovered_{name}` beside the damaged one unless told. Nothing may be there.
   * @throws TorchkeepError ERR_INVALID_ARGUMENT for an output that is there, ERR_CHECKPOINT_MISSING, ERR_CHECKPOINT_UNREADABLE, ERR_CHECKPOINT_WRITE, ERR_ABORTED, and what reading the donor throws.
   *   What is wrong with the damaged file itself is in the result.
   */
  async attemptRecovery(path: string, output?: string, options: RecoveryOptions = {}): Promise<RecoveryResult> {
    checkOptions(options)
    const target = output ?? join(dirname(path), recoveredName(path))
    await requireFree(path, target)
    return new Attempt(this, path, target, options).run()
  }
}

function checkOptions({ like, nonfinite = 'zero', damaged = 'keep' }: RecoveryOptions): void {
  const invalid = (message: string): never => {
    throw new TorchkeepError('ERR_INVALID_ARGUMENT', message)
  }
  if (!['zero', 'mean', 'donor'].includes(nonfinite))
    invalid(`nonfinite: expected zero, mean or donor, found ${String(nonfinite)}`)
  if (!['keep', 'drop', 'zero', 'donor'].includes(damaged))
    invalid(`damaged: expected keep, drop, zero or donor, found ${String(damaged)}`)
  if (like === undefined && (nonfinite === 'donor' || damaged === 'donor'))
    invalid('like: taking values from a donor needs its path (--like DONOR)')
}

async function requireFree(path: string, target: string): Promise<void> {
  if (resolve(target) !== resolve(path) && !(await exists(target))) return
  throw new TorchkeepError('ERR_INVALID_ARGUMENT', `${target} is there already; a recovery never writes over a file`, {
    suggestions: ['name another output', 'move the file away first'],
  })
}

/** Errors that are about the surroundings, not about what is in the damaged file. */
const outside = new Set([
  'ERR_CHECKPOINT_MISSING',
  'ERR_CHECKPOINT_UNREADABLE',
  'ERR_CHECKPOINT_WRITE',
  'ERR_DISK_FULL',
  'ERR_ABORTED',
])

class Attempt {
  readonly #recovery: CheckpointRecovery
  readonly #path: string
  readonly #target: string
  readonly #options: RecoveryOptions
  readonly #acts = noActs()
  readonly #issuesFixed: string[] = []
  readonly #remainingIssues: string[] = []
  #tensors = { total: 0, saved: 0, unnamed: 0 }
  #backupPath: string | null = null

  constructor(recovery: CheckpointRecovery, path: string, target: string, options: RecoveryOptions) {
    this.#recovery = recovery
    this.#path = path
    this.#target = target
    this.#options = options
  }

  async run(): Promise<RecoveryResult> {
    const { like } = this.#options
    const donor = like === undefined ? null : await readTorchFile(like, { unsafe: 'describe', keepFloats: true })
    try {
      return await this.#recover(donor)
    } catch (error) {
      if (!(error instanceof TorchkeepError) || outside.has(error.code)) throw error
      return this.#failed(error.message)
    }
  }

  async #recover(donor: Awaited<ReturnType<typeof readTorchFile>> | null): Promise<RecoveryResult> {
    const { nonfinite = 'zero', damaged = 'keep', signal } = this.#options
    const salvage = await salvageFile(this.#path)
    this.#tensors = countTensors(salvage)
    const mended = await mend({
      path: this.#path,
      salvage,
      donor,
      nonfinite,
      damaged,
      acts: this.#acts,
      issuesFixed: this.#issuesFixed,
      remainingIssues: this.#remainingIssues,
      ...(signal !== undefined && { signal }),
      progress: (done, total) => this.#options.progress?.(done, 3 * total),
    })
    if (mended === null) return this.#failed(salvage.damages[0]?.message ?? 'the file holds no tensor')
    if (isNothing(this.#acts) && this.#issuesFixed.length === 0) return this.#untouched()
    const { container } = salvage.file
    if (container !== 'torch_zip')
      this.#acts.repaired.push(`the file: written as torch.save writes (it was ${container})`)
    const sourceSha256 = await sha256(this.#path, signal)
    if (this.#options.backup !== false) this.#backupPath = await this.#recovery.createBackup(this.#path)
    const date = new Date().toISOString()
    const source = basename(this.#path)
    attachRecord(mended.value, { ...this.#acts, source, sourceSha256, date, torchkeepVersion }, mended.isBareStateDict)
    return this.#write(mended)
  }

  async #write({ value }: MendedValue): Promise<RecoveryResult> {
    let report: ValidationReport | undefined
    const plan = planTorchFile<ByteOrigin>(value, { topFolder: topFolderOf(this.#target) })
    const recoveredPath = await publishNew(this.#target, async (temporaryPath) => {
      const { signal, progress } = this.#options
      await writePlan(temporaryPath, plan, { ...(signal !== undefined && { signal }) })
      report = await CheckpointValidator.validateCheckpointFile(temporaryPath, {
        ...(signal !== undefined && { signal }),
        progress: (done, total) => progress?.(2 * total + done, 3 * total),
      })
      const named = ({ message }: { message: string }) => message.replaceAll(temporaryPath, this.#target)
      this.#remainingIssues.push(...report.errors.map(named))
    })
    return { ...this.#result(), success: report?.valid === true, recoveredPath }
  }

  /** Nothing to mend: what the validator still says is nothing that a recovery can change. */
  async #untouched(): Promise<RecoveryResult> {
    const report = await CheckpointValidator.validateCheckpointFile(this.#path)
    this.#remainingIssues.push(...report.errors.map(({ message }) => message))
    return { ...this.#result(), success: report.valid }
  }

  #failed(reason: string): RecoveryResult {
    this.#remainingIssues.push(`Recovery failed: ${reason}`)
    return this.#result()
  }

  #result(): RecoveryResult {
    return {
      path: this.#path,
      success: false,
      recoveredPath: null,
      backupPath: this.#backupPath,
      issuesFixed: this.#issuesFixed,
      remainingIssues: this.#remainingIssues,
      tensors: this.#tensors,
      ...this.#acts,
    }
  }
}

async function sha256(path: string, signal: AbortSignal | undefined): Promise<string> {
  return ByteSource.with(path, async (source) => {
    const hash = createHash('sha256')
    for await (const chunk of source.chunks(0, source.sizeBytes)) {
      if (signal?.aborted === true) throw new TorchkeepError('ERR_ABORTED', 'the recovery was stopped')
      hash.update(chunk)
    }
    return hash.digest('hex')
  })
}
