import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, utimesSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, relative } from 'node:path'
import { type BestOptions, defaultMode, findBestCheckpoint } from '../../src/checkpoint/index.js'
import { PyFloat, type TorchkeepError } from '../../src/format/index.js'
import { began, checkpointValue, writeCheckpointFolder, writeValue } from '../commands/checkpoints.js'

describe('findBestCheckpoint', () => {
  let folder: string
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'torchkeep-best-'))
  })
  afterEach(() => rmSync(folder, { recursive: true }))

  const best = async (options: BestOptions = {}): Promise<string | null> => {
    const found = await findBestCheckpoint(folder, options)
    return found === null ? null : relative(folder, found.path)
  }
  const write = (name: string, epoch: number, valLoss: number, more: readonly (readonly [string, unknown])[] = []) =>
    writeValue(
      join(folder, name),
      new Map([...checkpointValue({ epoch, phase: 1, valLoss, timestamp: began + epoch }), ...more]),
    )

  it('gives the value with the path, and of copies the name that always means this checkpoint', async () => {
    await writeCheckpointFolder(folder)
    const later = new Date(Date.now() + 60_000) // which of the copies was written last does not matter
    utimesSync(join(folder, 'best', 'best_model_epoch_2_phase_1.pth'), later, later)
    assert.deepEqual(await findBestCheckpoint(folder), {
      path: join(folder, 'best', 'best_model_epoch_2_phase_1.pth'),
      metric: 'val_loss',
      mode: 'min',
      value: 0.5,
      epoch: 2,
      phase: 1,
    })
    rmSync(join(folder, 'best', 'best_model_epoch_2_phase_1.pth'))
    assert.equal(await best(), `regular/checkpoint_epoch_2_phase_1_${began + 60}.pth`)
    rmSync(join(folder, 'regular', `checkpoint_epoch_2_phase_1_${began + 60}.pth`))
    assert.equal(await best(), 'best/latest_best.pth')
  })

  it('goes by any metric, in the direction of its name or the one named', async () => {
    await writeCheckpointFolder(folder)
    assert.equal(await best({ metric: 'val_accuracy' }), 'best/best_model_epoch_2_phase_1.pth')
    assert.equal(await best({ metric: 'val_accuracy', mode: 'min' }), `regular/checkpoint_epoch_1_phase_1_${began}.pth`)
    assert.equal(await best({ mode: 'max' }), `regular/checkpoint_epoch_1_phase_1_${began}.pth`)
  })

  it('never takes NaN, and the earlier of equals', async () => {
    await write('a.pth', 1, NaN)
    await write('b.pth', 3, 0.5)
    await write('c.pth', 2, 0.5)
    assert.equal(await best(), 'c.pth')
    assert.equal(await best({ mode: 'max' }), 'c.pth')
  })

  it('does not give a checkpoint inside an epoch the metrics of the epoch before', async () => {
    await write('a.pth', 2, 0.5)
    const inside = checkpointValue({ epoch: 2, phase: 1, valLoss: 0.1, timestamp: began + 9 })
    inside
      .set('epoch', 3)
      .set('validation_loss', NaN)
      .set('data_position', new Map([['batches_done', 5]]))
    await writeValue(join(folder, 'b.pth'), inside)
    assert.equal(await best({ metric: 'val_accuracy' }), 'a.pth')
    assert.equal(await best(), 'a.pth')
  })

  it('takes the end of lists of losses, whether epochs count from 0 or from 1', async () => {
    const model = checkpointValue({ epoch: 1, phase: 1, valLoss: 1, timestamp: began }).get('model_state_dict')
    const losses = [0.9, 0.2, 0.5, 0.6]
    for (const length of [1, 2, 3, 4]) {
      const lists = { train_losses: losses.slice(0, length), val_losses: losses.slice(0, length) }
      const value = new Map<string, unknown>(
        Object.entries({ epoch: length - 1, model_state_dict: model, optimizer_state_dict: new Map(), ...lists }),
      )
      await writeValue(join(folder, `checkpoint_epoch_${length}.pth`), value)
    }
    assert.equal(await best(), 'checkpoint_epoch_2.pth')
  })

  it('takes an infinite value only where nothing is better', async () => {
    await write('a.pth', 1, Infinity)
    assert.equal(await best(), 'a.pth')
    await write('b.pth', 2, 5)
    assert.equal(await best(), 'b.pth')
  })

  it('is null where all are NaN, or nothing is a training checkpoint', async () => {
    assert.equal(await best(), null)
    await write('a.pth', 1, NaN)
    await write('exports/b.pth', 1, 0.1)
    await write('backups/c.pth', 1, 0.1)
    await write('recovered_d.pth', 1, 0.1)
    assert.equal(await best(), null)
  })

  it('lists the metrics that there are when told another', async () => {
    await write('a.pth', 1, 0.5, [['metrics', new Map([['val_auroc', new PyFloat(0.75)]])]])
    await assert.rejects(findBestCheckpoint(folder, { metric: 'val_acuracy' }), (error: TorchkeepError) => {
      assert.equal(error.code, 'ERR_INVALID_ARGUMENT')
      assert.equal(
        error.message,
        "no checkpoint has a metric 'val_acuracy'; there are: train_loss, val_accuracy, val_auroc, val_loss",
      )
      return true
    })
    await assert.rejects(
      findBestCheckpoint(folder, { metric: 'constructor' }),
      /no checkpoint has a metric 'constructor'/,
    )
  })

  it('does not make the folder that it looks at', async () => {
    const missing = join(folder, 'missing')
    await assert.rejects(
      findBestCheckpoint(missing),
      (error: TorchkeepError) => error.code === 'ERR_CHECKPOINT_MISSING',
    )
  })
})

describe('defaultMode', () => {
  const cases = {
    max: [
      'accuracy',
      'val_accuracy',
      'val_acc',
      'F1',
      'val-f1',
      'auc',
      'val_auroc',
      'test/aupr',
      'r2',
      'val_r2',
      'pearson',
      'val_spearman',
      'ci',
      'val_ci',
      'concordance_index',
      'val_rm2',
    ],
    min: [
      'val_loss',
      'loss',
      'rmse',
      'val_mse',
      'mae',
      'perplexity',
      'accuracy_loss',
      'error',
      'top1_error',
      'fast',
      'special',
      'race',
      '',
    ],
  } as const
  for (const [mode, names] of Object.entries(cases)) {
    it(`is ${mode} for ${names.join(', ')}`, () => {
      for (const name of names) assert.equal(defaultMode(name), mode, name)
    })
  }
})
