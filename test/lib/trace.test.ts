import assert from 'node:assert/strict'
import {
  cat,
  Generator,
  getRngState,
  liveTensors,
  nn,
  noGrad,
  ones,
  rand,
  randn,
  tensor,
  type Tensor,
  trace,
  traceFunction,
} from '../../lib/index.js'
import { Cnn } from './cnn.js'
import { digest, digests } from './digest.js'

class Lambda extends nn.Module {
  weight = new nn.Parameter(ones([3]))

  constructor(readonly fn: (x: Tensor, weight: Tensor) => Tensor | Tensor[]) {
    super()
  }

  override forward(x: Tensor): Tensor | Tensor[] {
    return this.fn(x, this.weight)
  }
}

const refused = (message: RegExp) => ({ name: 'TorchkeepError', code: 'ERR_INVALID_ARGUMENT', message })
const record = (fn: (x: Tensor, weight: Tensor) => Tensor | Tensor[]): unknown => trace(new Lambda(fn), [randn([2, 3])])

describe('trace', () => {
  it('leaves parameters, buffers, inputs, the random state and the tensor count as they were', () => {
    const model = new Cnn()
    const input = randn([2, 1, 12, 12])
    const before = [digests(model.stateDict()), digest(input), digest(getRngState())]
    const alive = liveTensors()
    trace(model, [input])
    assert.equal(liveTensors(), alive)
    assert.deepEqual([digests(model.stateDict()), digest(input), digest(getRngState())], before)
    trace(new Lambda((x, weight) => weight.mul_(2).add(x.add_(1))), [input.reshape(-1, 3)])
    assert.deepEqual(digest(input), before[1])
  })

  const batchBound: Record<string, (x: Tensor) => Tensor> = {
    'a size in reshape': (x) => x.reshape(x.size(0), 3),
    'a division by the size': (x) => x.sum().div(x.size(0)),
    'a loop over rows': (x) => cat(Array.from({ length: x.size(0) }, (_, i) => x.at(i))),
    'a tensor of the size': (x) => x.add(ones([x.size(0), 1])),
    'a split into rows': (x) => x.split(1)[0] as Tensor,
  }
  for (const [name, fn] of Object.entries(batchBound)) {
    it(`refuses ${name}, naming the node`, () => {
      assert.throws(() => record(fn), refused(/^Node '\w+' \(torch\.ops\.aten\.\w+\.\w+\) depends on the batch size/))
    })
  }

  it('refuses a decision by the batch size where told which sizes there will be', () => {
    const decides = (x: Tensor) => (x.size(0) > 1 ? x.neg() : x.abs())
    const example = [ones([4, 3])]
    traceFunction(decides, example) // four rows and eight decide alike
    assert.throws(() => traceFunction(decides, example, { batchSizes: [4, 1] }), refused(/depends on the batch size/))
    assert.equal(traceFunction((x) => x.neg(), example, { batchSizes: [1, 9] }).graph.nodes.length, 1)
  })

  it('refuses values, gradient modes, generators and recordings inside forward', () => {
    assert.throws(
      () => record((x) => (Number(x.sum().item()) > 0 ? x : x.neg())),
      refused(/item\(\) reads a tensor's values/),
    )
    assert.throws(() => record((x) => tensor(x.tolist())), refused(/tolist\(\)/))
    assert.throws(() => record((x) => x.add(x.data().length)), refused(/data\(\)/))
    assert.throws(() => record((x) => (x.equal(x) ? x : x.neg())), refused(/equal\(\)/))
    assert.throws(() => record((x) => noGrad(() => x.mul(2))), refused(/gradient mode/))
    assert.throws(() => record((x) => (trace(new nn.ReLU(), [x]), x)), { code: 'ERR_INVALID_ARGUMENT' })
    assert.throws(
      () => record(() => rand([3], { generator: new Generator() })),
      refused(/generator cannot be recorded/),
    )
    assert.throws(() => record(() => 5 as unknown as Tensor), refused(/returned number/))
  })

  it('records numbers that are no int in an eager call as floats', () => {
    const graph = trace(new Lambda((x) => [x.maskedFill(x.gt(1e20), -1e30), x.mul(-0), x.mul(2)]), [randn([2, 3])])
    const numbers = graph.graph.nodes.map(({ inputs }) => inputs.at(-1)?.arg)
    const expected = [{ as_float: 1e20 }, { as_float: -1e30 }, { as_float: -0 }, { as_int: 2 }]
    assert.deepEqual(numbers, expected)
  })

  it('passes the failure of an operator on', () => {
    assert.throws(() => record((x) => x.add(rand([7]))), { code: 'ERR_TORCH' })
    assert.doesNotThrow(() => record((x) => x.relu()), 'the failed recording is over')
  })
})
