/** Traps of other trainers (E1-E16 of trainer-anchors.md) and faults of the older system (seed-system.md 6) that a whole run could have. Those of one class alone are tested with it. */
import assert from 'node:assert/strict'
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DataLoader, Dataset, type Tensor, tensor } from '../../lib/index.js'
import { latestBestPath, latestPath, phasePath } from '../../src/checkpoint/layout.js'
import { type Checkpoint, decodeCheckpoint } from '../../src/checkpoint/schema.js'
import type { Phase, TrainingConfig } from '../../src/checkpoint/training-config.js'
import { load } from '../../src/serialization.js'
import { ProgressiveTrainer, type TrainOptions } from '../../src/training/trainer.js'
import { runChild } from '../native/child.js'
import { SmallNet, smallRun } from './small-run.js'

/** A program with little memory: in one run the first batch is too much, in the other what is left after an epoch. */
const outOfMemory = (folder: string): string => `
import { readdirSync } from 'node:fs'
const { DataLoader, load: read, nn, ones, ProgressiveTrainer, randn, TensorDataset } = await import(${JSON.stringify(new URL('../../src/index.js', import.meta.url).href)})
const loader = (rows, batchSize) => new DataLoader(new TensorDataset(randn([rows, 4]), randn([rows, 1])), { batchSize })
const wide = () => new nn.Sequential(new nn.Linear(4, 20000), new nn.ReLU(), new nn.Linear(20000, 1))
const make = (folder) => new ProgressiveTrainer(wide(), null, { loss: 'mse', phases: [{ name: 'p', epochs: 3, lr: 0.01 }] }, {
  checkpointDir: folder, threads: 1, logs: false,
})
const codeOf = (promise) => promise.then(() => 'finished', (error) => error.code ?? error.stack)
const first = ${JSON.stringify(join(folder, 'first'))}
const code = await codeOf(make(first).train(loader(800, 800), loader(4, 4)))
const files = () => { try { return readdirSync(first, { recursive: true }).filter((name) => name.endsWith('.pth')) } catch { return [] } }
console.log('at once: ' + code + ', files: ' + files().length)
const second = ${JSON.stringify(join(folder, 'second'))}
const trainer = make(second)
const held = []
let stop
trainer.on('stop', ({ reason }) => (stop = reason))
trainer.on('checkpoint', () => {
  for (let size = 4e6; size > 1000;) try { held.push(ones([size])) } catch { size = Math.floor(size / 2) }
})
const later = await codeOf(trainer.train(loader(64, 4), loader(64, 4)))
for (const tensor of held) tensor.dispose()
const epochOf = async (name) => (await read(second + name)).get('epoch')
console.log('later: ' + later + ', best: ' + (await epochOf('/best/latest_best.pth')) + ', latest: ' + (await epochOf('/latest.pth')) + ', stop: ' + stop)
`

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

  it('E3: a resume inside an epoch sees each sample that is left, once, and none again', async () => {
    class Seen extends Dataset {
      override readonly length = 8
      readonly rows: number[] = []
      override get(row: number): Tensor[] {
        this.rows.push(row)
        return [tensor([row, 1, 2, 3]), tensor([row])]
      }
    }
    const train = async (folder: string, options: TrainOptions, stopAt: number): Promise<number[]> => {
      const data = new Seen()
      const trainer = new ProgressiveTrainer(new SmallNet(), null, config([{ name: 'p', epochs: 2, lr: 0.01 }]), {
        checkpointDir: folder,
        checkpoint: { everySteps: 1, keepLast: null },
        threads: 1,
        logs: false,
      })
      const stop = new AbortController()
      trainer.on('phase', () => data.rows.splice(0))
      trainer.on('step', ({ step }) => step === stopAt && stop.abort())
      const result = trainer.train(new DataLoader(data, { batchSize: 2 }), null, { ...options, signal: stop.signal })
      await (stopAt === 0 ? result : assert.rejects(result, { code: 'ERR_ABORTED' }))
      return data.rows
    }
    await train(folder, {}, 6)
    const file = readdirSync(join(folder, 'regular')).find((name) => name.endsWith('_step_2.pth')) as string
    assert.deepEqual(await train(join(folder, 'again'), { resumeFrom: join(folder, 'regular', file) }, 0), [
      ...[4, 5, 6, 7],
      ...[0, 1, 2, 3, 4, 5, 6, 7],
    ])
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

  it('fault 15: the configuration and the time that really were are in the file, and an early stop of phase 1 does not skip phase 2', async () => {
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

  it('fault 1: a run ends, with memory and times as numbers in its history, the file and the sidecar', async () => {
    const { metricsHistory } = await smallRun(folder, { config: config([{ name: 'p', epochs: 2, lr: 0.01 }]) }).train()
    assert.equal(metricsHistory.length, 2)
    for (const { memoryUsageMb, trainingTime, samplesPerSecond } of metricsHistory)
      for (const value of [memoryUsageMb, trainingTime, samplesPerSecond])
        assert.ok(typeof value === 'number' && value > 0 && Number.isFinite(value), String(value))
    assert.deepEqual((await read(latestPath(folder))).trainingState.metricsHistory, metricsHistory)
    const [sidecar = ''] = readdirSync(join(folder, 'metrics')).filter((name) => name.startsWith('metrics_epoch_2_'))
    const { training_state: state } = JSON.parse(readFileSync(join(folder, 'metrics', sidecar), 'utf8')) as {
      training_state: { metrics_history: { memory_usage: number }[] }
    }
    assert.deepEqual(
      state.metrics_history.map((row) => row.memory_usage),
      metricsHistory.map(({ memoryUsageMb }) => memoryUsageMb),
    )
  })

  it('fault 12: a run that is out of memory ends with that error, and no epoch of nothing becomes the best', async () => {
    const { stdout, stderr, code } = await runChild(outOfMemory(folder), { TORCHKEEP_HOST_LIMIT_BYTES: '60000000' })
    assert.equal(code, 0, stderr)
    assert.deepEqual(stdout.trim().split('\n'), [
      'at once: ERR_OUT_OF_MEMORY, files: 0',
      'later: ERR_OUT_OF_MEMORY, best: 1, latest: 1, stop: ERR_OUT_OF_MEMORY',
    ])
  })

  it('fault 20: a run leaves the modes and the gradient flags of the model as they were, whatever ends it', async () => {
    const run = smallRun(folder)
    run.model.body.eval()
    const parameters = run.model.parameters()
    const states = (): unknown[] => [
      ...[...run.model.namedModules().values()].map(({ training }) => training),
      ...parameters.map(({ requiresGrad, grad }) => [requiresGrad, grad]),
    ]
    const before = states()
    const stop = new AbortController()
    run.trainer.on('phase', ({ phase }) => phase === 2 && stop.abort())
    await assert.rejects(run.train({ signal: stop.signal }), { code: 'ERR_ABORTED' })
    assert.deepEqual(states(), before)
    await run.train({ resumeFrom: 'latest' })
    assert.deepEqual(states(), before)
  })
})
