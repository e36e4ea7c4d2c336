/** What a run looks like on a terminal and elsewhere. */
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Writable } from 'node:stream'
import { ProgressReporter } from '../../src/training/progress-reporter.js'
import { prepare } from './fixture.js'

/** Keeps what is written; `isTTY` as told. */
class Screen extends Writable {
  text = ''
  readonly columns = 120

  constructor(readonly isTTY: boolean) {
    super({ decodeStrings: false })
  }

  override _write(chunk: string, _encoding: string, done: () => void): void {
    this.text += chunk
    done()
  }

  cursorTo(): boolean {
    return true
  }
  clearLine(): boolean {
    return true
  }
  moveCursor(): boolean {
    return true
  }
}

describe('ProgressReporter', () => {
  async function shown(isTTY: boolean): Promise<string> {
    const folder = mkdtempSync(join(tmpdir(), 'torchkeep-progress-'))
    const screen = new Screen(isTTY)
    const { trainer, trainLoader, valLoader } = prepare(folder, { checkpoint: { everySteps: 1 } })
    const reporter = new ProgressReporter(trainer, screen as unknown as NodeJS.WriteStream)
    await trainer.train(trainLoader, valLoader)
    reporter.stop()
    rmSync(folder, { recursive: true })
    return screen.text
  }

  it('prints plain lines where there is no terminal', async () => {
    const lines = (await shown(false)).split('\n')
    assert.equal(lines[0], "phase 1/2 'head': 2 epochs, 2 tensors trained, 4 frozen")
    assert.match(
      lines[1] as string,
      /^epoch 1\/4 {2}loss \d\.\d{4} {2}val_loss \d\.\d{4} {2}val_accuracy 0\.\d{4} {2}\d+\.\d s( {2}best)?$/,
    )
    assert.equal(lines.length, 2 + 4 + 1, 'two phases, four epochs, the last line end')
  })

  it('draws a bar on a terminal', async () => {
    const text = await shown(true)
    assert.match(text, /epoch 1\/4 \[=+ *\] 1\/3 {2}loss \d\.\d{4} {2}\d+ samples\/s {2}\S+ left/)
    assert.match(text, /epoch 2\/4 \[=+ *\] 1\/3 {2}loss \d\.\d{4} {2}val_accuracy 0\.\d{4} {2}\d+ samples/)
    assert.match(text, /epoch 4\/4 {2}loss/)
  })
})
