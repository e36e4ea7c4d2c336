/** Nested numbers and tensors as inputs: every dtype exactly, everything else refused by name and place. */
import assert from 'node:assert/strict'
import { liveTensors, randn, scope, tensor, type DType, type Tensor } from '../../lib/index.js'
import { InputReader } from '../../src/inference/input-values.js'
import type { SizeRules } from '../../src/inference/sizes.js'
import type { NestedNumbers } from '../../src/inference/types.js'
import { digest } from '../lib/digest.js'

/** One input `x` of the dtype and sizes. */
function reader(dtype: DType, shape: readonly (number | string)[]): InputReader {
  const problem: SizeRules['problem'] = ([sizes = []]) =>
    shape.some((size, index) => typeof size === 'number' && size !== sizes[index])
      ? { input: 0, reason: 'it does not fit' }
      : null
  return new InputReader([{ name: 'x', dtype }], { shapes: [shape], problem }, 'cpu')
}

function read(dtype: DType, shape: readonly (number | string)[], given: unknown): Tensor {
  const { tensors, made } = reader(dtype, shape).read([given as NestedNumbers])
  assert.deepEqual([...made], tensors)
  return tensors[0] as Tensor
}

const refuses = (dtype: DType, shape: readonly (number | string)[], given: unknown, message: RegExp): void =>
  assert.throws(() => read(dtype, shape, given), { code: 'ERR_DATA', message })

describe('inputs of predictions', () => {
  it('are made of numbers in every dtype that has them', () => {
    const cases: [DType, unknown[]][] = [
      ['float64', [0.1, -0, NaN, Infinity, 1e300]],
      ['float32', [0.1, -0, NaN, -Infinity, 3.4028234663852886e38]],
      ['float16', [0.1, -0, NaN, Infinity, 65504, 6e-8]],
      ['bfloat16', [0.1, -0, Infinity, 3.3895313892515355e38]],
      ['int64', [0, -5, Number.MAX_SAFE_INTEGER, Number.MIN_SAFE_INTEGER]],
      ['int32', [0, -(2 ** 31), 2 ** 31 - 1]],
      ['int16', [-32768, 32767]],
      ['int8', [-128, 127]],
      ['uint8', [0, 255]],
    ]
    for (const [dtype, values] of cases) {
      const expected = scope(() => digest(tensor(values as number[], { dtype: 'float64' }).to(dtype)))
      if (dtype === 'int64') assert.deepEqual(read(dtype, ['n'], values).tolist(), values)
      else assert.equal(digest(read(dtype, ['n'], values)), expected, dtype)
    }
    assert.deepEqual(read('bool', ['n'], [true, false, 1, 0]).tolist(), [true, false, true, false])
  })

  it('keep their nesting, down to none and to nothing', () => {
    assert.deepEqual(read('float32', ['n', 2], [[1, 2], [3, 4], [5, 6]]).tolist(), [[1, 2], [3, 4], [5, 6]]) // prettier-ignore
    assert.equal(read('float32', [], 3).item(), 3)
    assert.deepEqual(read('float32', ['n', 2], []).shape, [0, 2])
    assert.deepEqual(read('float32', ['n', 'm', 3], [[], []]).shape, [2, 0, 3])
  })

  it('are refused where a value is none of the dtype, with its place', () => {
    refuses('int64', ['n', 2], [[1, 2], [3, 0.5]], /^input 'x' at \[1\]\[1\]: expected int64, found 0.5$/) // prettier-ignore
    refuses('int64', ['n'], [2 ** 53], /at \[0\]: expected int64, found 9007199254740992/)
    refuses('int64', ['n'], [NaN], /expected int64, found NaN/)
    refuses('int32', ['n'], [2 ** 31], /expected int32/)
    refuses('uint8', ['n'], [-1], /expected uint8, found -1/)
    refuses('bool', ['n'], [2], /expected bool, found 2/)
    refuses('float16', ['n'], [65520], /expected float16, found 65520/)
    refuses('bfloat16', ['n'], [3.4e38], /expected bfloat16/)
    refuses('float32', ['n'], [3.5e38], /expected float32/)
    for (const [value, found] of [
      ['1', 'a string'],
      [null, 'null'],
      [undefined, 'undefined'],
      [true, 'a boolean'],
      [{}, 'an object'],
      [[1], 'an array'],
    ] as const)
      // prettier-ignore
      refuses('float32', ['n'], [0, value], new RegExp(`^input 'x' at \\[1\\]: expected float32, found ${found}$`))
    refuses('complex64', ['n'], [1], /complex64 has no form in numbers/)
  })

  it('are refused where the nesting is not that of the input', () => {
    refuses('float32', ['n', 2], [[1, 2], [3]], /^input 'x' at \[1\]: expected an array of 2, as the first is, found one of 1$/) // prettier-ignore
    refuses('float32', ['n', 2], [[1, 2], 3], /at \[1\]: expected an array of 2, as the first is, found a number/)
    refuses('float32', ['n', 2], [1, 2], /expected float32 \[n, 2\], found numbers \[2\]$/)
    refuses('float32', ['n', 2], [[[1, 2]]], /expected float32 \[n, 2\], found numbers \[1, 1, 2\]$/)
    refuses('float32', ['n', 2], [[1, 2, 3]], /expected float32 \[n, 2\], found float32 \[1, 3\]: it does not fit$/)
    refuses('float32', ['n', 2], 'text', /found a string$/)
    let deep: unknown = 1
    for (let depth = 0; depth < 100_000; depth++) deep = [deep]
    refuses('float32', ['n', 2], deep, /found numbers \[1, 1/)
  })

  it('that are tensors are taken as they are, or refused', () => {
    const own = randn([3, 2])
    const { tensors, made } = reader('float32', ['n', 2]).read([own])
    assert.equal(tensors[0], own)
    assert.equal(made.size, 0)
    refuses('float32', ['n', 2], own.double(), /expected float32 \[n, 2\], found float64 \[3, 2\]$/)
    refuses('float32', ['n', 2], randn([2]), /expected float32 \[n, 2\], found float32 \[2\]$/)
    refuses('float32', ['n', 3], own, /expected float32 \[n, 3\], found float32 \[3, 2\]: it does not fit$/)
    refuses('float32', ['n', 2], own.to('meta'), /expected a tensor on cpu, found one on meta/)
  })

  it('must be as many as the model takes; those made before the one that is refused are freed', () => {
    const specs = ['a', 'b'].map((name) => ({ name, dtype: 'float32' as const }))
    const two = new InputReader(specs, { shapes: [['n'], [2]], problem: () => null }, 'cpu')
    const before = liveTensors()
    for (const given of [[], [[1]], [[1], [2], [3]], undefined, null, {}, 'text'])
      assert.throws(() => two.read(given as NestedNumbers[]), {
        code: 'ERR_DATA',
        message: /^expected 2 inputs \(a float32 \[n\], b float32 \[2\]\), found /,
      })
    assert.throws(
      () => two.read([[1], ['1'] as unknown as number[]]),
      /^TorchkeepError: input 'b' \(2 of 2\) at \[0\]:/,
    )
    assert.equal(liveTensors(), before)
  })
})
