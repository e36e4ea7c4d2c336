/** 5,000 steps leave the memory as it was. */
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setImmediate } from 'node:timers/promises'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { DataLoader, liveTensors, manualSeed, nn, randn, TensorDataset } from '../../lib/index.js'
import { ProgressiveTrainer } from '../../src/training/trainer.js'

/** Collects the tensors that other tests dropped, so that they are not counted; their finalizers run before the next turn's end. */
async function collectGarbage(): Promise<void> {
  setFlagsFromString('--expose-gc')
  runInNewContext('gc')()
  await setImmediate()
  await setImmediate()
}

describe('memory', function () {
  this.timeout(120_000)
  it('is flat over 5,000 steps, and the live tensors are back', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'torchkeep-memory-'))
    manualSeed(0)
    const x = randn([1600, 16])
    const loader = new DataLoader(new TensorDataset(x, x.sum(1, { keepdim: true })), { batchSize: 32, shuffle: true })
    const model = new nn.Sequential(new nn.Linear(16, 32), new nn.ReLU(), new nn.Dropout(0.1), new nn.Linear(32, 1))
    const phases = [
      { name: 'one', epochs: 50, lr: 1e-3 },
      { name: 'two', epochs: 50, lr: 1e-4, freeze: ['0.*'] },
    ]
    const trainer = new ProgressiveTrainer(
      model,
      null,
      { loss: 'mse', metrics: ['rmse'], phases },
      { checkpointDir: folder, checkpoint: { everyEpochs: 10 }, threads: 1 },
    )
    let atTenPercent = 0
    trainer.on('epoch', ({ epoch }) => {
      if (epoch === 10) atTenPercent = process.memoryUsage.rss()
    })
    await collectGarbage()
    const before = liveTensors()
    const summary = await trainer.train(loader, loader)
    assert.equal(summary.totalSteps, 5000)
    assert.equal(liveTensors(), before, 'tensors that the run made are gone')
    const grown = process.memoryUsage.rss() - atTenPercent
    assert.ok(grown <= 16 * 2 ** 20, `RSS grew by ${(grown / 2 ** 20).toFixed(1)} MB after 10 % of the run`)
    rmSync(folder, { recursive: true })
  })
})
