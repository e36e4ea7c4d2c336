import assert from 'node:assert/strict'
import type { NativeSession, SessionSpec, TensorHandle } from '../../lib/contract.js'
import { addon } from '../../lib/native.js'
import { needPython } from '../python.js'
import {
  orderOf,
  runReference,
  trainingSeed,
  type PackedTensor,
  type PackedTensors,
  type Reference,
  type ReferenceModel,
  type ReferenceResult,
  type ReferenceRun,
} from './session-reference.js'

function unpack(packed: PackedTensor): TensorHandle {
  const data = Buffer.from(packed.data, 'base64')
  const tensor = addon().tensorFromData({ dtype: packed.dtype, sizes: packed.sizes, data, device: 'cpu' })
  if (packed.requiresGrad) addon().call({ op: 'aten::requires_grad_', args: [tensor, true], gradEnabled: true })
  return tensor
}

const unpackAll = (packed: PackedTensors) =>
  Object.fromEntries(Object.entries(packed).map(([name, tensor]) => [name, unpack(tensor)]))

function pack(tensor: TensorHandle): PackedTensor {
  const { dtype, sizes, requiresGrad } = addon().tensorInfo({ tensor })
  return { dtype, sizes, data: Buffer.from(addon().tensorToData({ tensor })).toString('base64'), requiresGrad }
}

const packAll = (tensors: Readonly<Record<string, TensorHandle>>) =>
  Object.fromEntries(Object.entries(tensors).map(([name, tensor]) => [name, pack(tensor)]))

/** Tensors as they were before Python trained; names that Python ties share one handle, as a module of ours would share it. */
function specOf(reference: Reference, run: ReferenceRun, result: ReferenceResult): SessionSpec {
  const parameters = unpackAll(reference.parameters)
  for (const name of Object.keys(parameters)) {
    const [owner] = Object.keys(result.parameters)
    if (!(name in result.parameters) && owner !== undefined) parameters[name] = parameters[owner] as TensorHandle
  }
  const { trainGraph, evalGraph, lossGraph } = reference
  const groups = [{ params: Object.keys(result.parameters), options: result.group }]
  const optimizer = { name: run.optimizer, groups }
  const buffers = unpackAll(reference.buffers)
  return {
    trainGraph,
    evalGraph,
    lossGraph,
    parameters,
    buffers,
    constants: unpackAll(reference.constants),
    optimizer,
    device: 'cpu',
    threads: 1,
  }
}

async function trainedState(session: NativeSession, spec: SessionSpec): Promise<object> {
  const state = Object.entries(session.optimizerState()).map(([name, entry]) => [name, packAll(entry)])
  const generator = addon().getGeneratorState({ generator: addon().defaultGenerator() })
  return {
    parameters: packAll(spec.parameters),
    buffers: packAll(spec.buffers),
    state: Object.fromEntries(state) as object,
    generatorState: Buffer.from(generator).toString('base64'),
  }
}

/** What Python ended with, in the form of {@link trainedState}: tied names are spelled out. */
function expectedState(reference: Reference, result: ReferenceResult): object {
  const [owner] = Object.values(result.parameters)
  const parameters = Object.fromEntries(
    Object.keys(reference.parameters).map((name) => [name, result.parameters[name] ?? owner]),
  )
  const { buffers, state, generatorState } = result
  return { parameters, buffers, state, generatorState }
}

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
  before(function () {
    needPython(this)
  })

  for (const [model, description, runs] of cases) {
    describe(`${model}: ${description}`, () => {
      let reference: Reference
      before(async () => {
        reference = await runReference(model, runs)
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
          assert.deepEqual(await trainedState(session, spec), expectedState(reference, result))

          const order = BigInt64Array.from({ length: 101 }, (_, row) => BigInt(row))
          const evaluated = await session.evaluate({ ...batches, order })
          assert.deepEqual(evaluated.outputs.map(pack), [result.evaluation.outputs])
          const weighted = result.evaluation.losses.reduce((sum, loss, i) => sum + loss * Math.min(8, 101 - 8 * i), 0)
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
        assert.deepEqual(await trainedState(next, second), expectedState(reference, result))
        next.dispose()
      })
    })
  }
})
