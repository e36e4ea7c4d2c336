import assert from 'node:assert/strict'
import { Writable } from 'node:stream'
import { setTimeout as later } from 'node:timers/promises'
import { withProgress } from '../../src/command-line/progress.js'

describe('withProgress', () => {
  it('lets no control character of a label through to the terminal', async () => {
    let shown = ''
    const terminal = new Writable({
      write(chunk: Buffer, _encoding, done) {
        shown += chunk.toString()
        done()
      },
    })
    const output = Object.assign(terminal, { isTTY: true, columns: 200, rows: 40 }) as unknown as NodeJS.WriteStream
    const label = 'layer\x1b]0;owned\x07\nweight'
    await withProgress('reading', output, async (report) => {
      for (let done = 0; !shown.includes('layer'); done++) {
        report({ done, total: 1000, label })
        await later(20)
      }
    })
    assert.ok(shown.includes('layer\\x1b]0;owned\\x07\\nweight'))
    assert.ok(!shown.includes('\x1b]0;') && !shown.includes('\x07'))
  })
})
