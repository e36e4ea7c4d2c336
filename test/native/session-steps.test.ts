/** Accumulation, clipping, autocast and values that are not finite, against what Python does. */
import assert from 'node:assert/strict'
import type { NativeSession, RunOptions, RunResult, SessionSpec, TensorHandle } from '../../lib/contract.js'
import { addon } from '../../lib/native.js'
import { needPython } from '../python.js'
import { callTensor } from './fixtures.js'
import { expectedState, pack, packAll, specOf, trainedState, unpack, unpackAll } from './session-from-python.js'
import {
  orderOf,
  runReferences,
  trainingSeed,
  type Reference,
  type ReferenceResult,
  type ReferenceRun,
} from './session-reference.js'

type Training = Omit<RunOptions, 'inputs'>

/** One run of Python's and a session that is to repeat it. */
class Repetition {
  readonly spec: SessionSpec
  readonly tensors: TensorHandle[]
  private readonly result: ReferenceResult
  private readonly order: BigInt64Array

  constructor(
    private readonly reference: Reference,
    readonly python: ReferenceRun,
    index: number,
  ) {
    this.result = reference.results[index] as ReferenceResult
    this.spec = specOf(reference, python, this.result)
    this.order = orderOf(reference, python.steps)
    const [x, y] = reference.data.map(unpack) as [TensorHandle, TensorHandle]
    for (const tensor of [x, y]) {
      if (python.dataScale !== undefined) callTensor('mul_.Scalar', [tensor, python.dataScale])
    }
    this.tensors = [zeroFirstColumn(x, python.zeroRows ?? []), fillRows(y, python.nanRows ?? [], NaN)]
    addon().manualSeed({ generator: addon().defaultGenerator(), seed: trainingSeed })
  }

  /** Trains on batches `begin` to `end`. */
  async run(session: NativeSession, begin: number, end: number, options: Partial<Training> = {}): Promise<RunResult> {
    const { batchSize } = this.reference
    const order = this.order.slice(begin * batchSize, end * batchSize)
    const source = { tensors: this.tensors, order, batchSize, inputs: 1 }
    const { clipGradNorm = null, clipGradValue = null } = this.python
    return session.run({ ...source, clipGradNorm, clipGradValue, maxDurationMs: Infinity, ...options })
  }

  assertState(session: NativeSession): void {
    assert.deepEqual(trainedState(session, this.spec), expectedState(this.reference, this.result))
  }

  assertResults(results: readonly RunResult[]): void {
    const finite = (numbers: Float64Array) => [...numbers].map((number) => (Number.isFinite(number) ? number : null))
    assert.deepEqual(
      results.flatMap(({ losses }) => finite(losses)),
      this.result.losses,
    )
    assert.deepEqual(
      results.flatMap(({ gradNorms }) => finite(gradNorms)),
      this.result.gradNorms,
    )
  }

  get expected(): ReferenceResult {
    return this.result
  }
}

/** Row numbers as a tensor. */
const rowsOf = (rows: readonly number[]): TensorHandle =>
  addon().tensorFromData({
    dtype: 'int64',
    sizes: [rows.length],
    data: BigInt64Array.from(rows, BigInt),
    device: 'cpu',
  })

function fillRows(tensor: TensorHandle, rows: readonly number[], value: number): TensorHandle {
  if (rows.length === 0) return tensor
  return callTensor('index_fill.int_Scalar', [tensor, 0, rowsOf(rows), value])
}

function zeroFirstColumn(tensor: TensorHandle, rows: readonly number[]): TensorHandle {
  if (rows.length === 0) return tensor
  callTensor('index_fill_.int_Scalar', [callTensor('select.int', [tensor, 1, 0]), 0, rowsOf(rows), 0])
  return tensor
}

