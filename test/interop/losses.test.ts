/** The losses of a training configuration and the layers of DeepDTA: Python's bits, forward and backward, at random and in a session. */
import assert from 'node:assert/strict'
import {
  manualSeed,
  nn,
  optim,
  rand,
  randint,
  randn,
  Session,
  setNumThreads,
  type Tensor,
  tensor,
  trace,
  traceFunction,
} from '../../lib/index.js'
import { lossFunction, type LossName } from '../../src/training/losses.js'
import { digest, digests, pythonDigest } from '../lib/digest.js'
import { needPython, runPython } from '../python.js'

/** What Python computes, in one program. */
interface Expected {
  functional: unknown[]
  modules: unknown[]
  sessions: Record<string, { losses: number[]; state: object }>
  layers: unknown[]
}

/** Names of a configuration, and Python's. */
const pythonLosses: Record<LossName, string> = {
  mse: 'mse_loss',
  l1: 'l1_loss',
  cross_entropy: 'cross_entropy',
  bce_with_logits: 'binary_cross_entropy_with_logits',
}

/** A target for outputs [N, 5]. */
const target = (name: LossName, rows: number): Tensor =>
  name === 'cross_entropy'
    ? randint(0, 5, [rows])
    : name === 'bce_with_logits'
      ? randint(0, 2, [rows, 5]).to('float32')
      : randn([rows, 5])

const program = `
F = torch.nn.functional
def target(name, rows):
    if name == 'cross_entropy': return torch.randint(0, 5, (rows,))
    return torch.randint(0, 2, (rows, 5)).float() if name == 'binary_cross_entropy_with_logits' else torch.randn(rows, 5)
names = json.loads(sys.argv[1])
out = {'functional': [], 'modules': [], 'sessions': {}, 'layers': []}

torch.manual_seed(4)
for name in names.values():
    x = torch.randn(37, 5, requires_grad=True)
    loss = getattr(F, name)(x, target(name, 37))
    loss.backward()
    out['functional'].append([digest(loss), digest(x.grad)])

torch.manual_seed(5)
x, y, w = torch.randn(7, 3), torch.rand(7, 3), torch.rand(3) + 0.5
for make in [lambda r: torch.nn.MSELoss(reduction=r), lambda r: torch.nn.L1Loss(reduction=r), lambda r: torch.nn.BCEWithLogitsLoss(reduction=r),
             lambda r: torch.nn.BCEWithLogitsLoss(reduction=r, weight=w, pos_weight=w * 2)]:
    for r in ['none', 'mean', 'sum']:
        a = x.clone().requires_grad_()
        module = make(r)
        loss = module(a, y)
        loss.sum().backward()
        out['modules'].append([digest(loss), digest(a.grad), list(module.state_dict())])

for key, name in names.items():
    torch.manual_seed(6)
    model = torch.nn.Linear(4, 5)
    x, y = torch.randn(12, 4), target(name, 12)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    losses = []
    for i in range(3):
        optimizer.zero_grad()
        loss = getattr(F, name)(model(x[i * 4:i * 4 + 4]), y[i * 4:i * 4 + 4])
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    out['sessions'][key] = {'losses': losses, 'state': digests(model.state_dict())}

torch.manual_seed(8)
x = torch.randn(3, 4, 21)
for conv in [torch.nn.Conv1d(4, 6, 5), torch.nn.Conv1d(4, 8, 4, stride=2, padding=3, groups=2, bias=False), torch.nn.Conv1d(4, 2, 3, padding='same', dilation=2)]:
    state = digests(conv.state_dict())
    y = conv(x).relu().amax(-1)
    (y * y).sum().backward()
    out['layers'].append([state, digest(y), [digest(p.grad) for p in conv.parameters()]])
ties = torch.tensor([[2., 2., 1.], [0., 3., 3.]], requires_grad=True)
(ties.amax(1, keepdim=True).sum() + ties.amin()).backward()
out['layers'].append(digest(ties.grad))
print(json.dumps(out))`

const invalid = (message: RegExp) => ({ name: 'TorchkeepError', code: 'ERR_INVALID_ARGUMENT', message })

