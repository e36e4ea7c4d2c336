import assert from 'node:assert/strict'
import { inspect } from 'node:util'
import {
  arange,
  call,
  callTensors,
  empty,
  enableGrad,
  full,
  isGradEnabled,
  keep,
  liveTensors,
  noGrad,
  ones,
  scope,
  tensor,
  type Tensor,
  zeros,
} from '../../lib/index.js'

const refused = (message: RegExp) => ({ name: 'TorchkeepError', code: 'ERR_INVALID_ARGUMENT', message })

describe('tensor()', () => {
  it('takes the dtype from the values', () => {
    assert.equal(tensor([1, 2]).dtype, 'float32')
    assert.equal(tensor([true]).dtype, 'bool')
    assert.equal(tensor([1n]).dtype, 'int64')
    assert.equal(tensor([{ re: 1, im: 2 }]).dtype, 'complex64')
    assert.equal(tensor(new Float64Array(2)).dtype, 'float64')
    assert.equal(tensor(new BigUint64Array(2)).dtype, 'uint64')
    assert.equal(tensor(new Int8Array(2)).dtype, 'int8')
  })

  it('keeps nested shapes, scalars and empty lists', () => {
    assert.deepEqual(tensor([[[1], [2]]]).shape, [1, 2, 1])
    assert.deepEqual(tensor(5).shape, [])
    assert.deepEqual(tensor([]).shape, [0])
    assert.deepEqual(tensor([[], []]).shape, [2, 0])
    assert.deepEqual(tensor(new Float32Array(6), { shape: [2, 3] }).shape, [2, 3])
  })

  it('gives every dtype back as it was', () => {
    const integers = ['int8', 'int16', 'int32', 'int64', 'uint8', 'uint16', 'uint32', 'uint64'] as const
    for (const dtype of integers) assert.deepEqual(tensor([1, 100], { dtype }).tolist(), [1, 100], dtype)
    const floats = ['float16', 'bfloat16', 'float32', 'float64', 'float8_e5m2', 'float8_e4m3fn'] as const
    for (const dtype of floats) assert.deepEqual(tensor([0.5, -2], { dtype }).tolist(), [0.5, -2], dtype)
    for (const dtype of ['complex32', 'complex64', 'complex128'] as const) {
      assert.deepEqual(tensor([{ re: 0.5, im: -2 }], { dtype }).tolist(), [{ re: 0.5, im: -2 }], dtype)
    }
    assert.deepEqual(tensor([true, false]).tolist(), [true, false])
    assert.deepEqual(tensor([2n ** 63n - 1n, -5n]).tolist(), [2n ** 63n - 1n, -5])
  })

  it('takes and gives 16-bit floats as their bits', () => {
    const bits = new Uint16Array([0x3f80, 0xc000])
    const made = tensor(bits, { dtype: 'bfloat16' })
    assert.deepEqual(made.tolist(), [1, -2])
    assert.deepEqual(made.data(), bits)
    assert.deepEqual(tensor([1, -2], { dtype: 'float16' }).data(), new Uint16Array([0x3c00, 0xc000]))
  })

  it('rounds to nearest even', () => {
    assert.deepEqual(tensor([1 + 2 ** -8, 1 + 3 * 2 ** -8], { dtype: 'bfloat16' }).tolist(), [1, 1 + 2 ** -6])
    assert.deepEqual(tensor([16777217]).tolist(), [16777216])
  })

  it('copies a strided tensor out in C order', () => {
    assert.deepEqual(arange(6).reshape(2, 3).t().tolist(), [
      [0, 3],
      [1, 4],
      [2, 5],
    ])
  })

  it('refuses values that the dtype cannot hold', () => {
    assert.throws(() => tensor([1, 300], { dtype: 'uint8' }), refused(/Value 300 at position 1 is no uint8/))
    assert.throws(() => tensor([-1], { dtype: 'uint64' }), refused(/-1/))
    assert.throws(() => tensor([1.5], { dtype: 'int64' }), refused(/1\.5/))
    assert.throws(() => tensor([2 ** 53], { dtype: 'int64' }), refused(/9007199254740992/))
    assert.throws(() => tensor(new Uint8Array([2]), { dtype: 'bool' }), refused(/2 at position 0 is no bool/))
    assert.throws(() => tensor([{ re: 1, im: 1 }], { dtype: 'float32' }), refused(/no float32/))
  })

  it('refuses what is no value', () => {
    const refused = { code: 'ERR_INVALID_ARGUMENT', message: /is no number/ }
    const unset: unknown[] = [1]
    unset[2] = 3
    const values: unknown[] = [undefined, null, '1', [1, undefined], unset, [new Date()], [{ re: 1 }], [() => 1]]
    for (const value of [...values, [Symbol('x')], [new Float32Array(2)], tensor(1), new Map()]) {
      assert.throws(() => tensor(value as number), refused)
      assert.throws(() => tensor(value as number, { dtype: 'float32' }), refused)
    }
  })

  it('refuses values of a typed array that an integer dtype cannot hold', () => {
    const refused = { code: 'ERR_INVALID_ARGUMENT', message: /at position 1 is no/ }
    assert.throws(() => tensor(new Int32Array([1, 300]), { dtype: 'uint8' }), refused)
    assert.throws(() => tensor(new Float32Array([1, 1.5]), { dtype: 'int64' }), refused)
    assert.throws(() => tensor(new Float32Array([1, NaN]), { dtype: 'int64' }), refused)
    assert.throws(() => tensor(new BigInt64Array([1n, 2n ** 40n]), { dtype: 'int32' }), refused)
    assert.deepEqual(tensor(new Float64Array([-1, 2]), { dtype: 'int8' }).tolist(), [-1, 2])
  })

  it('takes NaN for true and a boolean among bigints for an integer, as Python does', () => {
    assert.deepEqual(tensor([NaN, 0, -0, 2], { dtype: 'bool' }).tolist(), [true, false, false, true])
    assert.equal(tensor([1n, true]).dtype, 'int64')
  })

  it('refuses ragged arrays, wrong shapes and unknown dtypes', () => {
    assert.throws(() => tensor([[1, 2], [3]]), refused(/ragged: element 1 has shape \[1\], expected \[2\]/))
    assert.throws(() => tensor(new Float32Array(5), { shape: [2, 3] }), refused(/\[2, 3\] does not fit 5 values/))
    assert.throws(() => tensor([1], { dtype: 'float' as 'float32' }), refused(/Unknown dtype 'float'/))
  })
})

