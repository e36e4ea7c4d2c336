/** What is said of a run that a signal ended. */
import assert from 'node:assert/strict'
import { TorchkeepError } from '../../src/format/errors.js'
import { asInterruption } from '../../src/training/show-run.js'

describe('a run that a signal ended', () => {
  it('says how to go on: the command as it was typed, with its folder and changes', () => {
    const error = new TorchkeepError('ERR_ABORTED', 'interrupted')
    const suggested = (...argv: string[]): unknown => {
      const { exitCode, suggestions } = asInterruption(error, 130, argv) as TorchkeepError & { exitCode: number }
      assert.equal(exitCode, 130)
      return suggestions[0]
    }
    assert.equal(suggested('a.yaml'), 'torchkeep train a.yaml --resume latest goes on with the same bits')
    assert.equal(
      suggested('a.yaml', '--set', "phases[0].name='x y'", '--resume', 'best', '--checkpoint-dir=b', '--resume=latest'),
      String.raw`torchkeep train a.yaml --set 'phases[0].name='\''x y'\''' --checkpoint-dir=b --resume latest goes on with the same bits`,
    )
  })

  it('leaves other errors as they are', () => {
    const error = new TorchkeepError('ERR_DATA', 'no data')
    assert.equal(asInterruption(error, 130, []), error)
  })
})
