/** Which files a run leaves, and that every label describes the weights beside it. */
import assert from 'node:assert/strict'
import { existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { latestBestPath, latestPath } from '../../src/checkpoint/layout.js'
import { type Checkpoint, decodeCheckpoint } from '../../src/checkpoint/schema.js'
import { load } from '../../src/serialization.js'
import type { CheckpointEvent, EpochEvent, PhaseEvent, StepEvent } from '../../src/training/events.js'
import { prepare } from './fixture.js'

describe('checkpoints of a run', function () {
  this.timeout(60_000)
  let folder: string
  const events: { phase: PhaseEvent[]; step: StepEvent[]; epoch: EpochEvent[]; checkpoint: CheckpointEvent[] } = {
    phase: [],
    step: [],
    epoch: [],
    checkpoint: [],
  }
  /** Files that were not there when their event fired. */
  const absent: string[] = []
  before(async () => {
    folder = mkdtempSync(join(tmpdir(), 'torchkeep-run-'))
    const { trainer, trainLoader, valLoader } = prepare(folder, {
      checkpoint: { everyEpochs: 3, everySteps: 5, best: [{ monitor: 'val_loss', count: null }] },
    })
    trainer.on('phase', (event) => events.phase.push(event))
    trainer.on('step', (event) => events.step.push(event))
    trainer.on('epoch', (event) => events.epoch.push(event))
    trainer.on('checkpoint', (event) => {
      absent.push(...[event.path, ...event.copies].filter((path) => !existsSync(path)))
      events.checkpoint.push(event)
    })
    await trainer.train(trainLoader, valLoader)
  })
  after(() => rmSync(folder, { recursive: true }))

  const read = async (path: string): Promise<Checkpoint> => decodeCheckpoint(await load(path), path)

  it('has the names of the layout', () => {
    const regular = readdirSync(join(folder, 'regular'))
      .map((name) => name.replace(/_\d{10,}/, '_T'))
      .sort()
    assert.deepEqual(regular, [
      'checkpoint_epoch_2_phase_1_T_step_5.pth',
      'checkpoint_epoch_3_phase_2_T.pth',
      'checkpoint_epoch_4_phase_2_T.pth',
      'checkpoint_epoch_4_phase_2_T_step_10.pth',
    ])
    const best = events.epoch
      .filter(({ isBest }) => isBest)
      .map(({ epoch, phase }) => `best_model_epoch_${epoch}_phase_${phase}.pth`)
    assert.ok(best.length > 0)
    assert.deepEqual(readdirSync(join(folder, 'best')).sort(), [...best, 'latest_best.pth'].sort())
    assert.deepEqual(readdirSync(folder).sort(), [
      ...['best', 'events.jsonl', 'latest.pth', 'metrics', 'metrics.csv', 'phases', 'regular'],
    ])
  })

  it('keeps the best and the newest under their own names', async () => {
    const scores = events.epoch.map(({ valLoss }) => valLoss as number)
    const best = await read(latestBestPath(folder))
    assert.equal(best.validationLoss, Math.min(...scores))
    assert.equal(best.epoch, scores.indexOf(Math.min(...scores)) + 1)
    assert.equal(best.isBest, true)
    const newest = await read(latestPath(folder))
    assert.deepEqual([newest.epoch, newest.phase, newest.trainingState.globalStep], [4, 2, 12])
  })

  it('labels every file as what it holds', async () => {
    assert.deepEqual(absent, [], 'each file is there when its event fires')
    for (const { path, epoch, phase, step, isBest } of events.checkpoint) {
      const checkpoint = await read(path)
      assert.deepEqual(
        [checkpoint.epoch, checkpoint.phase, checkpoint.trainingState.globalStep, checkpoint.isBest],
        [epoch, phase, step, isBest],
      )
      assert.match(basename(path), new RegExp(`epoch_${epoch}_phase_${phase}[_.]`))
      const inside = checkpoint.dataPosition !== null
      assert.equal(inside, path.includes('_step_'))
      assert.equal(Number.isNaN(checkpoint.validationLoss), inside)
      if (!inside) assert.equal(checkpoint.validationLoss, checkpoint.trainingState.metricsHistory.at(-1)?.valLoss)
    }
  })

  it('freezes what the phase says', async () => {
    const begin = events.phase.map(({ name, trained, frozen, modulesInEval }) => ({
      name,
      trained,
      frozen: frozen.length,
      modulesInEval,
    }))
    assert.deepEqual(begin[0], {
      name: 'head',
      trained: ['head.2.weight', 'head.2.bias'],
      frozen: 4,
      modulesInEval: ['features.1'],
    })
    assert.equal(begin[1]?.frozen, 0)
    const path = events.checkpoint.find(({ epoch, phase }) => epoch === 2 && phase === 1)?.path as string
    const { modelStateDict, optimizerStateDict, phaseState } = await read(path)
    const statistics = modelStateDict.get('features.1.num_batches_tracked') as { item(): bigint | number }
    assert.equal(Number(statistics.item()), 0, 'the frozen batch norm stood still')
    assert.equal((optimizerStateDict.get('state') as Map<number, unknown>).size, 2)
    assert.deepEqual(phaseState.groups, [['head.2.weight', 'head.2.bias']])
  })

  it('lets no gradient into frozen parameters, and puts the flags back', async () => {
    const run = prepare(join(folder, 'flags'))
    const learned: string[][] = []
    const names = (): string[] =>
      [...run.model.namedParameters()].flatMap(([name, { requiresGrad }]) => (requiresGrad ? [name] : []))
    run.trainer.on('phase', () => learned.push(names()))
    await run.trainer.train(run.trainLoader, run.valLoader)
    assert.deepEqual(learned[0], ['head.2.weight', 'head.2.bias'])
    assert.equal(learned[1]?.length, 6)
    assert.equal(names().length, 6)
  })

  it('tells steps and epochs', () => {
    assert.equal(
      events.step.reduce((sum, { losses }) => sum + losses.length, 0),
      12,
    )
    assert.deepEqual(
      events.epoch.map(({ epoch }) => epoch),
      [1, 2, 3, 4],
    )
    assert.deepEqual(
      events.epoch.map(({ learningRate }) => learningRate),
      [0.01, 0.01, 0.003, 0.0015],
    )
    for (const event of events.epoch) {
      const own = events.step.filter(({ epoch }) => epoch === event.epoch)
      assert.equal(own.at(-1)?.meanLoss, event.trainLoss)
      const losses = own.flatMap(({ losses }) => [...losses])
      const mean = (losses[0]! * 8 + losses[1]! * 8 + losses[2]! * 6) / 22
      assert.equal(event.trainLoss, mean)
    }
  })

  it('never overwrites a named file of an earlier run', async () => {
    const before = readdirSync(join(folder, 'best'))
    const { trainer, trainLoader, valLoader } = prepare(folder)
    await trainer.train(trainLoader, valLoader)
    const after = readdirSync(join(folder, 'best'))
    assert.ok(before.every((name) => after.includes(name)))
    assert.ok(after.some((name) => /-2\.pth$/.test(name)))
  })
})