describe('Tensor', () => {
  it('computes and prints', () => {
    assert.deepEqual(
      tensor([1, 2])
        .add(1)
        .mul(tensor([2, 3]))
        .tolist(),
      [4, 9],
    )
    assert.deepEqual(
      tensor([
        [1, 2],
        [3, 4],
      ])
        .max(1)
        .map((t) => t.tolist()),
      [
        [2, 4],
        [1, 1],
      ],
    )
    assert.equal(inspect(tensor([1, 2.5])), 'tensor([1.0000, 2.5000])')
  })

  it('keeps the dimensions of a reduction over all of them', () => {
    const x = tensor([[1, 2, 3]])
    for (const whole of [x.sum(null, { keepdim: true }), x.mean(null, { keepdim: true }).mul(3)]) {
      assert.deepEqual(whole.tolist(), [[6]])
    }
    assert.deepEqual(x.gt(1).all(0).tolist(), [false, true, true])
    assert.deepEqual(x.gt(1).any(1, { keepdim: true }).tolist(), [[true]])
  })

  it('returns itself from operators in place', () => {
    const t = zeros([2])
    assert.equal(t.add_(1).mul_(3).fill_(7), t)
    assert.deepEqual(t.tolist(), [7, 7])
  })

  it('reaches any operator through call', () => {
    assert.deepEqual(
      callTensors('aten::topk', [tensor([1, 5, 3]), 2]).map((t) => t.tolist()),
      [
        [5, 3],
        [1, 2],
      ],
    )
    assert.equal(call('equal', [ones([2]), ones([2])]), true)
    assert.throws(() => call('add.Tensor', [ones([2]), ones([3])]), { code: 'ERR_TORCH' })
    assert.throws(() => call('no_such_operator', []), { code: 'ERR_INVALID_ARGUMENT' })
  })

  it('follows gradients, and not inside noGrad', () => {
    const w = tensor([1, 2, 3], { requiresGrad: true })
    w.mul(w).sum().backward()
    assert.deepEqual(w.grad?.tolist(), [2, 4, 6])
    w.mul(2).backward({ gradient: ones([3]) })
    assert.deepEqual(w.grad?.tolist(), [4, 6, 8])
    w.grad = null
    assert.equal(w.grad, null)
    assert.equal(noGrad(() => w.mul(2)).requiresGrad, false)
    assert.equal(noGrad(() => enableGrad(() => w.mul(2))).requiresGrad, true)
    assert.throws(() => noGrad(() => assert.fail('inside')), /inside/)
    assert.equal(isGradEnabled(), true)
    assert.throws(() => noGrad(async () => Promise.resolve()), refused(/noGrad\(\) takes a synchronous function/))
  })

  it('is no number, unless it has one element', () => {
    assert.throws(() => (ones([2]) as unknown as number) * 2, refused(/shape \[2\] is not a number/))
    assert.equal(Number(full([1], 2.5)), 2.5)
    assert.equal(`${String(tensor(1))}`, 'tensor(1.)')
  })

  it('is not usable after dispose', () => {
    const t = ones([2])
    t.dispose()
    t.dispose()
    assert.equal(t.disposed, true)
    assert.throws(() => t.add(1), { code: 'ERR_DISPOSED' })
    assert.throws(() => t.shape, { code: 'ERR_DISPOSED' })
    assert.equal(inspect(t), 'tensor(disposed)')
  })
})

