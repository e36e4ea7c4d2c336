/** Best, history and clean-up on folders that real Python wrote, against what Python itself reads. */
import assert from 'node:assert/strict'
import { mkdtempSync, readdirSync, rmSync, truncateSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, relative } from 'node:path'
import { cleanCheckpoints, findBestCheckpoint, readHistory, type RunHistory } from '../../src/checkpoint/index.js'
import { needPython, runPython } from '../python.js'
import { writeLayouts } from './layouts.js'

type Table = (number | null)[][]
const columns = (history: RunHistory, ...names: string[]): Table =>
  history.rows.map(({ runEpoch, phase, metrics }) => [runEpoch, phase, ...names.map((name) => metrics[name] ?? null)])

describe('histories that Python wrote', function () {
  this.timeout(60_000)
  let folder: string
  before(async function () {
    needPython(this)
    folder = mkdtempSync(join(tmpdir(), 'torchkeep-manage-'))
    await writeLayouts(folder)
  })
  after(() => folder && rmSync(folder, { recursive: true }))

  const read = (name: string): Promise<RunHistory> => readHistory(join(folder, name))

  it('L1: rows with numpy scalars, two phases', async () => {
    const history = await read('L1.pth')
    assert.deepEqual(columns(history, 'val_loss', 'train_loss', 'val_pearson', 'val_rmse', 'memory_usage'), [
      [1, 1, 0.9, 1.0, 0.8125, Math.fround(0.7), 512.5],
      [2, 1, 0.5, 0.6, 0.8125, Math.fround(0.7), 512.5],
      [3, 2, 0.25, 0.35, 0.8125, Math.fround(0.7), 512.5],
    ])
    assert.deepEqual(history.phaseBorders, [{ phase: 2, runEpoch: 3 }])
  })

  it('L5: dicts of lists, epochs that begin anew', async () => {
    const history = await read('L5-final.pth')
    assert.deepEqual(columns(history, 'val_loss', 'val_pearson'), [
      [1, 1, 0.9, 0.8125],
      [2, 1, 0.6, 0.8125],
      [3, 2, 0.5, 0.8125],
      [4, 2, 0.4, 0.8125],
      [5, 2, 0.375, 0.8125],
    ])
    assert.deepEqual(history.phaseBorders, [{ phase: 2, runEpoch: 3 }])
  })

  it('L6: lists of losses', async () => {
    assert.deepEqual(columns(await read('L6-lists.pth'), 'train_loss', 'val_loss'), [
      [1, null, 0.9, 1.0],
      [2, null, 0.7, 0.8],
      [3, null, 0.6, 0.75],
    ])
  })

  it('L10: rows of epoch and loss', async () => {
    assert.deepEqual(columns(await read('L10.pth'), 'loss'), [
      [1, null, 0.5],
      [2, null, 0.4],
    ])
  })
})

/** A run of the older system: ten epochs in two phases, regular files, two full writes of each new best, sidecars by `json.dump(default=str)`. */
const run = `
import os, numpy as np, time
folder = sys.argv[1]
for name in ('regular', 'best', 'metrics'): os.makedirs(os.path.join(folder, name), exist_ok=True)
model = torch.nn.Linear(4, 2)
optimizer = torch.optim.AdamW(model.parameters())
history, best = [], float('inf')
losses = [0.9, 0.7, float('nan'), 0.6, 0.8, 0.5, 0.55, 0.5, 0.7, 0.65]
for epoch, loss in enumerate(losses, 1):
    optimizer.zero_grad(); model(torch.ones(1, 4)).sum().backward(); optimizer.step()
    phase, moment = (1 if epoch <= 5 else 2), 1755400000 + epoch
    history.append({'epoch': epoch, 'phase': phase, 'train_loss': loss + 0.25, 'val_loss': loss, 'val_pearson': np.float32(1 - loss), 'val_rmse': np.float64(loss) ** 2,
                    'memory_usage': {'cpu_memory_mb': 1.0}, 'learning_rate': 1e-3})
    is_best = loss < best
    best = min(best, loss) if loss == loss else best
    state = {'current_epoch': epoch, 'current_phase': phase, 'best_val_loss': best, 'best_val_pearson': np.float32(0.5), 'patience_counter': 0, 'total_training_time': 0.0,
             'metrics_history': list(history)}
    checkpoint = {'version': '1.0', 'timestamp': moment, 'model_state_dict': model.state_dict(), 'training_state': state, 'config': {'hidden': 4}, 'validation_loss': loss,
                  'is_best': is_best, 'epoch': epoch, 'phase': phase, 'optimizer_state_dict': optimizer.state_dict(), 'metrics_history': list(history)}
    names = [f'best/best_model_epoch_{epoch}_phase_{phase}.pth', 'best/latest_best.pth'] if is_best else [f'regular/checkpoint_epoch_{epoch}_phase_{phase}_{moment}.pth']
    for name in names: torch.save(checkpoint, os.path.join(folder, name))
    with open(os.path.join(folder, 'metrics', f'metrics_epoch_{epoch}_phase_{phase}_{moment}.json'), 'w') as file:
        json.dump({'timestamp': moment, 'epoch': epoch, 'phase': phase, 'validation_loss': loss, 'is_best': is_best, 'training_state': state, 'config': {'hidden': 4},
                   'metrics_history': list(history)}, file, indent=2, default=str)
print(json.dumps([[row['epoch'], row['phase'], row['val_loss'], float(row['val_pearson'])] for row in history]))
`

