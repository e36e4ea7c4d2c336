/**
 * The hash of what decides the model. Two checkpoints with one hash have models of one build, whatever their rates, epochs, seeds and folders were; a resume refuses another hash, and `compare` shows it.
 */
import { createHash } from 'node:crypto'
import type { Plain } from './fields.js'
import { wholePlainValue } from './plain-values.js'

/**
 * Names of configuration keys that do not decide the model, at any depth. A key counts under its name in snake case without `_phase1`, `_phase2`...: `learningRatePhase1` is `learning_rate`.
 * Whatever a key on this list holds is outside the hash, sections too.
 */
export const keysOutsideHash: ReadonlySet<string> = new Set([
  // how it is trained
  ...[
    'training',
    'training_config',
    'trainer',
    'optimizer',
    'optimizer_config',
    'scheduler',
    'scheduler_config',
    'loss',
    'criterion',
  ],
  ...[
    'lr',
    'learning_rate',
    'base_lr',
    'max_lr',
    'min_lr',
    'weight_decay',
    'momentum',
    'betas',
    'lr_decay',
    'decay_factor',
  ],
  ...[
    'warmup_epochs',
    'warmup_steps',
    'warmup_ratio',
    'gradient_clip_norm',
    'grad_clip',
    'max_grad_norm',
    'label_smoothing',
  ],
  ...['epoch', 'epochs', 'num_epochs', 'max_epochs', 'min_epochs', 'max_steps', 'num_steps', 'total_steps'],
  ...['patience', 'early_stopping', 'early_stopping_patience', 'min_delta', 'monitor', 'monitor_metric', 'metrics'],
  ...[
    'batch_size',
    'train_batch_size',
    'eval_batch_size',
    'val_batch_size',
    'test_batch_size',
    'accumulation_steps',
    'gradient_accumulation_steps',
  ],
  ...['seed', 'random_seed', 'random_state', 'deterministic'],
  // on which data, and where things lie
  ...[
    'data',
    'data_config',
    'dataset',
    'datasets',
    'data_dir',
    'data_path',
    'train_path',
    'val_path',
    'test_path',
    'validation_split',
    'test_split',
  ],
  ...[
    'output_dir',
    'save_dir',
    'checkpoint_dir',
    'checkpoint_path',
    'log_dir',
    'cache_dir',
    'export_dir',
    'resume',
    'resume_from',
  ],
  ...['checkpoint_interval', 'save_interval', 'save_best', 'max_checkpoints'],
  // on which machine
  ...[
    'device',
    'devices',
    'num_gpus',
    'gpus',
    'num_workers',
    'num_threads',
    'threads',
    'pin_memory',
    'amp',
    'mixed_precision',
    'compile',
  ],
  ...[
    'max_memory_mb',
    'memory_monitoring_interval',
    'enable_gradient_checkpointing',
    'gradient_checkpointing',
    'aggressive_memory_cleanup',
  ],
  // what it is called and what it says
  ...[
    'verbose',
    'log_level',
    'log_interval',
    'logging',
    'wandb',
    'run_name',
    'experiment',
    'experiment_name',
    'project',
    'title',
    'description',
    'tags',
    'notes',
  ],
])

/** Whether a configuration key is inside the hash. */
function decidesModel(key: string): boolean {
  const snake = key.replace(/([a-z0-9])([A-Z])/g, '$1_$2').toLowerCase()
  return !keysOutsideHash.has(snake.replace(/_phase_?\d+$/, ''))
}

/** A configuration without the keys that do not decide the model (see {@link keysOutsideHash}), as plain values. */
export function decidingConfig(config: unknown): Plain {
  return deciding(wholePlainValue(config))
}

function deciding(config: Plain): Plain {
  if (Array.isArray(config)) return (config as readonly Plain[]).map(deciding)
  if (typeof config !== 'object' || config === null) return config
  const kept = Object.entries(config).filter(([key]) => decidesModel(key))
  return Object.fromEntries(kept.map(([key, item]) => [key, deciding(item as Plain)]))
}

/** SHA-256, in hex, of the canonical JSON of what a configuration says about the model: equal where {@link decidingConfig} is equal, whatever the order of the keys. */
export function configHash(config: unknown): string {
  return createHash('sha256')
    .update(canonicalJson(decidingConfig(config)))
    .digest('hex')
}

/**
 * JSON without blanks, keys in the order of their UTF-16 units. Integral numbers are digits whether they were int or float (1.0 is 1, -0.0 is 0), others the shortest text that gives the same double, as JavaScript
 * prints it; NaN and the infinities are the bare words NaN, Infinity, -Infinity.
 */
export function canonicalJson(value: Plain): string {
  if (typeof value === 'number') return Number.isInteger(value) ? BigInt(value).toString() : String(value)
  if (typeof value === 'bigint') return value.toString()
  if (value === null || typeof value !== 'object') return JSON.stringify(value)
  if (Array.isArray(value)) return `[${(value as readonly Plain[]).map(canonicalJson).join(',')}]`
  const entries = Object.entries(value).sort(([left], [right]) => (left < right ? -1 : 1))
  return `{${entries.map(([key, item]) => `${JSON.stringify(key)}:${canonicalJson(item as Plain)}`).join(',')}}`
}
