import assert from 'node:assert/strict'
import { Worker } from 'node:worker_threads'
import { addon } from '../../lib/native.js'
import { nativeUrl, runChild } from './child.js'
import { callTensor } from './fixtures.js'

/** Seeds and draws many times; the text runs in a worker thread, in a child and here. */
const draws = `
const draw = (addon, seed) => {
  addon.manualSeed({ generator: addon.defaultGenerator(), seed })
  const all = []
  for (let i = 0; i < 300; i++) {
    const tensor = addon.call({ op: 'aten::randn', args: [[7]], gradEnabled: false })
    all.push(Buffer.from(addon.tensorToData({ tensor })).toString('hex'))
  }
  return all.join('')
}`

function runWorker(program: string): Promise<unknown> {
  const text = `
const { parentPort } = require('node:worker_threads')
${draws}
import(${JSON.stringify(nativeUrl)}).then(async ({ addon: load }) => { const addon = load(); ${program} })`
  return new Promise((resolve, reject) => {
    const worker = new Worker(text, { eval: true })
    let message: unknown
    worker.on('message', (value) => (message = value))
    worker.on('error', reject)
    worker.on('exit', () => resolve(message))
  })
}

describe('environments', () => {
  it('draw at once in two worker threads and the main one, each with the numbers it has alone', async () => {
    const seeds = [1n, 2n]
    const here = new Function(`${draws}; return draw`)() as (native: unknown, seed: bigint) => string
    const alone = seeds.map((seed) => here(addon(), seed))
    const workers = Promise.all(seeds.map((seed) => runWorker(`parentPort.postMessage(draw(addon, ${seed}n))`)))
    let settled = false
    void workers.finally(() => (settled = true))
    while (!settled) {
      assert.equal(here(addon(), 1n), alone[0])
      await new Promise((resolve) => setImmediate(resolve))
    }
    assert.deepEqual(await workers, alone)
  })

  it('count their tensors apart', async () => {
    const tensor = callTensor('ones', [[3]])
    const program = `const before = addon.memoryStats({ device: 'cpu' }).liveTensors
const kept = addon.call({ op: 'aten::ones', args: [[3]], gradEnabled: false })
parentPort.postMessage([before, addon.memoryStats({ device: 'cpu' }).liveTensors, kept.disposed])`
    assert.deepEqual(await runWorker(program), [0, 1, false])
    tensor.dispose()
  })

  const work = `
const tensor = addon.call({ op: 'aten::ones', args: [[1 << 22]], gradEnabled: false })
const { tmpdir } = await import('node:os')
const path = tmpdir() + '/torchkeep-exit-' + process.pid
const writing = addon.writeTensorFile({ path, fsync: true, parts: [{ kind: 'storage', tensor, offsetBytes: 0, sizeBytes: 16 << 20, crcSlot: 0 }] })
const { rmSync } = await import('node:fs')
process.on('exit', () => rmSync(path, { force: true }))
`
  const endings: [string, string, number][] = [
    ['the end of the program', '', 0],
    ['process.exit with tensors alive', 'process.exit(7)', 7],
    ['process.exit while a file is written', `${work} process.exit(7)`, 7],
    ['an uncaught throw while a file is written', `${work} setImmediate(() => { throw new Error('on purpose') })`, 1],
    ['process.exit after shutdown', 'addon.shutdown(); addon.shutdown(); process.exit(7)', 7],
  ]
  for (const [name, ending, expected] of endings) {
    it(`end clean at ${name}`, async () => {
      for (let i = 0; i < 5; i++) {
        const { code, signal, stderr } = await runChild(
          `globalThis.kept = addon.call({ op: 'aten::ones', args: [[9]], gradEnabled: false })\n${ending}`,
        )
        assert.deepEqual([code, signal], [expected, null], stderr)
      }
    })
  }

  it('end clean when a worker thread is terminated while a file is written', async () => {
    const program = `
import { Worker } from 'node:worker_threads'
const text = \`import(${JSON.stringify(nativeUrl)}).then(async ({ addon: load }) => { const addon = load(); ${work.replaceAll('\n', ' ; ').replaceAll('; ;', ';')}
  require('node:worker_threads').parentPort.postMessage(path); await writing })\`
for (let i = 0; i < 5; i++) {
  const worker = new Worker(text, { eval: true, execArgv: [] })
  const path = await new Promise((resolve, reject) => worker.on('message', resolve).on('error', reject))
  await worker.terminate()
  ;(await import('node:fs')).rmSync(path, { force: true })
}
console.log('done')`
    const { code, signal, stdout, stderr } = await runChild(program)
    assert.deepEqual([code, signal, stdout], [0, null, 'done\n'], stderr)
  })
})
