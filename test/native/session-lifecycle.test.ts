import assert from 'node:assert/strict'
import type { NativeSession, RunResult, SessionSpec, TensorHandle } from '../../lib/contract.js'
import { addon } from '../../lib/native.js'
import { runChild } from './child.js'
import { valuesOf } from './fixtures.js'
import { mlp, rows, snapshot, type MlpOptions } from './session-mlp.js'

interface Setup {
  spec: SessionSpec
  session: NativeSession
  run: (order: BigInt64Array, maxDurationMs?: number) => Promise<RunResult>
  evaluate: (order: BigInt64Array) => ReturnType<NativeSession['evaluate']>
  bytes: () => string[]
}

async function setUp(
  options: MlpOptions = {},
  change: (spec: SessionSpec) => SessionSpec = (spec) => spec,
): Promise<Setup> {
  const made = mlp(addon(), options)
  const spec = change(made.spec)
  const session = await addon().createSession(spec)
  addon().manualSeed({ generator: addon().defaultGenerator(), seed: 5n })
  const source = { tensors: made.data, batchSize: 8, inputs: 1 }
  return {
    spec,
    session,
    run: (order, maxDurationMs = Infinity) => session.run({ ...source, order, maxDurationMs }),
    evaluate: (order) => session.evaluate({ ...source, order }),
    bytes: () => snapshot(addon(), spec, session.optimizerState()),
  }
}

const setFrozen = (tensor: TensorHandle, frozen: boolean) =>
  addon().call({ op: 'aten::requires_grad_', args: [tensor, !frozen], gradEnabled: true })

const code = (expected: string) => (error: unknown) => (error as { code?: string }).code === expected

/** Enough steps that whoever waits for their end waits for seconds. */
const endless = rows(200_000)

