/** Recorded graphs: the very nodes that Python's export records, files that Python opens, and the same bits natively, eagerly and in Python. */
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import {
  arange,
  type ExportedGraph,
  exportedProgram,
  manualSeed,
  nn,
  noGrad,
  optim,
  randint,
  randn,
  scope,
  Session,
  setNumThreads,
  tensor,
  type Tensor,
  trace,
  traceFunction,
  versions,
  where,
  zeros,
} from '../../lib/index.js'
import { Cnn, pythonCnn } from '../lib/cnn.js'
import { digest, digests, pythonDigest } from '../lib/digest.js'
import { needPython, runPython } from '../python.js'

/** Operators of many kinds: several results, lists, constants, flags, infinities, dtypes, factories. */
class Mixed extends nn.Module {
  embedding = new nn.Embedding(10, 4, { paddingIdx: 0 })

  constructor() {
    super()
    this.registerBuffer('shift', tensor([0.5, 1, 2, 3]), { persistent: false })
  }

  override forward(tokens: Tensor): Tensor[] {
    const rows = this.embedding.call(tokens)
    const [values] = rows.max(-1)
    const [left] = rows.split(2, -1) as [Tensor, Tensor]
    const sums = rows.sum(1, { keepdim: true }).add(this.buffer('shift') as Tensor)
    const masked = where(sums.gt(0), sums, -Infinity)
    const filled = masked.maskedFill(masked.lt(0), Infinity).to('float64').float()
    return [
      values,
      left.mul(2.5),
      filled,
      rows.clone().relu_().add(1),
      zeros([2, 2]).add(1),
      rows.permute(0, 2, 1).contiguous(),
      rows.mean([1, 2]).softmax(-1),
    ]
  }
}

const pythonMixed = `
class Mixed(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = torch.nn.Embedding(10, 4, padding_idx=0)
        self.register_buffer('shift', torch.tensor([0.5, 1, 2, 3]), persistent=False)
    def forward(self, args_0):
        rows = self.embedding(args_0)
        values, _ = rows.max(-1)
        left, _ = rows.split(2, -1)
        sums = rows.sum(1, keepdim=True) + self.shift
        masked = torch.where(sums > 0, sums, float('-inf'))
        filled = masked.masked_fill(masked < 0, float('inf')).to(torch.float64).float()
        return values, left * 2.5, filled, rows.clone().relu_() + 1, torch.zeros(2, 2) + 1, rows.permute(0, 2, 1).contiguous(), rows.mean((1, 2)).softmax(-1)
`

/** Exports each model in both modes and prints nodes (without what only debugging needs), signature and sizes. */
const pythonExport = `
import io, zipfile
def exported(model, x):
    file = io.BytesIO()
    program = torch.export.export(model, (x,), strict=False)
    torch.export.save(program, file)
    archive = zipfile.ZipFile(file)
    module = json.loads(archive.read(next(n for n in archive.namelist() if n.endswith('models/model.json'))))['graph_module']
    def node(n):
        return {**n, 'metadata': {'nn_module_stack': n['metadata']['nn_module_stack']}}
    # Guards of dtype conversions and the unused flag of pinned memory are Python's own.
    nodes = [node(n) for n in module['graph']['nodes'] if '_assert_' not in n['target']]
    for n in nodes: n['inputs'] = [i for i in n['inputs'] if i['name'] != 'pin_memory']
    return {'nodes': nodes, 'values': module['graph']['tensor_values'], 'signature': module['signature'], 'calls': module['module_call_graph']}
`

/** A graph with the sizes of its example in place of symbols, as Python exports without dynamic shapes. */
function comparable({ graph, signature, module_call_graph: calls }: ExportedGraph): unknown {
  const values = JSON.stringify(graph.tensor_values, (_, value: unknown) =>
    typeof value === 'object' && value !== null && 'as_expr' in value
      ? (value.as_expr as { hint: unknown }).hint
      : value,
  )
  return { nodes: graph.nodes, values: JSON.parse(values) as unknown, signature, calls: withParsedSpecs(calls) }
}

/** Python writes spaces into the JSON inside its JSON. */
function withParsedSpecs(calls: ExportedGraph['module_call_graph']): unknown {
  const parse = (text: string): unknown => JSON.parse(text)
  return calls.map(({ fqn, signature }) => [
    fqn,
    signature && { ...signature, in_spec: parse(signature.in_spec), out_spec: parse(signature.out_spec) },
  ])
}

