/** examples/serve: the service as a process of its own, asked over HTTP. */
import assert from 'node:assert/strict'
import { spawn, type ChildProcessWithoutNullStreams } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { request, type ClientRequest, type IncomingMessage } from 'node:http'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { loadForInference } from '../../src/inference/load.js'
import { packageRoot } from '../../src/libtorch/index.js'
import { latestPath } from '../../src/checkpoint/layout.js'
import { smallRun } from '../training/small-run.js'

const example = join(packageRoot, 'examples/serve/serve.mjs')

interface Service {
  child: ChildProcessWithoutNullStreams
  port: number
  url: string
}

/** Starts the service; it is ready when it says its port. */
async function serve(model: string): Promise<Service> {
  const child = spawn(process.execPath, [example, model, '0'])
  const [line] = (await Promise.race([once(createInterface(child.stdout), 'line'), once(child, 'exit')])) as [string]
  const port = Number(/^listening on port (\d+)$/.exec(line)?.[1])
  assert.ok(port > 0, `the service said ${line}`)
  return { child, port, url: `http://127.0.0.1:${port}` }
}

/** Its exit code; null where a signal ended it. */
async function ended({ child }: Service): Promise<number | null> {
  const [code] = (child.exitCode === null ? await once(child, 'exit') : [child.exitCode]) as [number | null]
  return code
}

async function post({ url }: Service, body: string | ReadableStream): Promise<{ status: number; text: string }> {
  // `duplex` is missing in the types of fetch.
  const response = await fetch(url, { method: 'POST', body, duplex: 'half' } as RequestInit)
  return { status: response.status, text: await response.text() }
}

const row = (seed: number): number[] => [0, 1, 2, 3].map((index) => Math.sin(seed + index))
const bodyOf = (seed: number): string => JSON.stringify({ inputs: [[row(seed), row(seed + 0.5)]] })
const errorOf = (text: string): string => (JSON.parse(text) as { error: string }).error

describe('examples/serve', function () {
  this.timeout(60_000)
  const folder = mkdtempSync(join(tmpdir(), 'torchkeep-serve-'))
  let service: Service

  before(async () => {
    await smallRun(folder).train()
    service = await serve(latestPath(folder))
  })
  after(() => {
    service.child.kill('SIGKILL')
    rmSync(folder, { recursive: true })
  })

  it('has 30 lines and needs nothing but Node and this package', () => {
    const text = readFileSync(example, 'utf8')
    assert.ok(text.trimEnd().split('\n').length <= 30)
    const imports = [...text.matchAll(/from '(.*)'/g)].map(([, name]) => name)
    assert.deepEqual(imports, ['node:http', 'torchkeep'])
  })

  it('says what the model takes and gives', async () => {
    const told = (await (await fetch(service.url)).json()) as { inputs: unknown; outputs: unknown[] }
    assert.deepEqual(told.inputs, [{ name: 'args_0', dtype: 'float32', shape: [null, 4] }])
    assert.equal(told.outputs.length, 1)
  })

  it('gives the outputs of predict', async () => {
    const model = await loadForInference(latestPath(folder))
    const [output] = await model.predict([[row(1), row(1.5)]])
    const { status, text } = await post(service, bodyOf(1))
    assert.equal(status, 200)
    assert.deepEqual(JSON.parse(text), { outputs: [output?.tolist()] })
    model.dispose()
  })

  it('answers requests at the same time as it answers single ones, in every bit', async () => {
    const seeds = Array.from({ length: 60 }, (_, index) => index)
    const single: string[] = []
    for (const seed of seeds) single.push((await post(service, bodyOf(seed))).text)
    assert.equal(new Set(single).size, seeds.length)
    const together = await Promise.all(
      seeds.map((seed) => post(service, seed % 10 === 7 ? '{"inputs": [[[1]]]}' : bodyOf(seed))),
    )
    for (const [seed, { status, text }] of together.entries()) {
      assert.equal(status, seed % 10 === 7 ? 400 : 200)
      if (status === 200) assert.equal(text, single[seed])
    }
  })

  it('refuses what is no JSON with 400', async () => {
    for (const body of ['', '{', '{"inputs": [NaN]}']) {
      const { status, text } = await post(service, body)
      assert.equal(status, 400, body)
      assert.match(errorOf(text), /JSON/)
    }
  })

  it('refuses inputs that the model does not take with 400, naming them', async () => {
    const cases = {
      null: /inputs/,
      '{"inputs": []}': /expected 1 inputs .*found 0/,
      '{"inputs": [[[1, 2, 3]]]}': /'args_0': expected float32 \[batch, 4\], found float32 \[1, 3\]/,
      '{"inputs": [[[1, 2, 3, 4], [1, 2]]]}': /'args_0' at \[1\]: expected an array of 4/,
      '{"inputs": [[[1, 2, 3, "4"]]]}': /'args_0' at \[0\]\[3\]: expected float32, found a string/,
    }
    for (const [body, message] of Object.entries(cases)) {
      const { status, text } = await post(service, body)
      assert.equal(status, 400, body)
      assert.match(errorOf(text), message)
    }
  })

  it('refuses a body that is too large with 413, whether its size is told or not', async () => {
    const large = JSON.stringify({ inputs: [Array.from({ length: 100_000 }, () => [1, 2, 3, 4.25])] })
    for (const body of [large, new Blob([large]).stream()]) {
      const { status, text } = await post(service, body)
      assert.equal(status, 413)
      assert.equal(errorOf(text), 'a body has at most 1048576 bytes')
    }
    assert.equal((await post(service, bodyOf(1))).status, 200)
  })

  it('goes on when a client leaves in the middle of its body', async () => {
    const left = await halfSent(service, bodyOf(1))
    const isClosed = new Promise((resolve) => left.once('close', resolve))
    left.destroy()
    await isClosed
    assert.equal((await post(service, bodyOf(1))).status, 200)
  })

  it('ends after the running request on SIGTERM, with exit code 0', async () => {
    const own = await serve(latestPath(folder))
    const running = await halfSent(own, bodyOf(2))
    own.child.kill('SIGTERM')
    while (await accepts(own)); // until it has seen the signal
    const answered = once(running, 'response')
    running.end(bodyOf(2).slice(10))
    const [response] = (await answered) as [IncomingMessage]
    const chunks = await response.setEncoding('utf8').toArray()
    assert.equal(response.statusCode, 200)
    assert.equal(chunks.join(''), (await post(service, bodyOf(2))).text)
    assert.equal(await ended(own), 0)
  })
})

/** A request whose handler runs, with 10 bytes of its body sent. */
async function halfSent({ port }: Service, body: string): Promise<ClientRequest> {
  const headers = { expect: '100-continue', 'content-length': Buffer.byteLength(body) }
  const sent = request({ host: '127.0.0.1', port, method: 'POST', headers })
  sent.on('error', () => undefined) // of one that is destroyed
  sent.flushHeaders()
  await once(sent, 'continue')
  sent.write(body.slice(0, 10))
  return sent
}

/** Whether the service takes connections. */
async function accepts({ port }: Service): Promise<boolean> {
  const socket = connect(port, '127.0.0.1')
  const isOpen = await once(socket, 'connect').then(
    () => true,
    () => false,
  )
  socket.destroy()
  return isOpen
}
