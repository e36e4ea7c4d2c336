import assert from 'node:assert/strict'
import type { GraphModule, OptimizerSpec, RunResult, TensorHandle } from '../../lib/contract.js'
import { addon } from '../../lib/native.js'
import { callTensor } from './fixtures.js'
import { mlp, ramp, rows, type TrainingSpec } from './session-mlp.js'

/** A deep copy of a graph that the test may spoil; JSON is what it is made of. */
type Loose = Record<string, unknown> & {
  graph: { nodes: LooseNode[]; tensor_values: Record<string, unknown> }
  signature: Record<string, Record<string, unknown>[]>
}
interface LooseNode {
  target: string
  inputs: { name: string; arg: unknown }[]
  outputs: unknown[]
}

function spoilt(graph: GraphModule, spoil: (graph: Loose) => void): GraphModule {
  const copy = JSON.parse(JSON.stringify(graph)) as Loose
  spoil(copy)
  return copy
}

const firstNode = (graph: Loose): LooseNode => graph.graph.nodes[0] as LooseNode

const meta = (dtype: number, sizes: number[]) => ({ dtype, sizes: sizes.map((size) => ({ as_int: size })) })

async function rejects(promise: Promise<unknown>, code: string, message: RegExp): Promise<void> {
  await assert.rejects(promise, (error) => {
    assert.equal((error as { code?: string }).code, code, String(error))
    assert.match((error as Error).message, message)
    return true
  })
}

type Change = (spec: TrainingSpec) => Partial<TrainingSpec>
const trainGraph =
  (spoil: (graph: Loose) => void): Change =>
  (spec) => ({ trainGraph: spoilt(spec.trainGraph, spoil) })
const optimizer =
  (change: (optimizer: OptimizerSpec) => Partial<OptimizerSpec>): Change =>
  (spec) => ({
    optimizer: { ...(spec.optimizer as OptimizerSpec), ...change(spec.optimizer as OptimizerSpec) },
  })
const options = (change: Record<string, number | boolean | number[] | null>): Change =>
  optimizer(({ groups }) => ({
    groups: groups.map((group) => ({ ...group, options: { ...group.options, ...change } })),
  }))
const zeros = (sizes: number[]) => callTensor('zeros', [sizes])

