/** A folder of small checkpoints as a run leaves it, with the odd ones that a list must tell apart. Written without Python and without LibTorch. */
import { mkdirSync, utimesSync, writeFileSync, readFileSync, truncateSync, copyFileSync, statSync } from 'node:fs'
import { dirname, join } from 'node:path'
import {
  OrderedDict,
  planTorchFile,
  PyFloat,
  Tuple,
  tensorFromBytes,
  topFolderOf,
  writePlan,
  type ByteOrigin,
  type TensorRecord,
} from '../../src/format/index.js'

/** A float32 tensor over bytes at hand. */
export function float32(sizes: readonly number[], values: readonly number[]): TensorRecord<Uint8Array> {
  return tensorFromBytes({ dtype: 'float32', sizes, bytes: new Uint8Array(new Float32Array(values).buffer) })
}

/** What tells one checkpoint from another. */
export interface CheckpointFacts {
  epoch: number
  phase: number
  valLoss: number
  timestamp: number
  title?: string
  tags?: readonly string[]
  /** Weight of the first layer; 2 by 3 values. */
  weight?: readonly number[]
}

/** A training checkpoint in the older system's layout: a model of two tied layers, AdamW, two rows of history. */
export function checkpointValue({ epoch, phase, valLoss, timestamp, ...facts }: CheckpointFacts): Map<string, unknown> {
  const weight = float32([2, 3], facts.weight ?? [0, 1, 2, 3, 4, -5])
  const bias = float32([2], [0.5, -0.5])
  const step = float32([], [epoch * 10])
  const state = (sizes: number[], values: number[]) =>
    new Map<string, unknown>([
      ['step', step],
      ['exp_avg', float32(sizes, values)],
      [
        'exp_avg_sq',
        float32(
          sizes,
          values.map((value) => value ** 2),
        ),
      ],
    ])
  const rows = [epoch - 1, epoch].filter((row) => row > 0)
  return new Map<string, unknown>([
    ['version', '1.0'],
    ['timestamp', timestamp],
    [
      'model_state_dict',
      new OrderedDict<string, unknown>([
        ['first.weight', weight],
        ['first.bias', bias],
        ['second.weight', weight],
      ]),
    ],
    [
      'training_state',
      new Map<string, unknown>([
        ['current_epoch', epoch],
        ['current_phase', phase],
        ['best_val_loss', new PyFloat(valLoss)],
        [
          'metrics_history',
          rows.map(
            (row) =>
              new Map<string, unknown>([
                ['epoch', row],
                ['phase', phase],
                ['train_loss', new PyFloat(valLoss + 0.25)],
                ['val_loss', new PyFloat(valLoss + (epoch - row))],
                ['val_accuracy', new PyFloat(1 - valLoss / 4)],
              ]),
          ),
        ],
      ]),
    ],
    [
      'config',
      new Map<string, unknown>([
        ['hidden', 3],
        ['dropout', 0.1],
        ['layers', ['first', 'second']],
      ]),
    ],
    ['validation_loss', new PyFloat(valLoss)],
    ['is_best', false],
    ['epoch', epoch],
    ['phase', phase],
    [
      'optimizer_state_dict',
      new Map<string, unknown>([
        [
          'state',
          new Map([
            [0, state([2, 3], [1, 0, 0, 0, 0, 0])],
            [1, state([2], [1, 2])],
          ]),
        ],
        [
          'param_groups',
          [
            new Map<string, unknown>([
              ['lr', 0.001],
              ['betas', new Tuple([0.9, 0.999])],
              ['eps', 1e-8],
              ['weight_decay', 0.01],
              ['amsgrad', false],
              ['decoupled_weight_decay', true],
              ['params', [0, 1]],
            ]),
          ],
        ],
      ]),
    ],
    ...(facts.title === undefined && facts.tags === undefined
      ? []
      : ([
          [
            'metadata',
            new Map<string, unknown>([
              ['title', facts.title ?? ''],
              ['tags', [...(facts.tags ?? [])]],
            ]),
          ],
        ] as const)),
  ])
}

/** Writes a value as `torch.save` would, making folders on the way; the file's time is that of its `timestamp`. */
export async function writeValue(path: string, value: Map<string, unknown>): Promise<string> {
  mkdirSync(dirname(path), { recursive: true })
  await writePlan(path, planTorchFile<ByteOrigin>(value, { topFolder: topFolderOf(path) }))
  const timestamp = value.get('timestamp')
  if (typeof timestamp === 'number') utimesSync(path, timestamp, timestamp)
  return path
}

/** When the first checkpoint was saved. */
export const began = 1_760_000_000

/**
 * Fills a folder: three regular checkpoints of two phases, the best under two names, `latest.pth`, a backup, an export, a file cut in half, one of no known format, one that only happens to lie there.
 */
export async function writeCheckpointFolder(folder: string): Promise<void> {
  const at = (...parts: string[]): string => join(folder, ...parts)
  const regular = [
    { epoch: 1, phase: 1, valLoss: 2, timestamp: began },
    { epoch: 2, phase: 1, valLoss: 0.5, timestamp: began + 60, title: '最初の実験', tags: ['baseline'] },
    { epoch: 10, phase: 2, valLoss: 0.75, timestamp: began + 600, tags: ['baseline', 'long'] },
  ]
  for (const facts of regular) {
    const name = `checkpoint_epoch_${facts.epoch}_phase_${facts.phase}_${facts.timestamp}.pth`
    await writeValue(at('regular', name), checkpointValue(facts))
  }
  const best = checkpointValue({ epoch: 2, phase: 1, valLoss: 0.5, timestamp: began + 60 }).set('is_best', true)
  await writeValue(at('best', 'best_model_epoch_2_phase_1.pth'), best)
  await writeValue(at('best', 'latest_best.pth'), best)
  await writeValue(at('latest.pth'), checkpointValue({ epoch: 10, phase: 2, valLoss: 0.75, timestamp: began + 600 }))
  await writeValue(
    at('backups', `backup_${began + 700}_latest.pth`),
    checkpointValue({ epoch: 9, phase: 2, valLoss: 0.8, timestamp: began + 540 }),
  )
  const exported = new Map<string, unknown>([
    ['model_state_dict', new OrderedDict([['weight', float32([2], [1, 2])]])],
    ['config', new Map([['hidden', 3]])],
    ['export_timestamp', began + 800],
    ['export_type', 'inference'],
  ])
  await writeValue(at('exports', 'model.pth'), exported)
  const cut = at('regular', `checkpoint_epoch_3_phase_1_${began + 120}.pth`)
  copyFileSync(at('latest.pth'), cut)
  truncateSync(cut, Math.floor(statSync(cut).size / 2))
  utimesSync(cut, began + 120, began + 120)
  const text = at('notes.pt')
  writeFileSync(text, 'not a checkpoint at all\n')
  utimesSync(text, began, began)
}

/** Writes over one byte, so that a CRC-32 does not hold. */
export function flipByte(path: string, marker: Uint8Array): void {
  const bytes = readFileSync(path)
  const found = bytes.indexOf(marker)
  if (found < 0) throw new Error(`${path} does not hold the marker`)
  bytes[found] = (bytes[found] ?? 0) ^ 1
  writeFileSync(path, bytes)
}
