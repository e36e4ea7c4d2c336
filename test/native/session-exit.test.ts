import assert from 'node:assert/strict'
import { Worker } from 'node:worker_threads'
import { nativeUrl, runChild } from './child.js'

/** How often each way of ending is tried, since what it looks for depends on the moment. */
/** A crash at the end of a process may take several tries to show; `TORCHKEEP_EXIT_TRIES=20 npm test -- native` looks longer than CI has time for. */
const tries = Number(process.env['TORCHKEEP_EXIT_TRIES'] ?? (process.env['TORCHKEEP_BUILD'] === 'Asan' ? 2 : 6))

const mlpUrl = new URL('session-mlp.js', import.meta.url).href

/** What a program does before it ends; `addon` is loaded. The model is wide enough that a run lasts for seconds and a node for milliseconds. */
const stages: Record<string, string> = {
  'while the session is made': 'addon.createSession(spec)',
  'with an idle session': 'globalThis.session = await addon.createSession(spec)',
  'while it trains': 'globalThis.session = await addon.createSession(spec); session.run(endless)',
  'after it has trained':
    'globalThis.session = await addon.createSession(spec); await session.run(short); globalThis.state = session.optimizerState()',
  'while it evaluates': 'globalThis.session = await addon.createSession(spec); session.evaluate(endless)',
  'while one trains and another is disposed':
    'globalThis.session = await addon.createSession(spec); session.run(endless); const other = await addon.createSession(mlp(addon).spec); other.dispose()',
  'after dispose in the middle of a run':
    'const session = await addon.createSession(spec); session.run(endless); session.dispose()',
}

const prepare = `
const { spec, data } = mlp(addon, { width: 256, layers: 3, threads: 2 })
const source = { tensors: data, batchSize: 64, inputs: 1, maxDurationMs: Infinity }
const endless = { ...source, order: rows(20000, 64) }
const short = { ...source, order: rows(2, 64) }
`

const endings: [string, string, number][] = [
  ['process.exit', 'process.exit(7)', 7],
  ['an uncaught throw', "setImmediate(() => { throw new Error('on purpose') })", 1],
]

/** Runs `attempt` as often as {@link tries} says, two at a time. */
async function repeat(attempt: () => Promise<void>): Promise<void> {
  const half = async () => {
    for (let i = 0; i < tries / 2; i++) await attempt()
  }
  await Promise.all([half(), half()])
}

describe('the process ends clean', function () {
  this.timeout(600_000)

  for (const [stage, work] of Object.entries(stages)) {
    for (const [ending, text, expected] of endings) {
      it(`at ${ending} ${stage}, ${tries} times`, async () => {
        const program = `const { mlp, rows } = await import(${JSON.stringify(mlpUrl)})\n${prepare}\n${work}\n${text}`
        await repeat(async () => {
          const { code, signal, stderr } = await runChild(program)
          assert.deepEqual([code, signal], [expected, null], stderr)
          assert.equal(/on purpose/.test(stderr), expected === 1, stderr)
        })
      })
    }

    it(`at worker.terminate() ${stage}, ${tries} times, and goes on training elsewhere`, async () => {
      const text = `
const { parentPort } = require('node:worker_threads')
Promise.all([import(${JSON.stringify(nativeUrl)}), import(${JSON.stringify(mlpUrl)})]).then(async ([{ addon: load }, { mlp, rows }]) => {
  const addon = load()
  ${prepare}
  ${work}
  parentPort.postMessage('there')
})`
      const program = `
const { Worker } = await import('node:worker_threads')
const { mlp, rows } = await import(${JSON.stringify(mlpUrl)})
for (let i = 0; i < ${tries}; i++) {
  const worker = new Worker(${JSON.stringify(text)}, { eval: true, execArgv: [] })
  await new Promise((resolve, reject) => worker.on('message', resolve).on('error', reject))
  await worker.terminate()
}
${prepare}
const session = await addon.createSession(spec)
console.log((await session.run(short)).reason)`
      const { code, signal, stdout, stderr } = await runChild(program)
      assert.deepEqual([code, signal, stdout], [0, null, 'end\n'], stderr)
    })
  }
})

describe('worker threads', () => {
  /** Trains with dropout and returns every byte of the result. */
  const training = `
async function train(addon, { mlp, rows, snapshot }, seed) {
  const { spec, data } = mlp(addon, { width: 32, layers: 2 })
  const session = await addon.createSession(spec)
  addon.manualSeed({ generator: addon.defaultGenerator(), seed: BigInt(seed) })
  for (let chunk = 0; chunk < 5; chunk++) {
    await session.run({ tensors: data, order: rows(60), batchSize: 8, inputs: 1, maxDurationMs: Infinity })
  }
  const state = addon.getGeneratorState({ generator: addon.defaultGenerator() })
  const bytes = [...snapshot(addon, spec, session.optimizerState()), Buffer.from(state).toString('hex')]
  session.dispose()
  return bytes
}`

  function runWorker(seed: number): Promise<string[]> {
    const text = `
const { parentPort } = require('node:worker_threads')
${training}
Promise.all([import(${JSON.stringify(nativeUrl)}), import(${JSON.stringify(mlpUrl)})])
  .then(async ([{ addon }, tools]) => parentPort.postMessage(await train(addon(), tools, ${seed})))`
    return new Promise((resolve, reject) => {
      const worker = new Worker(text, { eval: true })
      worker.on('message', resolve).on('error', reject)
    })
  }

  it('train at once, each with the bits it has alone', async () => {
    const alone = [await runWorker(1), await runWorker(2)]
    assert.notDeepEqual(alone[0], alone[1])
    for (let i = 0; i < 3; i++) assert.deepEqual(await Promise.all([runWorker(1), runWorker(2)]), alone)
  })
})
