/** docs/logs.md: its examples run as printed on the logs of a run, and its tables name what is in the files. */
import assert from 'node:assert/strict'
import { execFile, spawnSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { packageRoot } from '../../src/libtorch/index.js'
import { RunLogs } from '../../src/training/run-logs.js'
import { needPython, python } from '../python.js'
import { loggedRun, recordSteps } from '../training/logged-run.js'

const run = promisify(execFile)
const text = readFileSync(join(packageRoot, 'docs', 'logs.md'), 'utf8')
const blocks = (language: string): string[] =>
  [...text.matchAll(new RegExp('^```' + language + '\\n([^]*?)^```', 'gm'))].map(([, block = '']) => block)

/** What stands in backquotes in the table below a heading. */
function named(heading: string): string[] {
  const section = text.slice(text.indexOf(`## ${heading}`)).split(/\n## /)[0] ?? ''
  return section
    .split('\n')
    .filter((line) => line.startsWith('| '))
    .flatMap((line) => [...line.matchAll(/`([\w/]+)`/g)].map(([, name = '']) => name))
}

describe('docs/logs.md', () => {
  let folder: string
  let checkpoints: string
  before(async () => {
    folder = mkdtempSync(join(tmpdir(), 'torchkeep-docs-logs-'))
    checkpoints = join(folder, 'checkpoints')
    mkdirSync(checkpoints)
    const logs = await RunLogs.open(checkpoints, true, loggedRun, ({ message }) => assert.fail(message))
    recordSteps(logs, checkpoints, 1, 24)
    logs.record('stop', {
      of: 'run',
      reason: 'finished',
      message: '6 epochs are done',
      phase: 2,
      phaseName: 'everything',
      epoch: 6,
      step: 24,
      restoredEpoch: null,
    })
    await logs.close()
  })
  after(() => rmSync(folder, { recursive: true }))

  it('reads events as printed', async () => {
    // Beside the compiled tests, so that `torchkeep` resolves to this package.
    const program = new URL(`logs-example-${process.pid}.mjs`, import.meta.url).pathname
    writeFileSync(program, blocks('js').find((block) => block.includes('readRun')) ?? '')
    try {
      const { stdout } = await run(process.execPath, [program], { cwd: folder })
      assert.match(stdout, /^step 4: regular\/checkpoint_epoch_1_phase_1_1760000000\.pth\nstep 8: /)
      assert.match(stdout, /\nfinished in epoch 6 of 6, best 0\.11\d+ in epoch 6\n$/)
    } finally {
      rmSync(program)
    }
  })

  it('reads metrics.csv in Python as printed', async function () {
    needPython(this)
    const { stdout } = await run(python as string, ['-c', blocks('python')[0] ?? ''], { cwd: folder })
    assert.deepEqual(stdout.split('\n').slice(0, 2), ['1 0.7 true', '2 0.35 true'])
  })

  it('reads events with jq as printed', function () {
    if (spawnSync('jq', ['--version']).error !== undefined) {
      console.log('      skipped: jq is absent')
      return this.skip()
    }
    const line = blocks('sh').find((block) => block.startsWith('jq')) ?? ''
    const { stdout, stderr } = spawnSync('sh', ['-c', line], { cwd: folder, encoding: 'utf8' })
    assert.equal(stderr, '')
    assert.match(stdout, /^1\t0\.909\d+\t0\.7\n2\t/)
  })

  it('names every event and field of events.jsonl', () => {
    const known = new Set(named('`events.jsonl`'))
    const always = ['event', 'time', 'seconds']
    for (const line of readFileSync(join(checkpoints, 'events.jsonl'), 'utf8').trimEnd().split('\n')) {
      const fields = JSON.parse(line) as Record<string, unknown>
      assert.ok(known.has(String(fields['event'])))
      const own = Object.keys(fields).filter((name) => !always.includes(name) && !name.startsWith('val_'))
      assert.deepEqual(
        own.filter((name) => !known.has(name)),
        [],
        line,
      )
    }
  })

  it('names every column of metrics.csv', () => {
    const [heading = ''] = readFileSync(join(checkpoints, 'metrics.csv'), 'utf8').split('\r\n')
    const columns = heading.split(',').filter((name) => name !== 'val_mae')
    assert.deepEqual(columns, named('`metrics.csv`'))
  })
})
