/** Loading a checkpoint of any layout for use: weights, and what the file says about them. */
import type { Tensor } from '../../lib/index.js'
import { wholePlainValue } from '../checkpoint/plain-values.js'
import type { CheckpointKind } from '../checkpoint/kind.js'
import { findCheckpoint } from '../checkpoint/layout.js'
import { type Layout, layouts, unknownLayout } from '../checkpoint/layouts.js'
import { numberOf, validationLossOf } from '../checkpoint/metrics.js'
import type { TopLevel } from '../checkpoint/migrations.js'
import { type NormalizedCheckpoint, normalizeCheckpoint } from '../checkpoint/normalize.js'
import type { Plain } from '../checkpoint/fields.js'
import { recoveryRecordOf } from '../checkpoint/recovery-record.js'
import type { Dict } from '../checkpoint/schema.js'
import { TrainingState } from '../checkpoint/training-state.js'
import { TorchkeepError } from '../format/errors.js'
import { readTorchFile } from '../format/read.js'
import { loadTensors } from '../serialization.js'

/** How {@link loadCheckpoint} loads. */
export interface LoadCheckpointOptions {
  /** Whether the state of optimizer and scheduler is loaded too; otherwise its tensors are not even read. Default true. */
  loadOptimizer?: boolean
  /** Whether a checkpoint without a key that its layout demands is refused; otherwise `process.emitWarning` tells. Default true. */
  strict?: boolean
  /** The checkpoint folder in which a relative path is looked for too, with its `best/`, `regular/` and `phases/`. Default `checkpoints`. */
  folder?: string
}

/** What {@link loadCheckpoint} gives. Tensors are the caller's to dispose. */
export interface LoadedCheckpoint {
  path: string
  kind: CheckpointKind
  /** Who wrote it; null where no known program did. */
  layout: Layout | null
  /** Version that the file names; null without one. */
  version: string | null
  /** For `Module.loadStateDict`. */
  modelStateDict: ReadonlyMap<string, Tensor>
  /** For `Optimizer.loadStateDict`; null where the file has none or it was not wanted. */
  optimizerStateDict: Dict | null
  schedulerState: Dict | null
  /** Where the run stood, with its history; null where the file does not say. */
  trainingState: TrainingState | null
  /** What the file says of the model; null without. */
  config: Plain
  epoch: number | null
  phase: number | null
  /** Of these weights; NaN where they were not validated, null where the file does not say. */
  validationLoss: number | null
  isBest: boolean | null
  /** Seconds since 1970. */
  timestamp: number | null
  /** Keys that the layout demands and the file lacks; always empty under `strict`. */
  missingKeys: readonly string[]
  /** All that was loaded, under the keys of version 3 whatever the layout; numpy numbers are plain ones. */
  value: ReadonlyMap<unknown, unknown>
}

/**
 * Loads a checkpoint of Torchkeep, of the older Python system (layouts L1 to L10) or of a script, a bare state dict, or a safetensors file, without running any code in it. To go on with a run, `ProgressiveTrainer.train` with
 * `resumeFrom` does more: it puts back random state and position too.
 *
 * @param path a path, `latest` or `best`; see {@link LoadCheckpointOptions.folder}.
 * @throws TorchkeepError `ERR_CHECKPOINT_MISSING` with the paths tried; `ERR_CHECKPOINT_INCOMPATIBLE` naming the keys that are missing (without weights also where not `strict`); `ERR_CHECKPOINT_NEWER` for a later
 *   major version under `strict`; what `load` throws.
 */
export async function loadCheckpoint(
  path: string,
  { loadOptimizer = true, strict = true, folder = 'checkpoints' }: LoadCheckpointOptions = {},
): Promise<LoadedCheckpoint> {
  const found = await findCheckpoint(folder, path)
  const normalized = normalizeCheckpoint(await readTorchFile(found))
  const { kind, layout, version } = normalized
  const missingKeys = checkKeys(found, normalized, strict, loadOptimizer)
  checkVersion(found, normalized, strict)
  if (recoveryRecordOf(normalized.value) !== null)
    warn(`${found} was recovered from a damaged file; metadata.recovery says what was done to it`)
  const wanted = loadOptimizer ? normalized.value : withoutOptimizer(normalized.value)
  const trainingState = stateOf(found, wanted, strict)
  const config = wanted.has('config') ? wholePlainValue(wanted.get('config')) : null
  // Last, since nothing is thrown once the tensors are there.
  const value = (await loadTensors(found, wanted)) as TopLevel
  return {
    ...{ path: found, kind, layout, version, missingKeys, value, trainingState, config },
    modelStateDict: value.get('model_state_dict') as ReadonlyMap<string, Tensor>,
    optimizerStateDict: dictAt(value, 'optimizer_state_dict'),
    schedulerState: dictAt(value, 'scheduler_state'),
    epoch: numberOf(value.get('epoch')),
    phase: numberOf(value.get('phase')),
    validationLoss: validationLossOf(value),
    isBest: typeof value.get('is_best') === 'boolean' ? (value.get('is_best') as boolean) : null,
    timestamp: numberOf(value.get('timestamp')) ?? numberOf(value.get('export_timestamp')),
  }
}

