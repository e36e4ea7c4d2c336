/** `loadCheckpoint`: where it looks, what it refuses, what it warns of. */
import assert from 'node:assert/strict'
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { ones, type Tensor } from '../../lib/index.js'
import { getBestCheckpointPath, listCheckpoints } from '../../src/checkpoint/index.js'
import type { CheckpointSelection } from '../../src/checkpoint/listing.js'
import { encodeCheckpoint } from '../../src/checkpoint/schema.js'
import { OrderedDict } from '../../src/format/index.js'
import { save } from '../../src/serialization.js'
import { disposeTensors } from '../../src/training/dispose-tensors.js'
import { loadCheckpoint, type LoadCheckpointOptions } from '../../src/training/load-checkpoint.js'
import { ModelCheckpoint } from '../../src/training/model-checkpoint.js'
import { atEnd, row } from './saver-fixture.js'

describe('loadCheckpoint', function () {
  this.timeout(30_000)
  let folder: string
  before(() => (folder = mkdtempSync(join(tmpdir(), 'torchkeep-loading-'))))
  after(() => rmSync(folder, { recursive: true }))

  const weights = () => new OrderedDict([['weight', ones([2])]])
  const whole = () => encodeCheckpoint({ ...atEnd([row({ epoch: 1 })]), modelStateDict: weights() })

  /** Loads with what was warned of. */
  async function loading(path: string, options: LoadCheckpointOptions = {}) {
    const warnings: string[] = []
    const listen = ({ name, message }: Error) => name === 'TorchkeepWarning' && warnings.push(message)
    process.on('warning', listen)
    const loaded = await loadCheckpoint(path, options)
    await new Promise(setImmediate) // Warnings are told in the next turn.
    process.off('warning', listen)
    return { loaded, warnings }
  }

  it('looks in the checkpoint folder and in its best, regular and phases', async () => {
    for (const place of ['.', 'best', 'regular', 'phases']) {
      mkdirSync(join(folder, place), { recursive: true })
      await save(join(folder, place, `in-${basename(place)}.pth`), whole())
      const { loaded } = await loading(`in-${basename(place)}.pth`, { folder })
      assert.equal(loaded.path, join(folder, place, `in-${basename(place)}.pth`))
      assert.deepEqual([...(loaded.modelStateDict.get('weight') as Tensor).data()], [1, 1])
      assert.deepEqual([loaded.layout, loaded.version, loaded.epoch, loaded.isBest], ['torchkeep', '3.0', 1, false])
      assert.deepEqual([loaded.config, loaded.trainingState?.metricsHistory.length], [{ width: 8 }, 1])
      disposeTensors(loaded.value)
    }
    await assert.rejects(loadCheckpoint('nothing.pth', { folder }), {
      code: 'ERR_CHECKPOINT_MISSING',
      message: /no checkpoint 'nothing\.pth': looked for nothing\.pth, .*best.nothing\.pth, .*regular.nothing\.pth/,
    })
  })

  it('names the keys that are missing, as the older system did, or warns of them', async () => {
    const path = join(folder, 'partial.pth')
    const value = whole()
    for (const key of ['training_state', 'config']) value.delete(key)
    await save(path, value)
    const message = `Checkpoint missing required keys: ['training_state', 'config'] (${path})`
    await assert.rejects(loadCheckpoint(path), { code: 'ERR_CHECKPOINT_INCOMPATIBLE', message })
    const { loaded, warnings } = await loading(path, { strict: false })
    assert.deepEqual(warnings, [message])
    assert.deepEqual(loaded.missingKeys, ['training_state', 'config'])
    assert.deepEqual([loaded.trainingState, loaded.config, loaded.epoch], [null, null, 1])
    disposeTensors(loaded.value)
  })

  it('refuses what holds no weights, also where it is not strict', async () => {
    const path = join(folder, 'none.pth')
    for (const [value, message] of [
      [new Map([['epoch', 1]]), /missing required keys: \['model_state_dict'\]/],
      [new Map<string, unknown>([...whole(), ['model_state_dict', null]]), /model_state_dict is not a dictionary/],
    ] as const) {
      await save(path, value)
      await assert.rejects(loadCheckpoint(path, { strict: false }), { code: 'ERR_CHECKPOINT_INCOMPATIBLE', message })
    }
  })

  it('refuses a later version and a training state that is none, or warns of them', async () => {
    const path = join(folder, 'newer.pth')
    for (const [key, value, code, message] of [
      ['version', '4.0', 'ERR_CHECKPOINT_NEWER', /has version 4\.0; this Torchkeep knows up to 3\.x/],
      [
        'training_state',
        new Map([['metrics_history', 5]]),
        'ERR_CHECKPOINT_INCOMPATIBLE',
        /training_state is not understood: .*metrics_history/,
      ],
    ] as const) {
      await save(path, new Map<string, unknown>([...whole(), [key, value]]))
      await assert.rejects(loadCheckpoint(path), { code, message })
      const { loaded, warnings } = await loading(path, { strict: false })
      assert.equal(warnings.length, 1)
      assert.match(warnings[0] as string, message)
      disposeTensors(loaded.value)
    }
    await save(path, new Map<string, unknown>([...whole(), ['version', '3.7']]))
    assert.match((await loading(path)).warnings.join(), /has version 3\.7/)
  })

  it('is there on the saver, with best, list and summary of its folder', async () => {
    const run = join(folder, 'run')
    const saver = new ModelCheckpoint(run, {}, { primary: { name: 'val_ci', mode: 'max' } })
    await saver.prepare()
    const history = [
      row({ epoch: 1, metrics: { ci: 0.4 } }),
      row({ epoch: 2, metrics: { ci: 0.9 } }),
      row({ epoch: 3, metrics: { ci: 0.5 } }),
    ]
    for (const [index] of history.entries())
      await saver.write(
        { ...atEnd(history.slice(0, index + 1), { isBest: index < 2 }), modelStateDict: weights() },
        { regular: true, phaseEnd: index === 2 },
      )
    const loaded = await saver.loadCheckpoint('checkpoint_epoch_2_phase_1_1700000002.pth')
    assert.equal(loaded.epoch, 2)
    disposeTensors(loaded.value)
    const best = join(run, 'best/best_model_epoch_2_phase_1.pth')
    assert.equal(await saver.getBestCheckpointPath(), best)
    assert.equal(await getBestCheckpointPath(run, 'val_ci'), best)
    assert.match((await getBestCheckpointPath(run)) ?? '', /epoch_3_/, 'by val_loss')
    for (const selection of ['all', 'regular', 'best'] as const) {
      const [byClass, byFunction] = [await saver.listCheckpoints(selection), await listCheckpoints(run, selection)]
      assert.deepEqual(byClass, byFunction)
      const expected = { all: [3, 3, 2, 2, 1, 1], regular: [3, 2, 1], best: [3, 2, 1] }[selection]
      assert.deepEqual(
        byClass.map(({ epoch }) => epoch),
        expected,
        selection,
      )
    }
    await assert.rejects(listCheckpoints(run, 'bests' as CheckpointSelection), { code: 'ERR_INVALID_ARGUMENT' })
    const summary = await saver.exportCheckpointSummary(join(run, 'summary.json'))
    const read = JSON.parse(readFileSync(join(run, 'summary.json'), 'utf8')) as typeof summary
    assert.deepEqual([read.regularCheckpoints.length, read.bestCheckpoints.length], [3, 3])
    assert.deepEqual(read.totalCheckpoints, summary.totalCheckpoints)
  })
})