/** What each checkpoint of a folder says when Python loads it. */
const load = `
import glob, os
print(json.dumps({os.path.relpath(path, sys.argv[1]): torch.load(path, weights_only=False)['validation_loss'] for path in glob.glob(sys.argv[1] + '/**/*.pth', recursive=True)}))
`

describe("a folder of the older system's run", function () {
  this.timeout(60_000)
  let folder: string
  let rows: Table
  beforeEach(async function () {
    needPython(this)
    folder = mkdtempSync(join(tmpdir(), 'torchkeep-manage-'))
    rows = parsed(await runPython(run, [folder])) as Table
  })
  afterEach(() => folder && rmSync(folder, { recursive: true }))

  /** Python's JSON with bare NaN. */
  const parsed = (text: string): unknown =>
    JSON.parse(text.replaceAll('NaN', '"NaN"'), (_key, value: unknown) => (value === 'NaN' ? NaN : value))
  const loaded = async (): Promise<Record<string, number>> =>
    parsed(await runPython(load, [folder])) as Record<string, number>

  it('has its whole history, from checkpoint and sidecars together and from sidecars alone', async () => {
    assert.deepEqual(columns(await readHistory(folder), 'val_loss', 'val_pearson'), rows)
    rmSync(join(folder, 'regular'), { recursive: true })
    rmSync(join(folder, 'best'), { recursive: true })
    const alone = await readHistory(folder)
    assert.deepEqual(alone.warnings, [])
    assert.deepEqual(
      alone.rows.map(({ epoch, phase, metrics }) => [
        epoch,
        phase,
        metrics['val_loss'],
        Math.fround(metrics['val_pearson'] ?? 0),
      ]),
      rows,
    )
  })

  it('has the best one that Python finds', async () => {
    const values = await loaded()
    const least = Math.min(...Object.values(values).filter((value) => !Number.isNaN(value)))
    const best = await findBestCheckpoint(folder)
    assert.equal(best?.value, least)
    assert.equal(
      relative(folder, best.path),
      join('best', 'best_model_epoch_6_phase_2.pth'),
      'epoch 8 is as good but later',
    )
    const pearson = await findBestCheckpoint(folder, { metric: 'val_pearson' })
    assert.deepEqual([pearson?.mode, pearson?.value, pearson?.epoch], ['max', Math.fround(1 - 0.5), 6])
  })

  it('keeps after a clean-up what was best and newest, as Python reads it, and moves the rest', async () => {
    const before = await loaded()
    const damaged = join('regular', 'checkpoint_epoch_5_phase_1_1755400005.pth')
    truncateSync(join(folder, damaged), 1000)
    const keepBest = { count: 3, metric: 'val_loss', mode: 'min' } as const
    const result = await cleanCheckpoints(folder, { invalid: true, keepBest, keepLast: 1 }, { confirm: true })
    assert.deepEqual(result.failedToRemove, [])
    rmSync(join(folder, 'trash', damaged))
    const after = await loaded()
    const stays = [
      'best/best_model_epoch_6_phase_2.pth',
      'best/latest_best.pth',
      'regular/checkpoint_epoch_10_phase_2_1755400010.pth',
      'regular/checkpoint_epoch_7_phase_2_1755400007.pth',
      'regular/checkpoint_epoch_8_phase_2_1755400008.pth',
    ]
    const here = Object.keys(after).filter((name) => !name.startsWith('trash'))
    assert.deepEqual(here.sort(), stays)
    for (const [name, value] of Object.entries(before)) {
      if (name !== damaged) assert.deepEqual(after[stays.includes(name) ? name : join('trash', name)], value, name)
    }
    const sidecars = readdirSync(join(folder, 'metrics')).map((name) => Number(/epoch_(\d+)/.exec(name)?.[1]))
    assert.deepEqual(
      sidecars.sort((a, b) => a - b),
      [6, 7, 8, 10],
      'the others went along',
    )
  })
})
