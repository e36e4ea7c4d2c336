/** events.jsonl and metrics.csv: what is in them, after crashes, resumptions and on a disk that is full. */
import assert from 'node:assert/strict'
import { appendFileSync, readdirSync, readFileSync, symlinkSync, mkdirSync, utimesSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { parse } from 'csv-parse/sync'
import type { RunEvent } from '../../src/checkpoint/index.js'
import type { WarningEvent } from '../../src/training/events.js'
import { type LogOptions, RunLogs } from '../../src/training/run-logs.js'
import { withFolder } from '../format/fixtures.js'
import { epochEvent, epochOf, loggedRun, recordSteps, resumedAt, stepEvent } from './logged-run.js'

const noWarning = (warning: WarningEvent): void => assert.fail(warning.message)

function eventsOf(folder: string): RunEvent[] {
  const text = readFileSync(join(folder, 'events.jsonl'), 'utf8')
  assert.ok(text.endsWith('\n'))
  return text
    .split('\n')
    .slice(0, -1)
    .map((line) => JSON.parse(line) as RunEvent)
}

const rowsOf = (folder: string): Record<string, string>[] =>
  parse(readFileSync(join(folder, 'metrics.csv')), { columns: true, record_delimiter: '\r\n' })

/** Writes the whole run. */
async function writeRun(folder: string, options: boolean | LogOptions = true): Promise<void> {
  const logs = await RunLogs.open(folder, options, loggedRun, noWarning)
  recordSteps(logs, folder, 1, 24)
  await logs.close()
}

describe('logs of a run', () => {
  it('events.jsonl has every event in order, with both times, and the process that wrote it', () =>
    withFolder(async (folder) => {
      await writeRun(folder)
      const events = eventsOf(folder)
      const kinds = events.map(({ event }) => event)
      assert.deepEqual(kinds.slice(0, 5), ['run', 'phase', 'step', 'step', 'epoch'])
      for (const kind of ['phase', 'epoch', 'checkpoint'] as const)
        assert.equal(kinds.filter((other) => other === kind).length, kind === 'phase' ? 2 : 6)
      const [run] = events
      assert.ok(run?.event === 'run')
      assert.equal(run.pid, process.pid)
      assert.equal(run.config_hash, loggedRun.metadata.configHash)
      assert.equal(run.epochs, 6)
      let last = 0
      for (const { time, seconds } of events) {
        assert.ok(Math.abs(Date.parse(time) - Date.now()) < 60_000)
        assert.ok(seconds >= last)
        last = seconds
      }
      const epoch = events.filter((event) => event.event === 'epoch')[1]
      assert.deepEqual(
        { ...epoch, time: '', seconds: 0 },
        {
          event: 'epoch',
          time: '',
          seconds: 0,
          epoch: 2,
          epochs: 6,
          phase: 1,
          phase_name: 'head, "the first"',
          train_loss: 1 / 2.1,
          val_loss: 0.35,
          val_mae: 'NaN',
          learning_rate: 0.1,
          learning_rates: [0.1, 0.05],
          step: 8,
          samples_per_second: 1e3 / 3,
          training_time: 1.25,
          memory_usage: 100.5,
          is_best: true,
        },
      )
      const checkpoint = events.find((event) => event.event === 'checkpoint')
      assert.deepEqual(checkpoint?.copies, ['latest.pth'], 'relative to the folder')
    }))

  it('events.jsonl has at most one step a second, and the last of each epoch', () =>
    withFolder(async (folder) => {
      await writeRun(folder)
      const steps = eventsOf(folder).flatMap((event) => (event.event === 'step' ? [event.step] : []))
      assert.deepEqual(steps, [1, 4, 8, 12, 16, 20, 24])
    }))

  it('a resumed run completes the line that a crash cut off and goes on in the same file', () =>
    withFolder(async (folder) => {
      await writeRun(folder)
      appendFileSync(join(folder, 'events.jsonl'), '{"event":"step","st')
      const logs = await RunLogs.open(folder, true, resumedAt(10, folder), noWarning)
      logs.record('step', stepEvent(11))
      await logs.close()
      const lines = readFileSync(join(folder, 'events.jsonl'), 'utf8').split('\n')
      const cut = lines.indexOf('{"event":"step","st')
      assert.ok(cut > 0)
      const resume = JSON.parse(lines[cut + 1] as string) as RunEvent
      assert.ok(resume.event === 'resume')
      assert.deepEqual([resume.resumed_from, resume.epochs_done, resume.step], ['latest.pth', 2, 10])
      assert.equal((JSON.parse(lines[cut + 2] as string) as RunEvent).event, 'step')
    }))

  it('metrics.csv has a row an epoch whose numbers are the same doubles', () =>
    withFolder(async (folder) => {
      await writeRun(folder)
      const rows = rowsOf(folder)
      assert.equal(
        Object.keys(rows[0] ?? {}).join(),
        'epoch,phase,phase_name,train_loss,val_loss,val_mae,learning_rate,learning_rate_2,step,samples_per_second,training_time,memory_usage,skipped_batches,is_best,stop_reason',
      )
      assert.deepEqual(
        rows.map((row) => Number(row['epoch'])),
        [1, 2, 3, 4, 5, 6],
      )
      for (const [index, row] of rows.entries()) {
        const { trainLoss, valLoss, valMetrics, learningRates, samplesPerSecond } = epochOf(index + 1)
        for (const [name, value] of Object.entries({
          train_loss: trainLoss,
          val_loss: valLoss,
          val_mae: valMetrics['mae'],
          learning_rate_2: learningRates?.[1],
          samples_per_second: samplesPerSecond,
        }))
          assert.equal(Number(row[name]), value, `${name} of epoch ${index + 1}`)
      }
      assert.equal(rows[0]?.['phase_name'], 'head, "the first"')
      assert.deepEqual(
        rows.map((row) => row['is_best']),
        ['true', 'true', 'true', 'true', 'false', 'true'],
      )
      assert.deepEqual([rows[4]?.['stop_reason'], rows[5]?.['stop_reason']], ['', 'patience'])
    }))

  it('a resume takes the rows past it out of metrics.csv; what is then written equals the uninterrupted file', () =>
    withFolder(async (folder) => {
      await writeRun(folder)
      const whole = readFileSync(join(folder, 'metrics.csv'), 'utf8')
      for (const step of [0, 4, 10, 12, 23]) {
        const logs = await RunLogs.open(folder, true, resumedAt(step, folder), noWarning)
        assert.deepEqual(
          rowsOf(folder).map((row) => Number(row['epoch'])),
          Array.from({ length: Math.floor(step / 4) }, (_none, index) => index + 1),
        )
        recordSteps(logs, folder, step + 1, 24)
        await logs.close()
        assert.equal(readFileSync(join(folder, 'metrics.csv'), 'utf8'), whole, `resumed at step ${step}`)
      }
    }))

  it('a run that starts anew in a folder keeps the figures of the one before', () =>
    withFolder(async (folder) => {
      await writeRun(folder)
      const whole = readFileSync(join(folder, 'metrics.csv'), 'utf8')
      const begin = async (): Promise<void> => (await RunLogs.open(folder, true, loggedRun, noWarning)).close()
      const kept = (): string[] => readdirSync(folder).filter((name) => /^metrics_\d+(-2)?\.csv$/.test(name))
      await begin()
      assert.equal(rowsOf(folder).length, 0)
      await begin() // What has no rows is not worth keeping.
      assert.equal(kept().length, 1)
      writeFileSync(join(folder, 'metrics.csv'), whole)
      utimesSync(join(folder, 'metrics.csv'), 1_760_000_000, 1_760_000_000)
      await begin()
      writeFileSync(join(folder, 'metrics.csv'), whole)
      utimesSync(join(folder, 'metrics.csv'), 1_760_000_000, 1_760_000_000)
      await begin()
      assert.deepEqual(kept().slice(0, 2), ['metrics_1760000000-2.csv', 'metrics_1760000000.csv'])
      for (const name of kept()) assert.equal(readFileSync(join(folder, name), 'utf8'), whole)
    }))

  it('keeps the logs that are asked for', async () => {
    for (const [options, expected] of [
      [true, ['events.jsonl', 'metrics.csv']],
      [false, []],
      [{ events: false }, ['metrics.csv']],
      [{ csv: false, tensorboard: true }, ['events.jsonl', 'tensorboard']],
    ] as const)
      await withFolder(async (folder) => {
        await writeRun(folder, options)
        assert.deepEqual(readdirSync(folder).sort(), expected)
      })
  })

  it('a log that cannot be opened is a warning; the others are written', () =>
    withFolder(async (folder) => {
      mkdirSync(join(folder, 'events.jsonl'))
      writeFileSync(join(folder, 'tensorboard'), 'a file where the folder should be')
      const warnings: WarningEvent[] = []
      const logs = await RunLogs.open(folder, { tensorboard: true }, loggedRun, (warning) => warnings.push(warning))
      recordSteps(logs, folder, 1, 24)
      await logs.close()
      assert.deepEqual(
        warnings.map(({ id }) => id),
        ['log', 'log'],
      )
      assert.match(warnings[0]?.message ?? '', /cannot write events\.jsonl in .*EISDIR/)
      assert.match(warnings[1]?.message ?? '', /cannot write the TensorBoard log in .*EEXIST/)
      assert.equal(rowsOf(folder).length, 6)
    }))

  it('a full disk is one warning, and the run goes on', () =>
    withFolder(async (folder) => {
      symlinkSync('/dev/full', join(folder, 'events.jsonl'))
      const warnings: WarningEvent[] = []
      let logs: RunLogs | null = null
      logs = await RunLogs.open(folder, true, loggedRun, (warning) => {
        warnings.push(warning)
        logs?.record('warning', warning) // As the trainer does.
      })
      for (let step = 1; step <= 24; step++) {
        recordSteps(logs, folder, step, step)
        await new Promise(setImmediate)
      }
      await logs.close()
      assert.equal(warnings.length, 1)
      assert.match(warnings[0]?.message ?? '', /cannot write events\.jsonl in .*ENOSPC/)
      assert.equal(rowsOf(folder).length, 6)
    }))

  it('refuses nothing that an event may hold: infinities, names of any kind, no known number of epochs', () =>
    withFolder(async (folder) => {
      const logs = await RunLogs.open(folder, { tensorboard: true }, loggedRun, noWarning)
      const epoch = {
        ...epochEvent(1),
        trainLoss: Infinity,
        valLoss: null,
        epochs: null,
        phaseName: 'a\r\n"b",c\x1b[2J',
      }
      logs.record('epoch', epoch)
      logs.record('step', { ...stepEvent(5), epochs: null, batches: null, meanLoss: -Infinity })
      await logs.close()
      const [, line, step] = eventsOf(folder)
      assert.ok(line?.event === 'epoch' && step?.event === 'step')
      assert.deepEqual([line.train_loss, line.val_loss, line.epochs], ['Infinity', null, null])
      assert.deepEqual([step.mean_loss, step.batches, step.epochs], ['-Infinity', null, null])
      const [row] = rowsOf(folder)
      assert.deepEqual([row?.['train_loss'], row?.['val_loss'], row?.['phase_name']], ['Infinity', '', epoch.phaseName])
    }))
})
