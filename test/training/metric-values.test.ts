/** The values of a validation's tensors for metrics, whole and in order whatever their size, dtype and strides. */
import assert from 'node:assert/strict'
import { liveTensors, tensor, zeros } from '../../lib/index.js'
import { metricValues } from '../../src/training/metric-values.js'

describe('values for metrics', () => {
  it('are those of the tensor in C order, in several pieces', async () => {
    const count = 600_000
    const numbers = tensor(Float32Array.from({ length: count }, (_, index) => index))
    const columns = numbers.reshape(count / 3, 3)
    const live = liveTensors()
    const values = await metricValues(columns)
    assert.equal(liveTensors(), live)
    assert.deepEqual(values.shape, [count / 3, 3])
    assert.ok(values.data.every((value, index) => value === index))
    const turned = columns.transpose(0, 1)
    const { data, shape } = await metricValues(turned)
    assert.deepEqual(shape, [3, count / 3])
    assert.ok(data.every((value, index) => value === (index % (count / 3)) * 3 + Math.floor(index / (count / 3))))
    for (const each of [numbers, columns, turned]) each.dispose()
  })

  it('may be integers, booleans or none', async () => {
    const valuesOf = async (given: ReturnType<typeof tensor>) => [...(await metricValues(given)).data]
    assert.deepEqual(await valuesOf(tensor([1n, -100n], { dtype: 'int64' })), [1, -100])
    assert.deepEqual(await valuesOf(tensor([true, false])), [1, 0])
    assert.deepEqual(await valuesOf(tensor([0.5, Infinity], { dtype: 'bfloat16' })), [0.5, Infinity])
    assert.deepEqual(await valuesOf(zeros([0, 2])), [])
  })
})
