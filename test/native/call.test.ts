import assert from 'node:assert/strict'
import type { TensorHandle, Value } from '../../lib/contract.js'
import { addon } from '../../lib/native.js'
import { call, callTensor, floats, valuesOf } from './fixtures.js'

const info = (tensor: TensorHandle) => addon().tensorInfo({ tensor })

describe('call', () => {
  it('runs operators with defaults, positional and named arguments', () => {
    assert.deepEqual(valuesOf(callTensor('add.Tensor', [floats([1, 2]), floats([10, 20])])), [11, 22])
    assert.deepEqual(
      valuesOf(callTensor('add.Tensor', [floats([1, 2]), floats([10, 20])], { kwargs: { alpha: 2 } })),
      [21, 42],
    )
    assert.deepEqual(
      valuesOf(callTensor('sum.dim_IntList', [floats([1, 2, 3, 4], [2, 2]), [1]], { kwargs: { keepdim: false } })),
      [3, 7],
    )
  })

  it('takes an undefined named argument as not given', () => {
    assert.deepEqual(
      valuesOf(callTensor('add.Tensor', [floats([1]), floats([2])], { kwargs: { alpha: undefined } })),
      [3],
    )
  })

  it('accepts "default" as the name of the default overload', () => {
    assert.deepEqual(valuesOf(callTensor('relu.default', [floats([-1, 2])])), [0, 2])
  })

  it('wraps a number where the schema wants a tensor, so that it does not raise the dtype', () => {
    const sum = callTensor('add.Tensor', [floats([1, 2]), 1.5])
    assert.deepEqual(valuesOf(sum), [2.5, 3.5])
    assert.equal(info(sum).dtype, 'float32')
    const ints = callTensor('arange', [3], { kwargs: { dtype: 'int64' } })
    assert.equal(info(callTensor('mul.Tensor', [ints, 2])).dtype, 'int64')
    assert.equal(info(callTensor('mul.Tensor', [ints, 0.5])).dtype, 'float32')
  })

  it('fills a sized list from one number', () => {
    const image = callTensor('ones', [[1, 1, 4, 4]])
    assert.deepEqual(info(callTensor('max_pool2d', [image, 2])).sizes, [1, 1, 2, 2])
    assert.deepEqual(info(callTensor('max_pool2d', [image, [2, 4]])).sizes, [1, 1, 2, 1])
  })

  it('takes dtypes, layouts, memory formats and devices by name', () => {
    const tensor = callTensor('ones', [[2, 3, 4, 4]], {
      kwargs: { dtype: 'float64', layout: 'strided', device: 'cpu', pin_memory: null },
    })
    assert.equal(info(tensor).dtype, 'float64')
    const last = callTensor('contiguous', [tensor], { kwargs: { memory_format: 'channels_last' } })
    assert.deepEqual(info(last).strides, [48, 1, 12, 3])
    assert.equal(info(callTensor('empty.memory_format', [[2]], { kwargs: { device: 'meta' } })).device, 'meta')
    assert.equal(call('result_type.Scalar', [tensor, 1]), 'float64')
  })

  it('takes lists of tensors and of optional tensors', () => {
    assert.deepEqual(valuesOf(callTensor('cat', [[floats([1]), floats([2, 3])]])), [1, 2, 3])
    const matrix = floats([1, 2, 3, 4, 5, 6], [2, 3])
    const index = addon().tensorFromData({ dtype: 'int64', sizes: [2], data: BigInt64Array.of(0n, 2n), device: 'cpu' })
    assert.deepEqual(valuesOf(callTensor('index.Tensor', [matrix, [null, index]])), [1, 3, 4, 6])
  })

  it('returns several results as an array and lists of tensors too', () => {
    const [values, indices] = call('max.dim', [floats([1, 5, 4, 2], [2, 2]), 1]) as [TensorHandle, TensorHandle]
    assert.deepEqual(valuesOf(values), [5, 4])
    assert.equal(info(indices).dtype, 'int64')
    const pieces = call('split.Tensor', [floats([1, 2, 3]), 2]) as TensorHandle[]
    assert.deepEqual(pieces.map(valuesOf), [[1, 2], [3]])
  })

  it('returns numbers, booleans and strings as themselves', () => {
    assert.equal(call('item', [floats([2.5], [])]), 2.5)
    assert.equal(call('equal', [floats([1]), floats([1])]), true)
    assert.equal(call('size.int', [floats([1, 2, 3]), 0]), 3)
    const large = addon().tensorFromData({
      dtype: 'int64',
      sizes: [],
      data: BigInt64Array.of(2n ** 53n + 1n),
      device: 'cpu',
    })
    assert.equal(call('item', [large]), 2n ** 53n + 1n)
    const complex = callTensor('full', [[], { re: 1, im: -2 }], { kwargs: { dtype: 'complex128' } })
    assert.deepEqual(call('item', [complex]), { re: 1, im: -2 })
  })

  it('keeps integers exact and the sign of zero', () => {
    const full = (value: Value) => callTensor('full', [[], value], { kwargs: { dtype: 'int64' } })
    assert.equal(call('item', [full(2n ** 62n)]), 2n ** 62n)
    assert.ok(Object.is(call('item', [callTensor('mul.Scalar', [floats([1], []), -0])]), -0))
  })

  it('updates in place and writes to out', () => {
    const tensor = floats([1, 2])
    call('add_.Tensor', [tensor, 1])
    assert.deepEqual(valuesOf(tensor), [2, 3])
    const out = floats([0, 0])
    call('add.out', [tensor, tensor], { kwargs: { out } })
    assert.deepEqual(valuesOf(out), [4, 6])
  })

  it('records for autograd only where asked', () => {
    const weight = callTensor('requires_grad_', [floats([3], [])])
    assert.equal(info(callTensor('mul.Tensor', [weight, 2])).gradFn, null)
    const loss = callTensor('mul.Tensor', [weight, weight], { gradEnabled: true })
    assert.equal(info(loss).gradFn, 'MulBackward0')
    assert.equal(info(loss).isLeaf, false)
    call('_backward', [loss, []])
    const grad = addon().tensorGrad({ tensor: weight })
    assert.deepEqual(grad && valuesOf(grad), [6])
    assert.equal(addon().tensorGrad({ tensor: weight, grad: null }), null)
    assert.equal(addon().tensorGrad({ tensor: weight }), null)
  })

  it('tells an operator schema with defaults', () => {
    const schema = addon().operatorSchema({ op: 'aten::conv2d' })
    assert.deepEqual(schema.returns, [{ type: 'Tensor' }])
    assert.deepEqual(schema.arguments[2], { name: 'bias', type: 'Tensor?', kwargOnly: false, default: null })
    assert.deepEqual(schema.arguments[3], { name: 'stride', type: 'SymInt[]', kwargOnly: false, default: [1, 1] })
    const contiguous = addon().operatorSchema({ op: 'aten::contiguous' })
    assert.deepEqual(contiguous.arguments[1], {
      name: 'memory_format',
      type: 'MemoryFormat',
      kwargOnly: true,
      default: 'contiguous_format',
    })
  })
})

