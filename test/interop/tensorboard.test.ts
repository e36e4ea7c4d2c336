/** What the real TensorBoard reads out of our event files: every value of every step, and after a resume none twice. */
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import type { Context } from 'mocha'
import { RunLogs } from '../../src/training/run-logs.js'
import { crc32c } from '../../src/training/tensorboard-records.js'
import { withFolder } from '../format/fixtures.js'
import { needPython, python } from '../python.js'
import { epochOf, loggedRun, lossOf, recordSteps, resumedAt, stepEvent } from '../training/logged-run.js'

/** Runs a program without torch, which takes a second to load. */
const run = async (program: string, ...args: string[]): Promise<string> =>
  (await promisify(execFile)(python as string, ['-c', program, ...args], { maxBuffer: 1 << 26 })).stdout

const reader = `
import json, sys
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
found = EventAccumulator(sys.argv[1], size_guidance={'scalars': 0, 'tensors': 0})
found.Reload()
tags = found.Tags()
print(json.dumps({
    'scalars': {tag: [[e.step, None if e.value != e.value else e.value] for e in found.Scalars(tag)] for tag in tags['scalars']},
    'texts': {tag: [e.tensor_proto.string_val[0].decode() for e in found.Tensors(tag)] for tag in tags['tensors']},
    'plugins': {tag: found.SummaryMetadata(tag).plugin_data.plugin_name for tag in tags['tensors']},
    'begun': found.FirstEventTimestamp(),
}))`

interface Found {
  /** NaN is null. */
  scalars: Record<string, [step: number, value: number | null][]>
  texts: Record<string, string[]>
  plugins: Record<string, string>
  begun: number
}

const found = async (folder: string): Promise<Found> =>
  JSON.parse(await run(reader, join(folder, 'tensorboard'))) as Found

async function record(folder: string, from: number, to: number, of = loggedRun): Promise<void> {
  const logs = await RunLogs.open(folder, { tensorboard: true }, of, ({ message }) => assert.fail(message))
  recordSteps(logs, folder, from, to)
  await logs.close()
}

async function needTensorBoard(context: Context): Promise<void> {
  needPython(context)
  if ((await run(`import importlib.util; print(importlib.util.find_spec('tensorboard') is not None)`)) === 'True\n')
    return
  const reason = 'the reference Python has no tensorboard; npm test installs it'
  if (process.env['CI']) throw new Error(reason)
  console.log(`      skipped: ${reason}`)
  context.skip()
}