/** What makes createSession refuse, and the words that name the culprit. */
const refusals: [string, Change, RegExp][] = [
  [
    'a missing parameter',
    ({ parameters: { '1.bias': _, ...rest } }) => ({ parameters: rest }),
    /train graph: parameter "1\.bias".*expected a tensor of that name, found none/,
  ],
  [
    'a parameter of other sizes than recorded',
    trainGraph((g) => (g.graph.tensor_values['p_0_weight'] = meta(7, [16, 8]))),
    /parameter "0\.weight": expected sizes \[16, 8\], found \[16, 16\]/,
  ],
  [
    'a parameter of another dtype',
    trainGraph((g) => (g.graph.tensor_values['p_0_weight'] = meta(8, [16, 16]))),
    /parameter "0\.weight": expected dtype float64, found float32/,
  ],
  [
    'a parameter that is a result of autograd',
    (spec) => ({
      parameters: {
        ...spec.parameters,
        '0.weight': addon().call({
          op: 'aten::mul',
          overload: 'Scalar',
          args: [spec.parameters['0.weight'] as TensorHandle, 2],
          gradEnabled: true,
        }) as TensorHandle,
      },
    }),
    /parameter "0\.weight": expected a leaf tensor/,
  ],
  [
    'an unknown operator',
    trainGraph((g) => (firstNode(g).target = 'torch.ops.aten.linearly.default')),
    /train graph, node "linear_0" \(torch\.ops\.aten\.linearly\.default\): there is no operator/,
  ],
  [
    'an unknown overload',
    trainGraph((g) => (firstNode(g).target = 'torch.ops.aten.linear.other')),
    /linear_0.*there is no operator/,
  ],
  [
    'a higher-order operator',
    trainGraph((g) => (firstNode(g).target = 'torch.ops.higher_order.cond')),
    /linear_0.*not supported/,
  ],
  [
    'an unknown argument',
    trainGraph((g) => firstNode(g).inputs.push({ name: 'gain', arg: { as_int: 1 } })),
    /linear_0.*no argument "gain"/,
  ],
  [
    'a missing argument',
    trainGraph((g) => firstNode(g).inputs.splice(1, 1)),
    /linear_0.*argument "weight": expected a value, found none/,
  ],
  [
    'an argument of an unsupported kind',
    trainGraph((g) => (firstNode(g).inputs[0] = { name: 'input', arg: { as_graph: {} } })),
    /linear_0.*argument "input".*"as_graph".*not supported/,
  ],
  [
    'an argument of another type',
    trainGraph((g) => (firstNode(g).inputs[0] = { name: 'input', arg: { as_string: 'x' } })),
    /linear_0.*argument "input".*expected a tensor or a number, found 'x'/,
  ],
  [
    'a value read before it is made',
    trainGraph((g) => g.graph.nodes.reverse()),
    /the value "dropout_0" is not defined before it is read/,
  ],
  ['a value made twice', trainGraph((g) => g.graph.nodes.push(firstNode(g))), /the value "linear_0" is defined twice/],
  [
    'an unknown dtype number',
    trainGraph((g) => (g.graph.tensor_values['x'] = meta(99, [8, 16]))),
    /unknown dtype number 99/,
  ],
  [
    'another number of outputs',
    trainGraph((g) => firstNode(g).outputs.push({ as_tensor: { name: 'more' } })),
    /linear_0.*expected 1 outputs, found 2/,
  ],
  [
    'no nodes',
    trainGraph((g) => delete (g.graph as Partial<Loose['graph']>).nodes),
    /train graph: expected a field "nodes"/,
  ],
  ['a graph that is none', () => ({ evalGraph: {} }), /evaluation graph: expected a field "graph"/],
  [
    'an output of an unsupported kind',
    trainGraph((g) => (g.signature['output_specs'] = [{ token: { arg: { name: 'x' } } }])),
    /output 0.*"token".*not supported/,
  ],
  [
    'a loss with two outputs',
    (spec) => ({
      lossGraph: spoilt(spec.lossGraph, (g) =>
        g.signature['output_specs']?.push({ user_output: { arg: { as_tensor: { name: 'target' } } } }),
      ),
    }),
    /loss graph: expected one output, found 2/,
  ],
  ['a device that is none', () => ({ device: 'gpu' }), /device: expected a device name.*found "gpu"/],
  ['threads below zero', () => ({ threads: -1 }), /threads: expected 0 to 1024, found -1/],
  ['an unknown optimizer', optimizer(() => ({ name: 'Lion' as 'Adam' })), /expected SGD, Adam or AdamW, found "Lion"/],
  [
    'a group with an unknown parameter',
    optimizer(({ groups }) => ({ groups: [{ options: groups[0]?.options ?? {}, params: ['0.weigth'] }] })),
    /Adam group 0: there is no parameter "0\.weigth"/,
  ],
  [
    'a parameter in two groups',
    optimizer(({ groups }) => ({ groups: [...groups, ...groups] })),
    /Adam group 1: parameter "0\.weight" appears twice/,
  ],
  ['a negative rate', options({ lr: -1 }), /Adam group 0, option "lr": expected a number >= 0, found -1/],
  ['a rate that is not a number', options({ lr: NaN }), /option "lr": expected a number >= 0/],
  [
    'a missing rate',
    optimizer(({ groups }) => ({
      groups: groups.map(({ params, options: { lr: _, ...rest } }) => ({ params, options: rest })),
    })),
    /option "lr": expected a value, found none/,
  ],
  ['betas out of range', options({ betas: [0.9, 1] }), /option "betas": expected two numbers in \[0, 1\)/],
  ['an unknown option', options({ momentom: 1 }), /unknown option "momentom"/],
  ['an option that would change the arithmetic', options({ capturable: true }), /option "capturable": expected false/],
  ['state of an unknown parameter', optimizer(() => ({ state: { nobody: {} } })), /no group has a parameter "nobody"/],
  [
    'state of other sizes',
    optimizer(() => ({ state: { '0.bias': { step: zeros([]), exp_avg: zeros([16]), exp_avg_sq: zeros([4]) } } })),
    /state of "0\.bias", "exp_avg_sq": expected sizes \[16\], found \[4\]/,
  ],
  [
    'incomplete state',
    optimizer(() => ({ state: { '0.bias': { step: zeros([]) } } })),
    /state of "0\.bias": expected step, exp_avg, exp_avg_sq/,
  ],
]

