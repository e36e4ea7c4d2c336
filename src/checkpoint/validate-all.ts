/** Judges many files: paths as they are, folders walked. */
import { stat } from 'node:fs/promises'
import { extname, relative, sep } from 'node:path'
import { TorchkeepError, type ErrorCode } from '../format/errors.js'
import { findCheckpointFiles } from './find.js'
import { CheckpointValidator, type ValidateOptions, type ValidationReport } from './validator.js'

/** How {@link validateAll} works. */
export interface ValidateAllOptions extends Omit<ValidateOptions, 'progress'> {
  /** Bytes of all files together, and the file that is being read. */
  onProgress?: (doneBytes: number, totalBytes: number, path: string) => void
}

/** A file of which nothing can be said, for a reason outside it. */
export interface UnreadableFile {
  path: string
  code: ErrorCode
  message: string
}

/** The verdicts on many files. */
export interface ValidationRun {
  /** Every file that could be read is valid, and fits the target where there is one. */
  valid: boolean
  files: ValidationReport[]
  unreadable: UnreadableFile[]
  /** Files of a folder that only their ending (`.bin`, `.tar`) made look like checkpoints. */
  skipped: string[]
  summary: {
    total: number
    valid: number
    invalid: number
    incompatible: number
    unreadable: number
    withWarnings: number
  }
}

/** Folders of a checkpoint folder whose files are there because they are bad. */
const setAside = new Set(['trash', 'quarantine'])

/** Endings that other programs use too. */
const sharedEndings = new Set(['.bin', '.tar'])

/**
 * Judges files and all that `findCheckpointFiles` finds in folders, but for what lies in their `trash/` and `quarantine/`.
 * @throws TorchkeepError ERR_CHECKPOINT_MISSING or ERR_CHECKPOINT_UNREADABLE where a path that was named cannot be looked at and is the only one; ERR_ABORTED.
 */
export async function validateAll(paths: readonly string[], options: ValidateAllOptions = {}): Promise<ValidationRun> {
  const files: ValidationReport[] = []
  const unreadable: UnreadableFile[] = []
  const skipped: string[] = []
  const { onProgress, ...how } = options
  const found: { path: string; sizeBytes: number; named: boolean }[] = []
  const outside = (path: string, error: unknown): void => {
    if (
      !(error instanceof TorchkeepError) ||
      !outsideCodes.has(error.code) ||
      (paths.length === 1 && path === paths[0])
    )
      throw error
    unreadable.push({ path, code: error.code, message: error.message })
  }
  for (const path of paths)
    await expand(path).then(
      (more) => found.push(...more),
      (error: unknown) => outside(path, error),
    )
  const totalBytes = found.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0)
  let before = 0
  for (const { path, sizeBytes, named } of found) {
    const progress = (done: number): void => onProgress?.(before + done, totalBytes, path)
    progress(0)
    try {
      const report = await CheckpointValidator.validateCheckpointFile(path, { ...how, progress })
      const foreign =
        !named && sharedEndings.has(extname(path)) && report.errors.some(({ id }) => id === 'file.unrecognized')
      if (foreign) skipped.push(path)
      else files.push(report)
    } catch (error) {
      outside(path, error)
    }
    before += sizeBytes
  }
  return { valid: files.every(passes), files, unreadable, skipped, summary: summarize(files, unreadable) }
}

const outsideCodes: ReadonlySet<string> = new Set(['ERR_CHECKPOINT_MISSING', 'ERR_CHECKPOINT_UNREADABLE'])

/** Whether a file is valid and fits what it was compared with. */
export const passes = ({ valid, compatibility }: ValidationReport): boolean =>
  valid && compatibility?.compatible !== false

async function expand(path: string): Promise<{ path: string; sizeBytes: number; named: boolean }[]> {
  const facts = await factsOf(path)
  if (!facts.isDirectory) return [{ path, sizeBytes: facts.sizeBytes, named: true }]
  const inside = (await findCheckpointFiles(path)).filter(
    (file) =>
      !relative(path, file)
        .split(sep)
        .slice(0, -1)
        .some((folder) => setAside.has(folder)),
  )
  return Promise.all(
    inside.map(async (file) => ({ path: file, sizeBytes: (await factsOf(file)).sizeBytes, named: file === path })),
  )
}

async function factsOf(path: string): Promise<{ isDirectory: boolean; sizeBytes: number }> {
  const facts = await stat(path).catch((cause: NodeJS.ErrnoException) => {
    const missing = cause.code === 'ENOENT' || cause.code === 'ENOTDIR'
    if (missing) throw new TorchkeepError('ERR_CHECKPOINT_MISSING', `Checkpoint file not found: ${path}`, { cause })
    throw new TorchkeepError('ERR_CHECKPOINT_UNREADABLE', `cannot look at ${path}: ${String(cause)}`, { cause })
  })
  return { isDirectory: facts.isDirectory(), sizeBytes: facts.size }
}

function summarize(
  files: readonly ValidationReport[],
  unreadable: readonly UnreadableFile[],
): ValidationRun['summary'] {
  const count = (wanted: (report: ValidationReport) => boolean): number => files.filter(wanted).length
  return {
    total: files.length + unreadable.length,
    valid: count(({ valid }) => valid),
    invalid: count(({ valid }) => !valid),
    incompatible: count(({ compatibility }) => compatibility?.compatible === false),
    unreadable: unreadable.length,
    withWarnings: count(({ warnings }) => warnings.length > 0),
  }
}
