/** Tensors print as PyTorch prints them: each case is one expression in both languages. */
import assert from 'node:assert/strict'
import {
  arange,
  call,
  cat,
  full,
  manualSeed,
  nn,
  ones,
  randint,
  randn,
  tensor,
  type Tensor,
  zeros,
} from '../../lib/index.js'
import { needPython, runPython } from '../python.js'

const cases: Record<string, () => Tensor> = {
  'torch.tensor(3.14159)': () => tensor(3.14159),
  'torch.tensor(3.)': () => tensor(3),
  'torch.tensor(7)': () => tensor(7, { dtype: 'int64' }),
  'torch.tensor(True)': () => tensor(true),
  'torch.tensor([True, False])': () => tensor([true, false]),
  'torch.tensor([[True], [False]])': () => tensor([[true], [false]]),
  'torch.tensor([])': () => tensor([]),
  'torch.zeros(0, dtype=torch.int64)': () => zeros([0], { dtype: 'int64' }),
  'torch.zeros(0, 3)': () => zeros([0, 3]),
  'torch.zeros(2, 0, dtype=torch.bool)': () => zeros([2, 0], { dtype: 'bool' }),
  'torch.tensor([1., 2., 3.])': () => tensor([1, 2, 3]),
  'torch.tensor([1., 2.5])': () => tensor([1, 2.5]),
  'torch.tensor([0., -0.])': () => tensor([0, -0]),
  'torch.tensor([0.03125, 0.09375, -0.03125])': () => tensor([0.03125, 0.09375, -0.03125]),
  'torch.tensor([0.5, 1e-5])': () => tensor([0.5, 1e-5]),
  'torch.tensor([1e9, 1.])': () => tensor([1e9, 1]),
  'torch.tensor([100005., 1.])': () => tensor([100005, 1]),
  'torch.tensor([1.00005e5, 2.5e-3], dtype=torch.float64)': () => tensor([1.00005e5, 2.5e-3], { dtype: 'float64' }),
  'torch.tensor([1e-45, 3.4e38])': () => tensor([1e-45, 3.4e38]),
  'torch.tensor([5e-324, 1.7e308], dtype=torch.float64)': () => tensor([5e-324, 1.7e308], { dtype: 'float64' }),
  'torch.tensor([999., 1000.])': () => tensor([999, 1000]),
  'torch.tensor([1., 1000.5, 0.9])': () => tensor([1, 1000.5, 0.9]),
  "torch.tensor([1., float('nan'), float('inf')])": () => tensor([1, NaN, Infinity]),
  "torch.tensor([1.5, float('nan'), -float('inf')])": () => tensor([1.5, NaN, -Infinity]),
  "torch.tensor([float('nan')])": () => tensor([NaN]),
  "torch.tensor([1e10, float('inf')])": () => tensor([1e10, Infinity]),
  'torch.tensor([-1., 10., -100.])': () => tensor([-1, 10, -100]),
  'torch.tensor([[1, -20], [300, 4]])': () =>
    tensor(
      [
        [1, -20],
        [300, 4],
      ],
      { dtype: 'int64' },
    ),
  'torch.tensor([9223372036854775807, -1])': () => tensor([9223372036854775807n, -1n]),
  'torch.tensor([1, 2], dtype=torch.int32)': () => tensor([1, 2], { dtype: 'int32' }),
  'torch.tensor([1, 255], dtype=torch.uint8)': () => tensor([1, 255], { dtype: 'uint8' }),
  'torch.tensor([1.5, 2.25], dtype=torch.float16)': () => tensor([1.5, 2.25], { dtype: 'float16' }),
  'torch.tensor([0.1, 0.2], dtype=torch.bfloat16)': () => tensor([0.1, 0.2], { dtype: 'bfloat16' }),
  'torch.tensor([0.5, 2.], dtype=torch.float64)': () => tensor([0.5, 2], { dtype: 'float64' }),
  'torch.tensor([0.5, 3.]).to(torch.float8_e4m3fn)': () => tensor([0.5, 3], { dtype: 'float8_e4m3fn' }),
  'torch.tensor([1+2j, 3-4.5j])': () =>
    tensor([
      { re: 1, im: 2 },
      { re: 3, im: -4.5 },
    ]),
  'torch.tensor([[1+2j], [-0.25-1e-5j]], dtype=torch.complex128)': () =>
    tensor([[{ re: 1, im: 2 }], [{ re: -0.25, im: -1e-5 }]], { dtype: 'complex128' }),
  'torch.tensor(1-2j)': () => tensor({ re: 1, im: -2 }),
  'torch.arange(24.).reshape(2, 3, 4)': () => arange(24, { dtype: 'float32' }).reshape(2, 3, 4),
  'torch.arange(16).reshape(2, 2, 2, 2)': () => arange(16).reshape(2, 2, 2, 2),
  'torch.arange(30)': () => arange(30),
  'torch.arange(1000)': () => arange(1000),
  'torch.arange(1001)': () => arange(1001),
  'torch.arange(2000.).reshape(40, 50)': () => arange(2000, { dtype: 'float32' }).reshape(40, 50),
  'torch.arange(2000.).reshape(2, 1000) / 7': () => arange(2000, { dtype: 'float32' }).reshape(2, 1000).div(7),
  'torch.arange(1200).reshape(300, 4)': () => arange(1200).reshape(300, 4),
  'torch.arange(4000.).reshape(10, 20, 20)': () => arange(4000, { dtype: 'float32' }).reshape(10, 20, 20),
  'torch.full((1001,), 0.1)': () => full([1001], 0.1),
  'torch.cat([torch.zeros(1000), torch.full((1,), 1e-9)])': () => cat([zeros([1000]), full([1], 1e-9)]),
  'torch.manual_seed(3) and torch.randn(4, 5)': () => (manualSeed(3), randn([4, 5])),
  'torch.manual_seed(4) and torch.randn(30) * 100': () => (manualSeed(4), randn([30]).mul(100)),
  'torch.manual_seed(5) and torch.randint(-5, 1000, (3, 20))': () => (manualSeed(5), randint(-5, 1000, [3, 20])),
  'torch.ones(2, requires_grad=True)': () => ones([2], { requiresGrad: true }),
  'torch.ones(2, requires_grad=True) * 2': () => ones([2], { requiresGrad: true }).mul(2),
  'torch.ones(20, requires_grad=True).double().exp() / 3': () =>
    ones([20], { requiresGrad: true }).double().exp().div(3),
  'torch.ones(13, dtype=torch.float64, requires_grad=True)': () => ones([13], { dtype: 'float64', requiresGrad: true }),
  "torch.empty(2, 3, device='meta')": () => call('empty.memory_format', [[2, 3]], { device: 'meta' }) as Tensor,
  "torch.empty(2, device='meta', dtype=torch.int64)": () =>
    call('empty.memory_format', [[2]], { device: 'meta', dtype: 'int64' }) as Tensor,
  'torch.arange(6.).reshape(2, 3).t()': () => arange(6, { dtype: 'float32' }).reshape(2, 3).t(),
  'torch.ones(3).expand(2, 3)': () => ones([3]).expand(2, 3),
  'torch.manual_seed(0) and torch.nn.Linear(2, 2).bias.detach()': () => (
    manualSeed(0),
    (new nn.Linear(2, 2).bias as Tensor).detach()
  ),
}

describe('printing against Python', () => {
  let expected: Record<string, string>

  before(async function () {
    needPython(this)
    expected = JSON.parse(
      await runPython('print(json.dumps({c: repr(eval(c)) for c in json.loads(sys.argv[1])}))', [
        JSON.stringify(Object.keys(cases)),
      ]),
    ) as Record<string, string>
  })

  for (const [expression, make] of Object.entries(cases)) {
    it(expression, () => {
      assert.equal(make().toString(), expected[expression])
    })
  }
})
