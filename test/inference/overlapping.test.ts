/** Calls that overlap, fail, are aborted, or are under way when the model is disposed. */
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { liveTensors, manualSeed, randint, randn, scope, tensor, zeros, type Tensor } from '../../lib/index.js'
import { loadForInference } from '../../src/inference/load.js'
import type { InferenceModel } from '../../src/inference/types.js'
import { bitsOf, collectGarbage, slowCheckpoint, slowRows, wordCheckpoint } from './fixture.js'

describe('overlapping predictions', function () {
  this.timeout(60_000)
  const folder = mkdtempSync(join(tmpdir(), 'torchkeep-overlapping-'))
  let words: InferenceModel
  let slowFile = ''

  before(async () => {
    words = await loadForInference(await wordCheckpoint(join(folder, 'words')))
    slowFile = await slowCheckpoint(join(folder, 'slow'))
  })
  after(() => {
    words.dispose()
    rmSync(folder, { recursive: true })
  })

  it('200 of them give the bits of calls one by one and settle in their order', async () => {
    manualSeed(3)
    const batches = Array.from({ length: 200 }, (_, index) => randint(0, 10, [1 + (index % 5), 3]))
    const alone: string[] = []
    for (const batch of batches) alone.push(bitsOf(await words.predict([batch])))
    const order: number[] = []
    const together = await Promise.all(
      batches.map(async (batch, index) => {
        const outputs = await words.predict([batch])
        order.push(index)
        return bitsOf(outputs)
      }),
    )
    assert.deepEqual(together, alone)
    assert.deepEqual(order, [...batches.keys()])
  })

  it('one that fails while it runs, or is refused before, harms none of the others', async () => {
    const good = [
      [[1, 2, 3]],
      [
        [4, 5, 6],
        [7, 8, 9],
      ],
    ]
    const expected = await Promise.all(good.map(async (batch) => bitsOf(await words.predict([batch]))))
    const settled = await Promise.allSettled([
      words.predict([good[0] as number[][]]),
      words.predict([[[1, 2, 10]]]),
      words.predict([[[1, 2.5, 3]]]),
      words.predict([good[1] as number[][]]),
    ])
    assert.deepEqual(
      settled.map((result) => (result.status === 'fulfilled' ? bitsOf(result.value) : result.reason.code)),
      [expected[0], 'ERR_DATA', 'ERR_DATA', expected[1]],
    )
  })

  it('take inputs as they were when the call was made', async () => {
    const inputs = [tensor([[1, 2, 3]]), tensor([[4, 5, 6]])].map((input) => input.long())
    const expected: string[] = []
    for (const input of inputs) expected.push(bitsOf(await words.predict([input])))
    const running = words.predict([inputs[0] as Tensor])
    const waiting = words.predict([inputs[1] as Tensor])
    inputs[1]?.zero_()
    for (const input of inputs) input.dispose()
    assert.deepEqual([bitsOf(await running), bitsOf(await waiting)], expected)
  })

  it('an aborted one rejects, waiting or running, and harms none of the others', async () => {
    using slow = await loadForInference(slowFile)
    const [batch, small] = [randn([slowRows, 256]), randn([2, 256])]
    const expected = bitsOf(await slow.predict([small]))
    const [running, waiting] = [new AbortController(), new AbortController()]
    const calls = [
      slow.predict([batch], { signal: running.signal }),
      slow.predict([small]),
      slow.predict([small], { signal: waiting.signal }),
      slow.predict([small], { signal: AbortSignal.abort() }),
      slow.predict([small]),
    ]
    waiting.abort(new Error('not wanted'))
    running.abort(new Error('left'))
    const settled = await Promise.allSettled(calls)
    const codes = settled.map((result) => (result.status === 'fulfilled' ? bitsOf(result.value) : result.reason.code))
    assert.deepEqual(codes, ['ERR_ABORTED', expected, 'ERR_ABORTED', 'ERR_ABORTED', expected])
    const reasons = settled.map((result) => result.status === 'rejected' && result.reason.cause.message)
    assert.deepEqual(reasons.slice(0, 3), ['left', false, 'not wanted'])
  })

  it('leaves an AbortSignal that outlives its calls without listeners', async () => {
    const { signal } = new AbortController()
    let listeners = 0
    const [add, remove] = [signal.addEventListener.bind(signal), signal.removeEventListener.bind(signal)]
    signal.addEventListener = (...args: Parameters<typeof add>) => (listeners++, add(...args))
    signal.removeEventListener = (...args: Parameters<typeof remove>) => (listeners--, remove(...args))
    await Promise.allSettled(
      [[[1, 2, 3]], [[1, 2, 10]], [[1, 2, 3]]].map((batch) => words.predict([batch], { signal })),
    )
    assert.equal(listeners, 0)
  })

  it('are ended by dispose(): running and waiting ones reject, and every tensor is freed', async () => {
    await collectGarbage()
    const before = liveTensors()
    const [slow, batch] = [await loadForInference(slowFile), zeros([slowRows, 256])]
    const calls = Array.from({ length: 5 }, () => slow.predict([batch]))
    slow.dispose()
    slow.dispose()
    calls.push(slow.predict([batch]))
    const settled = await Promise.allSettled(calls)
    batch.dispose()
    for (const result of settled) assert.equal(result.status === 'rejected' && result.reason.code, 'ERR_DISPOSED')
    while (liveTensors() > before) await new Promise(setImmediate) // the thread ends at its next operator
    assert.equal(liveTensors(), before)
  })

  it('in a scope keep their inputs while they need them; outputs belong to the caller', async () => {
    const expected = bitsOf(await words.predict([[[1, 2, 3]]]))
    const calls: Promise<Tensor[]>[] = []
    scope(() => {
      for (let i = 0; i < 3; i++) calls.push(words.predict([i === 1 ? [[1, 2, 3]] : tensor([[1, 2, 3]]).long()]))
    })
    for (const outputs of await Promise.all(calls)) assert.equal(bitsOf(outputs), expected)
  })
})
