/** Memory over many predictions, worker threads, and how processes with a model end. */
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Worker } from 'node:worker_threads'
import { loadForInference } from '../../src/inference/load.js'
import { bitsOf, slowCheckpoint, slowRows, wordCheckpoint } from './fixture.js'

const module = (path: string): string => JSON.stringify(new URL(path, import.meta.url).href)

/** What a program or worker begins with; `torchkeep` is the package. */
const imports = `
const torchkeep = await import(${module('../../src/index.js')})
const { bitsOf, collectGarbage } = await import(${module('fixture.js')})
const { peakMemoryKib } = await import(${module('../peak-memory.js')})
const { loadForInference, ones } = torchkeep
`

interface Ended {
  code: number | string | null
  signal: NodeJS.Signals | null
  stdout: string
  stderr: string
}

/** Runs a program to its end; one that goes on for too long is ended by a signal. */
function run(program: string): Promise<Ended> {
  return new Promise((resolve) => {
    const args = ['--input-type=module', '--eval', imports + program]
    const child = execFile(process.execPath, args, { timeout: 30_000 }, (error, stdout, stderr) => {
      resolve({ code: error === null ? 0 : (error.code ?? null), signal: child.signalCode, stdout, stderr })
    })
  })
}

describe('the life of a model for inference', function () {
  this.timeout(60_000)
  const folder = mkdtempSync(join(tmpdir(), 'torchkeep-lifetime-'))
  let [words, slow] = ['', '']
  before(async () => {
    words = await wordCheckpoint(join(folder, 'words'))
    slow = await slowCheckpoint(join(folder, 'slow'))
  })
  after(() => rmSync(folder, { recursive: true }))

  it('leaves memory as it was over 2,000 calls of which some fail or are aborted', async () => {
    // A batch of 16 KiB, outputs of as much: kept ones would be 60 MiB.
    const { code, stdout, stderr } = await run(`
      const model = await loadForInference(${JSON.stringify(words)})
      const batch = Array.from({ length: 2000 }, (_, row) => [row % 10, 1, 2])
      const bad = [[1, 2, 10]]
      async function calls(count) {
        for (let done = 0; done < count; done += 10) {
          const signal = AbortSignal.abort()
          const leaving = new AbortController()
          const pending = Array.from({ length: 10 }, (_, index) =>
            model.predict([index === 3 ? bad : batch], index === 5 ? { signal } : index === 7 ? { signal: leaving.signal } : {}))
          leaving.abort()
          const settled = await Promise.allSettled(pending)
          const kinds = settled.map((result) => result.status === 'fulfilled' ? 'ok' : result.reason.code).join()
          if (kinds !== 'ok,ok,ok,ERR_DATA,ok,ERR_ABORTED,ok,ERR_ABORTED,ok,ok') throw new Error(kinds)
          for (const { value } of settled) for (const output of value ?? []) output.dispose()
        }
        await collectGarbage()
      }
      await calls(500)
      const [tensors, peak] = [torchkeep.liveTensors(), peakMemoryKib()]
      await calls(2000)
      console.log(JSON.stringify({ tensors: torchkeep.liveTensors() - tensors, grownKib: peakMemoryKib() - peak }))
      model.dispose()
    `)
    assert.equal(code, 0, stderr)
    const { tensors, grownKib } = JSON.parse(stdout) as { tensors: number; grownKib: number }
    assert.equal(tensors, 0)
    assert.ok(grownKib < 16 * 1024, `grew by ${grownKib} KiB`)
  })

  it('gives the same bits in worker threads, which may be ended in the middle of a call', async () => {
    const program = `
      const { parentPort, workerData } = require('node:worker_threads')
      ;(async () => {
        ${imports}
        const model = await loadForInference(workerData.words)
        const outputs = await Promise.all([[[1, 2, 3]], [[4, 5, 6]]].map((batch) => model.predict([batch])))
        model.dispose()
        const busy = await loadForInference(workerData.slow)
        busy.predict([ones([${slowRows}, 256])])
        parentPort.postMessage(outputs.map(bitsOf))
      })()`
    const workers = [1, 2].map(() => new Worker(program, { eval: true, workerData: { words, slow } }))
    const found = await Promise.all(workers.map(async (worker) => (await once(worker, 'message'))[0] as string[]))
    await Promise.all(workers.map((worker) => worker.terminate()))
    using model = await loadForInference(words)
    const expected = await Promise.all([[[1, 2, 3]], [[4, 5, 6]]].map((batch) => model.predict([batch])))
    for (const outputs of found) assert.deepEqual(outputs, expected.map(bitsOf))
  })

  const load = (): string => `const model = await loadForInference(${JSON.stringify(slow)})\n`
  const call = `const pending = model.predict([ones([${slowRows}, 256])])\n`
  const endings: Record<string, { text: string; expected: Partial<Ended> }> = {
    'the process ends by itself after dispose': {
      text: `await model.predict([ones([1, 256])]); model.dispose(); console.log('end')`,
      expected: { code: 0, stdout: 'end\n' },
    },
    'the process ends by itself with an idle model': {
      text: `await model.predict([ones([1, 256])]); console.log('end')`,
      expected: { code: 0, stdout: 'end\n' },
    },
    'the process ends by itself after dispose in the middle of a call': {
      text: `${call}model.dispose(); await pending.catch(({ code }) => console.log(code))`,
      expected: { code: 0, stdout: 'ERR_DISPOSED\n' },
    },
    'a process with a call under way waits for it': {
      text: `${call}pending.then(([output]) => console.log(output.shape))`,
      expected: { code: 0, stdout: `[ ${slowRows}, 256 ]\n` },
    },
    'process.exit in the middle of a call ends it at once': {
      text: `${call}setImmediate(() => process.exit(7))`,
      expected: { code: 7, stdout: '' },
    },
    'an error that nobody catches in the middle of a call ends it': {
      text: `${call}setImmediate(() => { throw new Error('on purpose') })`,
      expected: { code: 1, stdout: '' },
    },
  }
  for (const [name, { text, expected }] of Object.entries(endings))
    it(name, async () => {
      const ended = await run(load() + text)
      assert.deepEqual(
        { code: ended.code, signal: ended.signal, stdout: ended.stdout },
        { signal: null, ...expected },
        ended.stderr,
      )
    })
})
