/** Writes checkpoints by hand and judges them. */
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import {
  OrderedDict,
  planTorchFile,
  PyFloat,
  tensorFromBytes,
  Tuple,
  type DTypeName,
  type TensorRecord,
} from '../../src/format/index.js'
import { CheckpointValidator, type ValidateOptions, type ValidationReport } from '../../src/checkpoint/index.js'
import { render, withFolder } from '../format/fixtures.js'

/** A float32 tensor; values are repeated as often as the sizes ask for. */
export function float32(sizes: readonly number[], ...values: number[]): TensorRecord<Uint8Array> {
  const count = sizes.reduce((product, size) => product * size, 1)
  const all = Float32Array.from({ length: count }, (_none, index) => values[index % values.length] ?? 0)
  return tensorFromBytes({ dtype: 'float32', sizes, bytes: new Uint8Array(all.buffer) })
}

/** A tensor of zeros. */
export function zeros(dtype: DTypeName, sizes: readonly number[], itemBytes: number): TensorRecord<Uint8Array> {
  const count = sizes.reduce((product, size) => product * size, 1)
  return tensorFromBytes({ dtype, sizes, bytes: new Uint8Array(count * itemBytes) })
}

/** A dict. */
export const dict = (entries: Record<string, unknown>): Map<string, unknown> => new Map(Object.entries(entries))

/** Two linear layers and a batch norm. */
export function stateDict(changes: Record<string, unknown> = {}): OrderedDict<string, unknown> {
  return new OrderedDict(
    Object.entries({
      'first.weight': float32([3, 2], 1, 2, 3),
      'first.bias': float32([3], 0.5),
      'norm.weight': float32([3], 1),
      'norm.bias': float32([3], 0),
      'norm.running_mean': float32([3], 0.1),
      'norm.running_var': float32([3], 1),
      'norm.num_batches_tracked': zeros('int64', [], 8),
      'last.weight': float32([1, 3], 1, -1),
      ...changes,
    }),
  )
}

const shapes = [[3, 2], [3], [3], [3], [1, 3]]

/** Adam's state over the parameters of {@link stateDict}; `changes` by index. */
export function adam(
  changes: Record<number, Record<string, unknown>> = {},
  params = [0, 1, 2, 3, 4],
): Map<string, unknown> {
  const state = new Map<unknown, unknown>(
    shapes.map((sizes, index) => [
      index,
      dict({ step: float32([], 10), exp_avg: float32(sizes, 0.1), exp_avg_sq: float32(sizes, 0.2), ...changes[index] }),
    ]),
  )
  const group = dict({ lr: 0.001, betas: Tuple.of(0.9, 0.999), eps: 1e-8, weight_decay: new PyFloat(0), params })
  return dict({ state, param_groups: [group] })
}

/** A row of the history. */
export const row = (epoch: number, valLoss: number, phase = 1): Map<string, unknown> =>
  dict({ epoch, phase, train_loss: valLoss + 0.125, val_loss: valLoss })

/** A sound checkpoint of layout L1; keys with the value undefined are left out. */
export function checkpoint(changes: Record<string, unknown> = {}): Map<string, unknown> {
  const whole = {
    version: '1.0',
    timestamp: 1_760_000_000,
    model_state_dict: stateDict(),
    training_state: dict({
      current_epoch: 2,
      current_phase: 1,
      best_val_loss: 0.25,
      best_val_pearson: 0.5,
      patience_counter: 0,
      total_training_time: 1.5,
      metrics_history: [row(1, 0.5), row(2, 0.25)],
    }),
    config: dict({ hidden: 3 }),
    validation_loss: 0.25,
    is_best: true,
    epoch: 2,
    phase: 1,
    optimizer_state_dict: adam(),
    ...changes,
  }
  return dict(Object.fromEntries(Object.entries(whole).filter(([, value]) => value !== undefined)))
}

/** The bytes of a torch file that holds a value. */
export function fileOf(value: unknown): Buffer {
  return render(planTorchFile<Uint8Array>(value, { topFolder: 'x' }).parts)
}

/** The verdict on a value or on bytes. */
export async function judge(value: unknown, options: ValidateOptions = {}, name = 'x.pth'): Promise<ValidationReport> {
  return withFolder(async (folder) => {
    const path = join(folder, name)
    await writeFile(path, Buffer.isBuffer(value) ? value : fileOf(value))
    return CheckpointValidator.validateCheckpointFile(path, options)
  })
}

/** Ids and messages of all findings, errors first. */
export const texts = ({ errors, warnings }: ValidationReport): string[] =>
  [...errors, ...warnings].map(({ id, message }) => `${id}: ${message}`)