describe('call refuses', () => {
  const refusals: [string, () => unknown, string, RegExp][] = [
    ['an unknown operator', () => call('nope', []), 'ERR_INVALID_ARGUMENT', /no operator aten::nope /],
    ['an unknown overload', () => call('add.Nope', []), 'ERR_INVALID_ARGUMENT', /no operator aten::add\.Nope/],
    [
      'a missing argument',
      () => call('add.Tensor', [floats([1])]),
      'ERR_INVALID_ARGUMENT',
      /aten::add\.Tensor: argument 'other' is missing/,
    ],
    [
      'too many arguments',
      () => call('relu', [floats([1]), 1]),
      'ERR_INVALID_ARGUMENT',
      /aten::relu: expected at most 1 positional arguments, found 2/,
    ],
    [
      'a keyword-only argument by position',
      () => call('add.Tensor', [floats([1]), floats([1]), 2]),
      'ERR_INVALID_ARGUMENT',
      /at most 2 positional/,
    ],
    [
      'an unknown name',
      () => call('relu', [floats([1])], { kwargs: { nope: 1 } }),
      'ERR_INVALID_ARGUMENT',
      /aten::relu: there is no argument 'nope'/,
    ],
    [
      'an argument given twice',
      () => call('relu', [floats([1])], { kwargs: { self: floats([1]) } }),
      'ERR_INVALID_ARGUMENT',
      /'self' is given twice/,
    ],
    [
      'a fraction for an int',
      () => call('sum.dim_IntList', [floats([1]), [0.5]]),
      'ERR_INVALID_ARGUMENT',
      /'dim' \(.*\): expected an integer, found 0\.5/,
    ],
    [
      'a string for a tensor',
      () => call('relu', ['x']),
      'ERR_INVALID_ARGUMENT',
      /aten::relu: argument 'self' \(Tensor\): expected a tensor or a number, found 'x'/,
    ],
    [
      'a number for a boolean',
      () => call('sum.dim_IntList', [floats([1]), [0], 1]),
      'ERR_INVALID_ARGUMENT',
      /'keepdim' \(bool\): expected a boolean, found 1/,
    ],
    [
      'an unknown dtype',
      () => call('ones', [[1]], { kwargs: { dtype: 'float31' } }),
      'ERR_INVALID_ARGUMENT',
      /'dtype': expected a dtype \(float32, .*found 'float31'/,
    ],
    [
      'an unknown device',
      () => call('ones', [[1]], { kwargs: { device: 'gpu' } }),
      'ERR_INVALID_ARGUMENT',
      /'device': expected a device such as 'cpu'.*found 'gpu'/,
    ],
    [
      'a function',
      () => call('relu', [(() => 1) as unknown as Value]),
      'ERR_INVALID_ARGUMENT',
      /aten::relu: args\[0\]: expected .*found a function/,
    ],
    [
      'a typed array',
      () => call('relu', [new Float32Array(1) as unknown as Value]),
      'ERR_INVALID_ARGUMENT',
      /found an object of class Float32Array/,
    ],
    [
      'an integer beyond 64 bits',
      () => call('full', [[1], 2n ** 64n]),
      'ERR_INVALID_ARGUMENT',
      /an integer of 64 bits, found 18446744073709551616n/,
    ],
    [
      'shapes that do not fit, in the words of LibTorch',
      () => call('mm', [floats([1, 2], [1, 2]), floats([1, 2], [1, 2])]),
      'ERR_TORCH',
      /^aten::mm: .*1x2 and 1x2/,
    ],
    ['an index out of range', () => call('select.int', [floats([1]), 0, 5]), 'ERR_TORCH', /^aten::select\.int: /],
  ]
  for (const [name, run, code, message] of refusals) {
    it(name, () => {
      assert.throws(run, (error: Error & { code?: string }) => {
        assert.equal(error.name, 'TorchkeepError')
        assert.equal(error.code, code)
        assert.match(error.message, message)
        assert.ok(!error.message.includes('Exception raised from'), 'no C++ location in the message')
        assert.ok(error.stack?.includes('call.test'), 'the stack has the frames of the caller')
        return true
      })
    })
  }

  it('a list that contains itself', () => {
    const list: Value[] = []
    list.push(list)
    assert.throws(() => call('relu', [list]), { code: 'ERR_INVALID_ARGUMENT', message: /nested deeper than 64 levels/ })
  })

  it('CUDA where there is none, with the reason', function () {
    const reason = addon().devices().cudaUnavailable
    if (reason === null) {
      console.log('      skipped: CUDA can be used here')
      return this.skip()
    }
    assert.throws(
      () => call('ones', [[1]], { kwargs: { device: 'cuda' } }),
      (error: Error) => error.message.includes(reason),
    )
  })
})