describe("a session's life", () => {
  it('ends a chunk at the first step past its time, and chunks continue where the last one ended', async () => {
    const whole = await setUp()
    assert.equal((await whole.run(rows(12))).reason, 'end')
    const cut = await setUp()
    for (let step = 0; step < 12; step++) {
      const rest = rows(12).slice(step * 8)
      const result = await cut.run(rest, 0)
      assert.deepEqual(
        [result.steps, result.samples, result.losses.length, result.reason],
        [1, 8, 1, step === 11 ? 'end' : 'time'],
      )
    }
    assert.deepEqual(cut.bytes(), whole.bytes())
    cut.session.dispose()
    whole.session.dispose()
  })

  it('pauses after the current step, the event loop stays free meanwhile, and the rest gives the bytes of an unbroken run', async () => {
    const cut = await setUp({ width: 64 })
    const running = cut.run(endless)
    let turns = 0
    await new Promise<void>((resolve) => {
      const turn = () => (++turns < 50 ? setImmediate(turn) : resolve())
      turn()
    })
    cut.session.pause()
    const first = await running
    assert.equal(first.reason, 'paused')
    assert.ok(first.steps >= 1 && first.steps < 200_000, String(first.steps))
    assert.equal((await cut.run(endless.slice(first.samples, first.samples + 40))).reason, 'end')

    const whole = await setUp({ width: 64 })
    await whole.run(endless.slice(0, first.samples + 40))
    assert.deepEqual(cut.bytes(), whole.bytes())
    cut.session.dispose()
    whole.session.dispose()
  })

  it('forgets a pause that found nothing running', async () => {
    const { session, run } = await setUp()
    session.pause()
    assert.equal((await run(rows(3))).reason, 'end')
    session.dispose()
  })

  it('stops at dispose, once and for all', async () => {
    const { session, run, evaluate, spec } = await setUp({ width: 64 })
    const running = run(endless)
    session.dispose()
    session.dispose()
    assert.equal((await running).reason, 'stopped')
    await assert.rejects(run(rows(1)), code('ERR_DISPOSED'))
    await assert.rejects(evaluate(rows(1)), code('ERR_DISPOSED'))
    assert.throws(() => session.optimizerState(), code('ERR_DISPOSED'))
    assert.throws(() => session.setParamGroups({ groups: spec.optimizer?.groups ?? [] }), code('ERR_DISPOSED'))
    assert.throws(() => session.pause(), code('ERR_DISPOSED'))
    assert.equal(addon().tensorGrad({ tensor: spec.parameters['0.weight'] as TensorHandle }), null)
  })

  it('runs one operation at a time and keeps others from its tensors and from the generator', async () => {
    const { session, run, evaluate, spec } = await setUp({ width: 64 })
    const other = await setUp()
    const running = run(endless)
    const tensor = spec.parameters['0.weight'] as TensorHandle
    await assert.rejects(run(rows(1)), code('ERR_BUSY'))
    await assert.rejects(evaluate(rows(1)), code('ERR_BUSY'))
    assert.throws(() => session.optimizerState(), code('ERR_BUSY'))
    assert.throws(() => session.setParamGroups({ groups: spec.optimizer?.groups ?? [] }), code('ERR_BUSY'))
    assert.throws(
      () => addon().call({ op: 'aten::mul', overload: 'Scalar', args: [tensor, 2], gradEnabled: false }),
      code('ERR_BUSY'),
    )
    assert.throws(() => addon().tensorToData({ tensor }), code('ERR_BUSY'))
    assert.throws(() => addon().call({ op: 'aten::randn', args: [[2]], gradEnabled: false }), code('ERR_BUSY'))
    await assert.rejects(other.run(rows(1)), code('ERR_BUSY'))
    await assert.rejects(addon().createSession(spec), code('ERR_BUSY'))
    session.pause()
    assert.equal((await running).reason, 'paused')
    addon().tensorToData({ tensor })
    assert.equal((await other.run(rows(1))).reason, 'end')
    session.dispose()
    other.session.dispose()
  })

  it('lets others read the batches of a running chunk, but not change them', async () => {
    const { spec, data } = mlp(addon())
    const session = await addon().createSession(spec)
    const [x] = data as [TensorHandle]
    const double = () => addon().call({ op: 'aten::mul_', overload: 'Scalar', args: [x, 2], gradEnabled: false })
    const common = { inputs: 1, maxDurationMs: Infinity }
    for (const source of [{ tensors: data, order: endless, batchSize: 8 }, { batches: Array(20_000).fill(data) }]) {
      const running = session.run({ ...source, ...common })
      addon().tensorToData({ tensor: x })
      assert.throws(double, code('ERR_BUSY'))
      session.pause()
      assert.equal((await running).reason, 'paused')
      double()
    }
    session.dispose()
  })

  it('updates nothing with a loss that is not finite', async () => {
    const reference = await setUp()
    await reference.run(rows(2))
    for (const bad of [NaN, Infinity]) {
      const { session, spec, bytes } = await setUp()
      const good = mlp(addon()).data
      const slice = (begin: number) =>
        good.map(
          (tensor) =>
            addon().call({
              op: 'aten::index_select',
              args: [tensor, 0, indexOf(begin)],
              gradEnabled: false,
            }) as TensorHandle,
        )
      const poisoned = [
        slice(2)[0] as TensorHandle,
        addon().call({ op: 'aten::full', args: [[8, 16], bad], gradEnabled: false }) as TensorHandle,
      ]
      const result = await session.run({
        batches: [slice(0), slice(1), poisoned, slice(3)],
        inputs: 1,
        maxDurationMs: Infinity,
      })
      assert.deepEqual(
        [result.steps, result.samples, result.reason, result.losses.length, result.losses[2]],
        [2, 16, 'non_finite', 3, bad],
      )
      assert.deepEqual(bytes(), reference.bytes())
      assert.equal(addon().tensorGrad({ tensor: spec.parameters['1.bias'] as TensorHandle }), null)
      session.dispose()
    }
    reference.session.dispose()
  })

  it('leaves frozen parameters and their state alone until they are thawed', async () => {
    const { session, spec, run } = await setUp()
    const frozen = spec.parameters['0.weight'] as TensorHandle
    const before = valuesOf(frozen)
    setFrozen(frozen, true)
    await run(rows(3))
    assert.deepEqual(valuesOf(frozen), before)
    assert.deepEqual(Object.keys(session.optimizerState()), ['0.bias', '1.weight', '1.bias'])
    setFrozen(frozen, false)
    await run(rows(2))
    assert.notDeepEqual(valuesOf(frozen), before)
    const steps = Object.entries(session.optimizerState()).map(([name, state]) => [
      name,
      valuesOf(state['step'] as TensorHandle)[0],
    ])
    assert.deepEqual(steps, [
      ['0.weight', 2],
      ['0.bias', 5],
      ['1.weight', 5],
      ['1.bias', 5],
    ])
    session.dispose()
  })

  it('takes new hyperparameters between chunks', async () => {
    const { session, spec, run } = await setUp()
    const [group] = spec.optimizer?.groups ?? []
    assert.ok(group)
    await run(rows(2))
    const before = valuesOf(spec.parameters['1.weight'] as TensorHandle)
    const changed = (options: Record<string, number>) => ({ ...group, options: { ...group.options, ...options } })
    assert.throws(() => session.setParamGroups({ groups: [changed({ lr: 1, eps: -1 })] }), code('ERR_INVALID_ARGUMENT'))
    session.setParamGroups({ groups: [changed({ lr: 0 })] })
    await run(rows(2))
    assert.deepEqual(valuesOf(spec.parameters['1.weight'] as TensorHandle), before)
    session.setParamGroups({ groups: [group] })
    await run(rows(1))
    assert.notDeepEqual(valuesOf(spec.parameters['1.weight'] as TensorHandle), before)
    session.dispose()
  })

  it('evaluates without targets and without an optimizer, and pauses there too', async () => {
    const { session, evaluate } = await setUp({ width: 64 }, (spec) => ({ ...spec, optimizer: null }))
    const { data } = mlp(addon(), { width: 64 })
    const input = data[0] as TensorHandle
    const plain = await session.evaluate({ tensors: [input], order: rows(3), batchSize: 8, inputs: 1 })
    assert.deepEqual([plain.loss, plain.samples, plain.reason, plain.outputs.length], [NaN, 24, 'end', 1])
    assert.deepEqual(addon().tensorInfo({ tensor: plain.outputs[0] as TensorHandle }).sizes, [24, 64])
    assert.equal(addon().tensorInfo({ tensor: plain.outputs[0] as TensorHandle }).requiresGrad, false)
    const running = evaluate(endless)
    session.pause()
    const paused = await running
    assert.equal(paused.reason, 'paused')
    assert.ok(paused.samples >= 8 && paused.samples < endless.length && Number.isFinite(paused.loss))
    session.dispose()
  })

  it('keeps memory flat over 5,000 steps', async () => {
    // In a process of its own, where nothing else is collected meanwhile. AddressSanitizer keeps freed memory back on purpose.
    const program = `
const run = (steps) => session.run({ tensors: data, order: rows(steps), batchSize: 8, inputs: 1, maxDurationMs: Infinity })
await run(500)
const before = [process.memoryUsage.rss(), addon.memoryStats({ device: 'cpu' }).liveTensors]
await run(4500)
const after = [process.memoryUsage.rss(), addon.memoryStats({ device: 'cpu' }).liveTensors]
globalThis.kept = [spec, data]
console.log(JSON.stringify([before, after]))`
    const { stdout, stderr } = await runInChild(program)
    assert.ok(stdout, stderr)
    const [before, after] = JSON.parse(stdout) as [[number, number], [number, number]]
    assert.equal(after[1], before[1])
    const grownBytes = after[0] - before[0]
    if (process.env['TORCHKEEP_BUILD'] !== 'Asan') assert.ok(grownBytes <= 16 << 20, `${grownBytes} bytes more`)
  })

  it('keeps the process alive while it works and no longer', async () => {
    const program = `
session.run({ tensors: data, order: rows(2000), batchSize: 8, inputs: 1, maxDurationMs: Infinity }).then(({ steps }) => console.log(steps))`
    const { code: exitCode, signal, stdout, stderr } = await runInChild(program)
    assert.deepEqual([exitCode, signal, stdout], [0, null, '2000\n'], stderr)
  })
})

/** Runs a program in which `session` is ready to train on `data`. */
function runInChild(program: string): ReturnType<typeof runChild> {
  const url = JSON.stringify(new URL('session-mlp.js', import.meta.url).href)
  return runChild(`
const { mlp, rows } = await import(${url})
const { spec, data } = mlp(addon)
const session = await addon.createSession(spec)
${program}`)
}

/** Rows of batch number `batch` of `rows(...)`. */
function indexOf(batch: number): TensorHandle {
  return addon().tensorFromData({ dtype: 'int64', sizes: [8], data: rows(batch + 1).slice(batch * 8), device: 'cpu' })
}
