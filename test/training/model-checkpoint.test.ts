/** When a saver saves, under which names, what it keeps and why, without a trainer. */
import assert from 'node:assert/strict'
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describeCheckpoint } from '../../src/checkpoint/describe.js'
import { latestBestPath, latestPath, phasePath } from '../../src/checkpoint/layout.js'
import { nodeFiles } from '../../src/checkpoint/store.js'
import { load } from '../../src/serialization.js'
import { ModelCheckpoint, type ModelCheckpointOptions } from '../../src/training/model-checkpoint.js'
import { atEnd, failing, inside, row, usedFolder } from './saver-fixture.js'

describe('ModelCheckpoint', function () {
  this.timeout(30_000)
  const run = usedFolder()
  const { epochs, names, open, saveEpochs } = run
  let folder: string
  beforeEach(() => (folder = run.folder))

  describe('is due', () => {
    it('by epochs and steps, by default after every epoch', async () => {
      const [usual, both, never] = [{}, { everyEpochs: 2, everySteps: 5 }, { everyEpochs: null }].map(
        (options) => new ModelCheckpoint(folder, options),
      ) as [ModelCheckpoint, ModelCheckpoint, ModelCheckpoint]
      assert.deepEqual([usual.dueAfterEpoch(1), usual.dueAfterStep(1), usual.stepsUntilDue(1)], [true, false, Infinity])
      assert.deepEqual(
        [1, 2, 3, 4].map((epoch) => both.dueAfterEpoch(epoch)),
        [false, true, false, true],
      )
      assert.deepEqual([both.stepsUntilDue(0), both.stepsUntilDue(4), both.stepsUntilDue(5)], [5, 1, 5])
      assert.deepEqual([both.dueAfterStep(4), both.dueAfterStep(5)], [false, true])
      assert.deepEqual([never.dueAfterEpoch(1), never.dueAfterStep(1)], [false, false])
    })

    it('by seconds since the last save', async () => {
      const saver = await open({ everySeconds: 10, everySteps: 7 })
      assert.deepEqual(
        [100, 105, 109.9].map((seconds) => saver.dueAfterStep(1, seconds)),
        [false, false, false],
      )
      assert.equal(saver.dueAfterStep(2, 110), true)
      assert.equal(saver.dueAfterStep(3, 111), true, 'until it is saved')
      await saver.write(inside([], 1, 3), { regular: true })
      assert.equal(saver.dueAfterStep(4, 120.9), false)
      assert.equal(saver.dueAfterStep(7, 120.9), true, 'by its steps')
      assert.equal(saver.dueAfterStep(8, 121), true)
    })

    it('refuses options that are none, by name', () => {
      const refused: [ModelCheckpointOptions, RegExp][] = [
        [{ everySeconds: 0 }, /checkpoint\.everySeconds should be a finite positive number, but is number 0/],
        [{ everySteps: 1.5 }, /checkpoint\.everySteps should be an integer of at least 1/],
        [{ keepLast: 0 }, /checkpoint\.keepLast should be an integer of at least 1/],
        [{ best: [{ monitor: 'val_ci', count: 0 }] }, /checkpoint\.best\[0\]\.count/],
        [{ best: [{ monitor: 'val_ci' }, { monitor: 'val_ci' }] }, /lists the monitor 'val_ci' twice/],
        [
          { best: [{ monitor: 'val_loss', mode: 'max' }] },
          /has the mode 'max' for 'val_loss', which the run monitors with 'min'/,
        ],
        [{ keepBest: 3 } as ModelCheckpointOptions, /keepBest is not known here/],
      ]
      for (const [options, message] of refused)
        assert.throws(() => new ModelCheckpoint(folder, options), { code: 'ERR_INVALID_ARGUMENT', message })
    })
  })

  describe('names', () => {
    it('are those of the layout, and all names of a moment hold the same bytes of meaning', async () => {
      const saver = await open()
      const checkpoint = atEnd([row({ epoch: 1 })], { isBest: true })
      const saved = await saver.write(checkpoint, { regular: true, isBest: true, phaseBest: true, phaseEnd: true })
      assert.deepEqual(
        [saved.path, ...saved.copies].map((path) => path.slice(folder.length + 1)),
        [
          'regular/checkpoint_epoch_1_phase_1_1700000001.pth',
          'best/best_model_epoch_1_phase_1.pth',
          'phases/phase_1_best.pth',
          'phases/phase_1_end.pth',
          'best/latest_best.pth',
          'latest.pth',
        ],
      )
      for (const copy of saved.copies) assert.deepEqual(readFileSync(copy), readFileSync(saved.path))
      assert.equal(saver.newestPath, saved.path)
      assert.equal(saved.sidecar, join(folder, 'metrics/metrics_epoch_1_phase_1_1700000001.json'))
    })

    it('without a reason are a regular one, and with only a lasting one no other', async () => {
      const saver = await open({ saveBest: false, best: [] })
      const plain = await saver.write(atEnd([row({ epoch: 1 })]))
      assert.match(plain.path, /regular\/checkpoint_epoch_1_phase_1_1700000001\.pth$/)
      const end = await saver.write(atEnd([row({ epoch: 2 })]), { phaseEnd: true })
      assert.deepEqual([end.path, end.copies, end.sidecar], [phasePath(folder, 1, 'end'), [latestPath(folder)], null])
      assert.deepEqual(epochs('regular'), [1])
      const without = await open({ phaseEnds: false, saveMetrics: false, saveBest: false, best: [] })
      assert.match((await without.write(atEnd([row({ epoch: 3 })]), { phaseEnd: true })).path, /regular/)
    })

    it('that are taken are left alone', async () => {
      const saver = await open({ everySteps: 1 })
      const checkpoint = atEnd([row({ epoch: 1 })], { isBest: true })
      const [first, second] = [
        await saver.write(checkpoint, { regular: true }),
        await saver.write(checkpoint, { regular: true }),
      ]
      assert.match(second.path, /_1700000001-2\.pth$/)
      assert.match(second.sidecar ?? '', /_1700000001-2\.json$/)
      assert.deepEqual(names('best'), [
        'best_model_epoch_1_phase_1-2.pth',
        'best_model_epoch_1_phase_1.pth',
        'latest_best.pth',
      ])
      assert.ok(existsSync(first.path) && existsSync(first.sidecar as string))
    })

    it('of the best are refused to what is not labelled so', async () => {
      const saver = await open()
      await assert.rejects(saver.write(atEnd([row({ epoch: 1 })]), { isBest: true }), { code: 'ERR_INVALID_ARGUMENT' })
      assert.deepEqual(
        names('.').filter((name) => name.endsWith('.pth')),
        [],
      )
    })
  })

  describe('sidecars', () => {
    it('hold the keys of the older system in strict JSON', async () => {
      const saver = await open()
      const history = [
        row({ epoch: 1, valLoss: Infinity, metrics: { ci: 0.5 } }),
        row({ epoch: 2, valLoss: NaN, metrics: { ci: NaN } }),
      ]
      const { sidecar } = await saver.write(atEnd(history, { config: { big: 2n ** 60n, rates: [1, 0.5], none: {} } }), {
        regular: true,
      })
      const text = readFileSync(sidecar as string, 'utf8')
      const json = JSON.parse(text) as Record<string, unknown>
      assert.deepEqual(Object.keys(json), [
        ...['timestamp', 'epoch', 'phase', 'validation_loss', 'is_best', 'training_state', 'config', 'metrics_history'],
        'additional_metrics',
      ])
      assert.deepEqual([json['epoch'], json['validation_loss'], json['is_best']], [2, 'NaN', false])
      assert.match(text, /"big": 1152921504606846976\b/)
      assert.match(text, /"train_loss": 1\.0\b/, 'floats stay floats')
      const rows = json['metrics_history'] as Record<string, unknown>[]
      assert.deepEqual([rows[0]?.['val_loss'], rows[0]?.['val_ci'], rows[1]?.['val_ci']], ['Infinity', 0.5, 'NaN'])
      assert.deepEqual(json['additional_metrics'], {
        val_metrics: { ci: 'NaN' },
        epoch_time: 2,
        learning_rate: 0.5,
        phase: 1,
      })
      const inEpoch = await saver.write(inside(history, 3, 25), { regular: true })
      assert.match(inEpoch.sidecar ?? '', /metrics_epoch_3_phase_1_1700000003_step_25\.json$/)
      assert.ok(!('additional_metrics' in (JSON.parse(readFileSync(inEpoch.sidecar as string, 'utf8')) as object)))
    })

    it('that cannot be written are a warning, since the checkpoint is durable', async () => {
      const files = { ...nodeFiles, link: failing(nodeFiles.link, (_from, to) => to.endsWith('.json')) }
      const saver = await open({}, files)
      const saved = await saver.write(atEnd([row({ epoch: 1 })]), { regular: true })
      assert.equal(saved.sidecar, null)
      assert.deepEqual(
        saved.warnings.map(({ id }) => id),
        ['sidecar'],
      )
      assert.match(saved.warnings[0]?.message ?? '', /metrics_epoch_1_phase_1_1700000001\.json: ENOSPC/)
      assert.ok(existsSync(saved.path) && existsSync(latestPath(folder)))
    })
  })

  describe('the best', () => {
    it('is never NaN or infinite, and a tie keeps the earlier', async () => {
      const saver = await open()
      await saveEpochs(saver, [NaN, 0.5, 0.5, Infinity, -Infinity, 0.7])
      assert.deepEqual(epochs('best'), [2])
      const best = await describeCheckpoint(latestBestPath(folder))
      assert.deepEqual([best.epoch, best.validationLoss, best.isBest], [2, 0.5, true])
      assert.equal((await describeCheckpoint(latestPath(folder))).epoch, 6, 'latest is the last')
    })

    it('has the last `count` bests', async () => {
      await saveEpochs(await open({ best: [{ monitor: 'val_loss', count: 2 }] }), [5, 4, 3, 2, 9, 1])
      assert.deepEqual(epochs('best'), [4, 6])
    })

    it('stays while it is among the best by any metric', async () => {
      const saver = await open({
        best: [
          { monitor: 'val_loss', count: 1 },
          { monitor: 'val_ci', count: 2 },
        ],
      })
      const losses = [0.9, 0.8, 0.7, 0.95, 0.6]
      const history = await saveEpochs(saver, losses, { ci: [0.7, 0.6, 0.65, 0.9, 0.5] })
      assert.deepEqual(epochs('best'), [1, 4, 5], '1 and 4 by val_ci, 5 by val_loss')
      assert.equal((await describeCheckpoint(latestBestPath(folder))).epoch, 5, 'which follows val_loss alone')
      const { plan } = await saver.write(atEnd([...history, row({ epoch: 6, valLoss: 1, metrics: { ci: 0 } })]), {
        regular: true,
      })
      assert.deepEqual(
        plan.flatMap(({ path, rule, reason }) => (path.includes('best_model_epoch_1_') ? [rule, reason] : [])),
        ['keep-best', 'number 2 of 3 by val_ci (0.7); keeping 2'],
      )
      const other = await describeCheckpoint(join(folder, 'best/best_model_epoch_4_phase_1.pth'))
      assert.equal(other.isBest, false, 'is_best says val_loss')
    })

    it('is every epoch among so many best by any metric, or each new best, which the trainer asks for', () => {
      const best = [
        { monitor: 'val_ci', count: 2 },
        { monitor: 'val_f1', mode: 'max' as const, count: null },
      ]
      const saver = new ModelCheckpoint(folder, { best: [{ monitor: 'val_loss', count: 1 }, ...best] })
      const metrics = [
        [0.5, 0.5],
        [0.6, 0.4],
        [0.5, 0.5],
        [0.55, 0.3],
        [NaN, 0.6],
      ] as const
      const history = metrics.map(([ci, f1], index) =>
        row({ epoch: index + 1, valLoss: index + 1, metrics: { ci, f1 } }),
      )
      const found = history.map((_, index) => saver.bestBy(history.slice(0, index + 1)))
      assert.deepEqual(found, [['val_loss', 'val_ci', 'val_f1'], ['val_ci'], [], ['val_ci'], ['val_f1']])
    })

    it('is not replaced by a worse one of a run that was resumed from before it', async () => {
      const first = await open()
      const history = await saveEpochs(first, [0.5, 0.4, 0.1])
      const [afterOne] = names('regular').map((name) => join(folder, 'regular', name))
      const resumed = await open()
      resumed.newestPath = afterOne as string
      await saveEpochs(resumed, [0.3, 0.05], { before: history.slice(0, 1) })
      assert.equal((await describeCheckpoint(latestBestPath(folder))).validationLoss, 0.05)
      const again = await open()
      again.newestPath = afterOne as string
      await saveEpochs(again, [0.3], { before: history.slice(0, 1) })
      assert.equal((await describeCheckpoint(latestBestPath(folder))).validationLoss, 0.05)
    })

    it('of a new run in a used folder is its own', async () => {
      await saveEpochs(await open(), [0.1])
      await saveEpochs(await open(), [0.7])
      assert.equal((await describeCheckpoint(latestBestPath(folder))).validationLoss, 0.7)
      assert.deepEqual(names('best').length, 3)
    })
  })

  it('leaves optimizer and scheduler out where it is told to', async () => {
    const saver = await open({ saveOptimizer: false })
    const { path } = await saver.write(atEnd([row({ epoch: 1 })]), { regular: true })
    const keys = [...((await load(path)) as Map<string, unknown>).keys()]
    assert.ok(keys.includes('model_state_dict') && !keys.some((key) => /optimizer|scheduler/.test(key)))
  })
})
