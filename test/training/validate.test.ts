/** The validator finds nothing in what the trainer writes, whatever the moment. */
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { validateAll } from '../../src/checkpoint/index.js'
import { prepare } from './fixture.js'

describe('verdicts on checkpoints of a run', function () {
  this.timeout(60_000)

  it('have no errors and no warnings, inside epochs and in every phase', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'torchkeep-verdicts-'))
    try {
      const { trainer, trainLoader, valLoader } = prepare(folder, { checkpoint: { everyEpochs: 1, everySteps: 2 } })
      await trainer.train(trainLoader, valLoader)
      const { files, valid } = await validateAll([folder], { strict: true })
      assert.ok(files.length >= 8)
      for (const { path, kind, layout, errors, warnings } of files) {
        assert.deepEqual([...errors, ...warnings], [], path)
        assert.deepEqual([kind, layout], ['training_checkpoint', 'torchkeep'])
      }
      assert.equal(valid, true)
    } finally {
      rmSync(folder, { recursive: true })
    }
  })
})