const sgd = { optimizer: 'SGD' as const, options: { lr: 0.02, momentum: 0.9 } }
const adam = { optimizer: 'Adam' as const, options: { lr: 0.003 } }
const accumulating: ReferenceRun[] = [
  { ...adam, accumulate: 4, steps: 22 },
  { ...sgd, accumulate: 4, steps: 22, clipGradNorm: 0.5, clipGradValue: 0.02, twoGroups: true },
  { ...adam, accumulate: 4, steps: 22, autocast: true },
]
const clipped: ReferenceRun[] = [
  { ...sgd, clipGradNorm: 0.3 },
  { ...sgd, clipGradNorm: 1000 },
  { ...adam, clipGradValue: 0.001 },
  { ...sgd, clipGradNorm: 0 },
  { ...sgd, clipGradNorm: 0.3, clipGradValue: 0.01 },
].map((run) => ({ ...run, steps: 20, twoGroups: true }))
const cast: ReferenceRun[] = [
  { ...adam, steps: 20, autocast: true },
  { ...adam, steps: 20 },
]
const bad = { steps: 22, zeroRows: [3, 40], nanRows: [5, 77], twoGroups: true }
const poisoned: ReferenceRun[] = [
  { ...sgd, ...bad },
  { ...adam, ...bad, accumulate: 4 },
  { ...adam, ...bad, clipGradNorm: 1, accumulate: 2 },
  { ...sgd, ...bad, steps: 4, nanRows: Array.from({ length: 101 }, (_, row) => row) },
]
/** Finite gradients whose squares are too large: they are clipped to nothing, not passed over. */
const overflowing: ReferenceRun = { ...sgd, steps: 3, dataScale: 1e15, clipGradNorm: 1 }
const pythonRuns = {
  cnn: [...accumulating, ...clipped, ...cast],
  tied: [...clipped, ...cast],
  mlp: [...cast, overflowing],
  lstm: cast,
  attention: cast,
  rooted: poisoned,
}
type Model = keyof typeof pythonRuns

