/** Predictions of a session: the evaluation graph alone, call by call. */
import assert from 'node:assert/strict'
import type { NativeSession, SessionSpec, TensorHandle } from '../../lib/contract.js'
import { addon } from '../../lib/native.js'
import { callTensor, floats, valuesOf } from './fixtures.js'
import { elementwise, mlp, ramp, rows } from './session-mlp.js'

const code = (expected: string) => (error: unknown) => (error as { code?: string }).code === expected

/** Without a graph of training, loss and optimizer. */
const forPredictions = (spec: SessionSpec): SessionSpec => ({
  ...spec,
  trainGraph: null,
  lossGraph: null,
  optimizer: null,
})

async function predict(session: NativeSession, ...calls: TensorHandle[][]): Promise<(number[][] | string)[]> {
  const { done } = await session.predict({ calls, maxDurationMs: Infinity })
  return done.map((outputs) =>
    outputs instanceof Error ? (outputs as Error & { code: string }).code : outputs.map(valuesOf),
  )
}

describe('predictions of a session', () => {
  it('are the outputs of evaluate, for batches of any sizes, without a loss', async () => {
    const { spec, data } = mlp(addon())
    const session = await addon().createSession(forPredictions(spec))
    const [x] = data as [TensorHandle]
    const parts = [1, 5, 58].map((count, index) => callTensor('narrow', [x, 0, [0, 1, 6][index] as number, count]))
    const reference = await addon().createSession(spec)
    const expected = await reference.evaluate({ batches: parts.map((part) => [part]), inputs: 1 })
    const found = await predict(session, ...parts.map((part) => [part]))
    assert.deepEqual(found.flat().flat(), valuesOf(expected.outputs[0] as TensorHandle))
    session.dispose()
    reference.dispose()
  })

  it('that fail do so by themselves; the calls after them run', async () => {
    const { spec } = mlp(addon())
    const session = await addon().createSession(forPredictions(spec))
    const good = ramp(addon(), [1, 16], 3)
    const [expected] = await predict(session, [good])
    const found = await predict(session, [good], [floats([1, 2])], [], [good], [good, good])
    assert.deepEqual(found[0], expected)
    assert.deepEqual(found[3], expected)
    for (const index of [1, 2, 4]) assert.match(String(found[index]), /^ERR_/)
    session.dispose()
  })

  it('end at the first call past the time', async () => {
    const { spec } = mlp(addon())
    const session = await addon().createSession(forPredictions(spec))
    const call = [ramp(addon(), [1, 16], 3)]
    const { done, reason } = await session.predict({ calls: [call, call, call], maxDurationMs: -1 })
    assert.deepEqual([done.length, reason], [1, 'time'])
    const all = await session.predict({ calls: [call], maxDurationMs: -1 })
    assert.deepEqual([all.done.length, all.reason], [1, 'end'])
    assert.deepEqual(await session.predict({ calls: [], maxDurationMs: 1 }), { done: [], reason: 'end' })
    session.dispose()
  })

  it('are paused between two nodes, and go on as if nothing had been; dispose ends them', async () => {
    const { spec } = mlp(addon(), { width: 256, layers: 40 })
    const session = await addon().createSession(forPredictions(spec))
    const large = [ramp(addon(), [1000, 256], 3)]
    const pending = session.predict({ calls: [large, large], maxDurationMs: Infinity })
    session.pause()
    const { done, reason } = await pending
    assert.deepEqual([done.length, reason], [0, 'paused'])
    const small = [ramp(addon(), [1, 256], 3)]
    assert.equal((await session.predict({ calls: [small], maxDurationMs: Infinity })).reason, 'end')
    const last = session.predict({ calls: [large], maxDurationMs: Infinity })
    session.dispose()
    assert.deepEqual(await last, { done: [], reason: 'stopped' })
    await assert.rejects(session.predict({ calls: [], maxDurationMs: 1 }), code('ERR_DISPOSED'))
  })

  it('share no memory with the parameters nor with the inputs, and need no gradients', async () => {
    for (const output of ['x', 'p_weight']) {
      const weight = floats([1, 2, 3])
      addon().call({ op: 'aten::requires_grad_', args: [weight, true], gradEnabled: true })
      const spec = forPredictions(elementwise(weight))
      const session = await addon().createSession({ ...spec, evalGraph: passing(spec, output) })
      const x = floats([4, 5, 6])
      const { done } = await session.predict({ calls: [[x]], maxDurationMs: Infinity })
      const [result] = done[0] as TensorHandle[]
      assert.equal(addon().tensorInfo({ tensor: result as TensorHandle }).requiresGrad, false)
      callTensor('zero_', [result as TensorHandle])
      assert.deepEqual([valuesOf(x), valuesOf(weight)], [[4, 5, 6], [1, 2, 3]]) // prettier-ignore
      session.dispose()
    }
  })

  it('are one operation at a time, and hold their inputs while they read them', async () => {
    const { spec } = mlp(addon(), { width: 256, layers: 10 })
    const session = await addon().createSession(forPredictions(spec))
    const x = ramp(addon(), [1000, 256], 3)
    const pending = session.predict({ calls: [[x]], maxDurationMs: Infinity })
    await assert.rejects(session.predict({ calls: [], maxDurationMs: 1 }), code('ERR_BUSY'))
    assert.throws(() => callTensor('zero_', [x]), code('ERR_BUSY'))
    await pending
    callTensor('zero_', [x])
    session.dispose()
  })

  it('need what they are given to be tensors', async () => {
    const { spec } = mlp(addon())
    const session = await addon().createSession(forPredictions(spec))
    const given: [unknown, RegExp][] = [
      [{ calls: [[1]], maxDurationMs: 1 }, /calls\[0\]\[0\]/],
      [{ calls: [1], maxDurationMs: 1 }, /calls\[0\].*array of tensors/],
      [{ calls: 1, maxDurationMs: 1 }, /calls.*array/],
      [{ calls: [] }, /maxDurationMs/],
    ]
    for (const [options, message] of given)
      assert.throws(() => session.predict(options as Parameters<NativeSession['predict']>[0]), {
        code: 'ERR_INVALID_ARGUMENT',
        message,
      })
    session.dispose()
  })

  it('are all that a session without the other graphs does', async () => {
    const { spec, data } = mlp(addon())
    const session = await addon().createSession(forPredictions(spec))
    const source = { tensors: data, order: rows(1), batchSize: 8, inputs: 1 }
    await assert.rejects(session.evaluate(source), { code: 'ERR_INVALID_ARGUMENT', message: /without a loss graph/ })
    await assert.rejects(async () => session.run({ ...source, maxDurationMs: 1 }), code('ERR_INVALID_ARGUMENT'))
    session.dispose()
    for (const missing of ['trainGraph', 'lossGraph'])
      await assert.rejects(addon().createSession({ ...spec, [missing]: null }), {
        code: 'ERR_INVALID_ARGUMENT',
        message: new RegExp(`${missing}: expected a graph, as there is an optimizer, found null`),
      })
  })
})

/** The graph with one of its inputs as its output. */
function passing({ evalGraph }: SessionSpec, output: string): SessionSpec['evalGraph'] {
  const text = JSON.stringify(evalGraph)
  const { graph, signature } = JSON.parse(text) as { graph: object; signature: object }
  const outputs = [{ as_tensor: { name: output } }]
  return {
    graph: { ...graph, nodes: [], outputs },
    signature: { ...signature, output_specs: [{ user_output: { arg: outputs[0] } }] },
  }
}
