/** A run resumed from any of its checkpoints ends in the bits of the run that went through. */
import assert from 'node:assert/strict'
import { mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DataLoader, Generator, manualSeed, randint, randn, TensorDataset } from '../../lib/index.js'
import type { Plain } from '../../src/checkpoint/fields.js'
import type { Phase } from '../../src/checkpoint/training-config.js'
import { latestBestPath, latestPath } from '../../src/checkpoint/layout.js'
import { decodeCheckpoint } from '../../src/checkpoint/schema.js'
import type { TorchkeepError } from '../../src/format/errors.js'
import { readTorchFile, writePlan } from '../../src/format/index.js'
import { planWithKey } from '../../src/format/replace-key.js'
import { load } from '../../src/serialization.js'
import { ProgressiveTrainer } from '../../src/training/trainer.js'
import { assertSameBits, prepare, trainingConfig } from './fixture.js'

describe('resume', function () {
  this.timeout(120_000)
  let folder: string
  /** Last checkpoint of the run that went through. */
  let whole: string
  before(() => (folder = mkdtempSync(join(tmpdir(), 'torchkeep-resume-'))))
  after(() => rmSync(folder, { recursive: true }))

  const regular = (run: string): string[] =>
    readdirSync(join(folder, run, 'regular')).map((name) => join(folder, run, 'regular', name))

  it('gives the same bits from every step and every epoch of every phase', async () => {
    const uninterrupted = prepare(join(folder, 'whole'), { checkpoint: { everySteps: 1 } })
    const summary = await uninterrupted.trainer.train(uninterrupted.trainLoader, uninterrupted.valLoader)
    whole = summary.latestCheckpointPath
    assert.equal(summary.totalSteps, 12)
    const files = regular('whole')
    assert.equal(files.length, 12 + 4, 'one a step and one an epoch')
    for (const [index, file] of files.entries()) {
      const run = prepare(join(folder, `resumed-${index}`), { seed: 100 + index })
      const resumed = await run.trainer.train(run.trainLoader, run.valLoader, { resumeFrom: file })
      await assertSameBits(resumed.latestCheckpointPath, whole)
      assert.equal(resumed.totalSteps, 12, file)
      assert.equal(resumed.metricsHistory.length, 4, file)
    }
  })

  it('gives the same bits where the loaders have generators of their own', async () => {
    const first = prepare(join(folder, 'own'), {
      checkpoint: { everySteps: 4 },
      generator: new Generator(9),
      valGenerator: new Generator(10),
    })
    const { latestCheckpointPath } = await first.trainer.train(first.trainLoader, first.valLoader)
    for (const file of regular('own')) {
      const run = prepare(join(folder, 'own-resumed'), {
        seed: 1,
        generator: new Generator(1),
        valGenerator: new Generator(2),
      })
      const resumed = await run.trainer.train(run.trainLoader, run.valLoader, { resumeFrom: file })
      await assertSameBits(resumed.latestCheckpointPath, latestCheckpointPath)
    }
    const without = prepare(join(folder, 'own-resumed'))
    await assert.rejects(
      without.trainer.train(without.trainLoader, without.valLoader, { resumeFrom: latestCheckpointPath }),
      {
        code: 'ERR_CHECKPOINT_INCOMPATIBLE',
        message: /had a generator of its own, but now has none/,
      },
    )
  })

  it('stops before and within a validation, and goes on with the same bits', async () => {
    manualSeed(6)
    const many = new TensorDataset(randn([2000, 1, 8, 8]), randint(0, 3, [2000]))
    // Shuffled, so that an order drawn twice would show in all later random numbers.
    const slow = (): DataLoader => new DataLoader(many, { batchSize: 1, shuffle: true })
    const config = { ...trainingConfig, phases: trainingConfig.phases.map((phase) => ({ ...phase, epochs: 1 })) }
    const through = prepare(join(folder, 'validated'), { config })
    const { latestCheckpointPath } = await through.trainer.train(through.trainLoader, slow())
    const moments = [(abort: () => void) => abort(), (abort: () => void) => void setImmediate(abort)]
    for (const [index, moment] of moments.entries()) {
      const stopped = join(folder, `validating-${index}`)
      const run = prepare(stopped, { config })
      const stop = new AbortController()
      run.trainer.on('step', ({ batch, batches }) => batch === batches && moment(() => stop.abort()))
      let epochs = 0
      run.trainer.on('epoch', () => epochs++)
      await assert.rejects(run.trainer.train(run.trainLoader, slow(), { signal: stop.signal }), { code: 'ERR_ABORTED' })
      assert.equal(epochs, 0, 'the signal fired before the validation ended')
      const { dataPosition } = decodeCheckpoint(await load(latestPath(stopped)), stopped)
      assert.equal(dataPosition?.batchesDone, 3)
      const again = prepare(stopped, { config, seed: 60 })
      const resumed = await again.trainer.train(again.trainLoader, slow(), { resumeFrom: 'latest' })
      await assertSameBits(resumed.latestCheckpointPath, latestCheckpointPath)
    }
  })

  it('stops on a signal after the current step, durably, and goes on from latest with the same bits', async () => {
    const stopped = join(folder, 'stopped')
    let rejections = 0
    for (let done = false; !done;) {
      const run = prepare(stopped, rejections === 0 ? {} : { seed: 50 + rejections })
      const stop = new AbortController()
      run.trainer.once('step', () => stop.abort(new Error('enough')))
      const resumeFrom = rejections === 0 ? {} : { resumeFrom: 'latest' }
      const result = run.trainer.train(run.trainLoader, run.valLoader, { ...resumeFrom, signal: stop.signal })
      done = await result.then(
        () => true,
        (error: TorchkeepError) => {
          assert.equal(error.code, 'ERR_ABORTED')
          assert.match(error.message, /after step \d+; it goes on from .*regular.*\.pth/)
          rejections++
          return false
        },
      )
      assert.ok(rejections < 20, 'each call makes progress')
    }
    assert.ok(rejections >= 3, `stopped ${rejections} times`)
    await assertSameBits(latestPath(stopped), whole)
  })

  it('does not begin under a signal that fired before', async () => {
    const run = prepare(join(folder, 'never'))
    await assert.rejects(run.trainer.train(run.trainLoader, run.valLoader, { signal: AbortSignal.abort() }), {
      code: 'ERR_ABORTED',
    })
    assert.ok(!readdirSync(folder).includes('never'))
  })

  it('goes on from the best, and from a finished run returns at once', async () => {
    const run = prepare(join(folder, 'whole'), { seed: 8 })
    await run.trainer.train(run.trainLoader, run.valLoader, { resumeFrom: 'best' })
    await assertSameBits(latestPath(join(folder, 'whole')), whole)
    const again = prepare(join(folder, 'whole'), { seed: 9 })
    let steps = 0
    again.trainer.on('step', () => steps++)
    const summary = await again.trainer.train(again.trainLoader, again.valLoader, { resumeFrom: 'latest' })
    assert.equal(steps, 0)
    assert.equal(summary.totalEpochs, 4)
  })

  it('refuses another configuration by its differing fields unless they are accepted', async () => {
    const [phase1, phase2] = trainingConfig.phases as [Phase, Phase]
    const config = { ...trainingConfig, phases: [phase1, { ...phase2, epochs: 3, lr: 0.1 }] }
    const run = prepare(join(folder, 'changed'), { config })
    const [afterHead, afterThree] = [2, 3].map((epoch) =>
      regular('whole').find((name) => name.includes(`epoch_${epoch}_phase_${epoch - 1}`) && !name.includes('step')),
    ) as [string, string]
    await assert.rejects(
      run.trainer.train(run.trainLoader, run.valLoader, { resumeFrom: afterHead, accept: ['phases[1].lr'] }),
      { code: 'ERR_CHECKPOINT_INCOMPATIBLE', message: /differ: phases\[1\]\.epochs$/ },
    )
    for (const [resumeFrom, rates] of [
      [afterHead, [0.1, 0.05, 0.025]],
      [afterThree, [0.003, 0.05, 0.025]],
    ] as const) {
      const summary = await run.trainer.train(run.trainLoader, run.valLoader, { resumeFrom, accept: ['phases'] })
      assert.deepEqual(
        summary.metricsHistory.slice(2).map(({ learningRate }) => learningRate),
        rates,
      )
    }
  })

  it('refuses the configuration of another model with what differs, unless it is accepted', async () => {
    const withConfig = (name: string, config: Plain) => {
      const { model, trainLoader, valLoader } = prepare(join(folder, name))
      const trainer = new ProgressiveTrainer(model, config, trainingConfig, {
        checkpointDir: join(folder, name),
        threads: 1,
      })
      return (resumeFrom: string, accept: string[] = []) =>
        trainer.train(trainLoader, valLoader, { resumeFrom, accept })
    }
    const resumeWider = withConfig('wider', { width: 8, seed: 1, head: { out: 3 } })
    await assert.rejects(resumeWider(whole), {
      code: 'ERR_CHECKPOINT_INCOMPATIBLE',
      message:
        /another model; from the checkpoint to now: config\.width: 4 -> 8, config\.head: \(absent\) -> \{"out":3\}$/,
      suggestions: ["pass accept: ['config.width', 'config.head'] to go on all the same"],
    })
    await assert.rejects(resumeWider(whole, ['config.width']), { message: /now: config\.head/ })
    assert.equal((await resumeWider(whole, ['config.width', 'config.head'])).totalSteps, 12)
    assert.equal((await resumeWider(whole, ['config'])).totalSteps, 12)
    const resumeRenamed = withConfig('renamed', { width: 4, learningRate: 0.5, batch_size: 9, verbose: true })
    assert.equal((await resumeRenamed(whole)).totalSteps, 12, 'rates and batch sizes are no part of the model')
  })

  it('goes on from files of Torchkeep 0.1, whose hash was another and which say less about themselves', async () => {
    const file = await readTorchFile(whole, { keepFloats: true })
    const older = new Map((file.value as Map<string, Map<unknown, unknown>>).get('metadata'))
    older.set('config_hash', '0'.repeat(64))
    for (const key of ['model_type', 'node_version']) assert.ok(older.delete(key), key)
    const path = join(folder, 'older.pth')
    await writePlan(path, await planWithKey(file, 'metadata', older))
    const run = prepare(join(folder, 'older'))
    assert.equal((await run.trainer.train(run.trainLoader, run.valLoader, { resumeFrom: path })).totalSteps, 12)
  })

  it('begins the best anew when another value is monitored', async () => {
    const config = { ...trainingConfig, monitor: 'train_loss' }
    const run = prepare(join(folder, 'monitor'), { config })
    const summary = await run.trainer.train(run.trainLoader, run.valLoader, {
      resumeFrom: regular('whole').find((name) => name.includes('epoch_3_phase_2') && !name.includes('step')) as string,
      accept: ['monitor'],
    })
    assert.deepEqual(summary.best, {
      monitor: 'train_loss',
      mode: 'min',
      score: summary.metricsHistory[3]?.trainLoss,
      epoch: 4,
      phase: 2,
    })
  })

  it('says where it looked for a checkpoint that is not there', async () => {
    const run = prepare(join(folder, 'empty'))
    await assert.rejects(run.trainer.train(run.trainLoader, run.valLoader, { resumeFrom: 'latest' }), {
      code: 'ERR_CHECKPOINT_MISSING',
      message: `no checkpoint 'latest': looked for ${latestPath(join(folder, 'empty'))}`,
    })
    await assert.rejects(
      run.trainer.train(run.trainLoader, run.valLoader, { resumeFrom: 'best' }),
      (error: TorchkeepError) => error.message.includes(latestBestPath(join(folder, 'empty'))),
    )
  })
})
