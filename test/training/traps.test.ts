/** Traps of other trainers (E1-E16 of trainer-anchors.md) and faults of the older system (seed-system.md 6) that a whole run could have. Those of one class alone are tested with it. */
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Tensor } from '../../lib/index.js'
import { latestBestPath, latestPath, phasePath } from '../../src/checkpoint/layout.js'
import { type Checkpoint, decodeCheckpoint } from '../../src/checkpoint/schema.js'
import type { Phase, TrainingConfig } from '../../src/checkpoint/training-config.js'
import { load } from '../../src/serialization.js'
import { smallRun } from './small-run.js'

describe('traps', function () {
  this.timeout(60_000)
  let folder: string
  beforeEach(() => (folder = mkdtempSync(join(tmpdir(), 'torchkeep-traps-'))))
  afterEach(() => rmSync(folder, { recursive: true }))

  const read = async (path: string): Promise<Checkpoint<Tensor>> => decodeCheckpoint(await load(path), path)
  const config = (phases: Phase[], rest: Partial<TrainingConfig> = {}): TrainingConfig => ({
    loss: 'mse',
    phases,
    ...rest,
  })
  /** Its validation loss is worse from the second epoch on. */
  const tooHigh: Phase = { name: 'wild', epochs: 3, lr: 3, optimizer: { name: 'Adam' } }
  const weights = async (path: string): Promise<string> =>
    [...(await read(path)).modelStateDict.values()]
      .map((tensor) => Buffer.from((tensor as Tensor).data().buffer as ArrayBuffer).toString('hex'))
      .join()

  it('E1: latest.pth is the newest epoch also where the metric gets worse; faults 10 and 11: latest_best stays the best and no label is changed', async () => {
    const summary = await smallRun(folder, {
      config: config([{ ...tooHigh, epochs: 9, earlyStopping: { patience: 2 } }]),
    }).train()
    const [latest, best] = [await read(latestPath(folder)), await read(latestBestPath(folder))]
    assert.equal(summary.stopReason, 'patience')
    assert.deepEqual(
      [latest.epoch, latest.isBest, best.epoch, best.isBest],
      [summary.totalEpochs, false, summary.best?.epoch, true],
    )
    for (const { epoch, validationLoss, trainingState } of [latest, best]) {
      assert.equal(trainingState.currentEpoch, epoch)
      assert.equal(trainingState.metricsHistory.at(-1)?.epoch, epoch)
      assert.equal(trainingState.metricsHistory.at(-1)?.valLoss, validationLoss)
    }
    assert.equal(await weights(latestPath(folder)), await weights(phasePath(folder, 1, 'end')))
    assert.notEqual(await weights(latestPath(folder)), await weights(latestBestPath(folder)))
    const steps = [...(latest.optimizerStateDict.get('state') as Map<number, Map<string, Tensor>>).values()]
    assert.deepEqual(
      new Set(steps.map((own) => Number(own.get('step')?.item()))),
      new Set([latest.trainingState.globalStep]),
    )
  })

  it('E5: a resume after the unfreezing does not freeze again', async () => {
    const phases = config([
      { name: 'head', epochs: 1, lr: 0.01, freeze: ['body.*'] },
      { name: 'all', epochs: 2, lr: 0.01 },
    ])
    const files: string[] = []
    const first = smallRun(folder, { config: phases })
    first.trainer.on('checkpoint', ({ path }) => files.push(path))
    await first.train()
    const again = smallRun(folder, { config: phases, seed: 2 })
    const trained: number[] = []
    again.trainer.on('phase', (event) => trained.push(event.trained.length))
    await again.train({ resumeFrom: files[1] as string })
    assert.deepEqual(trained, [4])
    assert.equal((await read(latestPath(folder))).phaseState.frozen.length, 0)
  })

  it('E7: a NaN is never the best, also where nothing else was there yet', async () => {
    const scores = [NaN, 5, NaN, 4, 4]
    const run = smallRun(folder, {
      config: config([{ name: 'p', epochs: 5, lr: 0.01 }], { metrics: ['own'], monitor: 'val_own', mode: 'min' }),
      metrics: { own: () => scores.shift() as number },
    })
    const bests: number[] = []
    run.trainer.on('epoch', ({ epoch, isBest }) => isBest && bests.push(epoch))
    const summary = await run.train()
    assert.deepEqual(bests, [2, 4], 'and a tie keeps the earlier')
    assert.deepEqual([summary.best?.epoch, (await read(latestBestPath(folder))).epoch], [4, 4])
  })

  it('E16: a mistyped monitor, metric, early stopping or scheduler is refused before the first step, with what exists', async () => {
    const p: Phase = { name: 'p', epochs: 1, lr: 0.01 }
    const wrong: [TrainingConfig, RegExp][] = [
      [config([p], { monitor: 'val_los' }), /'val_los' is not computed in this run; there are train_loss, val_loss/],
      [config([p], { metrics: ['pearsn'] }), /there is no metric 'pearsn'; there are .*pearson/],
      [config([{ ...p, earlyStopping: { monitor: 'val_mae' } }]), /'val_mae' is not computed/],
      [config([{ ...p, scheduler: { name: 'ReduceLROnPlateau', monitor: 'val_r2' } }]), /'val_r2' is not computed/],
      [
        config([{ ...p, scheduler: { name: 'OneCycleLR', maxLr: 1, totalSteps: 2 } }]),
        /phase 'p': OneCycleLR: totalSteps is 2/,
      ],
    ]
    for (const [each, message] of wrong) {
      let steps = 0
      const run = smallRun(folder, { config: each })
      run.trainer.on('step', () => steps++)
      await assert.rejects(run.train(), { message })
      assert.equal(steps, 0)
    }
  })

  it('fault 5: an early stop of phase 1 does not skip phase 2; fault 15: the configuration and the time that really were are in the file', async () => {
    const given = config([
      { ...tooHigh, epochs: 5, earlyStopping: { patience: 1 } },
      { name: 'calm', epochs: 1, lr: 1e-4 },
    ])
    const summary = await smallRun(folder, { config: given }).train()
    assert.equal(summary.metricsHistory.at(-1)?.phase, 2)
    const { trainingConfig, trainingState } = await read(latestPath(folder))
    assert.deepEqual(trainingConfig, given)
    assert.ok(trainingState.totalTrainingTime > 0)
    const times = trainingState.metricsHistory.reduce((sum, { trainingTime }) => sum + trainingTime, 0)
    assert.ok(Math.abs(trainingState.totalTrainingTime - times) < 1e-9)
  })
})
