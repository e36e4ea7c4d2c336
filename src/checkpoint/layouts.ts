/**
 * The layouts that training programs gave their checkpoints, and what each demands. L1 to L10 are those of the older Python system and the scripts around it; `torchkeep` is ours. A layout is told
 * from the keys alone, so that a file with a damaged value still has one.
 */
import type { CheckpointKind } from './kind.js'

/** See {@link layouts}. */
export type Layout = keyof typeof layouts

interface LayoutFacts {
  /** Who wrote it. */
  readonly meaning: string
  /** Top-level keys without which it is damaged, by the names it uses itself. */
  readonly required: readonly string[]
  /** Top-level keys that it usually has. */
  readonly recommended: readonly string[]
}

const recommended = ['training_state', 'validation_loss', 'timestamp'] as const
const minimal = ['model_state_dict', 'config', 'epoch'] as const
const withOptimizer = ['model_state_dict', 'optimizer_state_dict', 'epoch'] as const

/** Every layout. The keys are those of the current form, into which the migrations bring all layouts (`model_state` of L2 counts as `model_state_dict`). */
export const layouts = {
  torchkeep: { meaning: 'Torchkeep, version 3', required: minimal, recommended },
  L1: { meaning: 'the older system, version "1.0"', required: minimal, recommended },
  L2: { meaning: 'the older system before it had versions', required: minimal, recommended },
  L3: {
    meaning: 'the plain form of the PyTorch tutorial, with loss and metrics',
    required: withOptimizer,
    recommended,
  },
  L4: { meaning: 'checkpoint_utils of an early version: metrics and config', required: withOptimizer, recommended },
  L5: {
    meaning: 'the notebook: model_config and training_config',
    required: [...withOptimizer, 'config'],
    recommended,
  },
  L6: { meaning: 'scripts that keep lists of losses', required: withOptimizer, recommended },
  L7: { meaning: 'a state dict, bare or under state_dict', required: [], recommended: [] },
  L8: { meaning: 'an inference export', required: ['model_state_dict', 'config'], recommended: [] },
  L9: { meaning: 'a shared export', required: minimal, recommended: ['validation_loss'] },
  L10: { meaning: 'version "2.0", or "1.0" with a partial training state', required: minimal, recommended },
} as const satisfies Record<string, LayoutFacts>

/** What a training checkpoint of no known layout must have: what the older system demanded of every file. */
export const unknownLayout: LayoutFacts = { meaning: 'no known layout', required: minimal, recommended }

const trainingStateKeys = [
  'current_epoch',
  'current_phase',
  'best_val_loss',
  'best_val_pearson',
  'patience_counter',
  'total_training_time',
  'metrics_history',
]

/**
 * The layout of a top-level dict; null where the kind has none or nothing tells. The rules are tried in order, since the layouts grew out of one another: a marker (`format`, `export_type`, `version`)
 * says most, then come keys that one layout alone has.
 */
export function layoutOf(kind: CheckpointKind, value: ReadonlyMap<unknown, unknown>): Layout | null {
  if (kind === 'inference_export') return 'L8'
  if (kind === 'shared_export') return 'L9'
  if (kind === 'state_dict') return 'L7'
  if (kind !== 'training_checkpoint') return null
  if (value.get('format') === 'torchkeep') return 'torchkeep'
  if (value.has('version')) return value.get('version') === '1.0' && hasFullState(value) ? 'L1' : 'L10'
  if (value.has('model_state') || value.has('training_state')) return 'L2'
  if (value.has('model_config')) return 'L5'
  if (value.has('loss') || value.has('model_info')) return 'L3'
  if (['train_loss', 'train_losses', 'val_losses'].some((key) => value.has(key))) return 'L6'
  if (value.has('metrics')) return 'L4'
  if (value.has('optimizer_state_dict')) return 'L3'
  return value.has('config') && value.has('epoch') ? 'L2' : null
}

function hasFullState(value: ReadonlyMap<unknown, unknown>): boolean {
  const state = value.get('training_state')
  return state instanceof Map && trainingStateKeys.every((key) => state.has(key))
}

/** Top-level keys that are known in any training checkpoint or export, after the migrations. */
export const knownKeys: ReadonlySet<string> = new Set([
  // ours
  ...['format', 'version', 'timestamp', 'model_state_dict', 'training_state', 'config', 'validation_loss', 'is_best'],
  ...['epoch', 'phase', 'optimizer_state_dict', 'scheduler_state', 'training_config', 'rng_state', 'early_stopping'],
  ...['data_position', 'accumulated_grads', 'phase_state', 'model_graph', 'metadata'],
  // the older system and the scripts around it
  ...['metrics_history', 'recent_performance', 'additional_metrics', 'model_info', 'metrics', 'loss', 'train_loss'],
  ...['train_losses', 'val_losses', 'phase1_history', 'phase2_history', 'export_timestamp', 'export_type'],
  ...['model_class', 'enhanced_metadata', 'metrics_summary'],
  // usual elsewhere
  ...['step', 'global_step', 'scaler_state_dict', 'ema_state_dict', 'arch', 'best_acc1', 'best_score', 'args', 'seed'],
])
