/** A run and the checkpoints that were recovered from damaged ones. */
import assert from 'node:assert/strict'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { CheckpointRecovery } from '../../src/checkpoint/recovery.js'
import { latestPath } from '../../src/checkpoint/layout.js'
import { assertSameBits, prepare } from './fixture.js'

describe('resume from a recovered checkpoint', function () {
  this.timeout(120_000)
  let folder: string
  before(() => (folder = mkdtempSync(join(tmpdir(), 'torchkeep-recovered-'))))
  after(() => rmSync(folder, { recursive: true }))

  it('is refused with what was done to it, unless it is accepted; then it ends in the bits of the run that went through', async () => {
    const through = prepare(join(folder, 'through'))
    const { latestCheckpointPath: whole } = await through.trainer.train(through.trainLoader, through.valLoader)
    const first = prepare(join(folder, 'first'))
    const stop = new AbortController()
    first.trainer.once('step', () => stop.abort())
    const stopped = first.trainer.train(first.trainLoader, first.valLoader, { signal: stop.signal })
    await assert.rejects(stopped, { code: 'ERR_ABORTED' })

    const damaged = join(folder, 'damaged.pth')
    const bytes = readFileSync(latestPath(join(folder, 'first')))
    writeFileSync(damaged, bytes.subarray(0, bytes.indexOf('PK\x01\x02')))
    const { success, recoveredPath, lost } = await new CheckpointRecovery(folder).attemptRecovery(damaged)
    assert.deepEqual([success, lost], [true, []])
    const resumeFrom = recoveredPath ?? assert.fail()

    const run = prepare(join(folder, 'resumed'), { seed: 30 })
    await assert.rejects(run.trainer.train(run.trainLoader, run.valLoader, { resumeFrom }), {
      code: 'ERR_CHECKPOINT_INCOMPATIBLE',
      message: /was recovered from the damaged damaged\.pth.*repaired: the file: rebuilt/,
      suggestions: ['pass acceptRecovered: true to go on all the same', 'resume from an undamaged checkpoint'],
    })
    const again = prepare(join(folder, 'resumed'), { seed: 31 })
    const summary = await again.trainer.train(again.trainLoader, again.valLoader, { resumeFrom, acceptRecovered: true })
    await assertSameBits(summary.latestCheckpointPath, whole)
    const wrong = { resumeFrom, acceptRecovered: 'yes' as unknown as boolean }
    const last = prepare(join(folder, 'resumed'))
    await assert.rejects(last.trainer.train(last.trainLoader, last.valLoader, wrong), { code: 'ERR_INVALID_ARGUMENT' })
  })
})
