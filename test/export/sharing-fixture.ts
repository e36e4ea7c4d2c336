/** A checkpoint of Torchkeep's layout into which secrets of every kind are planted, wherever texts can stand. */
import { join } from 'node:path'
import { OrderedDict, planTorchFile, PyFloat, Tuple, writePlan, type ByteOrigin } from '../../src/format/index.js'
import { dict, float32 } from '../checkpoint/judged.js'
import { plantedSecrets, tellingEntries } from './planted-secrets.js'

/** Rows of a history with the losses given. */
export const history = (...losses: number[]): Map<string, unknown>[] =>
  losses.map((loss, index) =>
    dict({
      epoch: index + 1,
      phase: 1,
      train_loss: new PyFloat(loss + 0.25),
      val_loss: new PyFloat(loss),
      val_accuracy: new PyFloat(0.75),
    }),
  )

/** A training checkpoint without anything private; `more` replaces top-level keys. */
export function cleanCheckpoint(more: Record<string, unknown> = {}): Map<string, unknown> {
  const weight = float32([2, 3], 1)
  const state = (value: number) =>
    dict({ step: float32([], 4), exp_avg: float32([2, 3], value), exp_avg_sq: float32([2, 3], value) })
  return dict({
    format: 'torchkeep',
    version: '3.0',
    timestamp: 1755400000,
    model_state_dict: new OrderedDict<string, unknown>([
      ['first.weight', weight],
      ['first.bias', float32([2], 2)],
      ['second.weight', weight],
    ]),
    config: dict({ model: 'mlp', hidden: 3, dropout: new PyFloat(0.5), rate: 1e-7 }),
    validation_loss: new PyFloat(0.5),
    is_best: true,
    epoch: 3,
    phase: 1,
    training_state: dict({
      current_epoch: 3,
      current_phase: 1,
      best_val_loss: new PyFloat(0.5),
      metrics_history: history(0.75, NaN, 0.5),
    }),
    optimizer_state_dict: dict({
      state: new Map([[0, state(1)]]),
      param_groups: [dict({ lr: 0.001, betas: new Tuple([0.9, 0.999]), params: [0, 1] })],
    }),
    scheduler_state: null,
    training_config: dict({
      phases: [dict({ name: 'whole', epochs: 5, lr: 0.001, optimizer: dict({ name: 'AdamW', weight_decay: 0.01 }) })],
      loss: 'cross_entropy',
      monitor: 'val_loss',
    }),
    metadata: dict({
      title: 'A small net',
      description: 'Tells twos from threes.',
      tags: ['tiny', 'no'],
      config_hash: 'x',
      run_id: 'b5c3d2e1f0a94b6c',
      torchkeep_version: '0.1.0',
      libtorch_version: '2.13.0',
    }),
    ...more,
  })
}

/** The same with all that is private: in config, metadata, history, notes, training configuration and state, keys and bytes. */
export function plantedCheckpoint(): Map<string, unknown> {
  const texts = plantedSecrets.map(({ text }) => text)
  const third = (which: number): string[] => texts.filter((_text, index) => index % 3 === which)
  const keyed = (list: string[]): Map<string, unknown> =>
    dict(Object.fromEntries(list.map((text, index) => [`item${index}`, text])))
  const clean = cleanCheckpoint()
  const rows = history(0.75, 0.5).map(
    (row, index) => new Map([...row, ['remark', texts[index] ?? ''], ['remarks', third(index)]]),
  )
  return new Map([
    ...clean,
    [
      'config',
      new Map([
        ...(clean.get('config') as Map<string, unknown>),
        ['all', keyed(texts)],
        ['keys', new Map(texts.map((text, index) => [text, index]))],
        ['blob', Buffer.from(texts.join('\n'))],
        ...Object.entries(tellingEntries),
      ]),
    ],
    [
      'metadata',
      new Map([
        ...(clean.get('metadata') as Map<string, unknown>),
        ['title', third(0).join(' ')],
        ['description', texts.join('\n')],
        ['tags', third(1)],
        ['notes', texts.join('\n\n')],
        ['author', 'Jane Roe'],
      ]),
    ],
    [
      'training_config',
      new Map([
        ...(clean.get('training_config') as Map<string, unknown>),
        ['data', keyed(third(2))],
        ['phases', [dict({ name: texts[0] ?? '', epochs: 5, lr: 0.001 })]],
      ]),
    ],
    ['training_state', dict({ current_epoch: 2, metrics_history: rows, notes: texts, history: rows })],
    ['scheduler_state', dict({ _comment: texts.join(' ') })],
    ['notes', texts],
  ])
}

/** Writes a checkpoint as `torch.save` would. */
export async function writeCheckpoint(folder: string, name: string, value: unknown): Promise<string> {
  const path = join(folder, name)
  await writePlan(path, planTorchFile<ByteOrigin>(value, { topFolder: 'checkpoint' }))
  return path
}
