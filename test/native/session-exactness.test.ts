import assert from 'node:assert/strict'
import type { TensorHandle } from '../../lib/contract.js'
import { addon } from '../../lib/native.js'
import { needPython } from '../python.js'
import { expectedState, pack, specOf, trainedState, unpack } from './session-from-python.js'
import {
  orderOf,
  runReferences,
  trainingSeed,
  type Reference,
  type ReferenceModel,
  type ReferenceResult,
  type ReferenceRun,
} from './session-reference.js'

const adam = { lr: 0.003 }
const everyRun: ReferenceRun[] = [
  { optimizer: 'SGD', options: { lr: 0.02, momentum: 0.9 } },
  { optimizer: 'Adam', options: adam },
  { optimizer: 'AdamW', options: { ...adam, weight_decay: 0.02 } },
]
const optimizerVariants: ReferenceRun[] = [
  { optimizer: 'SGD', options: { lr: 0.02 } },
  { optimizer: 'SGD', options: { lr: 0.02, momentum: 0.9, nesterov: true, weight_decay: 0.01 } },
  { optimizer: 'SGD', options: { lr: 0.0001, momentum: 0.8, dampening: 0.3, maximize: true } },
  { optimizer: 'SGD', options: { lr: 0.02, momentum: 0.9, weight_decay: 0.01, fused: true } },
  { optimizer: 'SGD', options: { lr: 0.02, fused: true } },
  { optimizer: 'Adam', options: { ...adam, weight_decay: 0.05, amsgrad: true, betas: [0.8, 0.99], eps: 1e-6 } },
  { optimizer: 'Adam', options: { ...adam, maximize: true, decoupled_weight_decay: true, weight_decay: 0.05 } },
  { optimizer: 'Adam', options: { ...adam, weight_decay: 0.05, fused: true } },
  { optimizer: 'AdamW', options: { ...adam, amsgrad: true } },
  { optimizer: 'AdamW', options: { ...adam, amsgrad: true, fused: true } },
]
const cases: [ReferenceModel, string, ReferenceRun[]][] = [
  ['cnn', 'convolutions, batch norm, pooling, dropout', everyRun],
  ['lstm', 'an embedding and an LSTM with dropout, lists, several outputs, symbolic sizes', everyRun],
  ['tied', 'an embedding whose weight is also the head', everyRun],
  ['attention', 'a transformer layer with dropout', everyRun],
  ['mixed', 'numbers, casts, constants, index lists, buffers changed in place', everyRun],
  ['functional', 'the same, exported so that changed buffers are outputs', everyRun],
  ['float64', 'double precision', everyRun],
  ['bfloat16', 'short floats, whose kernels use all digits of a Python number', everyRun],
  ['complex64', 'complex parameters', everyRun],
  ['mlp', 'two linear layers', [...everyRun, ...optimizerVariants]],
]

describe('a session against Python, 50 steps, the last batch shorter', () => {
  let references: Record<ReferenceModel, Reference>
  before(async function () {
    needPython(this)
    references = await runReferences(Object.fromEntries(cases.map(([model, , runs]) => [model, runs])))
  })

  for (const [model, description, runs] of cases) {
    describe(`${model}: ${description}`, () => {
      let reference: Reference
      before(() => {
        reference = references[model]
      })

      runs.forEach((run, index) => {
        it(`ends in Python's bytes with ${run.optimizer} ${JSON.stringify(run.options)}`, async () => {
          const result = reference.results[index] as ReferenceResult
          const spec = specOf(reference, run, result)
          const session = await addon().createSession(spec)
          const tensors = reference.data.map(unpack)
          addon().manualSeed({ generator: addon().defaultGenerator(), seed: trainingSeed })
          const batches = { tensors, batchSize: reference.batchSize, inputs: 1 }
          const trained = await session.run({ ...batches, order: orderOf(reference), maxDurationMs: Infinity })
          assert.deepEqual([...trained.losses], result.losses)
          assert.deepEqual([trained.steps, trained.samples, trained.reason], [50, 397, 'end'])
          assert.deepEqual(trainedState(session, spec), expectedState(reference, result))

          const order = BigInt64Array.from({ length: 101 }, (_, row) => BigInt(row))
          const evaluated = await session.evaluate({ ...batches, order })
          assert.deepEqual(evaluated.outputs.map(pack), [result.evaluation.outputs])
          const weighted = result.evaluation.losses.reduce<number>(
            (sum, loss, i) => sum + Number(loss) * Math.min(8, 101 - 8 * i),
            0,
          )
          assert.deepEqual([evaluated.loss, evaluated.samples, evaluated.reason], [weighted / 101, 101, 'end'])
          session.dispose()
        })
      })

      it('gives the same bytes in chunks, from ready batches and across two sessions', async () => {
        const [run, result] = [runs[1] as ReferenceRun, reference.results[1] as ReferenceResult]
        const first = specOf(reference, run, result)
        const tensors = reference.data.map(unpack)
        const order = orderOf(reference)
        const size = reference.batchSize
        addon().manualSeed({ generator: addon().defaultGenerator(), seed: trainingSeed })
        const session = await addon().createSession(first)
        for (const [begin, end] of [
          [0, 1],
          [1, 8],
          [8, 20],
        ] as const) {
          await session.run({
            tensors,
            order: order.slice(begin * size, end * size),
            batchSize: size,
            inputs: 1,
            maxDurationMs: Infinity,
          })
        }
        const second = {
          ...first,
          optimizer: { ...(first.optimizer as NonNullable<typeof first.optimizer>), state: session.optimizerState() },
        }
        session.dispose()
        const next = await addon().createSession(second)
        const batches: TensorHandle[][] = []
        for (let begin = 20 * size; begin < order.length; begin += size) {
          const index = addon().tensorFromData({
            dtype: 'int64',
            sizes: [Math.min(size, order.length - begin)],
            data: order.slice(begin, begin + size),
            device: 'cpu',
          })
          batches.push(
            tensors.map(
              (tensor) =>
                addon().call({
                  op: 'aten::index_select',
                  args: [tensor, 0, index],
                  gradEnabled: false,
                }) as TensorHandle,
            ),
          )
        }
        await next.run({ batches, inputs: 1, maxDurationMs: Infinity })
        assert.deepEqual(trainedState(next, second), expectedState(reference, result))
        next.dispose()
      })
    })
  }
})
