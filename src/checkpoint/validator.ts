/** Judges checkpoints: container, pickle, keys, bytes, tensors, optimizer and labels. Every finding has an id; `docs/validate.md` explains each. */
import { stat } from 'node:fs/promises'
import { TorchkeepError } from '../format/errors.js'
import type { Finding } from '../format/findings.js'
import { readTorchFile, type TorchFile } from '../format/read.js'
import { checkBytes } from './check-bytes.js'
import { checkIndices } from './check-indices.js'
import { checkKeys } from './check-keys.js'
import { checkLabels } from './check-labels.js'
import { checkOptimizer } from './check-optimizer.js'
import { checkViews } from './check-tensors.js'
import { compatibilityOf, type Compatibility, type CompatibilityTarget } from './compatibility.js'
import { sizeOfFiles } from './file-size.js'
import { finding, type FindingId } from './findings.js'
import type { CheckpointKind } from './kind.js'
import type { Layout } from './layouts.js'
import { numberOf, validationLossOf } from './metrics.js'
import { normalizeCheckpoint, type NormalizedCheckpoint } from './normalize.js'
import { countParameters } from './tensor-roles.js'

/** How a file is judged. */
export interface ValidateOptions {
  /** `full` also reads every byte (CRC-32, NaN and infinite values); `structure` reads head, tail and headers only. `full` unless told. */
  level?: 'structure' | 'full'
  /** Whether warnings make a file invalid too. False unless told. */
  strict?: boolean
  /** What the checkpoint should fit: a configuration or another checkpoint. Not asked unless told. */
  target?: CompatibilityTarget
  /** Called while the bytes are read. */
  progress?: (doneBytes: number, totalBytes: number) => void
  /** Stops with ERR_ABORTED. */
  signal?: AbortSignal
}

/** The verdict on one file. */
export interface ValidationReport {
  path: string
  /** No errors; with `strict` no warnings either. */
  valid: boolean
  /** Null where the file could not be read. */
  kind: CheckpointKind | null
  layout: Layout | null
  errors: Finding<FindingId>[]
  warnings: Finding<FindingId>[]
  metadata: {
    version: string | null
    epoch: number | null
    phase: number | null
    validationLoss: number | null
    isBest: boolean | null
    timestamp: number | null
    numParameters: number | null
    configKeys: string[]
  }
  /** Whether it fits `target`; null without one, or where the file could not be read. It does not change `valid`. */
  compatibility: Compatibility | null
  fileInfo: { sizeBytes: number; sizeMb: number }
}

/** Judges files; all methods are static, as in the older system. */
export class CheckpointValidator {
  /**
   * Judges one file (or folder of `torch.distributed.checkpoint`). Whatever is wrong with it is in the report; only what lies outside it is thrown.
   * @throws TorchkeepError ERR_CHECKPOINT_MISSING, ERR_CHECKPOINT_UNREADABLE (permissions, I/O), ERR_ABORTED.
   */
  static async validateCheckpointFile(path: string, options: ValidateOptions = {}): Promise<ValidationReport> {
    let sizeBytes = await sizeOf(path)
    const found: Finding<FindingId>[] = []
    const read = sizeBytes === 0 ? undefined : await readOrReport(path, found)
    if (sizeBytes === 0) found.push(finding('file.empty', null, 'Checkpoint file is empty'))
    let checkpoint: NormalizedCheckpoint | undefined
    if (read !== undefined) {
      checkpoint = normalizeCheckpoint(read)
      sizeBytes = await sizeOfFiles(read)
      addAll(found, read.findings)
      addAll(found, checkKeys(checkpoint, path))
      addAll(found, checkViews(read))
      addAll(found, checkOptimizer(checkpoint.value))
      addAll(found, checkLabels(checkpoint.value, path))
      if (options.level !== 'structure') {
        await report(path, found, checkBytes(read, checkpoint, options))
        await report(path, found, checkIndices(read))
      }
    }
    const errors = found.filter(({ severity }) => severity === 'error')
    const warnings = found.filter(({ severity }) => severity === 'warning')
    return {
      path,
      valid: errors.length === 0 && (options.strict !== true || warnings.length === 0),
      kind: checkpoint?.kind ?? null,
      layout: checkpoint?.layout ?? null,
      errors,
      warnings,
      metadata: metadataOf(checkpoint),
      compatibility:
        checkpoint === undefined || options.target === undefined ? null : compatibilityOf(checkpoint, options.target),
      fileInfo: { sizeBytes, sizeMb: sizeBytes / (1 << 20) },
    }
  }

