/** The demo's chapters on harmed checkpoints and on exports, each on a small one: what they print is what came of each step. */
import assert from 'node:assert/strict'
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises'
import { basename, join } from 'node:path'
import type { CleanupResult, Comparison, RecoveryResult, ValidationReport } from '../../src/checkpoint/index.js'
import { adam, checkpoint, fileOf, float32, stateDict } from '../checkpoint/judged.js'
import type { ExportResult } from '../../src/export/index.js'
import { withFolder } from '../format/fixtures.js'
import { needPython, python } from '../python.js'
import { smallRun } from '../training/small-run.js'

interface Rescue {
  verdict: ValidationReport
  recovery: RecoveryResult
  comparison: Comparison
  cleanup: CleanupResult
}

/** Large enough that its last tenth is more than the directory: a moment is cut. */
const weight = float32([100, 100], 1, -1)
const large = checkpoint({
  model_state_dict: stateDict({ 'last.weight': weight }),
  optimizer_state_dict: adam({ 4: { exp_avg: weight, exp_avg_sq: float32([100, 100], 0.5) } }),
})

/** What a function prints with console.log, and what it gives. */
async function printed<T>(act: () => Promise<T>): Promise<{ result: T; text: string }> {
  const { log } = console
  const lines: string[] = []
  console.log = (line: string) => void lines.push(line)
  try {
    return { result: await act(), text: lines.join('\n') }
  } finally {
    console.log = log
  }
}

const chapter = new URL('../../../examples/rescue.mjs', import.meta.url).href

describe("the demo's chapter on harmed checkpoints", () => {
  it('damages a copy, judges it, saves what is there, finds what differs, and would remove the damaged one only', async () => {
    await withFolder(async (folder) => {
      const original = join(folder, 'checkpoint_epoch_2_phase_1_1760000000.pth')
      await writeFile(original, fileOf(large))
      const before = await readFile(original)
      const run = join(folder, 'run')
      await mkdir(run)
      const { rescue } = (await import(chapter)) as { rescue: (checkpoint: string, folder: string) => Promise<Rescue> }
      const { result, text } = await printed(() => rescue(original, run))
      const { verdict, recovery, comparison, cleanup } = result

      assert.deepEqual(await readFile(original), before)
      assert.deepEqual(
        verdict.errors.map(({ id }) => id),
        ['file.truncated'],
      )
      assert.equal(recovery.success, true)
      assert.equal(recovery.damaged.length, 1)
      assert.ok(recovery.lost.length > 0)
      for (const line of [...recovery.damaged, ...recovery.lost]) assert.ok(text.includes(line), line)
      const { model, optimizer } = comparison
      assert.equal(model.numTensors - model.numIdenticalTensors, 1, 'the one with the flipped bit')
      assert.equal(model.tensors[0]?.figures?.differing, 1)
      assert.equal(optimizer.numIdenticalTensors, optimizer.numTensors, 'what is left of the optimizer is as it was')
      assert.ok(optimizer.tensorsOnlyInA.length > 0)
      const leaves = cleanup.plan.filter(({ keep }) => !keep).map(({ path }) => path)
      assert.deepEqual(leaves, [join(run, 'regular', basename(original))])
      assert.equal(cleanup.confirmed, false)
      assert.equal((await readdir(join(run, 'regular'))).length, 2, 'nothing was removed')
    })
  })
})

describe("the demo's look at the folder of a run", () => {
  it('counts the events of the last run and names the checkpoints that are kept', async () => {
    await withFolder(async (folder) => {
      const events = ['run', 'epoch', 'stop', 'run', 'phase', 'step', 'epoch', 'resume', 'epoch', 'stop']
      const lines = events.map((event) => JSON.stringify({ event, of: 'run', reason: 'finished' }))
      await writeFile(join(folder, 'events.jsonl'), `${lines.join('\n')}\n`)
      for (const part of ['regular', 'best', 'phases']) {
        await mkdir(join(folder, part))
        await writeFile(join(folder, part, `${part}.pth`), '')
      }
      const { describeRun } = (await import(new URL('../../../examples/describe-run.mjs', import.meta.url).href)) as {
        describeRun: (folder: string) => Promise<Record<string, number>>
      }
      const { result, text } = await printed(() => describeRun(folder))
      assert.deepEqual(result, { run: 1, phase: 1, step: 1, epoch: 2, resume: 1, stop: 1 })
      assert.match(text, /^the run is finished; it logged 1 run, 1 phase, 1 step, 2 epoch, 1 resume, 1 stop/)
      assert.match(text, /checkpoints kept: regular\.pth, best\.pth, phases\.pth$/)
    })
  })
})

interface GivenAway {
  exported: ExportResult
  node: string[]
  python: string[] | null
}

describe("the demo's chapter on giving a model away", function () {
  this.timeout(60_000)

  it('exports a checkpoint and runs the export in Node and in Python, or says that there is no Python', async function () {
    needPython(this)
    await withFolder(async (folder) => {
      const run = smallRun(join(folder, 'checkpoints'))
      await run.train()
      const { giveAway } = (await import(new URL('../../../examples/give-away.mjs', import.meta.url).href)) as {
        giveAway: (checkpoint: string, exportDir: string, env?: NodeJS.ProcessEnv) => Promise<GivenAway>
      }
      const env = { ...process.env, TORCHKEEP_PYTHON: python, VIRTUAL_ENV: undefined }
      const latest = join(folder, 'checkpoints', 'latest.pth')
      const { result, text } = await printed(() => giveAway(latest, join(folder, 'exports'), env))
      assert.equal(result.exported.check?.equal, true)
      assert.deepEqual(result.node, ['output 0: float32 [4,1], equal to the stored one bit for bit'])
      assert.deepEqual(result.python, ['output 0: float32 [4, 1], equal to the stored one bit for bit'])
      for (const line of [...result.node, ...result.python]) assert.ok(text.includes(`\n  ${line}`), line)

      const without = { LIBTORCH: process.env['LIBTORCH'], HOME: folder, PATH: folder }
      const other = await printed(() => giveAway(latest, join(folder, 'others'), without))
      assert.equal(other.result.python, null)
      assert.match(other.text, /no Python with torch is found/)
    })
  })
})
