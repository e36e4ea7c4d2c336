/** Gradients of an unfinished step, the options of steps, and the search for values that are not finite: what needs no Python. */
import assert from 'node:assert/strict'
import type {
  DType,
  GraphModule,
  NativeSession,
  RunOptions,
  RunResult,
  SessionSpec,
  TensorHandle,
} from '../../lib/contract.js'
import { addon } from '../../lib/native.js'
import { callTensor, floats, valuesOf } from './fixtures.js'
import { elementwise, mlp, rows } from './session-mlp.js'

const code = (name: string, message = /./) => ({ code: name, message })
const invalid = (message: RegExp) => code('ERR_INVALID_ARGUMENT', message)

async function setUp(change: (spec: SessionSpec) => SessionSpec = (spec) => spec) {
  const { spec, data } = mlp(addon())
  const session = await addon().createSession(change(spec))
  const run = (batches: number, options: Partial<RunOptions> = {}): Promise<RunResult> => {
    const source = { tensors: data, order: rows(batches), batchSize: 8, inputs: 1 }
    return session.run({ ...source, maxDurationMs: Infinity, ...options } as RunOptions)
  }
  return { spec, data, session, run }
}

const named = (session: NativeSession) =>
  Object.fromEntries(Object.entries(session.gradients()).map(([name, gradient]) => [name, valuesOf(gradient)]))

describe('gradients of an unfinished step', () => {
  it('are kept, shown, replaced and dropped as asked', async () => {
    const { spec, session, run } = await setUp()
    const before = valuesOf(spec.parameters['0.weight'] as TensorHandle)
    const result = await run(3, { accumulate: 4 })
    assert.deepEqual([result.batches, result.steps, result.accumulated, result.reason], [3, 0, 3, 'end'])
    assert.deepEqual(valuesOf(spec.parameters['0.weight'] as TensorHandle), before)
    const gradients = named(session)
    assert.deepEqual(Object.keys(gradients), Object.keys(spec.parameters))
    assert.equal(addon().tensorGrad({ tensor: spec.parameters['0.weight'] as TensorHandle }), null)

    session.setGradients({ gradients: { '1.bias': floats(Array(16).fill(2) as number[]) } })
    assert.deepEqual(named(session), { '1.bias': Array(16).fill(2) })
    await run(1, { accumulate: 4, accumulated: 2 })
    assert.notDeepEqual(named(session)['1.bias'], gradients['1.bias'])

    await run(1, { accumulate: 1 })
    assert.deepEqual(named(session), {})
    session.dispose()
  })

  it('are copies of what was given', async () => {
    const { session, run } = await setUp()
    const given = floats(Array(16).fill(1) as number[])
    session.setGradients({ gradients: { '1.bias': given } })
    await run(1, { accumulate: 3, accumulated: 1 })
    assert.deepEqual(valuesOf(given), Array(16).fill(1))
    session.dispose()
  })

  it('are refused where they do not fit, with those that are there kept', async () => {
    const { session, run } = await setUp()
    await run(1, { accumulate: 2 })
    const before = named(session)
    const set = (gradients: Record<string, TensorHandle>) => () => session.setGradients({ gradients })
    const bias = floats(Array(16).fill(1) as number[])
    assert.throws(set({ '1.bias': bias, '2.bias': bias }), invalid(/"2.bias": the optimizer trains no parameter/))
    assert.throws(set({ '1.bias': floats([1]) }), invalid(/"1.bias": expected sizes \[16\], found \[1\]/))
    const double = callTensor('to.dtype', [bias, 'float64'])
    assert.throws(set({ '1.bias': double }), invalid(/expected dtype float32, found float64/))
    assert.deepEqual(named(session), before)
    session.dispose()
  })

  it('are only gone on with by a run that knows of how many batches they are', async () => {
    const { session, run } = await setUp()
    await assert.rejects(run(1, { accumulate: 4, accumulated: 2 }), invalid(/accumulated: expected 0 .* found 2/))
    await run(3, { accumulate: 4 })
    await assert.rejects(run(1, { accumulate: 4, accumulated: 2 }), invalid(/accumulated: expected 3 .* found 2/))
    assert.equal((await run(1, { accumulate: 4, accumulated: 3 })).steps, 1)
    session.dispose()
  })

  it('are dropped by a run that fails', async () => {
    const { data, session, run } = await setUp()
    await run(1, { accumulate: 4 })
    const failing = (batch: TensorHandle[]) =>
      session.run({ batches: [data, batch], inputs: 1, maxDurationMs: Infinity, accumulate: 4, accumulated: 1 })
    const [x, y] = data as [TensorHandle, TensorHandle]
    await assert.rejects(failing([x, floats([1])]), invalid(/64 samples/)) // before anything was done
    assert.equal(Object.keys(session.gradients()).length, 4)
    await assert.rejects(failing([floats(Array(64).fill(0) as number[], [64, 1]), y]), code('ERR_TORCH'))
    assert.deepEqual(named(session), {})
    await assert.rejects(run(1, { accumulate: 4, accumulated: 1 }), invalid(/expected 0/))
    session.dispose()
  })

  it('are in use while a run is, and gone with the session', async () => {
    const { session, run } = await setUp()
    await run(1, { accumulate: 1_000_000 })
    const [gradient] = Object.values(session.gradients()) as [TensorHandle]
    const running = run(20_000, { accumulate: 1_000_000, accumulated: 1 })
    assert.throws(() => addon().tensorToData({ tensor: gradient }), code('ERR_BUSY'))
    assert.throws(() => session.gradients(), code('ERR_BUSY'))
    assert.throws(() => session.setGradients({ gradients: {} }), code('ERR_BUSY'))
    session.pause()
    const { batches, accumulated, reason } = await running
    assert.deepEqual([accumulated, reason], [batches + 1, 'paused'])
    addon().tensorToData({ tensor: gradient })
    session.dispose()
    assert.throws(() => session.gradients(), code('ERR_DISPOSED'))
    assert.throws(() => session.setGradients({ gradients: {} }), code('ERR_DISPOSED'))
  })

  it('do not exist without an optimizer', async () => {
    const { session } = await setUp((spec) => ({ ...spec, optimizer: null }))
    assert.throws(() => session.gradients(), invalid(/evaluation only/))
    assert.throws(() => session.setGradients({ gradients: {} }), invalid(/evaluation only/))
    session.dispose()
  })
})