describe('createSession refuses', () => {
  for (const [name, change, message] of refusals) {
    it(name, async () => {
      const { spec } = mlp(addon())
      // Arguments that cannot even be read are thrown, the rest rejects.
      const attempt = async () => addon().createSession({ ...spec, ...change(spec) })
      await rejects(attempt(), 'ERR_INVALID_ARGUMENT', message)
    })
  }

  it('nesterov without momentum', async () => {
    const { spec } = mlp(addon())
    const sgd = { lr: 0.1, momentum: 0, dampening: 0, weight_decay: 0, nesterov: true, maximize: false, fused: null }
    const groups = [{ params: Object.keys(spec.parameters), options: sgd }]
    await rejects(
      addon().createSession({ ...spec, optimizer: { name: 'SGD', groups } }),
      'ERR_INVALID_ARGUMENT',
      /SGD group 0, option "nesterov"/,
    )
  })

  it('a disposed tensor', async () => {
    const { spec } = mlp(addon())
    const parameter = spec.parameters['0.bias'] as TensorHandle
    parameter.dispose()
    await rejects((async () => addon().createSession(spec))(), 'ERR_DISPOSED', /0\.bias/)
  })
})

describe('a session refuses', () => {
  const { spec, data } = mlp(addon())
  const [x, y] = data as [TensorHandle, TensorHandle]
  const good = { tensors: [x, y], order: rows(2), batchSize: 8, inputs: 1, maxDurationMs: Infinity }
  const attempts: [string, Partial<typeof good>, string, RegExp][] = [
    [
      'a row that does not exist',
      { order: BigInt64Array.of(0n, 64n) },
      'ERR_DATA',
      /order\[1\]: expected a row from 0 to 63, found 64/,
    ],
    [
      'a negative row',
      { order: BigInt64Array.of(-1n) },
      'ERR_DATA',
      /order\[0\]: expected a row from 0 to 63, found -1/,
    ],
    ['no rows', { order: new BigInt64Array(0) }, 'ERR_DATA', /batches: expected at least one sample, found none/],
    ['a batch size of zero', { batchSize: 0 }, 'ERR_INVALID_ARGUMENT', /batchSize: expected at least 1, found 0/],
    [
      'a time below zero',
      { maxDurationMs: -1 },
      'ERR_INVALID_ARGUMENT',
      /maxDurationMs: expected a number >= 0, found -1/,
    ],
    ['more inputs than tensors', { inputs: 3 }, 'ERR_INVALID_ARGUMENT', /inputs: expected 0 to 2.*found 3/],
    [
      'targets of another length',
      { tensors: [x, ramp(addon(), [63, 16], 1)] },
      'ERR_INVALID_ARGUMENT',
      /tensor 1: expected 64 samples as in tensor 0, found 63/,
    ],
    [
      'a 0-d tensor',
      { tensors: [x, ramp(addon(), [], 1)] },
      'ERR_INVALID_ARGUMENT',
      /tensor 1: expected at least one dimension/,
    ],
    [
      'two inputs for a model with one',
      { inputs: 2 },
      'ERR_INVALID_ARGUMENT',
      /step 1 .*batch 0.*train graph: expected 1 inputs, found 2/,
    ],
    ['no target', { tensors: [x] }, 'ERR_INVALID_ARGUMENT', /loss graph: expected 1 inputs.*found 2/],
    [
      'rows of another width',
      { tensors: [ramp(addon(), [64, 15], 1), y] },
      'ERR_TORCH',
      /step 1 .*node "linear_0" \(torch\.ops\.aten\.linear\.default\)/,
    ],
  ]
  for (const [name, change, code, message] of attempts) {
    it(`${name}, and then trains`, async () => {
      const session = await addon().createSession(spec)
      await rejects((async () => session.run({ ...good, ...change }))(), code, message)
      assert.equal((await session.run(good)).reason, 'end')
      session.dispose()
    })
  }

  it('inputs that are not what was recorded', async () => {
    const recorded = spoilt(
      spec.trainGraph,
      (graph) => (graph.graph.tensor_values['x'] = { dtype: 7, sizes: [{ as_expr: {} }, { as_int: 16 }] }),
    )
    const session = await addon().createSession({ ...spec, trainGraph: recorded })
    const doubles = callTensor('to.dtype', [x, 'float64'])
    await rejects(
      session.run({ ...good, tensors: [doubles, y] }),
      'ERR_INVALID_ARGUMENT',
      /train graph: input 0 \("x"\): expected dtype float32, found float64/,
    )
    const narrow = ramp(addon(), [64, 15], 1)
    await rejects(
      session.run({ ...good, tensors: [narrow, y] }),
      'ERR_INVALID_ARGUMENT',
      /input 0 \("x"\): expected sizes \[any, 16\], found \[8, 15\]/,
    )
    assert.equal((await session.run(good)).reason, 'end')
    session.dispose()
  })

  it('to train what is all frozen', async () => {
    const frozen = mlp(addon()).spec
    for (const tensor of Object.values(frozen.parameters))
      addon().call({ op: 'aten::requires_grad_', args: [tensor, false], gradEnabled: true })
    const session = await addon().createSession(frozen)
    await rejects(
      session.run(good),
      'ERR_INVALID_ARGUMENT',
      /step 1 .*depends on a parameter with requires_grad, found none/,
    )
    session.dispose()
  })

  it('to train without an optimizer', async () => {
    const session = await addon().createSession({ ...spec, optimizer: null })
    await rejects(session.run(good), 'ERR_INVALID_ARGUMENT', /run: the session was made without an optimizer/)
    assert.throws(() => session.optimizerState(), /without an optimizer/)
    session.dispose()
  })

  it('groups of other parameters', async () => {
    const session = await addon().createSession(spec)
    const [group] = spec.optimizer?.groups ?? []
    assert.ok(group)
    const attempt = (groups: (typeof group)[]) => () => session.setParamGroups({ groups })
    assert.throws(attempt([]), /expected 1 groups, found 0/)
    assert.throws(
      attempt([{ ...group, params: [...group.params].reverse() }]),
      /expected the same parameters in the same order/,
    )
    assert.throws(
      attempt([{ ...group, options: { ...group.options, amsgrad: true } }]),
      /option "amsgrad": expected the value it had/,
    )
    session.dispose()
  })
})

