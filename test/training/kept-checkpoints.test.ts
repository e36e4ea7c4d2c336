/** What a run leaves in its folder: the same files whether it went through or was stopped and resumed, and `latest` and the best are what they say. */
import assert from 'node:assert/strict'
import { mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describeCheckpoint } from '../../src/checkpoint/describe.js'
import { latestBestPath, latestPath, phasePath } from '../../src/checkpoint/layout.js'
import { decodeCheckpoint, type TrainingMetrics } from '../../src/checkpoint/schema.js'
import type { TorchkeepError } from '../../src/format/errors.js'
import { load } from '../../src/serialization.js'
import type { TrainOptions, TrainingSummary } from '../../src/training/trainer.js'
import { assertSameBits, prepare, trainingConfig } from './fixture.js'

describe('files of a run', function () {
  this.timeout(60_000)
  let root: string
  let through: string
  let summary: TrainingSummary
  const options = {
    config: { ...trainingConfig, phases: trainingConfig.phases.map((phase) => ({ ...phase, epochs: 4 })) },
    checkpoint: {
      keepLast: 2,
      best: [
        { monitor: 'val_loss', count: 1 },
        { monitor: 'val_accuracy', count: 2 },
      ],
    },
  }
  const train = async (folder: string, trainOptions: TrainOptions = {}, stopAtEpoch = Infinity) => {
    const { trainer, trainLoader, valLoader } = prepare(folder, options)
    const stop = new AbortController()
    trainer.on('epoch', ({ epoch }) => epoch === stopAtEpoch && stop.abort())
    trainer.on('warning', ({ message }) => assert.fail(message))
    return trainer.train(trainLoader, valLoader, { ...trainOptions, signal: stop.signal })
  }
  /** Files without the moments in their names. */
  const files = (folder: string): string[] =>
    (readdirSync(folder, { recursive: true }) as string[])
      .filter((name) => /\.(pth|json)$/.test(name))
      .map((name) => name.replace(/_\d{10}/, '_T'))
      .sort()

  before(async () => {
    root = mkdtempSync(join(tmpdir(), 'torchkeep-files-'))
    through = join(root, 'through')
    summary = await train(through)
  })
  after(() => rmSync(root, { recursive: true }))

  it('are the newest, the best by each metric, and the ends of the phases', async () => {
    const history = summary.metricsHistory
    const best = (count: number, value: (row: TrainingMetrics) => number): number[] =>
      [...history]
        .sort((left, right) => value(right) - value(left)) // stable: of equal ones the earlier
        .slice(0, count)
        .map(({ epoch }) => epoch)
    const byLoss = best(1, ({ valLoss }) => -(valLoss as number))
    const byAccuracy = best(2, ({ valMetrics }) => valMetrics['accuracy'] as number)
    const kept = [...new Set([...byLoss, ...byAccuracy])]
    const label = (epoch: number): string => `epoch_${epoch}_phase_${epoch > 4 ? 2 : 1}`
    assert.deepEqual(
      files(through).filter((name) => name.endsWith('.pth')),
      [
        ...kept.map((epoch) => `best/best_model_${label(epoch)}.pth`),
        ...['best/latest_best.pth', 'latest.pth', 'phases/phase_1_end.pth', 'phases/phase_2_end.pth'],
        ...[7, 8].map((epoch) => `regular/checkpoint_${label(epoch)}_T.pth`),
      ].sort(),
    )
    assert.deepEqual(
      files(through).filter((name) => name.startsWith('metrics/')),
      [...new Set([...kept, 7, 8])].map((epoch) => `metrics/metrics_${label(epoch)}_T.json`).sort(),
    )
  })

  it('hold what their names say: latest the last weights, latest_best the best ones', async () => {
    const losses = summary.metricsHistory.map(({ valLoss }) => valLoss as number)
    const best = await describeCheckpoint(latestBestPath(through))
    assert.deepEqual(
      [best.validationLoss, best.epoch, best.isBest],
      [Math.min(...losses), losses.indexOf(Math.min(...losses)) + 1, true],
    )
    const [latest, end] = [latestPath(through), phasePath(through, 2, 'end')]
    assert.equal((await describeCheckpoint(latest)).epoch, 8)
    await assertSameBits(latest, end)
    const { epoch, isBest, validationLoss } = decodeCheckpoint(await load(end), end)
    assert.deepEqual([epoch, isBest, validationLoss], [8, best.epoch === 8, losses[7]])
  })

  it('are the same where the run was stopped and resumed', async () => {
    const stopped = join(root, 'stopped')
    for (const epoch of [2, 5]) {
      const resume = epoch === 2 ? {} : { resumeFrom: 'latest' }
      await assert.rejects(train(stopped, resume, epoch), (error: TorchkeepError) => error.code === 'ERR_ABORTED')
    }
    await train(stopped, { resumeFrom: 'latest' })
    assert.deepEqual(files(stopped), files(through))
    await assertSameBits(latestPath(stopped), latestPath(through))
    await assertSameBits(latestBestPath(stopped), latestBestPath(through))
  })

  it('of a run resumed from its beginning replace no better best', async () => {
    const [older] = readdirSync(join(through, 'best')).filter((name) => name.startsWith('best_model'))
    await train(through, { resumeFrom: join(through, 'best', older as string) })
    assert.equal((await describeCheckpoint(latestBestPath(through))).validationLoss, summary.bestValLoss)
  })

  it('names a monitor that the run does not compute before the first step', async () => {
    const folder = join(root, 'mistaken')
    const { trainer, trainLoader, valLoader } = prepare(folder, { checkpoint: { best: [{ monitor: 'val_acuracy' }] } })
    await assert.rejects(trainer.train(trainLoader, valLoader), {
      code: 'ERR_MONITOR_MISSING',
      message: /monitor 'val_acuracy' is not computed in this run; there are train_loss, val_loss, val_accuracy/,
    })
    assert.ok(!readdirSync(root).includes('mistaken'))
  })
})