describe('recorded graphs against Python', () => {
  let folder: string

  before(function () {
    needPython(this)
    setNumThreads(1)
    folder = mkdtempSync(join(tmpdir(), 'torchkeep-trace-'))
  })

  after(() => {
    if (folder) rmSync(folder, { recursive: true })
  })

  it('are the graphs that torch.export records', async () => {
    const output = await runPython(`${pythonCnn}${pythonMixed}${pythonExport}
images, tokens = torch.randn(3, 1, 12, 12), torch.randint(0, 10, (3, 5))
print(json.dumps([exported(m.train(mode), x) for m, x in ((Cnn(), images), (Mixed(), tokens)) for mode in (True, False)]))`)
    const [images, tokens] = [randn([3, 1, 12, 12]), randint(0, 10, [3, 5])]
    const cases = [
      [new Cnn(), images],
      [new Mixed(), tokens],
    ] as const
    const found = cases.flatMap(([module, input]) =>
      [true, false].map((mode) => comparable(trace(module.train(mode), [input]))),
    )
    const expected = JSON.parse(output) as { calls: ExportedGraph['module_call_graph'] }[]
    found.forEach((graph, i) =>
      assert.deepEqual(graph, { ...expected[i], calls: withParsedSpecs(expected[i]?.calls ?? []) }),
    )
  })

  it('open in Python and give the bits of the eager module, for other batch sizes too', async () => {
    manualSeed(4)
    const model = new Cnn().eval()
    const graph = trace(model, [randn([3, 1, 12, 12])])
    writeFileSync(join(folder, 'model.json'), JSON.stringify(exportedProgram(graph, versions().libtorchRuntime)))
    const input = arange(7 * 144, { dtype: 'float32' })
      .reshape(7, 1, 12, 12)
      .div(1000)
    const output = await runPython(
      `${pythonCnn}${pythonDigest}
import io, zipfile
folder = sys.argv[1]
torch.manual_seed(4)
model = Cnn().eval()
donor, packed = io.BytesIO(), f'{folder}/ours.pt2'
torch.export.save(torch.export.export(model, (torch.randn(3, 1, 12, 12),), strict=False), donor)
# Python's archive with our model.json in place of its own.
with zipfile.ZipFile(donor) as source, zipfile.ZipFile(packed, 'w') as target:
    for name in source.namelist():
        target.writestr(name, open(f'{folder}/model.json').read() if name.endswith('models/model.json') else source.read(name))
loaded = torch.export.load(packed).module()
x = torch.arange(7 * 144.).reshape(7, 1, 12, 12) / 1000
with torch.no_grad(): print(json.dumps([digest(loaded(x)), digest(model(x))]))`,
      [folder],
    )
    const eager = noGrad(() => digest(model.call(input)))
    assert.deepEqual(JSON.parse(output), [eager, eager])
  })

  it('train in a session with the bits of eager steps, and those of Python', async () => {
    const output = await runPython(`${pythonCnn}${pythonDigest}
torch.manual_seed(6)
model = Cnn()
x, y = torch.randn(50, 1, 12, 12), torch.randint(0, 5, (50,))
optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
weight = torch.tensor([1., 2., 3., 4., 5.])
torch.manual_seed(9)
for step in range(20):
    rows = [(step * 8 + i) % 50 for i in range(8)]
    optimizer.zero_grad()
    torch.nn.functional.cross_entropy(model(x[rows]), y[rows], weight=weight).backward()
    optimizer.step()
model.eval()
with torch.no_grad(): out = model(x)
print(json.dumps({'model': digests(model.state_dict()), 'out': digest(out), 'state': [digests(s) for s in optimizer.state_dict()['state'].values()]}))`)
    const expected: unknown = JSON.parse(output)
    assert.deepEqual(await sessionRun(), expected)
    assert.deepEqual(eagerRun(), expected)
  })
})

const rowsOf = (step: number): number[] => Array.from({ length: 8 }, (_, i) => (step * 8 + i) % 50)

function prepare(): { model: Cnn; x: Tensor; y: Tensor; optimizer: optim.AdamW; loss: nn.CrossEntropyLoss } {
  manualSeed(6)
  const model = new Cnn()
  const [x, y] = [randn([50, 1, 12, 12]), randint(0, 5, [50])]
  const loss = new nn.CrossEntropyLoss({ weight: tensor([1, 2, 3, 4, 5]) })
  return { model, x, y, optimizer: new optim.AdamW(model.parameters(), { lr: 0.01 }), loss }
}

function outcome(model: Cnn, out: Tensor, optimizer: optim.Optimizer): unknown {
  const state = optimizer.stateDict().get('state') as Map<number, Map<string, Tensor>>
  return { model: digests(model.stateDict()), out: digest(out), state: [...state.values()].map((own) => digests(own)) }
}

async function sessionRun(): Promise<unknown> {
  const { model, x, y, optimizer, loss } = prepare()
  const example = x.narrow(0, 0, 2)
  const trainGraph = trace(model, [example])
  const evalGraph = trace(model.eval(), [example])
  const lossGraph = traceFunction(
    (scores, target) => loss.call(scores as Tensor, target as Tensor),
    [randn([2, 5]), y.narrow(0, 0, 2)],
  )
  using session = await Session.create({ module: model, trainGraph, evalGraph, lossGraph, optimizer, threads: 1 })
  manualSeed(9)
  const order = BigInt64Array.from(Array.from({ length: 20 }, (_, step) => rowsOf(step)).flat(), BigInt)
  const result = await session.run({ tensors: [x, y], order, batchSize: 8, inputs: 1, maxDurationMs: 60_000 })
  assert.equal(result.steps, 20)
  const all = BigInt64Array.from({ length: 50 }, (_, i) => BigInt(i))
  const { outputs } = await session.evaluate({ tensors: [x, y], order: all, batchSize: 50, inputs: 1 })
  session.pullOptimizerState()
  return outcome(model, outputs[0] as Tensor, optimizer)
}

function eagerRun(): unknown {
  const { model, x, y, optimizer, loss } = prepare()
  manualSeed(9)
  for (let step = 0; step < 20; step++) {
    scope(() => {
      const rows = tensor(rowsOf(step), { dtype: 'int64' })
      optimizer.zeroGrad()
      loss.call(model.call(x.indexSelect(0, rows)), y.indexSelect(0, rows)).backward()
      optimizer.step()
    })
  }
  return outcome(
    model,
    noGrad(() => model.eval().call(x)),
    optimizer,
  )
}