describe('labels out of range', () => {
  const crossEntropy = (graph: GraphModule) =>
    spoilt(graph, (copy) => {
      const node = firstNode(copy)
      node.target = 'torch.ops.aten.cross_entropy_loss.default'
    })

  it('name step, batch and node; the step changes nothing and the session goes on', async () => {
    const { spec, data } = mlp(addon())
    const session = await addon().createSession({ ...spec, lossGraph: crossEntropy(spec.lossGraph) })
    const labels = (bad: bigint) =>
      addon().tensorFromData({
        dtype: 'int64',
        sizes: [64],
        data: BigInt64Array.from({ length: 64 }, (_, i) => (i === 20 ? bad : BigInt(i % 16))),
        device: 'cpu',
      })
    const order = BigInt64Array.from({ length: 64 }, (_, i) => BigInt(i))
    const run = (bad: bigint, from = 0): Promise<RunResult> =>
      session.run({
        tensors: [data[0] as TensorHandle, labels(bad)],
        order: order.slice(from),
        batchSize: 8,
        inputs: 1,
        maxDurationMs: Infinity,
      })
    for (const bad of [16n, -1n]) {
      await rejects(
        run(bad),
        'ERR_DATA',
        /step \d+ of the session \(batch 2 of this run\): loss graph, node "loss" \(torch\.ops\.aten\.cross_entropy_loss\.default\): Target (16|-1) is out of bounds/,
      )
    }
    const weight = spec.parameters['0.weight'] as TensorHandle
    const before = Buffer.from(addon().tensorToData({ tensor: weight })).toString('hex')
    await rejects(run(16n, 16), 'ERR_DATA', /step 5 of the session \(batch 0 of this run\)/)
    assert.equal(Buffer.from(addon().tensorToData({ tensor: weight })).toString('hex'), before)
    assert.equal(addon().tensorGrad({ tensor: weight }), null)
    assert.equal((await run(3n)).steps, 8)
    session.dispose()
  })
})
