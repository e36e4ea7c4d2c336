/** What a list of checkpoints shows of one: read from the head and the tail of the file, never its tensors. */
import { stat } from 'node:fs/promises'
import { basename } from 'node:path'
import { TorchkeepError } from '../format/errors.js'
import { type Container, listTensors, NumpyScalar, PyFloat, readTorchFile } from '../format/index.js'
import { elementCount, TensorRecord } from '../format/tensor-record.js'
import type { Finding } from '../format/findings.js'
import type { FindingId } from './findings.js'
import { type CheckpointKind, kindOf } from './kind.js'

/** Where a file stands in a checkpoint folder, told from its folder and its name; only `checkpoint` files are ever candidates of retention and clean-up. */
export type CheckpointRole = 'checkpoint' | 'backup' | 'recovered' | 'export' | 'trash' | 'quarantine' | 'foreign'

/** Facts of one checkpoint for lists and choices. */
export interface CheckpointDescription {
  path: string
  filename: string
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
  /** Seconds since 1970, as the file says. */
  timestamp: number | null
  validationLoss: number | null
  isBest: boolean | null
  /** Numbers that the checkpoint gives for these weights, by name (`val_loss`, `val_accuracy`...). */
  metrics: Readonly<Record<string, number>>
  title: string | null
  tags: readonly string[]
  /** Elements of all tensors in the model's state dict, aliases once. */
  numParameters: number | null
  /** The verdict on the structure: `unreadable` for reasons outside the file (permissions, I/O), of which nothing may be concluded. */
  structure: 'ok' | 'bad' | 'unreadable'
  /** What is wrong or odd, as far as head and tail tell. */
  findings: readonly Finding<FindingId>[]
}

/**
 * Describes one file. What is wrong with the file itself is in the description; only what lies outside it is thrown.
 * @throws TorchkeepError ERR_CHECKPOINT_MISSING where there is no such file.
 */
export async function describeCheckpoint(path: string): Promise<CheckpointDescription> {
  const { size, mtimeMs } = await stat(path).catch((cause: unknown) => {
    throw new TorchkeepError('ERR_CHECKPOINT_MISSING', `no such file: ${path}`, { cause })
  })
  const unread = {
    path,
    filename: basename(path),
    sizeBytes: size,
    modifiedMs: mtimeMs,
    role: 'checkpoint',
    container: null,
    kind: null,
    version: null,
    epoch: null,
    phase: null,
    timestamp: null,
    validationLoss: null,
    isBest: null,
    metrics: {},
    title: null,
    tags: [],
    numParameters: null,
  } as const
  try {
    const file = await readTorchFile(path, { unsafe: 'describe', structure: 'directory' })
    const top = file.value instanceof Map ? (file.value as ReadonlyMap<unknown, unknown>) : new Map<unknown, unknown>()
    const text = (key: string): string | null => (typeof top.get(key) === 'string' ? (top.get(key) as string) : null)
    const flag = (key: string): boolean | null => (typeof top.get(key) === 'boolean' ? (top.get(key) as boolean) : null)
    return {
      ...unread,
      container: file.container,
      kind: kindOf(file),
      version: text('version'),
      epoch: numberOf(top.get('epoch')),
      phase: numberOf(top.get('phase')),
      timestamp: numberOf(top.get('timestamp')),
      validationLoss: numberOf(top.get('validation_loss')),
      isBest: flag('is_best'),
      numParameters: countParameters(top.get('model_state_dict')),
      structure: 'ok',
      findings: file.findings,
    }
  } catch (error) {
    if (!(error instanceof TorchkeepError)) throw error
    const outside = error.code === 'ERR_CHECKPOINT_UNREADABLE'
    const severity = 'error'
    const id = error.finding ?? 'file.unrecognized'
    return {
      ...unread,
      structure: outside ? 'unreadable' : 'bad',
      findings: outside ? [] : [{ id, severity, subject: error.subject, message: error.message }],
    }
  }
}

/** The number in a value as it comes out of a file, whatever kind of number it is; null for anything else. */
export function numberOf(value: unknown): number | null {
  const plain = value instanceof PyFloat || value instanceof NumpyScalar ? value.value : value
  return typeof plain === 'number' ? plain : typeof plain === 'bigint' ? Number(plain) : null
}

function countParameters(stateDict: unknown): number | null {
  if (!(stateDict instanceof Map)) return null
  const seen = new Set<string>()
  let count = 0
  for (const { record } of listTensors(stateDict)) {
    if (!(record instanceof TensorRecord)) continue
    const identity = `${record.storage.id} ${record.storageOffset} ${record.sizes.join()}`
    if (!seen.has(identity)) count += elementCount(record.sizes)
    seen.add(identity)
  }
  return count
}
