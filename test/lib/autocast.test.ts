import assert from 'node:assert/strict'
import { autocast, nn, noGrad, randn, Session, tensor, type Tensor, trace, traceFunction } from '../../lib/index.js'
import { needPython, runPython } from '../python.js'
import { digest } from './digest.js'

/** A forward that asks for the dtype of a tensor in its middle: float32 without autocast, bfloat16 with it. */
class Asking extends nn.Module {
  first = new nn.Linear(8, 8)
  second = new nn.Linear(8, 1)

  forward(x: Tensor): Tensor {
    const hidden = this.first.call(x) as Tensor
    const cast = x.to(hidden.dtype)
    return hidden.add(cast).add(this.second.call(hidden) as Tensor)
  }
}

describe('autocast', () => {
  const run = <T>(fn: () => T): T => autocast('cpu', 'bfloat16', fn)

  it("gives operators Python's dtypes and values", async function () {
    needPython(this)
    const expected = await runPython(`
x = torch.arange(64.).reshape(8, 8).sin() + 0.5
with torch.autocast('cpu', dtype=torch.bfloat16):
    values = [torch.nn.functional.linear(x, x), torch.mm(x, x), x + x, torch.nn.functional.mse_loss(torch.mm(x, x), x), x.relu()]
print(json.dumps([[str(v.dtype)[6:], v.double().flatten().tolist()] for v in values]))`)
    const { functional } = nn
    const x = Array.from({ length: 64 }, (_, i) => i)
    const matrix = tensor(x, { dtype: 'float32' }).reshape([8, 8]).sin().add(0.5)
    const values = run(() => [
      functional.linear(matrix, matrix),
      matrix.mm(matrix),
      matrix.add(matrix),
      functional.mseLoss(matrix.mm(matrix), matrix),
      matrix.relu(),
    ])
    const found = values.map((value) => [value.dtype, [...(value.to('float64').flatten().data() as Float64Array)]])
    assert.deepEqual(found, JSON.parse(expected))
    assert.equal(matrix.mm(matrix).dtype, 'float32')
  })

  it('ends with its function, whatever becomes of it', () => {
    const x = randn([2, 2])
    assert.throws(() =>
      run(() => {
        throw new Error('no')
      }),
    )
    assert.equal(x.mm(x).dtype, 'float32')
    assert.throws(() => run(async () => Promise.resolve()), { code: 'ERR_INVALID_ARGUMENT' })
    assert.equal(x.mm(x).dtype, 'float32')
  })

  it('is refused inside a forward that is recorded', () => {
    class Inside extends nn.Module {
      forward(x: Tensor): Tensor {
        return run(() => x.mm(x))
      }
    }
    assert.throws(() => trace(new Inside(), [randn([2, 2])]), { code: 'ERR_INVALID_ARGUMENT', message: /autocast/ })
  })

  it('around a recording gives the dtypes that a session with autocast meets', async () => {
    const module = new Asking().eval()
    const x = randn([4, 8])
    const graphs = run(() => {
      const graph = trace(module, [x])
      const loss = traceFunction(
        (output, target) => nn.functional.mseLoss(output as Tensor, target as Tensor),
        [noGrad(() => module.call(x)) as Tensor, x],
      )
      return { trainGraph: graph, evalGraph: graph, lossGraph: loss }
    })
    const expected = noGrad(() => run(() => module.call(x) as Tensor))
    assert.equal(expected.dtype, 'bfloat16')
    using session = await Session.create({ module, ...graphs, optimizer: null, autocast: 'bfloat16', threads: 1 })
    const { outputs, loss } = await session.evaluate({ batches: [[x, x]], inputs: 1 })
    assert.equal(digest(outputs[0] as Tensor), digest(expected))
    assert.equal(loss, Number(noGrad(() => run(() => nn.functional.mseLoss(expected, x)))))
  })
})
