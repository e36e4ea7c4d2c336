import assert from 'node:assert/strict'
import { PassThrough } from 'node:stream'
import { askLicense } from '../../src/command-line/ask-license.js'
import { TorchkeepError } from '../../src/format/errors.js'

describe('askLicense', () => {
  const asked = (): { input: PassThrough; output: PassThrough; shown: () => string } => {
    const [input, output] = [new PassThrough(), new PassThrough()]
    return { input, output, shown: () => String(output.read() ?? '') }
  }

  it('asks again until the Hub knows the answer', async () => {
    const { input, output, shown } = asked()
    const answer = askLicense(input, output)
    input.write('my own\n')
    setImmediate(() => input.write(' Apache-2.0\n'))
    assert.equal(await answer, 'apache-2.0')
    assert.match(shown(), /Licence of the model.*'my own' is no identifier.*Licence of the model/s)
  })

  it('takes an empty answer for none yet, and the end of the terminal or an abort for the end', async () => {
    const none = asked()
    none.input.write('\n')
    assert.equal(await askLicense(none.input, none.output), undefined)
    const aborted = (error: unknown): boolean => error instanceof TorchkeepError && error.code === 'ERR_ABORTED'
    const ended = asked()
    ended.input.end()
    await assert.rejects(askLicense(ended.input, ended.output), aborted)
    const { input, output } = asked()
    const stop = new AbortController()
    setImmediate(() => stop.abort())
    await assert.rejects(askLicense(input, output, stop.signal), aborted)
  })
})