describe('scope', () => {
  it('disposes what is made inside, but for what is returned or kept', () => {
    const before = liveTensors()
    let kept: Tensor | undefined
    const result = scope(() => {
      kept = keep(ones([2]))
      const lost = ones([3]).add(1)
      return { list: [lost.mul(2)], map: new Map([['x', zeros([1])]]), lost: lost.sum().item() }
    })
    assert.equal(result.lost, 6)
    assert.deepEqual(result.list[0]?.tolist(), [4, 4, 4])
    assert.equal(result.map.get('x')?.disposed, false)
    assert.equal(liveTensors(), before + 3)
    for (const t of [kept, result.list[0], result.map.get('x')]) t?.dispose()
    assert.equal(liveTensors(), before)
  })

  it('hands results to the scope around', () => {
    const before = liveTensors()
    scope(() => {
      const inner = scope(() => ones([2]).add(1))
      assert.deepEqual(inner.tolist(), [2, 2])
    })
    assert.equal(liveTensors(), before)
  })

  it('disposes everything when it throws', () => {
    const before = liveTensors()
    assert.throws(() => scope(() => empty([-1])), { code: 'ERR_TORCH' })
    assert.throws(
      () =>
        scope(() => {
          ones([2])
          throw new Error('inside')
        }),
      /inside/,
    )
    assert.equal(liveTensors(), before)
  })

  it('refuses async functions', () => {
    assert.throws(() => scope(async () => Promise.resolve()), refused(/scope\(\) takes a synchronous function/))
  })

  it('serves `using`', () => {
    const before = liveTensors()
    {
      using t = ones([2])
      assert.equal(t.numel(), 2)
    }
    assert.equal(liveTensors(), before)
  })
})