describe('TensorBoard', () => {
  before(async function () {
    await needTensorBoard(this)
  })

  /** The scalars of the whole run. */
  function assertWhole({ scalars }: Found): void {
    const steps = Array.from({ length: 24 }, (_none, index) => index + 1)
    assert.deepEqual(
      scalars['step/loss'],
      steps.map((step) => [step, lossOf(step)]),
    )
    assert.deepEqual(
      scalars['step/learning_rate'],
      steps.map((step) => [step, Math.fround(stepEvent(step).learningRate)]),
    )
    const epochs = [1, 2, 3, 4, 5, 6]
    const scalar = (name: string, of: (epoch: number) => number): void =>
      assert.deepEqual(
        scalars[name],
        epochs.map((epoch) => [epoch * 4, Number.isNaN(of(epoch)) ? null : Math.fround(of(epoch))]),
        name,
      )
    scalar('epoch/number', (epoch) => epoch)
    scalar('epoch/phase', (epoch) => (epoch > 3 ? 2 : 1))
    scalar('epoch/train_loss', (epoch) => epochOf(epoch).trainLoss)
    scalar('epoch/val_loss', (epoch) => epochOf(epoch).valLoss ?? NaN)
    scalar('epoch/val_mae', (epoch) => epochOf(epoch).valMetrics['mae'] ?? NaN)
    scalar('epoch/learning_rate', (epoch) => epochOf(epoch).learningRate)
    scalar('epoch/learning_rate_2', (epoch) => epochOf(epoch).learningRates?.[1] ?? NaN)
    scalar('epoch/samples_per_second', (epoch) => epochOf(epoch).samplesPerSecond ?? NaN)
    scalar('epoch/training_time', (epoch) => epochOf(epoch).trainingTime)
    scalar('epoch/memory_usage', (epoch) => epochOf(epoch).memoryUsageMb ?? NaN)
  }

  it('reads every value of every step and epoch, and the configuration as text', () =>
    withFolder(async (folder) => {
      await record(folder, 1, 24)
      const read = await found(folder)
      assertWhole(read)
      assert.ok(Math.abs(read.begun - Date.now() / 1000) < 60)
      assert.deepEqual(Object.keys(read.texts), ['run/training_config', 'run/config', 'run/environment'])
      assert.deepEqual(new Set(Object.values(read.plugins)), new Set(['text']))
      const config = JSON.parse(read.texts['run/training_config']?.[0] ?? '') as { phases: { lr: number }[] }
      assert.deepEqual(
        config.phases.map(({ lr }) => lr),
        [0.1, 0.01],
      )
    }))

  it('reads each step once after resumptions, in the middle of an epoch or from far back', () =>
    withFolder(async (folder) => {
      await record(folder, 1, 24)
      // Later processes may have smaller ids, and their clock may be behind: the order of the names must not depend on either.
      for (const step of [21, 10, 12, 4])
        await record(folder, step + 1, step === 4 ? 24 : step + 6, resumedAt(step, folder))
      assert.equal(readdirSync(join(folder, 'tensorboard')).length, 5)
      assertWhole(await found(folder))
    }))

  it('shows nothing of another run that was in the folder before', () =>
    withFolder(async (folder) => {
      await record(folder, 1, 24)
      await record(folder, 1, 3)
      const { scalars } = await found(folder)
      assert.deepEqual(
        scalars['step/loss'],
        [1, 2, 3].map((step) => [step, lossOf(step)]),
      )
      assert.deepEqual(scalars['epoch/train_loss'] ?? [], [])
    }))

  it('gives a step of several batches the mean of their losses', () =>
    withFolder(async (folder) => {
      const [first] = loggedRun.trainingConfig.phases
      assert.ok(first !== undefined)
      const phases = [{ ...first, accumulateGradBatches: 2 }]
      const accumulating = { ...loggedRun, trainingConfig: { ...loggedRun.trainingConfig, phases } }
      const logs = await RunLogs.open(folder, { tensorboard: true }, accumulating, ({ message }) =>
        assert.fail(message),
      )
      const chunk = (losses: number[], batch: number, step: number): void =>
        logs.record('step', { ...stepEvent(step), phase: 1, batches: 7, batch, losses: new Float64Array(losses) })
      chunk([1, 3, 5], 3, 1) // Batches 1 and 2 make step 1; batch 3 waits.
      chunk([7, 2, 4, 8], 7, 4) // 3 and 4 make step 2, 5 and 6 step 3, the last alone step 4.
      chunk([1, NaN], 2, 5) // One was passed over: the other is the step.
      await logs.close()
      const { scalars } = await found(folder)
      assert.deepEqual(scalars['step/loss'], [
        [1, 2],
        [2, 6],
        [3, 3],
        [4, 8],
        [5, 1],
      ])
    }))

  it('reads a file up to where it was cut off', () =>
    withFolder(async (folder) => {
      await record(folder, 1, 24)
      const [name] = readdirSync(join(folder, 'tensorboard'))
      const path = join(folder, 'tensorboard', name as string)
      const bytes = readFileSync(path)
      writeFileSync(path, bytes.subarray(0, bytes.length / 2))
      const losses = (await found(folder)).scalars['step/loss'] ?? []
      assert.ok(losses.length > 5 && losses.length < 24)
      assert.deepEqual(
        losses,
        losses.map((_none, index) => [index + 1, lossOf(index + 1)]),
      )
    }))

  // RFC 3720, B.4.
  it('has the CRC-32C of the standard', () => {
    assert.equal(crc32c(new Uint8Array(32)), 0x8a9136aa)
    assert.equal(crc32c(new Uint8Array(32).fill(0xff)), 0x62a8ab43)
    assert.equal(crc32c(Uint8Array.from({ length: 32 }, (_none, index) => index)), 0x46dd794e)
    assert.equal(crc32c(Buffer.from('123456789')), 0xe3069283)
  })
})