/** Layouts whose readers have always demanded a training state. */
const withState: readonly (Layout | null)[] = ['torchkeep', 'L1', 'L2', 'L10', null]

/** The keys that are missing, refused or warned of. */
function checkKeys(
  path: string,
  { kind, layout, value }: NormalizedCheckpoint,
  strict: boolean,
  loadOptimizer: boolean,
): string[] {
  const isTraining = kind === 'training_checkpoint'
  const demanded = layout === null ? (isTraining ? unknownLayout.required : []) : layouts[layout].required
  const required = new Set([
    'model_state_dict',
    ...(isTraining && withState.includes(layout) ? ['training_state', 'config'] : []),
    ...demanded.filter((key) => loadOptimizer || key !== 'optimizer_state_dict'),
  ])
  const missing = [...required].filter((key) => !value.has(key))
  if (value.has('model_state_dict') && !(value.get('model_state_dict') instanceof Map))
    throw new TorchkeepError('ERR_CHECKPOINT_INCOMPATIBLE', `${path}: model_state_dict is not a dictionary`)
  if (missing.length === 0) return []
  const message = `Checkpoint missing required keys: [${missing.map((key) => `'${key}'`).join(', ')}] (${path})`
  const hasWeights = value.has('model_state_dict')
  if (strict || !hasWeights)
    throw new TorchkeepError('ERR_CHECKPOINT_INCOMPATIBLE', message, {
      suggestions: hasWeights ? ['strict: false loads it all the same'] : ['load() reads any .pth file as it is'],
    })
  warn(message)
  return missing
}

function checkVersion(path: string, { newer, version }: NormalizedCheckpoint, strict: boolean): void {
  if (!newer) return
  const message = `${path} has version ${version}; this Torchkeep knows up to 3.x`
  if (strict && Number.parseInt(version ?? '', 10) > 3)
    throw new TorchkeepError('ERR_CHECKPOINT_NEWER', message, {
      suggestions: ['update torchkeep', 'strict: false loads what is understood'],
    })
  warn(message)
}

function stateOf(path: string, value: TopLevel, strict: boolean): TrainingState | null {
  if (!value.has('training_state')) return null
  try {
    return TrainingState.fromDict(value.get('training_state'))
  } catch (cause) {
    if (!(cause instanceof TorchkeepError)) throw cause
    const message = `${path}: training_state is not understood: ${cause.message}`
    if (strict)
      throw new TorchkeepError('ERR_CHECKPOINT_INCOMPATIBLE', message, {
        cause,
        suggestions: ['strict: false loads the rest'],
      })
    warn(message)
    return null
  }
}

/** A checkpoint without all state of optimizers: of these tensors no byte is read. */
function withoutOptimizer(value: TopLevel): TopLevel {
  const dropped = new Set<unknown>(['optimizer_state_dict', 'scheduler_state', 'accumulated_grads'])
  const kept = [...value].filter(([key]) => !dropped.has(key))
  return new Map(kept.map(([key, item]) => [key, key === 'phase_state' ? withoutKeptState(item) : item]))
}

function withoutKeptState(phaseState: unknown): unknown {
  return phaseState instanceof Map
    ? new Map([...(phaseState as TopLevel)].filter(([key]) => key !== 'kept_optimizer_state'))
    : phaseState
}

function dictAt(value: TopLevel, key: string): Dict | null {
  const found = value.get(key)
  return found instanceof Map ? (found as Dict) : null
}

function warn(message: string): void {
  process.emitWarning(message, 'TorchkeepWarning')
}