  /** Whether a checkpoint in the current form (`normalizeCheckpoint`) fits a configuration or another checkpoint. */
  static validateModelCompatibility(
    checkpoint: Pick<NormalizedCheckpoint, 'value'>,
    target: CompatibilityTarget,
  ): Compatibility {
    return compatibilityOf(checkpoint, target)
  }
}

async function sizeOf(path: string): Promise<number> {
  const facts = await stat(path).catch((cause: NodeJS.ErrnoException) => {
    const missing = cause.code === 'ENOENT' || cause.code === 'ENOTDIR'
    if (missing) throw new TorchkeepError('ERR_CHECKPOINT_MISSING', `Checkpoint file not found: ${path}`, { cause })
    throw new TorchkeepError('ERR_CHECKPOINT_UNREADABLE', `cannot look at ${path}: ${String(cause)}`, { cause })
  })
  if (!facts.isFile() && !facts.isDirectory())
    throw new TorchkeepError('ERR_CHECKPOINT_UNREADABLE', `cannot read ${path}: it is not a regular file`)
  return facts.size
}

async function readOrReport(path: string, found: Finding<FindingId>[]): Promise<TorchFile | undefined> {
  return readTorchFile(path, { unsafe: 'describe', structure: 'full' }).catch((error: unknown) => {
    found.push(findingOf(error, path, 'Failed to load checkpoint: '))
    return undefined
  })
}

/** Adds what a check finds; where it cannot go on for the file's fault, that. */
async function report(path: string, found: Finding<FindingId>[], check: Promise<Finding<FindingId>[]>): Promise<void> {
  addAll(found, await check.catch((error: unknown) => [findingOf(error, path, '')]))
}

/** Not by `push(...more)`: a file can have more faults than a call takes arguments. */
function addAll(found: Finding<FindingId>[], more: readonly Finding<FindingId>[]): void {
  for (const each of more) found.push(each)
}

/** The finding in a failure that is the file's fault; others are thrown again. The report names the path already, so the message need not. */
function findingOf(error: unknown, path: string, prefix: string): Finding<FindingId> {
  const faults: readonly unknown[] = ['ERR_CHECKPOINT_CORRUPT', 'ERR_CHECKPOINT_UNSAFE', 'ERR_CHECKPOINT_UNSUPPORTED']
  if (!(error instanceof TorchkeepError) || !faults.includes(error.code)) throw error
  return finding(
    error.finding ?? 'file.unrecognized',
    error.subject,
    `${prefix}${error.message.replace(`${path}: `, '')}`,
  )
}

function metadataOf(checkpoint: NormalizedCheckpoint | undefined): ValidationReport['metadata'] {
  const value: ReadonlyMap<unknown, unknown> = checkpoint?.value ?? new Map()
  const config = value.get('config')
  const isBest = value.get('is_best')
  return {
    version: checkpoint?.version ?? null,
    epoch: numberOf(value.get('epoch')),
    phase: numberOf(value.get('phase')),
    validationLoss: validationLossOf(value),
    isBest: typeof isBest === 'boolean' ? isBest : null,
    timestamp: numberOf(value.get('timestamp')) ?? numberOf(value.get('export_timestamp')),
    numParameters: countParameters(value),
    configKeys: config instanceof Map ? [...config.keys()].map(String) : [],
  }
}
