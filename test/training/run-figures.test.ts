/** What a run books: batches that were passed over, times, labels; and how it ends where data are slow. */
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { DataLoader, manualSeed, nn, randn, tensor, type Tensor, TensorDataset } from '../../lib/index.js'
import { latestPath } from '../../src/checkpoint/layout.js'
import type { TrainingConfig } from '../../src/checkpoint/training-config.js'
import { load } from '../../src/serialization.js'
import { skippedBatches } from '../../src/training/run-results.js'
import { ProgressiveTrainer, type TrainerOptions } from '../../src/training/trainer.js'

describe('the figures of a run', function () {
  this.timeout(30_000)
  let folder: string
  before(() => (folder = mkdtempSync(join(tmpdir(), 'torchkeep-figures-'))))
  after(() => rmSync(folder, { recursive: true }))

  function trainer(
    name: string,
    config: Partial<TrainingConfig> & Pick<TrainingConfig, 'phases'>,
    options: TrainerOptions = {},
  ) {
    manualSeed(1)
    const settings = { checkpointDir: join(folder, name), threads: 1, logs: false, ...options }
    return new ProgressiveTrainer(new nn.Linear(1, 1, { bias: false }), {}, { loss: 'mse', ...config }, settings)
  }

  it('counts each batch that was passed over once, whatever its step came to', async () => {
    const none = { batches: 0, skipped: 0 }
    const loss = (batch: number) => ({ batch, parameter: null })
    const step = (batch: number) => ({ batch, parameter: 'weight' })
    const count = (skipped: ReturnType<typeof loss | typeof step>[], batches: number, begun = none) =>
      skippedBatches({ skipped, batches }, 3, begun)
    assert.deepEqual(count([loss(0), step(2)], 6), { skipped: 3, ofStep: 0 })
    assert.deepEqual(count([loss(0), step(5)], 6), { skipped: 4, ofStep: 0 })
    assert.deepEqual(count([loss(0), loss(3), loss(4)], 5), { skipped: 3, ofStep: 2 })
    assert.deepEqual(count([step(0)], 1, { batches: 2, skipped: 1 }), { skipped: 2, ofStep: 0 })
    assert.deepEqual(count([loss(0)], 1, { batches: 1, skipped: 1 }), { skipped: 1, ofStep: 2 })

    // The first loss is not finite, the gradient of a root at 0 neither: the first step is passed over, the second is not.
    const data = new TensorDataset(tensor([[NaN], [0], [1], [1], [1], [1]]), tensor([[0], [0], [0], [0], [0], [0]]))
    const summary = await trainer(
      'skipped',
      {
        loss: 'custom',
        onNonFinite: 'skip',
        phases: [{ name: 'p', epochs: 1, lr: 0.01, accumulateGradBatches: 3 }],
      },
      { loss: (output) => output.abs().sqrt().mean() },
    ).train(new DataLoader(data, { batchSize: 1 }))
    assert.equal(summary.totalSteps, 1)
    assert.equal(summary.metricsHistory[0]?.skippedBatches, 3)
  })

  it('counts the time that data are waited for', async () => {
    const waitMs = 40
    const batch = [randn([2, 1]), randn([2, 1])]
    const slow = {
      async *[Symbol.asyncIterator]() {
        for (let i = 0; i < 4; i++) {
          await delay(waitMs)
          yield batch
        }
      },
    }
    const run = trainer('slow', { phases: [{ name: 'p', epochs: 2, lr: 0.01 }] })
    const rates: number[] = []
    run.on('step', ({ epoch, samplesPerSecond }) => void (epoch === 2 && rates.push(samplesPerSecond)))
    const { metricsHistory } = await run.train(slow)
    // Timers may fire a millisecond early.
    const leastSeconds = (4 * (waitMs - 1)) / 1000
    assert.ok((metricsHistory[1]?.trainingTime ?? 0) >= leastSeconds, String(metricsHistory[1]?.trainingTime))
    assert.ok((metricsHistory[1]?.samplesPerSecond ?? Infinity) <= 8 / leastSeconds)
    assert.ok(
      rates.every((rate) => rate <= (2 * 1000) / (waitMs - 20)),
      String(rates),
    )
  })

  it('labels what an abort between epochs saves with the validation of these weights', async () => {
    const loader = new DataLoader(new TensorDataset(randn([4, 1]), randn([4, 1])), { batchSize: 2 })
    const checkpoint = { everyEpochs: null, saveBest: false }
    const run = trainer('label', { phases: [{ name: 'p', epochs: 3, lr: 0.01 }] }, { checkpoint })
    const controller = new AbortController()
    let valLoss: number | null = null
    run.on('epoch', (event) => {
      valLoss = event.valLoss
      controller.abort()
    })
    await assert.rejects(run.train(loader, loader, { signal: controller.signal }), { code: 'ERR_ABORTED' })
    const saved = (await load(latestPath(join(folder, 'label')))) as Map<string, unknown>
    assert.ok(valLoss !== null)
    assert.equal(saved.get('validation_loss'), valLoss)
  })

  it('ends a validation of samples that are read one by one after the present batch', async () => {
    const controller = new AbortController()
    let reads = 0
    const validation = {
      length: 40,
      get: (): Tensor[] => {
        if (++reads === 5) controller.abort()
        return [tensor([1]), tensor([1])]
      },
    }
    const training = new DataLoader(new TensorDataset(randn([4, 1]), randn([4, 1])), { batchSize: 2 })
    const run = trainer('validation', { phases: [{ name: 'p', epochs: 1, lr: 0.01 }] })
    const { signal } = controller
    await assert.rejects(run.train(training, new DataLoader(validation, { batchSize: 1 }), { signal }), {
      code: 'ERR_ABORTED',
    })
    assert.ok(reads < 20, `${reads} samples were read`)
  })

  it('tells what ended it, whatever the data do when they are closed, and closes all data', async () => {
    const closed: string[] = []
    const warnings: Error[] = []
    const onWarning = (warning: Error): void => void warnings.push(warning)
    const data = (name: string, batch: (index: number) => Tensor[]) => ({
      [Symbol.iterator]() {
        let index = 0
        return {
          next: () => ({ done: false as const, value: batch(index++) }),
          return: () => {
            closed.push(name)
            throw new Error(`${name} cannot be closed`)
          },
        }
      },
    })
    const [x, wide, y] = [randn([2, 1]), randn([2, 2]), randn([2, 1])]
    const pair = (): Tensor[] => [x, y]
    const wrong = (index: number): Tensor[] => [index < 3 ? x : wide, y]
    const run = trainer('closing', { phases: [{ name: 'p', epochs: 1, lr: 0.01 }] })
    process.on('warning', onWarning)
    await assert.rejects(run.train(data('training', wrong), data('validation', pair)), {
      code: 'ERR_DATA',
      message: /batch 4 of an epoch of the training data should be/,
    })
    const broken = data('broken', () => [])
    await assert.rejects(run.train(data('alone', pair), broken), { message: /validation data should be an array/ })
    await delay(1)
    process.off('warning', onWarning)
    assert.deepEqual(closed.sort(), ['alone', 'broken', 'training', 'validation'])
    assert.ok(
      warnings.some(({ message }) => message.includes('training cannot be closed')),
      String(warnings),
    )
  })
})