describe('losses and layers against Python', () => {
  let expected: Expected
  before(async function () {
    needPython(this)
    setNumThreads(1)
    expected = JSON.parse(await runPython(pythonDigest + program, [JSON.stringify(pythonLosses)])) as Expected
  })

  it('losses have its values and gradients, by the names of a configuration', () => {
    const names = Object.keys(pythonLosses) as LossName[]
    manualSeed(4)
    const found = names.map((name) => {
      const x = randn([37, 5])
      x.requiresGrad = true
      const loss = lossFunction(name)(x, target(name, 37))
      loss.backward()
      return [digest(loss), digest(x.grad as Tensor)]
    })
    assert.deepEqual(found, expected.functional)
  })

  it('losses have its values and gradients as modules, with every reduction and weights', () => {
    manualSeed(5)
    const [x, targets, weight] = [randn([7, 3]), rand([7, 3]), rand([3]).add(0.5)]
    const reductions = ['none', 'mean', 'sum'] as const
    const makes: ((reduction: 'none' | 'mean' | 'sum') => nn.MSELoss | nn.L1Loss | nn.BCEWithLogitsLoss)[] = [
      (reduction) => new nn.MSELoss({ reduction }),
      (reduction) => new nn.L1Loss({ reduction }),
      (reduction) => new nn.BCEWithLogitsLoss({ reduction }),
      (reduction) => new nn.BCEWithLogitsLoss({ reduction, weight, posWeight: weight.mul(2) }),
    ]
    const found = makes.flatMap((make) =>
      reductions.map((reduction) => {
        const input = x.clone()
        input.requiresGrad = true
        const module = make(reduction)
        const loss = module.call(input, targets)
        loss.sum().backward()
        return [digest(loss), digest(input.grad as Tensor), [...module.stateDict().keys()]]
      }),
    )
    assert.deepEqual(found, expected.modules)
  })

  for (const name of Object.keys(pythonLosses) as LossName[]) {
    it(`losses train in a session: ${name}`, async () => {
      manualSeed(6)
      const model = new nn.Linear(4, 5)
      const [x, y] = [randn([12, 4]), target(name, 12)]
      const example = [x.slice({ end: 4 }), y.slice({ end: 4 })] as const
      const graph = trace(model, [example[0]])
      const lossGraph = traceFunction(lossFunction(name) as (...inputs: Tensor[]) => Tensor, [
        model.call(example[0]),
        example[1],
      ])
      const optimizer = new optim.SGD(model.parameters(), { lr: 0.1 })
      const session = await Session.create({
        module: model,
        trainGraph: graph,
        evalGraph: graph,
        lossGraph,
        optimizer,
        threads: 1,
      })
      const order = BigInt64Array.from(Array.from({ length: 12 }, (_, i) => BigInt(i)))
      const { losses } = await session.run({ tensors: [x, y], order, batchSize: 4, inputs: 1, maxDurationMs: 1e6 })
      session.dispose()
      assert.deepEqual({ losses: [...losses], state: digests(model.stateDict()) }, expected.sessions[name])
    })
  }

  it('losses are refused where shapes differ or a model has several outputs', () => {
    const [a, b] = [randn([4, 1]), randn([4])]
    for (const name of ['mse', 'l1', 'bce_with_logits'] as const)
      assert.throws(() => lossFunction(name)(a, b), invalid(/target has shape \[4\], expected the input's \[4, 1\]/))
    assert.throws(
      () => lossFunction('mse')(a, a, a),
      invalid(/'mse' is for a model with one output, but this one has 2/),
    )
  })

  it('Conv1d draws the same weights and gives the same bits, as amax does', () => {
    manualSeed(8)
    const x = randn([3, 4, 21])
    const convs = [
      new nn.Conv1d(4, 6, 5),
      new nn.Conv1d(4, 8, 4, { stride: 2, padding: 3, groups: 2, bias: false }),
      new nn.Conv1d(4, 2, 3, { padding: 'same', dilation: 2 }),
    ]
    const found = convs.map((conv) => {
      const state = digests(conv.stateDict())
      const y = conv.call(x).relu().amax(-1)
      y.mul(y).sum().backward()
      return [state, digest(y), conv.parameters().map(({ grad }) => digest(grad as Tensor))]
    })
    const ties = tensor([
      [2, 2, 1],
      [0, 3, 3],
    ])
    ties.requiresGrad = true
    ties.amax(1, { keepdim: true }).sum().add(ties.amin()).backward()
    assert.deepEqual([...found, digest(ties.grad as Tensor)], expected.layers)
  })

  it('Conv1d refuses what makes no sense', () => {
    assert.throws(
      () => new nn.Conv1d(4, 6, 3, { groups: 4 }),
      invalid(/groups is 4, expected a divisor of inChannels 4 and outChannels 6/),
    )
    assert.throws(
      () => new nn.Conv1d(4, 6, 3, { paddingMode: 'circular' } as never),
      invalid(/Conv1d: unknown option 'paddingMode'/),
    )
  })
})
