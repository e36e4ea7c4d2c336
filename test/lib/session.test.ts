import assert from 'node:assert/strict'
import {
  cat,
  liveTensors,
  nn,
  noGrad,
  optim,
  randint,
  randn,
  scope,
  Session,
  tensor,
  type Tensor,
  trace,
  traceFunction,
} from '../../lib/index.js'
import { digest, digests } from './digest.js'

const refused = (message: RegExp) => ({ name: 'TorchkeepError', code: 'ERR_INVALID_ARGUMENT', message })

describe('Session', () => {
  it('refuses graphs and optimizers that do not fit the module', async () => {
    const graph = trace(new nn.Linear(3, 1), [randn([2, 3])])
    const lossGraph = traceFunction(
      (out, target) => nn.functional.mseLoss(out as Tensor, target as Tensor),
      [randn([2, 1]), randn([2, 1])],
    )
    const other = new nn.Flatten()
    await assert.rejects(
      Session.create({ module: other, trainGraph: graph, evalGraph: graph, lossGraph, optimizer: null }),
      refused(/weight/),
    )
    const optimizer = new optim.SGD(new nn.Linear(3, 1).parameters())
    await assert.rejects(
      Session.create({ module: new nn.Linear(3, 1), trainGraph: graph, evalGraph: graph, lossGraph, optimizer }),
      refused(/not the module's/),
    )
  })

  /** A session that fits a line. */
  async function open(
    optimizer: (parameters: nn.Parameter[]) => optim.Optimizer | null,
    autocast: 'bfloat16' | null = null,
  ) {
    const model = new nn.Linear(3, 1)
    const example = randn([2, 3])
    const graph = trace(model, [example])
    const loss = (out: Tensor, target: Tensor): Tensor => nn.functional.mseLoss(out, target)
    const lossGraph = traceFunction(loss as (...inputs: Tensor[]) => Tensor, [randn([2, 1]), randn([2, 1])])
    const made = optimizer(model.parameters())
    return {
      model,
      optimizer: made,
      graph,
      lossGraph,
      session: await Session.create({
        module: model,
        trainGraph: graph,
        evalGraph: graph,
        lossGraph,
        optimizer: made,
        threads: 1,
        autocast,
      }),
    }
  }

  it('uses rates that were changed after syncOptimizer', async () => {
    const { model, optimizer, session } = await open((parameters) => new optim.SGD(parameters, { lr: 0.1 }))
    const [x, y] = [randn([4, 3]), randn([4, 1])]
    const run = {
      tensors: [x, y],
      order: new BigInt64Array([0n, 1n, 2n, 3n]),
      batchSize: 4,
      inputs: 1,
      maxDurationMs: 1000,
    }
    for (const group of (optimizer as optim.Optimizer).paramGroups) group.lr = 0
    session.syncOptimizer()
    const before = digests(model.stateDict())
    await session.run(run)
    assert.deepEqual(digests(model.stateDict()), before)
    session.dispose()
    session.dispose()
    await assert.rejects(session.run(run), { code: 'ERR_DISPOSED' })
  })

  it('gives the live state of the optimizer, the same tensors each time', async () => {
    const { optimizer, session } = await open((parameters) => new optim.Adam(parameters))
    const run = { batches: [[randn([2, 3]), randn([2, 1])]], inputs: 1, maxDurationMs: 1000 }
    await session.run(run)
    const { state } = optimizer as optim.Optimizer
    session.pullOptimizerState()
    const alive = liveTensors()
    const steps = [...state.values()].map((own) => own.get('step') as Tensor)
    assert.deepEqual(steps.map(Number), [1, 1])
    await session.run(run)
    scope(() => session.pullOptimizerState())
    assert.equal(liveTensors(), alive)
    assert.deepEqual(steps.map(Number), [2, 2])
    session.dispose()
    assert.deepEqual(steps.map(Number), [2, 2])
  })

  it('evaluates ready batches without an optimizer', async () => {
    const { model, session } = await open(() => null)
    const batches = [randn([2, 3]), randn([1, 3])]
    const { samples, loss, outputs } = await session.evaluate({ batches: batches.map((batch) => [batch]), inputs: 1 })
    assert.equal(samples, 3)
    assert.ok(Number.isNaN(loss))
    assert.equal(digest(outputs[0] as Tensor), digest(noGrad(() => model.call(cat(batches)))))
    session.dispose()
  })

  it('passes loss labels out of range on as an error and stays usable', async () => {
    const model = new nn.Linear(3, 2)
    const graph = trace(model, [randn([2, 3])])
    const loss = new nn.CrossEntropyLoss()
    const lossGraph = traceFunction(
      (scores, target) => loss.call(scores as Tensor, target as Tensor),
      [randn([2, 2]), randint(0, 2, [2])],
    )
    const optimizer = new optim.AdamW(model.parameters())
    using session = await Session.create({ module: model, trainGraph: graph, evalGraph: graph, lossGraph, optimizer })
    const run = (label: number): Promise<unknown> =>
      session.run({ batches: [[randn([1, 3]), tensor([label], { dtype: 'int64' })]], inputs: 1, maxDurationMs: 1000 })
    await assert.rejects(run(9), /out of bounds/)
    await assert.doesNotReject(run(1))
  })

  it('goes on with gradients of an unfinished step that another session gave out', async () => {
    const [first, second] = [randn([4, 3]), randn([4, 1])]
    const run = { tensors: [first, second], batchSize: 2, inputs: 1, maxDurationMs: 1000, accumulate: 2 }
    const whole = await open((parameters) => new optim.SGD(parameters, { lr: 0.1 }))
    const parts = await open((parameters) => new optim.SGD(parameters, { lr: 0.1 }))
    parts.model.loadStateDict(whole.model.stateDict())
    const all = await whole.session.run({ ...run, order: new BigInt64Array([0n, 1n, 2n, 3n]) })
    assert.deepEqual([all.batches, all.steps, all.accumulated, all.skipped], [2, 1, 0, []])

    const half = await parts.session.run({ ...run, order: new BigInt64Array([0n, 1n]) })
    assert.deepEqual([half.batches, half.steps, half.accumulated], [1, 0, 1])
    const gradients = parts.session.gradients()
    assert.deepEqual([...gradients.keys()], ['weight', 'bias'])
    assert.deepEqual(gradients.get('weight')?.shape, [1, 3])
    const [graph, loss] = [parts.graph, parts.lossGraph]
    const made = { module: parts.model, trainGraph: graph, evalGraph: graph, lossGraph: loss, threads: 1 }
    const next = await Session.create({ ...made, optimizer: parts.optimizer })
    next.setGradients(gradients)
    parts.session.dispose()
    await next.run({ ...run, order: new BigInt64Array([2n, 3n]), accumulated: 1 })
    assert.deepEqual(digests(parts.model.stateDict()), digests(whole.model.stateDict()))
    assert.throws(() => next.setGradients(new Map([['wait', tensor([1])]])), refused(/"wait"/))
    for (const session of [whole.session, next]) session.dispose()
  })

  it('clips, passes over what is not finite, and casts', async () => {
    const clipped = await open((parameters) => new optim.SGD(parameters, { lr: 1 }))
    const before = digests(clipped.model.stateDict())
    const bad = tensor([[NaN], [1]])
    const run = { inputs: 1, maxDurationMs: 1000, clipGradNorm: 1, clipGradValue: 0.5, onNonFinite: 'skip' } as const
    const batches = [[randn([2, 3]), bad]]
    const nothing = await clipped.session.run({ ...run, batches })
    assert.deepEqual([nothing.steps, nothing.skipped], [0, [{ batch: 0, parameter: null }]])
    assert.deepEqual(digests(clipped.model.stateDict()), before)
    const result = await clipped.session.run({ ...run, batches: [[randn([2, 3]), randn([2, 1])]] })
    assert.deepEqual([result.steps, result.gradNorms.length, result.reason], [1, 1, 'end'])
    clipped.session.dispose()

    const cast = await open(() => null, 'bfloat16')
    const { outputs } = await cast.session.evaluate({ batches: [[randn([2, 3])]], inputs: 1 })
    assert.equal((outputs[0] as Tensor).dtype, 'bfloat16')
    cast.session.dispose()
  })
})