describe('steps of a session against Python', () => {
  let references: Record<Model, Reference>
  before(async function () {
    needPython(this)
    references = await runReferences(pythonRuns)
  })

  /** A run of Python's to repeat. */
  function repetition(model: Model, run: ReferenceRun): Repetition {
    return new Repetition(references[model], run, pythonRuns[model].indexOf(run))
  }

  describe('accumulation of 4 batches, 22 batches', () => {
    for (const [index, name] of ['Adam', 'SGD with clipping', 'autocast'].entries()) {
      it(`ends in Python's bytes with ${name}, the last two batches a group of their own`, async () => {
        const own = repetition('cnn', accumulating[index] as ReferenceRun)
        const session = await addon().createSession(own.spec)
        const whole = await own.run(session, 0, 20, { accumulate: 4 })
        const last = await own.run(session, 20, 22, { accumulate: 2 })
        own.assertResults([whole, last])
        assert.deepEqual([whole.batches, whole.steps, whole.accumulated, whole.reason], [20, 5, 0, 'end'])
        assert.deepEqual([last.batches, last.steps, last.accumulated, last.samples], [2, 1, 0, 16])
        own.assertState(session)
        session.dispose()
      })
    }

    it('goes on inside a group after each batch, with gradients carried to another session', async () => {
      const own = repetition('cnn', accumulating[1] as ReferenceRun)
      let session = await addon().createSession(own.spec)
      const results: RunResult[] = []
      let accumulated = 0
      for (let batch = 0; batch < 22; batch++) {
        const accumulate = batch < 20 ? 4 : 2
        // The time is up after the first batch, whatever follows.
        const result = await own.run(session, batch, 22, { accumulate, accumulated, maxDurationMs: 0 })
        assert.deepEqual([result.batches, result.reason], [1, batch === 21 ? 'end' : 'time'])
        results.push(result)
        accumulated = result.accumulated
        assert.equal(accumulated, (batch + 1 - (batch < 20 ? 0 : 20)) % accumulate)
        assert.equal(Object.keys(session.gradients()).length, accumulated === 0 ? 0 : 6)
        if (batch % 3 !== 1) continue
        // As bytes, as a checkpoint would carry them.
        const gradients = packAll(session.gradients())
        const optimizer = own.spec.optimizer as NonNullable<SessionSpec['optimizer']>
        const next = await addon().createSession({
          ...own.spec,
          optimizer: { ...optimizer, state: session.optimizerState() },
        })
        session.dispose()
        session = next
        session.setGradients({ gradients: unpackAll(gradients) })
      }
      own.assertResults(results)
      own.assertState(session)
      session.dispose()
    })
  })

  describe('clipping with two groups, 20 steps', () => {
    for (const model of ['cnn', 'tied'] as const) {
      for (const run of clipped) {
        const { optimizer, clipGradNorm, clipGradValue } = run
        it(`ends in Python's bytes: ${model}, ${JSON.stringify({ optimizer, clipGradNorm, clipGradValue })}`, async () => {
          const own = repetition(model, run)
          const session = await addon().createSession(own.spec)
          const result = await own.run(session, 0, 20)
          own.assertResults([result])
          assert.equal(result.gradNorms.length, clipGradNorm === undefined ? 0 : 20)
          own.assertState(session)
          session.dispose()
        })
      }
    }
  })

  describe('bfloat16 autocast, 20 steps and an evaluation', () => {
    for (const model of ['mlp', 'cnn', 'lstm', 'tied', 'attention'] as const) {
      it(`ends in Python's bytes: ${model}`, async () => {
        const [run, plainRun] = cast as [ReferenceRun, ReferenceRun]
        const plain = repetition(model, plainRun).expected
        const own = repetition(model, run)
        const session = await addon().createSession(own.spec)
        const result = await own.run(session, 0, 20)
        own.assertResults([result])
        own.assertState(session)
        assert.notDeepEqual([...result.losses], plain.losses)

        const order = BigInt64Array.from({ length: 101 }, (_, row) => BigInt(row))
        const evaluated = await session.evaluate({ tensors: own.tensors, order, batchSize: 8, inputs: 1 })
        const { outputs, losses } = own.expected.evaluation
        assert.deepEqual(evaluated.outputs.map(pack), [outputs])
        const sum = losses.reduce<number>((all, loss, i) => all + Number(loss) * Math.min(8, 101 - 8 * i), 0)
        assert.equal(evaluated.loss, sum / 101)
        session.dispose()
      })
    }
  })

  describe('losses and gradients that are not finite', () => {
    for (const [index, run] of poisoned.entries()) {
      it(`are passed over as in Python: variant ${index}`, async () => {
        const own = repetition('rooted', run)
        const { accumulate = 1, steps = 0 } = own.python
        const session = await addon().createSession(own.spec)
        const whole = steps - (steps % accumulate)
        const results = [await own.run(session, 0, whole, { accumulate, onNonFinite: 'skip' })]
        if (whole < steps)
          results.push(await own.run(session, whole, steps, { accumulate: steps % accumulate, onNonFinite: 'skip' }))
        own.assertResults(results)
        own.assertState(session)
        const skipped = results.flatMap(({ skipped }, run) =>
          skipped.map(({ batch, parameter }) => [batch + (run === 0 ? 0 : whole), parameter]),
        )
        assert.deepEqual(skipped, own.expected.skipped)
        assert.ok(skipped.some(([, parameter]) => parameter === null))
        if (index < 3) assert.ok(skipped.some(([, parameter]) => parameter === 'scale'))
        assert.equal(
          results.reduce((sum, { batches }) => sum + batches, 0),
          steps,
        )
        session.dispose()
      })
    }

    it('are neither where only the norm overflows', async () => {
      const own = repetition('mlp', overflowing)
      const session = await addon().createSession(own.spec)
      const result = await own.run(session, 0, 3)
      own.assertResults([result])
      assert.deepEqual([...result.gradNorms], [Infinity, Infinity, Infinity])
      assert.deepEqual([result.steps, result.skipped], [3, []])
      own.assertState(session)
      session.dispose()
    })

    it('end the run, with nothing updated by them, where that is wanted', async () => {
      const own = repetition('rooted', poisoned[0] as ReferenceRun)
      const session = await addon().createSession(own.spec)
      for (let begin = 0; begin < 22;) {
        const before = trainedState(session, own.spec)
        const expected = own.expected.skipped.find(([batch]) => batch >= begin)
        const result = await own.run(session, begin, 22)
        assert.equal(result.reason, expected === undefined ? 'end' : 'non_finite')
        if (expected === undefined) break
        assert.deepEqual(result.skipped, [{ batch: expected[0] - begin, parameter: expected[1] }])
        assert.deepEqual([result.batches, result.losses.length], [expected[0] - begin, expected[0] - begin + 1])
        assert.deepEqual([result.steps, result.accumulated], [result.batches, 0])
        if (result.batches === 0) assert.deepEqual(trainedState(session, own.spec), before)
        begin = expected[0] + 1
      }
      own.assertState(session)
      session.dispose()
    })
  })
})
