/** What a file is for: told from its container and its top-level keys, before anything is demanded of it. */
import { isTensorRecord, OrderedDict, type TorchFile } from '../format/index.js'

/** What a file is for. */
export type CheckpointKind =
  | 'training_checkpoint'
  /** Names to tensors, bare or under `state_dict`. */
  | 'state_dict'
  | 'inference_export'
  | 'shared_export'
  | 'safetensors'
  | 'pt2'
  /** TorchScript, C++ `torch::save` and `pickle_save`. */
  | 'archive'
  | 'distributed'
  /** Readable, but none of these. */
  | 'other'

/** What {@link kindOf} needs. */
export type KindFacts = Pick<TorchFile, 'container' | 'value'>

/** The kind of what was read. */
export function kindOf({ container, value }: KindFacts): CheckpointKind {
  if (container === 'safetensors' || container === 'pt2' || container === 'distributed') return container
  if (container === 'torchscript' || container === 'pickle_save') return 'archive'
  if (!(value instanceof Map)) return 'other'
  const exportType: unknown = value.get('export_type')
  if (exportType === 'inference') return 'inference_export'
  if (exportType === 'shared') return 'shared_export'
  if (value.has('model_state_dict') || value.has('model_state')) return 'training_checkpoint'
  if (isStateDict(value) || isStateDict(value.get('state_dict'))) return 'state_dict'
  return 'other'
}

/**
 * Whether a value is a state dict: it has the `_metadata` that `state_dict()` gives, or maps names to tensors (at least one) and to nothing else but the `_extra_state` of modules.
 */
export function isStateDict(value: unknown): boolean {
  if (!(value instanceof Map)) return false
  if (value instanceof OrderedDict && value.metadata !== undefined) return true
  let tensors = 0
  for (const [name, item] of value as Map<unknown, unknown>) {
    if (typeof name !== 'string') return false
    if (isTensorRecord(item)) tensors++
    else if (!name.endsWith('_extra_state')) return false
  }
  return tensors > 0
}