describe('options of steps', () => {
  it('are refused where they make no sense', async () => {
    const { spec, session, run } = await setUp()
    const wrong: [Record<string, unknown>, RegExp][] = [
      [{ accumulate: 0 }, /accumulate: expected at least 1, found 0/],
      [{ accumulate: 1.5 }, /accumulate: expected an integer/],
      [{ accumulate: 4, accumulated: 4 }, /accumulated: expected 0 to 3 .* found 4/],
      [{ accumulated: 1 }, /accumulated: expected 0 to 0 .* found 1/],
      [{ clipGradNorm: -1 }, /clipGradNorm: expected a number >= 0, found -1/],
      [{ clipGradValue: NaN }, /clipGradValue: expected a number >= 0, found NaN/],
      [{ onNonFinite: 'ignore' }, /onNonFinite: expected 'stop' or 'skip', found 'ignore'/],
    ]
    for (const [options, message] of wrong) await assert.rejects(async () => run(1, options), invalid(message))
    session.dispose()
    const half = { ...spec, autocast: 'float16' } as unknown as SessionSpec
    await assert.rejects(addon().createSession(half), invalid(/autocast: expected bfloat16, found "float16"/))
  })
})

describe('autocast', () => {
  it('leaves sessions that run at once the bits that they have alone', async () => {
    // LibTorch has one table of casts for all threads, and the weights that are used twice show what it held: their gradient is rounded once more when cast twice.
    const cast = (spec: SessionSpec): SessionSpec => ({
      ...spec,
      autocast: 'bfloat16',
      trainGraph: JSON.parse(
        JSON.stringify(spec.evalGraph).replace(
          '"weight","arg":{"as_tensor":{"name":"p_1_',
          '"weight","arg":{"as_tensor":{"name":"p_0_',
        ),
      ) as GraphModule, // no dropout: the two may draw nothing
    })
    const weights = ({ parameters }: SessionSpec) => Object.values(parameters).map(valuesOf)
    const alone = await setUp(cast)
    await alone.run(300)
    const both = [await setUp(cast), await setUp(cast)]
    await Promise.all(both.map(({ run }) => run(300)))
    for (const { spec } of both) assert.deepEqual(weights(spec), weights(alone.spec))
    for (const { session } of [alone, ...both]) session.dispose()
  })
})

describe('gradients that are not finite', () => {
  for (const dtype of ['float32', 'float64', 'bfloat16', 'float16', 'complex64', 'complex128'] as const) {
    it(`are found in ${dtype}, wherever they are`, async () => {
      const large = dtype === 'float32' || dtype === 'complex64' ? 200_003 : 1003 // the first two on two threads
      for (const [size, threads] of [
        [1, 1],
        [37, 1],
        [large, 2],
      ] as const) {
        for (const at of new Set([null, 0, size >> 1, size - 1])) {
          const skipped = await trainElementwise(dtype, size, at, threads)
          assert.deepEqual(skipped, at === null ? [] : [{ batch: 0, parameter: 'weight' }], `${size}, ${at}`)
        }
      }
    })
  }
})

/** One step on abs(sqrt(weight * x)) with a weight of ones and, at one place, a zero, where the slope is no number. */
async function trainElementwise(dtype: DType, size: number, zeroAt: number | null, threads: number) {
  const ones = () => callTensor('ones', [[size]], { kwargs: { dtype } })
  const weight = ones()
  if (zeroAt !== null) callTensor('zero_', [callTensor('select.int', [weight, 0, zeroAt])])
  callTensor('requires_grad_', [weight, true], { gradEnabled: true })
  const session = await addon().createSession({ ...elementwise(weight), threads })
  const x = callTensor('mul.Scalar', [callTensor('unsqueeze', [ones(), 0]), 0.25])
  const target = callTensor('abs', [x])
  const before = addon().tensorToData({ tensor: weight })
  const options = { batches: [[x, target]], inputs: 1, maxDurationMs: Infinity }
  const result = await session.run({ ...options, onNonFinite: 'skip' })
  assert.deepEqual([result.batches, result.steps], [1, zeroAt === null ? 1 : 0])
  const after = addon().tensorToData({ tensor: weight })
  if (zeroAt !== null) assert.deepEqual(new Uint8Array(after), new Uint8Array(before))
  session.dispose()
  return result.skipped
}
