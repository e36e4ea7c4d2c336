/** What a run looks like on a terminal and elsewhere. */
import assert from 'node:assert/strict'
import { EventEmitter } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Writable } from 'node:stream'
import { ProgressReporter } from '../../src/training/progress-reporter.js'
import type { ProgressiveTrainer } from '../../src/training/trainer.js'
import { prepare } from './fixture.js'
import { epochEvent } from './logged-run.js'

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

  it('tells of early stops, weights put back, batches passed over, and phases whose epochs nobody knows', () => {
    const trainer = new EventEmitter()
    const screen = new Screen(true)
    const reporter = new ProgressReporter(
      trainer as unknown as ProgressiveTrainer,
      screen as unknown as NodeJS.WriteStream,
    )
    const { phases: _phases, ...names } = { phases: 2, phase: 1, phaseName: 'head', trained: ['a'], frozen: [] }
    trainer.emit('phase', { ...names, phases: 2, name: 'head', epochs: null })
    const step = { ...names, epoch: 3, epochs: null, step: 30, batch: 7, batches: null, losses: new Float64Array([1]) }
    trainer.emit('step', { ...step, meanLoss: 0.5, samplesPerSecond: 99.6 })
    trainer.emit('warning', { id: 'skipped', message: '2 batches \x1b[2J' })
    trainer.emit('epoch', { ...epochEvent(3), epochs: null, skippedBatches: 2 })
    trainer.emit('stop', {
      of: 'phase',
      reason: 'steps',
      message: 'all 30 steps',
      phaseName: 'head',
      restoredEpoch: null,
    })
    trainer.emit('stop', { of: 'phase', reason: 'patience', message: 'no better', phaseName: 'all', restoredEpoch: 2 })
    trainer.emit('stop', { of: 'run', reason: 'aborted', message: 'interrupted', phaseName: 'all', restoredEpoch: 1 })
    reporter.stop()
    assert.match(screen.text, /epoch 3 {2}batch 7 {2}loss 0\.5000 {2}100 samples\/s/)
    const ownCodes = /\x1b(?:[78]|\[\??\d+[A-Za-z])/g
    const lines = screen.text
      .replaceAll(/epoch 3 {2}batch 7.*?samples\/s/g, '')
      .replaceAll(ownCodes, '')
      .split('\n')
    assert.deepEqual(lines, [
      "phase 1/2 'head': steps limit it, 1 tensors trained, 0 frozen",
      'warning: 2 batches \\x1b[2J',
      'epoch 3  loss 0.3226  val_loss 0.2333  val_mae 0.0000  1.3 s  best  2 batches passed over',
      "end of phase 'all': no better; the weights of epoch 2, its best, are back",
      "end of phase 'all': the weights of epoch 1, its best, are back",
      '',
    ])
  })
})
