/** Predictions of files in Node and of the same models in Python, eager and under inference_mode: the same in every bit. */
import assert from 'node:assert/strict'
import { copyFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { cat, DataLoader, manualSeed, nn, randint, randn, TensorDataset, type Tensor } from '../../lib/index.js'
import { latestPath } from '../../src/checkpoint/layout.js'
import { loadForInference } from '../../src/inference/load.js'
import { load, save } from '../../src/serialization.js'
import { ProgressiveTrainer } from '../../src/training/trainer.js'
import { Cnn, pythonCnn } from '../lib/cnn.js'
import { digest, pythonDigest } from '../lib/digest.js'
import { needPython, runPython } from '../python.js'

/** An image-like float input and words. */
class Two extends nn.Module {
  readonly left = new nn.Linear(6, 4)
  readonly words = new nn.Embedding(9, 4)
  readonly head = new nn.Linear(8, 2)

  override forward(values: Tensor, words: Tensor): Tensor[] {
    const joined = cat([(this.left.call(values) as Tensor).tanh(), (this.words.call(words) as Tensor).sum([1])], 1)
    return [this.head.call(joined) as Tensor]
  }
}

const mlp = (): nn.Module =>
  new nn.Sequential(new nn.Linear(6, 16), new nn.ReLU(), new nn.Dropout(0.5), new nn.Linear(16, 3))

const pythonModels = `${pythonCnn}
class Two(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.left = torch.nn.Linear(6, 4); self.words = torch.nn.Embedding(9, 4); self.head = torch.nn.Linear(8, 2)
    def forward(self, values, words):
        return self.head(torch.cat([self.left(values).tanh(), self.words(words).sum([1])], 1))
def mlp():
    return torch.nn.Sequential(torch.nn.Linear(6, 16), torch.nn.ReLU(), torch.nn.Dropout(0.5), torch.nn.Linear(16, 3))
${pythonDigest}`

const rowCounts = [1, 3, 20]

/** Inputs of each model for batches of so many rows. */
const inputsFor: Readonly<Record<string, (rows: number) => Tensor[]>> = {
  mlp: (rows) => [randn([rows, 6])],
  cnn: (rows) => [randn([rows, 1, 12, 12])],
  two: (rows) => [randn([rows, 6]), randint(0, 9, [rows, 5])],
  autocast: (rows) => [randn([rows, 6])],
}

describe('predictions', function () {
  this.timeout(120_000)
  const folder = mkdtempSync(join(tmpdir(), 'torchkeep-inference-'))
  const at = (name: string): string => join(folder, name)
  after(() => rmSync(folder, { recursive: true }))

  async function predictions(file: string, batches: readonly (readonly Tensor[])[]): Promise<string[]> {
    using model = await loadForInference(file)
    const outputs = await Promise.all(batches.map((batch) => model.predict(batch)))
    return outputs.map((tensors) => tensors.map(digest).join(' '))
  }

  describe('of checkpoints that Torchkeep trained', () => {
    const models: Record<string, nn.Module> = { mlp: mlp(), cnn: new Cnn(), two: new Two(), autocast: mlp() }
    let expected: Record<string, string[]> = {}
    const batches: Record<string, Tensor[][]> = {}

    before(async function () {
      needPython(this)
      manualSeed(5)
      for (const [name, model] of Object.entries(models)) {
        const inputs = inputsFor[name] as (rows: number) => Tensor[]
        const width = name === 'cnn' ? 5 : name === 'two' ? 2 : 3
        const loader = new DataLoader(new TensorDataset(...inputs(24), randn([24, width])), { batchSize: 8 })
        const autocast = name === 'autocast' ? ('bfloat16' as const) : null
        const phases = [{ name: 'one', epochs: 2, lr: 0.02, autocast }]
        const options = { checkpointDir: at(name), checkpoint: { saveBest: false }, threads: 1, logs: false as const }
        await new ProgressiveTrainer(model, {}, { loss: 'mse', phases }, options).train(loader, loader)
        batches[name] = rowCounts.map(inputs)
      }
      await save(at('inputs.pth'), batches)
      const program = `${pythonModels}
folder = sys.argv[1]
result = {}
for name, batches in torch.load(f'{folder}/inputs.pth').items():
    model = {'mlp': mlp, 'cnn': Cnn, 'two': Two, 'autocast': mlp}[name]()
    model.load_state_dict(torch.load(f'{folder}/{name}/latest.pth')['model_state_dict'])
    model.eval()
    with torch.inference_mode(), torch.autocast('cpu', dtype=torch.bfloat16, enabled=name == 'autocast'):
        result[name] = [digest(model(*batch)) for batch in batches]
print(json.dumps(result))`
      expected = JSON.parse(await runPython(program, [folder])) as typeof expected
    })

    for (const name of Object.keys(models))
      it(`are Python's: ${name}`, async () => {
        assert.deepEqual(await predictions(latestPath(at(name)), batches[name] ?? []), expected[name])
        if (name === 'autocast') assert.match(expected[name]?.[0] ?? '', /^bfloat16\[1,3\]/)
      })
  })

  describe('of files of torch.export.save', () => {
    let expected: Record<string, { outputs: string[] }> = {}

    before(async function () {
      needPython(this)
      expected = JSON.parse(await runPython(exporting, [folder])) as typeof expected
    })

    for (const name of ['mlp', 'cnn', 'two', 'attention', 'arithmetic', 'state'])
      it(`are Python's: ${name}`, async () => {
        const batches = (await load(at(`${name}_inputs.pth`))) as Tensor[][]
        assert.deepEqual(await predictions(at(`${name}.pt2`), batches), expected[name]?.outputs)
      })

    it('takes sizes within the range and under the conditions of the recording, and names those that are not', async () => {
      using ranged = await loadForInference(at('ranged.pt2'))
      assert.deepEqual(ranged.inputs, [{ name: 'x', dtype: 'float32', shape: [null, null] }])
      assert.deepEqual(ranged.outputs[0]?.shape, [null, null])
      assert.deepEqual((await ranged.predict([randn([8, 6])]))[0]?.shape, [4, 12])
      const refused = async (shape: number[], message: RegExp): Promise<void> =>
        assert.rejects(ranged.predict([randn(shape)]), { code: 'ERR_DATA', message })
      await refused([34, 6], /'x': expected float32 \[2\*batch, s\d+\], found float32 \[34, 6\]: 17 is more than 16/)
      await refused([7, 6], /'x'.*found float32 \[7, 6\]: size 0 is 7, which is no 2\*batch/)
      await refused([8], /'x': expected float32 \[2\*batch, s\d+\], found float32 \[8\]/)
    })

    const refusals: Record<string, RegExp> = {
      training: /training mode: node .* changes '0.num_batches_tracked'/,
      keywords: /by keyword/,
      nested: /lists or dicts/,
      scalar: /it takes a constant_input/,
      conditional: /cond/,
    }
    for (const [name, message] of Object.entries(refusals))
      it(`refuses a graph that is not for this: ${name}`, async () => {
        await assert.rejects(loadForInference(at(`${name}.pt2`)), { code: 'ERR_CHECKPOINT_UNSUPPORTED', message })
      })

    it('refuses a file whose weights were changed', async () => {
      const bytes = readFileSync(at('mlp.pt2'))
      const weight = Buffer.from(expected['weight'] as unknown as string, 'hex')
      const place = bytes.indexOf(weight)
      assert.ok(place > 0)
      bytes[place + 1] = (bytes[place + 1] as number) ^ 4
      writeFileSync(at('changed.pt2'), bytes)
      await assert.rejects(loadForInference(at('changed.pt2')), { code: 'ERR_CHECKPOINT_CORRUPT' })
      copyFileSync(at('mlp.pt2'), at('changed.pt2'))
      await predictions(at('changed.pt2'), [[randn([2, 6])]])
    })
  })
})

const exporting = `${pythonModels}
nn, folder = torch.nn, sys.argv[1]
torch.manual_seed(4)
batch = torch.export.Dim('batch', min=1, max=64)
def export(name, model, inputs, shapes, **kwargs):
    torch.export.save(torch.export.export(model, inputs, kwargs or None, dynamic_shapes=shapes), f'{folder}/{name}.pt2')
class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    def forward(self, x):
        return self.layer(x)
class Arithmetic(nn.Module):
    """Sizes in arithmetic, several outputs, other dtypes, an input given back."""
    def forward(self, x, n):
        rows = x.shape[0]
        return x.reshape(rows * 2, -1) / rows, n + rows, torch.arange(rows), x.half(), (x > 0), x
class State(nn.Module):
    """A constant, a buffer that is not saved, a parameter given back."""
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(3)); self.register_buffer('scale', torch.randn(3), persistent=False)
    def forward(self, x):
        return x * self.scale + torch.tensor([1., 2., 3.]), self.weight
models = {
    'mlp': (mlp(), lambda n: (torch.randn(n, 6),)),
    'cnn': (Cnn(), lambda n: (torch.randn(n, 1, 12, 12),)),
    'two': (Two(), lambda n: (torch.randn(n, 6), torch.randint(0, 9, (n, 5)))),
    'attention': (Attention(), lambda n: (torch.randn(n, 5, 8),)),
    'arithmetic': (Arithmetic(), lambda n: (torch.randn(n, 6), torch.randint(-2**60, 2**60, (n,)))),
    'state': (State(), lambda n: (torch.randn(n, 3),)),
}
result = {}
for name, (model, inputs) in models.items():
    if name == 'cnn':
        model.train(); model(*inputs(16))
    model.eval()
    shapes = tuple({0: batch} for _ in inputs(2))
    export(name, model, inputs(4), shapes)
    batches = [inputs(n) for n in (1, 3, 20)]
    torch.save([list(b) for b in batches], f'{folder}/{name}_inputs.pth')
    with torch.inference_mode():
        outputs = [model(*b) for b in batches]
    result[name] = {'outputs': [' '.join(map(digest, o if isinstance(o, tuple) else (o,))) for o in outputs]}
result['weight'] = models['mlp'][0][0].weight.detach().numpy().tobytes().hex()
class Ranged(nn.Module):
    def forward(self, x): return x.reshape(x.shape[0] // 2, x.shape[1] * 2)
half = torch.export.Dim('half', min=2, max=16)
export('ranged', Ranged(), (torch.randn(4, 6),), ({0: 2 * half, 1: torch.export.Dim.DYNAMIC},))
class Keywords(nn.Module):
    def forward(self, x, *, scale): return x * scale
export('keywords', Keywords(), (torch.randn(2),), None, scale=torch.randn(2))
class Nested(nn.Module):
    def forward(self, pair): return pair['a'] + pair['b']
export('nested', Nested(), ({'a': torch.randn(2), 'b': torch.randn(2)},), None)
class Scalar(nn.Module):
    def forward(self, x, n): return x * n
export('scalar', Scalar(), (torch.randn(2), 3), None)
class Conditional(nn.Module):
    def forward(self, x): return torch.cond(x.sum() > 0, lambda x: x + 1, lambda x: x - 1, (x,))
export('conditional', Conditional(), (torch.randn(2),), None)
export('training', nn.Sequential(nn.BatchNorm1d(3)).train(), (torch.randn(4, 3),), None)
print(json.dumps(result))`
