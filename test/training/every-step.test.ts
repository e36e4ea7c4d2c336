/** Proof 1: a run resumed at any step, or at any batch inside a step, ends in the very bytes of the run that went through. */
import assert from 'node:assert/strict'
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { latestPath } from '../../src/checkpoint/layout.js'
import { load } from '../../src/serialization.js'
import { LoaderFeed } from '../../src/training/loader-feed.js'
import type { TorchkeepError } from '../../src/format/errors.js'
import { assertSameBits } from './fixture.js'
import { latestBytes, smallRun, stopClocks } from './small-run.js'

describe('resume at every step', function () {
  this.timeout(60_000)
  let folder: string
  let startClocks: () => void
  const saving = { everySteps: 1, keepLast: null }
  /** Of resumed runs only the last file counts, and each save waits for the disk. */
  const sparing = { everyEpochs: null, saveBest: false, phaseEnds: false, saveMetrics: false }
  const whole = (): string => join(folder, 'whole')

  before(async () => {
    folder = mkdtempSync(join(tmpdir(), 'torchkeep-every-step-'))
    startClocks = stopClocks()
    const summary = await smallRun(whole(), { checkpoint: saving }).train()
    const stops = summary.metricsHistory.map(({ phase, stopReason }) => [phase, stopReason])
    assert.ok(
      stops.some(([phase, reason]) => phase === 1 && reason === 'patience'),
      'phase 1 stops early',
    )
    assert.ok(
      summary.metricsHistory.filter(({ phase }) => phase === 1).length < 6,
      `phase 1 should end before its 6 epochs: ${JSON.stringify(stops)}`,
    )
    assert.equal(summary.stopReason, 'steps')
  })
  after(() => {
    startClocks()
    rmSync(folder, { recursive: true })
  })

  it('ends in the same file from each checkpoint of the run', async () => {
    const files = readdirSync(join(whole(), 'regular')).map((name) => join(whole(), 'regular', name))
    const phaseEnds = readdirSync(join(whole(), 'phases')).map((name) => join(whole(), 'phases', name))
    assert.ok(files.length > 15, `${files.length} files`)
    for (const [index, file] of [...files, ...phaseEnds].entries()) {
      const resumed = join(folder, 'resumed')
      await smallRun(resumed, { checkpoint: sparing, seed: 100 + index }).train({ resumeFrom: file })
      // A run that is resumed at its end writes nothing more.
      const last = existsSync(latestPath(resumed)) ? latestBytes(resumed) : readFileSync(file)
      assert.ok(last.equals(latestBytes(whole())), `from ${file}`)
      rmSync(resumed, { recursive: true })
    }
  })

  it('ends in the same file when it is stopped and resumed at every batch, inside accumulations too', async () => {
    const { train } = LoaderFeed.prototype
    LoaderFeed.prototype.train = function (session, position, _count, maxDurationMs, options) {
      return train.call(this, session, position, 1, maxDurationMs, options)
    }
    const stopped = join(folder, 'stopped')
    let aborts = 0
    let insideSteps = 0
    try {
      for (let isDone = false; !isDone; aborts++) {
        const run = smallRun(stopped, { checkpoint: sparing, seed: aborts === 0 ? 1 : 200 + aborts })
        const stop = new AbortController()
        run.trainer.once('step', () => stop.abort())
        const options = { signal: stop.signal, ...(aborts === 0 ? {} : { resumeFrom: 'latest' }) }
        isDone = await run.train(options).then(
          () => true,
          (error: TorchkeepError) => {
            if (error.code !== 'ERR_ABORTED') throw error
            return false
          },
        )
        const saved = (await load(latestPath(stopped))) as Map<string, Map<string, unknown>>
        if ((saved.get('accumulated_grads')?.size ?? 0) > 0) insideSteps++
        assert.ok(aborts < 60, 'each call makes progress')
      }
    } finally {
      LoaderFeed.prototype.train = train
    }
    assert.ok(aborts > 25 && insideSteps > 10, `stopped ${aborts} times, ${insideSteps} of them inside steps`)
    await assertSameBits(latestPath(stopped), latestPath(whole()))
    assert.ok(latestBytes(stopped).equals(latestBytes(whole())))
  })
})
