/** Gathers the facts of every file of a checkpoint folder on which a retention plan decides. */
import { readdir } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { TorchkeepError } from '../format/errors.js'
import type { Finding } from '../format/findings.js'
import { type CheckpointDescription, describeCheckpoint } from './describe.js'
import { findCheckpointFiles } from './find.js'
import { type FindingId, findings } from './findings.js'
import { assessRecovery, type RecoveryPotential } from './recovery.js'
import { heldByPromotion } from './promotions.js'
import { type FileState, stateOf } from './removal.js'
import type { RetentionFile } from './retention.js'
import { runFolder } from './sidecar.js'
import { CheckpointValidator, type ValidationReport } from './validator.js'

/** How {@link surveyFolder} looks. */
export interface SurveyOptions {
  /** How thoroughly each checkpoint is validated: `full` reads every byte, so that nothing damaged is kept in place of something whole. `full` unless told. */
  level?: 'structure' | 'full'
  /** Called as the files are read, in bytes. */
  progress?: (doneBytes: number, totalBytes: number, path: string) => void
  /** Tells how well a damaged file could be recovered; {@link assessRecovery} unless told. */
  assess?: (path: string) => Promise<{ potential: RecoveryPotential }>
  /** Stops with ERR_ABORTED. */
  signal?: AbortSignal
}

/** A file with what is known of it. */
export interface SurveyedFile extends RetentionFile {
  /** As it was before it was judged. */
  state: FileState
  /** Null for a symbolic link. */
  description: CheckpointDescription | null
  /** Null for what is no checkpoint of a run, and for what could not be read. */
  report: ValidationReport | null
}

/**
 * Describes and judges every file of a folder and its subfolders, sorted by path, and names the symbolic links that point to one of them. What lies in `trash/` and what disappears meanwhile is left out.
 * @throws TorchkeepError ERR_CHECKPOINT_MISSING, `_UNREADABLE` for the folder itself; ERR_ABORTED.
 */
export async function surveyFolder(folder: string, options: SurveyOptions = {}): Promise<SurveyedFile[]> {
  const described: { state: FileState; description: CheckpointDescription }[] = []
  for (const path of await findCheckpointFiles(folder)) {
    const found = await unlessGone(async () => ({
      state: await stateOf(path),
      description: await describeCheckpoint(path, { folder }),
    }))
    if (found !== undefined && found.description.role !== 'trash') described.push(found)
  }
  const totalBytes = described.reduce((sum, { description }) => sum + description.sizeBytes, 0)
  const held = await heldByPromotion(folder)
  const files: SurveyedFile[] = []
  let doneBytes = 0
  for (const { state, description } of described) {
    const { path, sizeBytes } = description
    const before = doneBytes
    const progress = (done: number) => options.progress?.(before + done, totalBytes, path)
    const judgement = await unlessGone(() => judge(description, options, progress))
    const reason = held.get(path)
    const facts = { ...factsOf(description, state), ...(reason !== undefined && { held: reason }) }
    if (judgement !== undefined) files.push({ ...facts, ...judgement, state, description })
    doneBytes += sizeBytes
  }
  return [...files, ...(await linksTo(files, folder))]
}

/** Undefined where the file is not there any more. */
async function unlessGone<T>(look: () => Promise<T>): Promise<T | undefined> {
  try {
    return await look()
  } catch (error) {
    if (['ENOENT', 'ELOOP'].includes((error as NodeJS.ErrnoException).code ?? '')) return undefined
    if (error instanceof TorchkeepError && error.code === 'ERR_CHECKPOINT_MISSING') return undefined
    throw error
  }
}

type Judgement = Pick<SurveyedFile, 'verdict' | 'reason' | 'recoverable' | 'report'>

/** Findings that prove damage: bytes that are missing or wrong. All other errors may only mean that the file is odd or not understood here, or not complete although its tensors are whole. */
export const proofsOfDamage: ReadonlySet<FindingId> = new Set<FindingId>([
  'file.empty',
  'file.truncated',
  'zip.structure',
  'record.missing',
  'record.crc',
  'record.size',
  'storage.too_small',
  'tensor.nonfinite',
  'tensor.nan_buffer',
  'tensor.sparse_indices',
])

/** Names that only the trainer and the older system give: what stands under them and is of no known format is no checkpoint any more. */
const trainerNames =
  /^(checkpoint_epoch_\d+\w*|best_model_epoch_\d+\w*|phase_\d+_(end|best)|latest_best|latest)(-\d+)?\.pth$/

async function judge(
  { path, role, sizeBytes }: CheckpointDescription,
  { level = 'full', assess = assessRecovery, signal }: SurveyOptions,
  progress: (doneBytes: number) => void,
): Promise<Judgement> {
  const unknown = { verdict: 'unknown', recoverable: false } as const
  if (role !== 'checkpoint' && role !== 'recovered') return { ...unknown, reason: 'not judged', report: null }
  let report: ValidationReport
  try {
    const options = { level, progress, ...(signal !== undefined && { signal }) }
    report = await CheckpointValidator.validateCheckpointFile(path, options)
  } catch (error) {
    if (!(error instanceof TorchkeepError) || error.code !== 'ERR_CHECKPOINT_UNREADABLE') throw error
    return { ...unknown, reason: `could not be read, which says nothing of it: ${error.message}`, report: null }
  }
  progress(sizeBytes)
  if (report.valid) return { verdict: 'valid', reason: '', recoverable: false, report }
  const proof = report.errors.find(
    ({ id }) => proofsOfDamage.has(id) || (id === 'file.unrecognized' && trainerNames.test(basename(path))),
  )
  if (proof === undefined)
    return { ...unknown, reason: `not valid, but not proven to be damaged: ${inWords(report.errors[0])}`, report }
  const { potential } = await assess(path)
  return { verdict: 'invalid', reason: inWords(proof), recoverable: potential !== 'none', report }
}

/** Short, since the path stands beside it; `validate` says more. */
function inWords(fault: Finding<FindingId> | undefined): string {
  if (fault === undefined) return ''
  return `${fault.id}: ${findings[fault.id].meaning}${fault.subject === null ? '' : ` (${fault.subject})`}`
}

/** What a description and the state of the file say for a plan. */
export function factsOf(description: CheckpointDescription, state: FileState) {
  const { path, role, container, kind, epoch, phase, globalStep, timestamp, modifiedMs, metrics, sizeBytes } =
    description
  return {
    ...{ path, role, container, kind, epoch, phase, globalStep, timestamp, modifiedMs, metrics, sizeBytes },
    run: runFolder(path),
    content: contentId(state),
    isLink: false,
  }
}

const contentId = ({ device, inode }: FileState): string => `${device}:${inode}`

/** Symbolic links in the folder that point to one of the files: what they point to must stay, or they would point to nothing. */
async function linksTo(files: readonly SurveyedFile[], folder: string): Promise<SurveyedFile[]> {
  const byContent = new Map(files.map((file) => [file.content, file]))
  const links: SurveyedFile[] = []
  for (const entry of await readdir(folder, { recursive: true, withFileTypes: true })) {
    if (!entry.isSymbolicLink()) continue
    const path = join(entry.parentPath, entry.name)
    const state = await unlessGone(() => stateOf(path))
    const target = state === undefined ? undefined : byContent.get(contentId(state))
    if (target !== undefined)
      links.push({ ...target, path, isLink: true, sizeBytes: 0, run: runFolder(path), description: null })
  }
  return links.sort((left, right) => (left.path < right.path ? -1 : 1))
}
