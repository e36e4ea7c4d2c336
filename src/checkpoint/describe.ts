/** What a list of checkpoints shows of one: read from the head and the tail of the file, never its tensors. */
import { stat } from 'node:fs/promises'
import { basename } from 'node:path'
import { TorchkeepError } from '../format/errors.js'
import { readTorchFile, type Container, type TorchFile } from '../format/read.js'
import type { Finding } from '../format/findings.js'
import { sizeOfFiles } from './file-size.js'
import { finding, type FindingId } from './findings.js'
import type { CheckpointKind } from './kind.js'
import { metricsOf, numberOf, validationLossOf } from './metrics.js'
import type { TopLevel } from './migrations.js'
import { normalizeCheckpoint } from './normalize.js'
import { roleOf, type CheckpointRole } from './roles.js'
import { countParameters } from './tensor-roles.js'

export { numberOf } from './metrics.js'
export type { CheckpointRole } from './roles.js'

/** Facts of one checkpoint for lists and choices. */
export interface CheckpointDescription {
  path: string
  filename: string
  /** All its files together. */
  sizeBytes: number
  /** Milliseconds since 1970. */
  modifiedMs: number
  role: CheckpointRole
  /** Null where the file could not be read. */
  container: Container | null
  kind: CheckpointKind | null
  /** Version that the file names, such as `3.0`; null without one. */
  version: string | null
  epoch: number | null
  phase: number | null
  /** Optimizer steps of the whole run, as the file says. */
  globalStep: number | null
  /** Seconds since 1970, as the file says. */
  timestamp: number | null
  validationLoss: number | null
  isBest: boolean | null
  /** Numbers that the checkpoint gives for these weights, by name (`val_loss`, `val_accuracy`...). */
  metrics: Readonly<Record<string, number>>
  title: string | null
  tags: readonly string[]
  /** Tells the files of one run of Torchkeep from those of others; null where the file does not say. */
  runId: string | null
  /** Elements of the model's parameters, aliases once, buffers not counted. See `tensor-roles.ts` for what is a parameter. */
  numParameters: number | null
  /** The verdict on the structure: `unreadable` for reasons outside the file (permissions, I/O), of which nothing may be concluded. */
  structure: 'ok' | 'bad' | 'unreadable'
  /** What is wrong or odd, as far as head and tail tell. */
  findings: readonly Finding<FindingId>[]
}

/** How {@link describeCheckpoint} reads. */
export interface DescribeOptions {
  /** The checkpoint folder, for the file's role: folders above it say nothing. See `roleOf`. */
  folder?: string
}

/**
 * Describes one file. What is wrong with the file itself is in the description; only what lies outside it is thrown.
 * @throws TorchkeepError ERR_CHECKPOINT_MISSING where there is no such file.
 */
export async function describeCheckpoint(path: string, options: DescribeOptions = {}): Promise<CheckpointDescription> {
  try {
    const file = await readTorchFile(path, { unsafe: 'describe', structure: 'directory' })
    const base = unread(
      path,
      isOneFile(file) ? sizeAndTime(file) : { ...(await look(path)), sizeBytes: await sizeOfFiles(file) },
    )
    const facts = contentOf(file)
    const role = roleOf({ path, ...options, kind: facts.kind, recognized: true })
    const bad = file.findings.some(({ severity }) => severity === 'error')
    return { ...base, ...facts, role, structure: bad ? 'bad' : 'ok' }
  } catch (error) {
    if (!(error instanceof TorchkeepError)) throw error
    if (error.code === 'ERR_CHECKPOINT_MISSING') {
      await look(path) // throws where it is this very file that is missing
      throw error
    }
    const outside = error.code === 'ERR_CHECKPOINT_UNREADABLE'
    const id = error.finding ?? 'file.unrecognized'
    return {
      ...unread(path, await look(path)),
      role: roleOf({ path, ...options, kind: null, recognized: !outside && id !== 'file.unrecognized' }),
      structure: outside ? 'unreadable' : 'bad',
      findings: outside ? [] : [finding(id, error.subject, error.message)],
    }
  }
}

type SizeAndTime = Pick<CheckpointDescription, 'sizeBytes' | 'modifiedMs'>

/** What reading a file told anyway: lists are long, and each question to the system counts. */
const sizeAndTime = ({ identity }: TorchFile): SizeAndTime => ({
  sizeBytes: identity.sizeBytes,
  modifiedMs: Number(identity.modifiedNs) / 1e6,
})

const isOneFile = ({ container }: TorchFile): boolean => container !== 'sharded' && container !== 'distributed'

async function look(path: string): Promise<SizeAndTime> {
  const { size, mtimeMs } = await stat(path).catch((cause: NodeJS.ErrnoException) => {
    const missing = cause.code === 'ENOENT' || cause.code === 'ENOTDIR'
    if (missing) throw new TorchkeepError('ERR_CHECKPOINT_MISSING', `Checkpoint file not found: ${path}`, { cause })
    throw new TorchkeepError('ERR_CHECKPOINT_UNREADABLE', `cannot look at ${path}: ${String(cause)}`, { cause })
  })
  return { sizeBytes: size, modifiedMs: mtimeMs }
}

function unread(path: string, sizeAndTime: SizeAndTime): CheckpointDescription {
  return {
    path,
    filename: basename(path),
    ...sizeAndTime,
    role: 'foreign',
    container: null,
    kind: null,
    version: null,
    epoch: null,
    phase: null,
    globalStep: null,
    timestamp: null,
    validationLoss: null,
    isBest: null,
    metrics: {},
    title: null,
    tags: [],
    runId: null,
    numParameters: null,
    structure: 'unreadable',
    findings: [],
  }
}

/** What the content says, of any layout. */
function contentOf(file: TorchFile) {
  const { kind, version, value } = normalizeCheckpoint(file)
  const { title, tags, runId } = ownMetadata(value)
  const isBest = value.get('is_best')
  return {
    container: file.container,
    kind,
    version,
    epoch: numberOf(value.get('epoch')),
    phase: numberOf(value.get('phase')),
    globalStep: globalStepOf(value),
    timestamp: numberOf(value.get('timestamp')) ?? numberOf(value.get('export_timestamp')),
    validationLoss: validationLossOf(value),
    isBest: typeof isBest === 'boolean' ? isBest : null,
    metrics: metricsOf(value),
    title,
    tags,
    runId,
    numParameters: countParameters(value),
    findings: file.findings,
  }
}

function globalStepOf(value: TopLevel): number | null {
  const state = value.get('training_state')
  return (state instanceof Map ? numberOf(state.get('global_step')) : null) ?? numberOf(value.get('global_step'))
}

function ownMetadata(value: TopLevel): Pick<CheckpointDescription, 'title' | 'tags' | 'runId'> {
  const metadata = value.get('metadata')
  if (!(metadata instanceof Map)) return { title: null, tags: [], runId: null }
  const [title, tags, runId] = ['title', 'tags', 'run_id'].map((key) => metadata.get(key) as unknown)
  return {
    title: typeof title === 'string' && title !== '' ? title : null,
    tags: Array.isArray(tags) ? tags.filter((tag): tag is string => typeof tag === 'string') : [],
    runId: typeof runId === 'string' ? runId : null,
  }
}
