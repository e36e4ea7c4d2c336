/** `loadCheckpoint` on what real Python wrote, every layout. */
import assert from 'node:assert/strict'
import { readFileSync, writeFileSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import type { Tensor } from '../../lib/index.js'
import type { Layout } from '../../src/checkpoint/index.js'
import { readTorchFile, TensorRecord } from '../../src/format/index.js'
import type { TorchkeepError } from '../../src/format/errors.js'
import { load } from '../../src/serialization.js'
import { disposeTensors } from '../../src/training/dispose-tensors.js'
import { loadCheckpoint } from '../../src/training/load-checkpoint.js'
import { needPython } from '../python.js'
import { writeLayouts, type WrittenLayouts } from './layouts.js'

interface Expected {
  layout: Layout
  epoch: number | null
  validationLoss: number | null
  /** Rows of the history. */
  rows: number | null
  hasOptimizer?: boolean
}

const cases: Record<string, Expected> = {
  L1: { layout: 'L1', epoch: 3, validationLoss: 0.25, rows: 3 },
  L2: { layout: 'L2', epoch: 3, validationLoss: 0.25, rows: 3 },
  L3: { layout: 'L3', epoch: 4, validationLoss: 0.75, rows: null },
  L4: { layout: 'L4', epoch: 4, validationLoss: null, rows: null },
  L5: { layout: 'L5', epoch: 5, validationLoss: 0.375, rows: null },
  'L5-final': { layout: 'L5', epoch: 5, validationLoss: 0.375, rows: 5 },
  L6: { layout: 'L6', epoch: 7, validationLoss: 0.625, rows: null },
  'L6-lists': { layout: 'L6', epoch: 3, validationLoss: 0.75, rows: 3 },
  L7: { layout: 'L7', epoch: null, validationLoss: null, rows: null, hasOptimizer: false },
  'L7-under': { layout: 'L7', epoch: null, validationLoss: null, rows: null, hasOptimizer: false },
  L8: { layout: 'L8', epoch: null, validationLoss: null, rows: null, hasOptimizer: false },
  L9: { layout: 'L9', epoch: 3, validationLoss: 0.25, rows: 0, hasOptimizer: false },
  L10: { layout: 'L10', epoch: 2, validationLoss: 0.4, rows: 2 },
  'L10-partial': { layout: 'L10', epoch: 2, validationLoss: 0.4, rows: 0 },
}

describe('loadCheckpoint on files of Python', function () {
  this.timeout(120_000)
  let folder: string
  let written: WrittenLayouts
  let bare: ReadonlyMap<string, Tensor>
  before(async function () {
    folder = await mkdtemp(join(tmpdir(), 'torchkeep-load-'))
    needPython(this)
    written = await writeLayouts(folder)
    bare = (await load(join(folder, 'L7.pth'))) as ReadonlyMap<string, Tensor>
  })
  after(() => rm(folder, { recursive: true }))

  for (const [name, expected] of Object.entries(cases)) {
    it(`gives the weights and labels of ${name}`, async () => {
      const loaded = await loadCheckpoint(`${name}.pth`, { folder })
      const { layout, epoch, validationLoss, trainingState, optimizerStateDict } = loaded
      assert.deepEqual(
        { layout, epoch, validationLoss },
        { layout: expected.layout, epoch: expected.epoch, validationLoss: expected.validationLoss },
      )
      assert.equal(trainingState?.metricsHistory.length ?? null, expected.rows)
      assert.equal(optimizerStateDict !== null, expected.hasOptimizer ?? true)
      assert.deepEqual([...loaded.modelStateDict.keys()], [...bare.keys()])
      assert.equal(loaded.modelStateDict.size, written.entries)
      for (const [key, tensor] of loaded.modelStateDict)
        assert.deepEqual(Buffer.from(tensor.data().buffer), Buffer.from((bare.get(key) as Tensor).data().buffer), key)
      const [left, right] = ['mlp', 'gin_conv.nn'].map((part) =>
        loaded.modelStateDict.get(`gin_layers.0.${part}.0.weight`),
      )
      assert.equal(left?.info().storageId, right?.info().storageId, 'aliases stay aliases')
      disposeTensors(loaded.value)
    })
  }

  it('gives numbers of numpy as plain ones, and the optimizer as Python has it', async () => {
    const { trainingState, value, optimizerStateDict } = await loadCheckpoint(join(folder, 'L1.pth'))
    assert.deepEqual(trainingState?.metricsHistory.at(-1)?.valMetrics, {
      pearson: written.numpy.pearson,
      spearman: written.numpy.spearman,
      rmse: written.numpy.rmse,
    })
    const performance = value.get('recent_performance') as ReadonlyMap<string, unknown>
    assert.equal(performance.get('avg_val_pearson'), written.numpy.pearson)
    const state = optimizerStateDict?.get('state') as ReadonlyMap<number, ReadonlyMap<string, Tensor>>
    assert.equal(state.get(0)?.get('step')?.item(), 3)
    disposeTensors(value)
  })

  it('does not read the tensors of the optimizer where they are not wanted', async () => {
    const file = await readTorchFile(join(folder, 'L1.pth'))
    const optimizer = (file.value as Map<string, unknown>).get('optimizer_state_dict') as Map<
      string,
      Map<number, Map<string, unknown>>
    >
    const moment = optimizer.get('state')?.get(0)?.get('exp_avg')
    assert.ok(moment instanceof TensorRecord)
    const bytes = readFileSync(join(folder, 'L1.pth'))
    bytes.writeUInt8(bytes.readUInt8(moment.storage.source.offsetBytes) ^ 1, moment.storage.source.offsetBytes)
    const path = join(folder, 'flipped.pth')
    writeFileSync(path, bytes)
    await assert.rejects(loadCheckpoint(path), (error: TorchkeepError) => {
      assert.equal(error.code, 'ERR_CHECKPOINT_CORRUPT')
      assert.match(error.message, /optimizer_state_dict.*exp_avg/)
      return true
    })
    const loaded = await loadCheckpoint(path, { loadOptimizer: false })
    assert.deepEqual([loaded.optimizerStateDict, loaded.schedulerState], [null, null])
    assert.ok(!loaded.value.has('optimizer_state_dict') && !loaded.value.has('scheduler_state'))
    assert.equal(loaded.epoch, 3)
    assert.equal(basename(loaded.path), 'flipped.pth')
    disposeTensors(loaded.value)
  })
})
