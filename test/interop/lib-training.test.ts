/** The same seed gives Python's bits: initial weights, random functions, orders of samples, and 50 eager steps of each optimizer. */
import assert from 'node:assert/strict'
import {
  DataLoader,
  empty,
  Generator,
  getRngState,
  linspace,
  manualSeed,
  nn,
  optim,
  rand,
  randint,
  randn,
  randperm,
  scope,
  setNumThreads,
  type Tensor,
  TensorDataset,
  arange,
} from '../../lib/index.js'
import { Cnn, pythonCnn } from '../lib/cnn.js'
import { digest, digests, pythonDigest } from '../lib/digest.js'
import { needPython, runPython } from '../python.js'

async function python(program: string): Promise<Record<string, unknown>> {
  return JSON.parse(await runPython(pythonDigest + pythonCnn + program)) as Record<string, unknown>
}

describe('training in lib against Python', () => {
  before(function () {
    needPython(this)
    setNumThreads(1)
  })

  it('draws initial weights of every layer', async () => {
    const expected = await python(`
torch.manual_seed(1)
modules = [Cnn(), torch.nn.Linear(7, 3, bias=False), torch.nn.Conv2d(4, 6, (3, 2), groups=2, dtype=torch.float64), torch.nn.Embedding(9, 4, padding_idx=-2), torch.nn.Linear(0, 3)]
w = torch.empty(4, 6, 3)
torch.nn.init.xavier_uniform_(w, gain=2.); a = digest(w)
torch.nn.init.xavier_normal_(w); b = digest(w)
torch.nn.init.kaiming_normal_(w, mode='fan_out', nonlinearity='relu'); c = digest(w)
torch.nn.init.kaiming_uniform_(w, a=0.3, nonlinearity='leaky_relu')
print(json.dumps({'modules': [digests(m.state_dict()) for m in modules], 'init': [a, b, c, digest(w)]}))`)
    manualSeed(1)
    const modules = [
      new Cnn(),
      new nn.Linear(7, 3, { bias: false }),
      new nn.Conv2d(4, 6, [3, 2], { groups: 2, dtype: 'float64' }),
      new nn.Embedding(9, 4, { paddingIdx: -2 }),
      new nn.Linear(0, 3),
    ]
    assert.deepEqual(
      modules.map((module) => Object.entries(digests(module.stateDict()))),
      (expected['modules'] as object[]).map(Object.entries),
    )
    const w = empty([4, 6, 3])
    const drawn = [
      digest(nn.init.xavierUniform_(w, { gain: 2 })),
      digest(nn.init.xavierNormal_(w)),
      digest(nn.init.kaimingNormal_(w, { mode: 'fan_out', nonlinearity: 'relu' })),
      digest(nn.init.kaimingUniform_(w, { a: 0.3, nonlinearity: 'leaky_relu' })),
    ]
    assert.deepEqual(drawn, expected['init'])
  })

  it('draws random tensors, dropout masks and generator states', async () => {
    const expected = await python(`
torch.manual_seed(-7)
g = torch.Generator().manual_seed(5)
values = [torch.rand(5, 3), torch.randn(17), torch.randn(3), torch.randint(-3, 9, (6,)), torch.randperm(11), torch.nn.functional.dropout(torch.ones(40), 0.3),
          torch.randn(4, generator=g), torch.randperm(6, generator=g), torch.empty(5).bernoulli_(0.4), torch.empty(3).normal_(2, 3), torch.get_rng_state(), g.get_state()]
print(json.dumps({'values': [digest(v) for v in values], 'seed': str(g.initial_seed()), 'default': str(torch.Generator().initial_seed())}))`)
    manualSeed(-7)
    const generator = new Generator().manualSeed(5)
    const values = [
      rand([5, 3]),
      randn([17]),
      randn([3]),
      randint(-3, 9, [6]),
      randperm(11),
      nn.functional.dropout(empty([40]).fill_(1), { p: 0.3 }),
      randn([4], { generator }),
      randperm(6, { generator }),
      empty([5]).bernoulli_(0.4),
      empty([3]).normal_(2, 3),
      getRngState(),
      generator.getState(),
    ]
    assert.deepEqual(values.map(digest), expected['values'])
    assert.equal(String(generator.initialSeed()), expected['seed'])
    assert.equal(String(new Generator().initialSeed()), expected['default'])
  })

  it('orders samples over two epochs, with and without a generator', async () => {
    const expected = await python(`
from torch.utils.data import DataLoader, TensorDataset
def epochs(shuffle, own):
    torch.manual_seed(11)
    g = torch.Generator().manual_seed(3) if own else None
    loader = DataLoader(TensorDataset(torch.arange(23), torch.arange(46.).reshape(23, 2)), batch_size=4, shuffle=shuffle, drop_last=own, generator=g)
    batches = [[digest(t) for t in batch] for _ in range(2) for batch in loader]
    return [len(loader), batches, digest(torch.get_rng_state()), digest(g.get_state()) if own else None]
print(json.dumps({'all': [epochs(s, o) for s in (False, True) for o in (False, True)]}))`)
    const epochs = (shuffle: boolean, own: boolean): unknown[] => {
      manualSeed(11)
      const generator = new Generator(3)
      const dataset = new TensorDataset(arange(23), arange(46, { dtype: 'float32' }).reshape(23, 2))
      const loader = new DataLoader(dataset, { batchSize: 4, shuffle, dropLast: own, ...(own ? { generator } : {}) })
      const batches = [...loader, ...loader].map((batch) => batch.map(digest))
      return [loader.numBatches, batches, digest(getRngState()), own ? digest(generator.getState()) : null]
    }
    const found = [false, true].flatMap((shuffle) => [false, true].map((own) => epochs(shuffle, own)))
    assert.deepEqual(found, expected['all'])
  })

  it('raises to powers as C does', async () => {
    const expected = await python(`
print(json.dumps({'p': [b ** e for b in (0.9, 0.999, 0.98, 0.1) for e in range(1, 400)] + [(1 - 0.999 ** e) ** 0.5 for e in range(1, 400)]}))`)
    const { pow } = await import('../../lib/optim/pow.js')
    const exponents = Array.from({ length: 399 }, (_, i) => i + 1)
    const found = [0.9, 0.999, 0.98, 0.1].flatMap((base) => exponents.map((exponent) => pow(base, exponent)))
    const roots = exponents.map((exponent) => pow(1 - pow(0.999, exponent), 0.5))
    assert.deepEqual([...found, ...roots], expected['p'])
  })

  const optimizers: Record<string, (parameters: nn.Parameter[]) => optim.Optimizer> = {
    'SGD(ps, lr=0.05)': (ps) => new optim.SGD(ps, { lr: 0.05 }),
    'SGD(ps, lr=0.05, momentum=0.9, dampening=0.1, weight_decay=1e-3)': (ps) =>
      new optim.SGD(ps, { lr: 0.05, momentum: 0.9, dampening: 0.1, weightDecay: 1e-3 }),
    'SGD(ps, lr=0.0005, momentum=0.8, nesterov=True, maximize=True)': (ps) =>
      new optim.SGD(ps, { lr: 0.0005, momentum: 0.8, nesterov: true, maximize: true }),
    'Adam(ps)': (ps) => new optim.Adam(ps),
    'Adam(ps, lr=0.01, betas=(0.8, 0.99), eps=1e-6, weight_decay=0.02, amsgrad=True)': (ps) =>
      new optim.Adam(ps, { lr: 0.01, betas: [0.8, 0.99], eps: 1e-6, weightDecay: 0.02, amsgrad: true }),
    'AdamW(ps, lr=0.003)': (ps) => new optim.AdamW(ps, { lr: 0.003 }),
    "AdamW([{'params': ps[:3], 'lr': 0.1}, {'params': ps[3:], 'weight_decay': 0.5}], lr=0.01, maximize=True)": (ps) =>
      new optim.AdamW(
        [
          { params: ps.slice(0, 3), lr: 0.1 },
          { params: ps.slice(3), weightDecay: 0.5 },
        ],
        { lr: 0.01, maximize: true },
      ),
  }

  describe('50 steps', () => {
    let expected: Record<string, Record<string, unknown>>

    before(async () => {
      const program = `
def plain(v):
    if isinstance(v, torch.Tensor): return digest(v)
    if isinstance(v, dict): return [[k, plain(i)] for k, i in v.items()]
    return [plain(i) for i in v] if isinstance(v, (list, tuple)) else v
def train(make):
    torch.manual_seed(2)
    model = Cnn()
    ps = list(model.parameters())
    optimizer = eval('torch.optim.' + make, {'torch': torch, 'ps': ps})
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 20, 0.5)
    x, y = torch.randn(64, 1, 12, 12), torch.randint(0, 5, (64,))
    losses = []
    for step in range(50):
        rows = torch.randperm(64)[:16]
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(x[rows]), y[rows])
        loss.backward()
        optimizer.step()
        scheduler.step()
        losses.append(loss.item())
    return {'losses': losses, 'model': digests(model.state_dict()), 'optimizer': plain(optimizer.state_dict()), 'scheduler': plain(scheduler.state_dict()), 'rng': digest(torch.get_rng_state())}
print(json.dumps({make: train(make) for make in json.loads(sys.argv[1])}))`
      const output = await runPython(pythonDigest + pythonCnn + program, [JSON.stringify(Object.keys(optimizers))])
      expected = JSON.parse(output) as typeof expected
    })

    for (const [expression, make] of Object.entries(optimizers)) {
      it(`of ${expression}: losses, weights and state dicts`, () => {
        manualSeed(2)
        const model = new Cnn()
        const optimizer = make(model.parameters())
        const scheduler = new optim.lrScheduler.StepLR(optimizer, { stepSize: 20, gamma: 0.5 })
        const [x, y] = [randn([64, 1, 12, 12]), randint(0, 5, [64])]
        const losses = Array.from({ length: 50 }, () =>
          scope(() => {
            const rows = randperm(64).slice({ end: 16 })
            optimizer.zeroGrad()
            const loss = nn.functional.crossEntropy(model.call(x.indexSelect(0, rows)), y.indexSelect(0, rows))
            loss.backward()
            optimizer.step()
            scheduler.step()
            return loss.item()
          }),
        )
        assert.deepEqual(
          {
            losses,
            model: digests(model.stateDict()),
            optimizer: plain(optimizer.stateDict()),
            scheduler: plain(scheduler.stateDict()),
            rng: digest(getRngState()),
          },
          expected[expression],
        )
      })
    }
  })

  it('interpolates as torch.linspace does', async () => {
    const expected = await python(`print(json.dumps({'v': digest(torch.linspace(-1, 2, 7))}))`)
    assert.equal(digest(linspace(-1, 2, 7)), expected['v'])
  })
})

/** Values of a state dict in plain JSON, tensors by digest, dicts as lists of pairs so that their order counts. */
function plain(value: unknown): unknown {
  if (typeof value === 'object' && value !== null && 'handle' in value) return digest(value as Tensor)
  if (value instanceof Map) return [...(value as Map<unknown, unknown>)].map(([key, item]) => [key, plain(item)])
  if (Array.isArray(value)) return Array.from(value, plain)
  return typeof value === 'object' && value !== null ? value.valueOf() : value
}
