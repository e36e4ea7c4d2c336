import assert from 'node:assert/strict'
import type { DType, TensorHandle } from '../../lib/contract.js'
import { addon } from '../../lib/native.js'
import { call, callTensor, floats, valuesOf } from './fixtures.js'

const itemSizes: Partial<Record<DType, number>> = {
  float16: 2,
  bfloat16: 2,
  float32: 4,
  float64: 8,
  int8: 1,
  int16: 2,
  int32: 4,
  int64: 8,
  uint8: 1,
  uint16: 2,
  uint32: 4,
  uint64: 8,
  bool: 1,
  complex32: 4,
  complex64: 8,
  complex128: 16,
  float8_e4m3fn: 1,
  float8_e5m2: 1,
  float8_e4m3fnuz: 1,
  float8_e5m2fnuz: 1,
  float8_e8m0fnu: 1,
}

describe('tensors in and out', () => {
  for (const [dtype, itemSize] of Object.entries(itemSizes) as [DType, number][]) {
    it(`keep every bit of ${dtype}`, () => {
      // A boolean's byte is 0 or 1; all other dtypes may hold any bits.
      const data = Uint8Array.from({ length: 6 * itemSize }, (_, i) => (dtype === 'bool' ? i % 2 : (i * 37 + 11) % 256))
      const tensor = addon().tensorFromData({ dtype, sizes: [2, 3], data, device: 'cpu' })
      assert.deepEqual(new Uint8Array(addon().tensorToData({ tensor })), data)
      const info = addon().tensorInfo({ tensor })
      assert.deepEqual([info.dtype, info.sizes, info.strides, info.storageOffset], [dtype, [2, 3], [3, 1], 0])
      assert.equal(info.storageSizeBytes, 6 * itemSize)
      // C order, whatever the strides.
      const turned = callTensor('t', [tensor])
      const columns = [0, 3, 1, 4, 2, 5].flatMap((i) => [...data.subarray(i * itemSize, (i + 1) * itemSize)])
      assert.deepEqual([...new Uint8Array(addon().tensorToData({ tensor: turned }))], columns)
    })
  }

  it('copy: later changes of the array do not reach the tensor', () => {
    const data = Float32Array.of(1, 2)
    const tensor = addon().tensorFromData({ dtype: 'float32', sizes: [2], data, device: 'cpu' })
    data[0] = 9
    assert.deepEqual(valuesOf(tensor), [1, 2])
  })

  it('take a view of an array at its offset, a DataView and a Buffer', () => {
    const all = Float32Array.of(0, 1, 2, 3)
    const sizes = [2]
    for (const data of [all.subarray(1, 3), new DataView(all.buffer, 4, 8), Buffer.from(all.buffer, 4, 8)]) {
      assert.deepEqual(valuesOf(addon().tensorFromData({ dtype: 'float32', sizes, data, device: 'cpu' })), [1, 2])
    }
  })

  it('take no values and no dimensions', () => {
    const empty = addon().tensorFromData({
      dtype: 'int64',
      sizes: [2, 0, 3],
      data: new BigInt64Array(0),
      device: 'cpu',
    })
    assert.equal(addon().tensorToData({ tensor: empty }).byteLength, 0)
    assert.deepEqual(addon().tensorInfo({ tensor: empty }).sizes, [2, 0, 3])
    assert.deepEqual(valuesOf(floats([7], [])), [7])
  })

  it('resolve a conjugate view', () => {
    const complex = addon().tensorFromData({
      dtype: 'complex64',
      sizes: [1],
      data: Float32Array.of(1, 2),
      device: 'cpu',
    })
    assert.deepEqual(valuesOf(callTensor('_conj', [complex])), [1, -2])
  })

  it('say which tensors share a storage', () => {
    const base = floats([1, 2, 3, 4])
    const view = callTensor('slice.Tensor', [base, 0, 1, 3])
    const [a, b] = [addon().tensorInfo({ tensor: base }), addon().tensorInfo({ tensor: view })]
    assert.equal(a.storageId, b.storageId)
    assert.deepEqual([b.storageOffset, b.sizes, b.storageSizeBytes], [1, [2], 16])
    assert.notEqual(addon().tensorInfo({ tensor: floats([1]) }).storageId, a.storageId)
    assert.equal(addon().tensorInfo({ tensor: callTensor('t', [floats([1, 2], [1, 2])]) }).isContiguous, true)
  })

  const refusals: [string, () => unknown, RegExp][] = [
    [
      'too few bytes',
      () => addon().tensorFromData({ dtype: 'float32', sizes: [3], data: new Uint8Array(8), device: 'cpu' }),
      /expected 12 bytes for float32 \[3\], found 8/,
    ],
    [
      'a negative size',
      () => addon().tensorFromData({ dtype: 'float32', sizes: [-1], data: new Uint8Array(0), device: 'cpu' }),
      /non-negative sizes.*found \[-1\]/,
    ],
    [
      'sizes beyond 64 bits',
      () =>
        addon().tensorFromData({ dtype: 'float32', sizes: [2 ** 40, 2 ** 40], data: new Uint8Array(0), device: 'cpu' }),
      /within 64 bits/,
    ],
    [
      'a fraction as size',
      () => addon().tensorFromData({ dtype: 'float32', sizes: [0.5], data: new Uint8Array(0), device: 'cpu' }),
      /sizes\[0\]: expected an integer, found 0\.5/,
    ],
    [
      'plain arrays',
      () => addon().tensorFromData({ dtype: 'float32', sizes: [1], data: [1] as unknown as Uint8Array, device: 'cpu' }),
      /data: expected a typed array or a DataView, found an object of class Array/,
    ],
    [
      'an unknown dtype',
      () => addon().tensorFromData({ dtype: 'int7' as DType, sizes: [], data: new Uint8Array(1), device: 'cpu' }),
      /expected a dtype .*found 'int7'/,
    ],
    [
      'a quantized dtype',
      () => addon().tensorFromData({ dtype: 'qint8', sizes: [1], data: new Uint8Array(1), device: 'cpu' }),
      /quantizer/,
    ],
    [
      'something else than a tensor',
      () => addon().tensorToData({ tensor: {} as TensorHandle }),
      /tensor: expected a tensor, found an object of class Object/,
    ],
    [
      'a forged handle',
      () =>
        addon().tensorToData({ tensor: Object.create(Object.getPrototypeOf(floats([1])) as object) as TensorHandle }),
      /expected a tensor/,
    ],
    [
      'a generator as a tensor',
      () =>
        addon().tensorToData({
          tensor: Object.setPrototypeOf(
            addon().defaultGenerator(),
            Object.getPrototypeOf(floats([1])) as object,
          ) as unknown as TensorHandle,
        }),
      /expected a tensor/,
    ],
    [
      'no options',
      () => addon().tensorInfo(undefined as unknown as { tensor: TensorHandle }),
      /tensorInfo: expected an options object, found undefined/,
    ],
    [
      'a grad of another shape',
      () => addon().tensorGrad({ tensor: floats([1, 2]), grad: floats([1]) }),
      /grad: expected float32 \[2\] on cpu, found float32 \[1\] on cpu/,
    ],
    [
      'values of a meta tensor',
      () => addon().tensorToData({ tensor: callTensor('empty.memory_format', [[2]], { kwargs: { device: 'meta' } }) }),
      /meta device has no values/,
    ],
  ]
  for (const [name, run, message] of refusals) {
    it(`refuse ${name}`, () => {
      assert.throws(run, { name: 'TorchkeepError', code: 'ERR_INVALID_ARGUMENT', message })
    })
  }
})

describe('a tensor handle', () => {
  it('is disposed once and refuses every use afterwards', () => {
    const tensor = floats([1])
    assert.equal(tensor.disposed, false)
    tensor.dispose()
    tensor.dispose()
    assert.equal(tensor.disposed, true)
    const uses = [
      () => addon().tensorInfo({ tensor }),
      () => addon().tensorToData({ tensor }),
      () => call('relu', [tensor]),
      () => call('cat', [[floats([1]), tensor]]),
    ]
    for (const use of uses) assert.throws(use, { code: 'ERR_DISPOSED', message: /the tensor is disposed/ })
  })

  it('keeps the storage alive for other handles', () => {
    const base = floats([1, 2])
    const view = callTensor('select.int', [base, 0, 1])
    base.dispose()
    assert.deepEqual(valuesOf(view), [2])
  })

  it('cannot be made by JavaScript', () => {
    const Handle = floats([1]).constructor as new (...args: unknown[]) => unknown
    assert.throws(() => new Handle(), { code: 'ERR_INVALID_ARGUMENT', message: /made only by the addon/ })
    assert.throws(() => new Handle({}), { code: 'ERR_INVALID_ARGUMENT' })
  })
})
