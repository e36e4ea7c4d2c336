/** What `torchkeep watch` shows of runs that go on, end, die, or have not begun. */
import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import {
  appendFileSync,
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs'
import { hostname, tmpdir } from 'node:os'
import { join } from 'node:path'
import { readRun, type RunState } from '../../src/checkpoint/index.js'
import { processStart } from '../../src/checkpoint/store.js'
import { packageRoot } from '../../src/libtorch/index.js'
import { needTerminal, onTerminal } from './on-terminal.js'
import { runCommand } from './run-command.js'
import { checkedJson } from './schema.js'
import { matchSnapshot } from './snapshot.js'

type Fields = Record<string, unknown>

/** Lines of a run of 3 epochs of 10 batches, in two phases, until an epoch is done. */
const runLine = (more: Fields = {}): Fields => ({
  event: 'run',
  resumed_from: null,
  epochs_done: 0,
  step: 0,
  pid: process.pid,
  host: hostname(),
  process_start: processStart(process.pid),
  torchkeep_version: '0.2.0',
  libtorch_version: '2.13.0',
  node_version: '20.19.0',
  model_type: 'ConvNet',
  config_hash: 'ab',
  monitor: 'val_accuracy',
  mode: 'max',
  phases: [
    { name: 'head', epochs: 1, steps: null },
    { name: 'everything', epochs: 2, steps: null },
  ],
  epochs: 3,
  ...more,
})
const phaseLine = (phase: number): Fields => ({
  event: 'phase',
  phase,
  phases: 2,
  name: phase === 1 ? 'head' : 'everything',
  epochs: phase,
  epochs_done: 0,
  trained_tensors: 2,
  frozen_tensors: 4,
})
const stepLine = (epoch: number, batch: number): Fields => ({
  event: 'step',
  phase: epoch > 1 ? 2 : 1,
  phase_name: epoch > 1 ? 'everything' : 'head',
  epoch,
  epochs: 3,
  step: (epoch - 1) * 10 + batch,
  batch,
  batches: 10,
  loss: 0.5 / batch,
  mean_loss: 1 / batch,
  samples_per_second: 1234.5,
})
const epochLines = (epoch: number): Fields[] => [
  stepLine(epoch, 10),
  {
    event: 'epoch',
    epoch,
    epochs: 3,
    phase: epoch > 1 ? 2 : 1,
    phase_name: 'head',
    train_loss: 1 / epoch,
    val_loss: epoch === 2 ? 'NaN' : 1.5 / epoch,
    val_accuracy: 0.3 * epoch,
    learning_rate: 0.1,
    step: epoch * 10,
    samples_per_second: 1234.5,
    training_time: 60,
    is_best: true,
  },
  {
    event: 'checkpoint',
    path: `regular/checkpoint_epoch_${epoch}_phase_1_1760000000.pth`,
    copies: ['latest.pth'],
    epoch,
    phase: 1,
    step: epoch * 10,
    is_best: true,
  },
]
const stopLine = (reason: string, message: string): Fields => ({
  event: 'stop',
  of: 'run',
  reason,
  message,
  phase: 2,
  phase_name: 'everything',
  epoch: 3,
  step: 30,
  restored_epoch: null,
})
const wholeRun = [
  runLine(),
  phaseLine(1),
  stepLine(1, 2),
  ...epochLines(1),
  phaseLine(2),
  ...epochLines(2),
  ...epochLines(3),
  stopLine('finished', '3 epochs are done'),
]

let seconds = 0
const textOf = (lines: readonly Fields[]): string =>
  lines.map((line) => `${JSON.stringify({ ...line, time: '2026-01-31T13:05:09.000Z', seconds: seconds++ })}\n`).join('')

describe('torchkeep watch', () => {
  let folder: string
  let path: string
  const children: ChildProcess[] = []
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'torchkeep-watch-'))
    path = join(folder, 'events.jsonl')
  })
  afterEach(() => {
    for (const child of children.splice(0)) child.kill('SIGKILL')
    rmSync(folder, { recursive: true })
  })
  const write = (...lines: Fields[]): void => writeFileSync(path, textOf(lines))
  const add = (...lines: Fields[]): void => appendFileSync(path, textOf(lines))

  /** A watch that goes on; `shown` resolves when its output has a text. */
  function watch(...args: string[]) {
    const child = spawn(process.execPath, [join(packageRoot, 'bin', 'run.js'), 'watch', folder, ...args], {
      env: { ...process.env, LIBTORCH: undefined },
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    children.push(child)
    let output = ''
    const ended = once(child, 'close')
    child.stdout.on('data', (data: Buffer) => (output += data.toString()))
    const shown = async (text: string): Promise<void> => {
      while (!output.includes(text))
        await Promise.race([once(child.stdout, 'data'), ended.then(() => assert.fail(output))])
    }
    return { child, shown, status: async () => ((await ended) as [number | null])[0], output: () => output }
  }

  it('shows a run as it stands: --once', async () => {
    write(runLine(), phaseLine(1), ...epochLines(1), phaseLine(2), stepLine(2, 2), stepLine(2, 6))
    add({ event: 'warning', id: 'skipped', message: '3 batches were passed over' })
    const { stdout, stderr, status } = await runCommand(['watch', folder, '--once'])
    assert.deepEqual([status, stderr], [0, ''])
    matchSnapshot('watch', stdout, [
      [hostname(), '<host>'],
      [String(process.pid), '<pid>'],
    ])
    const { stdout: json } = await runCommand(['watch', folder, '--once', '--json'])
    const state = checkedJson('watch', json) as RunState
    assert.equal(state.status, 'running')
    assert.deepEqual([state.phase, state.phaseName, state.epoch, state.epochs, state.step], [2, 'everything', 2, 3, 16])
    assert.deepEqual(state.best, { monitor: 'val_accuracy', epoch: 1, score: 0.3 })
    assert.equal(state.remainingSeconds, 60 * 1.4, 'four tenths of this epoch and one more')
    assert.equal(state.warnings.length, 1)
  })

  it('knows how a run ended: by its last words, or by its process', async () => {
    const dead = spawn(process.execPath, ['-e', ''])
    const start = processStart(dead.pid as number)
    await once(dead, 'exit')
    for (const [lines, status, code] of [
      [wholeRun, 'finished', 0],
      [[...wholeRun.slice(0, -1), stopLine('aborted', 'interrupted')], 'interrupted', 1],
      [[...wholeRun.slice(0, -1), stopLine('ERR_NON_FINITE', 'the loss is NaN')], 'failed', 1],
      [[runLine(), phaseLine(1)], 'running', 0],
      [[runLine({ pid: dead.pid, process_start: start }), phaseLine(1)], 'lost', 1],
      [[runLine({ process_start: '1' }), phaseLine(1)], 'lost', 1],
      [[runLine({ host: 'another-machine' }), phaseLine(1)], 'elsewhere', 0],
    ] as const) {
      write(...lines)
      assert.equal((await readRun(folder)).status, status)
      if (status === 'failed' || status === 'finished')
        assert.equal((await runCommand(['watch', folder, '--once'])).status, code, status)
    }
  })

  it('says where no run has logged', async () => {
    const { stdout, status } = await runCommand(['watch', join(folder, 'none'), '--once', '--json'])
    assert.equal(status, 3)
    const { error } = checkedJson('watch', stdout) as { error: { code: string; message: string } }
    assert.equal(error.code, 'ERR_CHECKPOINT_MISSING')
    assert.match(error.message, /no run has logged in .*none/)
  })

  it('takes what a resumed run did over, not what it did before that', async () => {
    write(runLine(), phaseLine(1), ...epochLines(1), phaseLine(2), ...epochLines(2), ...epochLines(3))
    appendFileSync(path, '{"event":"step","st\n')
    add(
      runLine({ event: 'resume', resumed_from: 'latest.pth', epochs_done: 1, step: 14 }),
      phaseLine(2),
      stepLine(2, 5),
    )
    const state = await readRun(folder)
    assert.deepEqual(
      state.history.map(({ epoch }) => epoch),
      [1],
    )
    assert.deepEqual([state.resumedFrom, state.best?.epoch, state.step], ['latest.pth', 1, 15])
    assert.equal(state.unreadableLines, 1)
  })

  it('waits for a run, follows it line by line, through a rotation and a truncation, and ends with it', async () => {
    rmSync(folder, { recursive: true })
    const { shown, status, output } = watch()
    await shown(`waiting for ${folder}`)
    mkdirSync(folder)
    write(runLine(), phaseLine(1))
    await shown("phase 1 of 2 'head'")
    add(...epochLines(1))
    await shown('checkpoint regular/checkpoint_epoch_1_')
    const [half, rest] = [textOf(epochLines(2)).slice(0, 20), textOf(epochLines(2)).slice(20)]
    appendFileSync(path, half)
    appendFileSync(path, rest)
    await shown('epoch 2 of 3')
    renameSync(path, `${path}.1`)
    writeFileSync(path, textOf([{ event: 'warning', id: 'rotated', message: 'first of the new file' }]))
    await shown('warning: first of the new file')
    truncateSync(path)
    add({ event: 'warning', id: 'cut', message: 'after the cut' })
    await shown('warning: after the cut')
    add(...epochLines(3), stopLine('finished', '3 epochs are done'))
    assert.equal(await status(), 0)
    assert.match(output(), /run ended \(finished\): 3 epochs are done\n$/)
    assert.equal(output().match(/epoch 1 of 3 {2}train_loss/g)?.length, 1, 'nothing is shown twice')
  })

  it('ends when the process of the run dies without a word', async () => {
    const trainer = spawn(process.execPath, ['-e', 'setInterval(() => {}, 1000)'])
    children.push(trainer)
    await once(trainer, 'spawn')
    write(runLine({ pid: trainer.pid, process_start: processStart(trainer.pid as number) }), phaseLine(1))
    const { shown, status } = watch()
    await shown('running')
    trainer.kill('SIGKILL')
    assert.equal(await status(), 1)
  })

  it('passes the events through with --json, one a line', async () => {
    write(...wholeRun.slice(0, -1))
    const { shown, status, output } = watch('--json')
    await shown('checkpoint_epoch_3')
    add(stopLine('finished', 'done \u009b2J \u202e'))
    assert.equal(await status(), 0)
    const lines = output().trimEnd().split('\n')
    assert.deepEqual(
      lines.map((line) => (checkedJson('watch', line) as Fields)['event']),
      wholeRun.map(({ event }) => event),
    )
    assert.equal((JSON.parse(lines.at(-1) as string) as Fields)['message'], 'done \u009b2J \u202e')
    assert.doesNotMatch(output(), /[\u0080-\u009f\u202e]/)
  })

  it('ends with 130 on Ctrl-C and leaves the file alone', async () => {
    write(runLine(), phaseLine(1))
    copyFileSync(path, `${path}.copy`)
    const { child, shown, status } = watch()
    await shown('head')
    child.kill('SIGINT')
    assert.equal(await status(), 130)
    assert.deepEqual(readFileSync(path), readFileSync(`${path}.copy`))
  })

  it('draws the picture anew on a terminal, and lets no control character of the file through', async function () {
    needTerminal(this)
    write(
      runLine({ model_type: 'Net\x1b[2J\u009b31m' }),
      phaseLine(1),
      ...epochLines(1),
      phaseLine(2),
      ...epochLines(2),
    )
    let added = false
    const { status, output } = await onTerminal(['watch', folder], {}, (seen) => {
      if (!added && seen.includes('checkpoint_epoch_2')) {
        added = true
        add(...epochLines(3), stopLine('finished', 'all \x1b[31mdone'))
      }
      return ''
    })
    assert.equal(status, 0, output)
    assert.ok(output.includes('Net\\x1b[2J\\x9b31m'), output)
    assert.ok(output.includes('all \\x1b[31mdone'))
    assert.match(output, /train_loss\r?\n/, 'a chart with its legend')
    const [first = '', second = ''] = output.split(/\x1b\[\d+A/)
    assert.match(first, /epoch\x1b\[22m +2 of 3/)
    assert.match(second, /epoch\x1b\[22m +3 of 3/)
    assert.doesNotMatch(output, /\x1b\[2J|\u009b/)
  })

  it('does not stumble over what no run would write', async () => {
    const odd = [
      'null',
      '[]',
      '{}',
      '{"event":5}',
      '{"event":"__proto__"}',
      '{"event":"constructor","time":1}',
      '{"event":"run","phases":[null,{"epochs":"Infinity"},7],"monitor":"constructor","host":{}}',
      '{"event":"epoch","epoch":1,"is_best":true,"toString":3}',
      '{"event":"step","epoch":{},"batch":-1,"batches":0,"loss":"NaN"}',
      '{"event":"phase","phase":1e99}',
      `{"event":"warning","message":"${'x'.repeat(2 << 20)}"}`,
    ]
    writeFileSync(path, `${odd.join('\n')}\n`)
    const { stdout, status } = await runCommand(['watch', folder, '--once', '--json'])
    assert.equal(status, 0)
    const state = checkedJson('watch', stdout) as RunState
    assert.deepEqual([state.status, state.unreadableLines, state.warnings.length], ['elsewhere', 5, 0])
    assert.equal((await runCommand(['watch', folder, '--once'])).status, 0)
  })
})
