import assert from 'node:assert/strict'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { readHistory, type RunHistory } from '../../src/checkpoint/index.js'
import { OrderedDict, PyFloat, type TorchkeepError } from '../../src/format/index.js'
import { began, float32, writeValue } from '../commands/checkpoints.js'

type Row = Record<string, unknown>

describe('readHistory', () => {
  let folder: string
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'torchkeep-history-'))
  })
  afterEach(() => rmSync(folder, { recursive: true }))

  /** A checkpoint whose dict has these keys beside a model. */
  const write = (name: string, keys: Readonly<Record<string, unknown>>): Promise<string> =>
    writeValue(
      join(folder, name),
      new Map([['model_state_dict', new OrderedDict([['w', float32([1], [1])]])], ...Object.entries(keys)]),
    )
  const dict = (row: Row): Map<string, unknown> => new Map(Object.entries(row))
  const state = (...rows: Row[]) => ({
    version: '1.0',
    training_state: dict({ metrics_history: rows.map(dict) }),
    config: new Map(),
  })
  const sidecar = (name: string, content: unknown): void => {
    mkdirSync(join(folder, 'metrics'), { recursive: true })
    writeFileSync(join(folder, 'metrics', name), typeof content === 'string' ? content : JSON.stringify(content))
  }
  /** Rows as `phase:epoch` and one metric. */
  const brief = ({ rows }: RunHistory, metric = 'val_loss'): string[] =>
    rows.map(({ epoch, phase, metrics }) => `${phase ?? ''}:${epoch} ${metrics[metric] ?? '-'}`)

  it('reads the rows of a checkpoint, numbers only, in the order of their names', async () => {
    const rows = [1, 2].map((epoch) => ({
      epoch,
      phase: 1,
      train_loss: 2 / epoch,
      val_loss: new PyFloat(epoch),
      memory_usage: dict({ mb: 1 }),
      note: 'x',
    }))
    const path = await write('a.pth', { ...state(...rows), epoch: 2, phase: 1 })
    assert.deepEqual(await readHistory(path), {
      path,
      sources: [path],
      warnings: [],
      metrics: ['train_loss', 'val_loss'],
      rows: [
        { runEpoch: 1, epoch: 1, phase: 1, metrics: { train_loss: 2, val_loss: 1 } },
        { runEpoch: 2, epoch: 2, phase: 1, metrics: { train_loss: 1, val_loss: 2 } },
      ],
      phaseBorders: [],
    })
  })

  it('reads dicts of lists for each phase, and numbers the epochs through where they begin anew', async () => {
    const path = await write('best_model_final.pth', {
      epoch: 2,
      phase1_history: dict({ train_loss: [3, 2], val_loss: [4, 3] }),
      phase2_history: dict({ train_loss: [1, 0.5], val_loss: [2] }),
    })
    const history = await readHistory(path)
    assert.deepEqual(brief(history), ['1:1 4', '1:2 3', '2:1 2', '2:2 -'])
    assert.deepEqual(
      history.rows.map(({ runEpoch }) => runEpoch),
      [1, 2, 3, 4],
    )
    assert.deepEqual(history.phaseBorders, [{ phase: 2, runEpoch: 3 }])
  })

  it('keeps the epochs where they count through the phases', async () => {
    const rows = [1, 2, 3].map((epoch) => ({ epoch, phase: epoch < 3 ? 1 : 2, val_loss: epoch }))
    const history = await readHistory(await write('a.pth', { ...state(...rows), epoch: 3 }))
    assert.deepEqual(
      history.rows.map(({ runEpoch }) => runEpoch),
      [1, 2, 3],
    )
    assert.deepEqual(history.phaseBorders, [{ phase: 2, runEpoch: 3 }])
  })

  it('reads lists of losses, rows with other keys, and rows without epochs', async () => {
    const lists = await readHistory(await write('l6.pth', { epoch: 1, train_losses: [2, 1], val_losses: [3, 2.5] }))
    assert.deepEqual(brief(lists), [':1 3', ':2 2.5'])
    const other = await readHistory(
      await write('l10.pth', { ...state({ epoch: 0, loss: 2 }, { epoch: 1, loss: 1 }), epoch: 1 }),
    )
    assert.deepEqual(brief(other, 'loss'), [':0 2', ':1 1'])
    const bare = await readHistory(await write('bare.pth', { ...state({ loss: 2 }, { loss: 1 }), epoch: 1 }))
    assert.deepEqual(brief(bare, 'loss'), [':1 2', ':2 1'])
  })

  it('takes the last row of an epoch that stands twice, as after a resume', async () => {
    const history = await readHistory(
      await write('a.pth', {
        ...state({ epoch: 1, val_loss: 3 }, { epoch: 2, val_loss: 2 }, { epoch: 2, val_loss: 1 }),
        epoch: 2,
      }),
    )
    assert.deepEqual(brief(history), [':1 3', ':2 1'])
  })

  it('keeps values that are not finite', async () => {
    const history = await readHistory(
      await write('a.pth', { ...state({ epoch: 1, val_loss: NaN, train_loss: Infinity }), epoch: 1 }),
    )
    assert.deepEqual(history.rows[0]?.metrics, { val_loss: NaN, train_loss: Infinity })
  })

  describe('of a folder', () => {
    it('takes the newest checkpoint that has rows, in any of its folders', async () => {
      await write('regular/checkpoint_epoch_2_phase_1_9.pth', {
        ...state({ epoch: 1, val_loss: 9 }, { epoch: 2, val_loss: 9 }),
        epoch: 2,
        timestamp: began,
      })
      await write('best/best_model_epoch_1_phase_1.pth', {
        ...state({ epoch: 1, val_loss: 5 }),
        epoch: 1,
        timestamp: began + 9,
      })
      await write('latest.pth', { epoch: 1, timestamp: began + 20, config: new Map(), version: '1.0' })
      const history = await readHistory(folder)
      assert.deepEqual(brief(history), [':1 5'])
      assert.deepEqual(history.sources, [join(folder, 'best', 'best_model_epoch_1_phase_1.pth')])
    })

    it('joins the files in metrics/ as the older system wrote them: bare NaN and Infinity, numbers as strings', async () => {
      const old = (epoch: number, phase: number, timestamp: number, loss: string): string =>
        `{"timestamp": ${timestamp}, "epoch": ${epoch}, "phase": ${phase}, "validation_loss": ${loss}, "is_best": false, "config": {"note": "NaN, \\"Infinity\\""}, ` +
        `"additional_metrics": {"val_metrics": {"pearson": "0.25", "rmse": "nan", "text": "none"}}}`
      sidecar(`metrics_epoch_1_phase_1_${began}.json`, old(1, 1, began, 'Infinity'))
      sidecar(`metrics_epoch_2_phase_1_${began + 1}.json`, old(2, 1, began + 1, 'NaN'))
      sidecar(`metrics_epoch_3_phase_1_${began + 2}.json`, old(3, 1, began + 2, '-Infinity'))
      const { rows, warnings } = await readHistory(folder)
      assert.deepEqual(warnings, [])
      assert.deepEqual(
        rows.map(({ epoch, metrics }) => [epoch, metrics]),
        [
          [1, { val_loss: Infinity, val_pearson: 0.25, val_rmse: NaN }],
          [2, { val_loss: NaN, val_pearson: 0.25, val_rmse: NaN }],
          [3, { val_loss: -Infinity, val_pearson: 0.25, val_rmse: NaN }],
        ],
      )
    })

    it('lets a later source win, fills in what only an earlier one has, and drops epochs that were rolled back', async () => {
      const rows = (...losses: number[]) =>
        losses.map((loss, index) => ({ epoch: index + 1, phase: 1, val_loss: loss }))
      sidecar('metrics_a.json', {
        timestamp: began,
        epoch: 3,
        phase: 1,
        metrics_history: [{ epoch: 1, phase: 1, val_mse: 7, val_loss: 70 }],
      })
      sidecar('metrics_b.json', {
        timestamp: began + 1,
        epoch: 4,
        phase: 1,
        training_state: { metrics_history: rows(9, 9, 9, 9) },
      })
      await write('latest.pth', { ...state(...rows(5, 6)), epoch: 2, phase: 1, timestamp: began + 2 })
      const history = await readHistory(folder)
      assert.deepEqual(brief(history), ['1:1 5', '1:2 6'])
      assert.equal(history.rows[0]?.metrics['val_mse'], 7)
      assert.equal(history.sources.length, 3)
    })

    it('says which metrics files are no JSON and reads the others', async () => {
      sidecar('a.json', '{"epoch": 1, ')
      sidecar('b.json', { epoch: 2, phase: 1, validation_loss: 0.5, timestamp: began })
      const history = await readHistory(folder)
      assert.deepEqual(brief(history), ['1:2 0.5'])
      assert.match(history.warnings.join(), /metrics.a\.json is no JSON/)
    })

    it('has a row for each checkpoint where none has a history', async () => {
      for (const epoch of [10, 2, 1])
        await write(`checkpoint_epoch_${epoch}.pt`, { epoch, optimizer_state_dict: new Map(), loss: 1 / epoch })
      assert.deepEqual(brief(await readHistory(folder), 'loss'), [':1 1', ':2 0.5', ':10 0.1'])
    })

    it('passes over damaged files, backups and exports', async () => {
      await write('latest.pth', { ...state({ epoch: 1, val_loss: 1 }), epoch: 1, timestamp: began })
      await write('backups/backup_1_latest.pth', {
        ...state({ epoch: 9, val_loss: 9 }),
        epoch: 9,
        timestamp: began + 9,
      })
      writeFileSync(join(folder, 'checkpoint_epoch_3.pth'), 'PK')
      assert.deepEqual(brief(await readHistory(folder)), [':1 1'])
    })
  })

  it('reads one metrics file', async () => {
    sidecar('m.json', { epoch: 1, phase: 2, validation_loss: '0.5' })
    assert.deepEqual(brief(await readHistory(join(folder, 'metrics', 'm.json'))), ['2:1 0.5'])
  })

  it('says where there is nothing, or no history', async () => {
    const code = (error: TorchkeepError) => error.code === 'ERR_CHECKPOINT_MISSING'
    await assert.rejects(readHistory(join(folder, 'missing')), code)
    await assert.rejects(readHistory(folder), (error: TorchkeepError) => code(error) && error.suggestions.length === 1)
    await assert.rejects(readHistory(await write('bare.pth', {})), code)
  })
})
