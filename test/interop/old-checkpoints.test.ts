/** Checkpoints of the older Python system start and continue runs. */
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DataLoader, manualSeed, nn, randint, randn, type Tensor, TensorDataset, zeros } from '../../lib/index.js'
import { latestPath } from '../../src/checkpoint/layout.js'
import { decodeCheckpoint } from '../../src/checkpoint/schema.js'
import type { TrainingConfig } from '../../src/checkpoint/training-config.js'
import { load } from '../../src/serialization.js'
import type { WarningEvent } from '../../src/training/events.js'
import { ProgressiveTrainer } from '../../src/training/trainer.js'
import { needPython, runPython } from '../python.js'
import { writeLayouts } from './layouts.js'

/** Of rows [batch, channels]: the same numbers as over one pixel. */
class BatchNorm1d extends nn.BatchNorm2d {
  override forward(x: Tensor): Tensor {
    return super.forward(x.unsqueeze(2).unsqueeze(3)).squeeze(3).squeeze(2)
  }
}

/** One multilayer perceptron under two names, as the graph layers of that system have it. */
class Gin extends nn.Module {
  readonly mlp = new nn.Sequential(new nn.Linear(6, 8), new BatchNorm1d(8), new nn.ReLU(), new nn.Linear(8, 6))
  readonly gin_conv = new (class extends nn.Module {
    readonly nn: nn.Module
    override forward(): never {
      throw new Error('only its parameters are used')
    }
    constructor(shared: nn.Module) {
      super()
      this.nn = shared
    }
  })(this.mlp)
  override forward(x: Tensor): Tensor {
    return x.add(this.mlp.call(x) as Tensor)
  }
}

class Encoder extends nn.Module {
  readonly embedding = new nn.Embedding(26, 6, { paddingIdx: 0 })
  readonly projection = new nn.Linear(6, 6)
  constructor() {
    super()
    this.registerBuffer('mask', zeros([4, 4]))
  }
  override forward(tokens: Tensor): Tensor {
    return this.projection.call((this.embedding.call(tokens) as Tensor).mean(1)) as Tensor
  }
}

class Model extends nn.Module {
  readonly protein_encoder = new Encoder()
  readonly gin_layers = new nn.Sequential(new Gin(), new Gin())
  readonly predictor = new nn.Linear(6, 1)
  override forward(tokens: Tensor): Tensor {
    return this.predictor.call(this.gin_layers.call(this.protein_encoder.call(tokens) as Tensor) as Tensor) as Tensor
  }
}

const config: TrainingConfig = {
  loss: 'mse',
  optimizer: { name: 'AdamW', weightDecay: 1e-5 },
  phases: [
    { name: 'first', epochs: 2, lr: 1e-3 },
    { name: 'second', epochs: 3, lr: 1e-4, scheduler: { name: 'StepLR', stepSize: 1, gamma: 0.5 } },
  ],
}

/** The same two epochs in Python, from the file as it is. */
const program = `
import torch.nn as nn
class Gin(nn.Module):
    def __init__(self):
        super().__init__()
        self.mlp = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 6))
        self.gin_conv = nn.Module(); self.gin_conv.nn = self.mlp
    def forward(self, x): return x + self.mlp(x)
class Encoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(26, 6, padding_idx=0)
        self.register_buffer('mask', torch.zeros(4, 4))
        self.projection = nn.Linear(6, 6)
    def forward(self, x): return self.projection(self.embedding(x).mean(1))
class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.protein_encoder = Encoder(); self.gin_layers = nn.ModuleList([Gin(), Gin()]); self.predictor = nn.Linear(6, 1)
    def forward(self, tokens):
        x = self.protein_encoder(tokens)
        for layer in self.gin_layers: x = layer(x)
        return self.predictor(x)

torch.set_num_threads(1)
torch.manual_seed(9)
tokens, affinities = torch.randint(1, 26, (8, 5)), torch.randn(8, 1)
import numpy
with torch.serialization.safe_globals([numpy._core.multiarray.scalar, numpy.dtype, numpy.dtypes.Float32DType, numpy.dtypes.Float64DType]):
    file = torch.load(sys.argv[1], weights_only=True)
model = Model()
model.load_state_dict(file['model_state_dict'])
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=1e-5)
optimizer.load_state_dict(file['optimizer_state_dict'])
for epoch in range(2):
    for group in optimizer.param_groups: group['lr'] = 1e-4 * 0.5 ** (epoch + 1)
    for start in (0, 4):
        optimizer.zero_grad()
        nn.functional.mse_loss(model(tokens[start:start + 4]), affinities[start:start + 4]).backward()
        optimizer.step()
print(json.dumps({name: t.numpy().tobytes().hex() for name, t in model.state_dict().items()}))
`

describe('checkpoints of the older system', function () {
  this.timeout(60_000)
  let folder: string
  before(async function () {
    needPython(this)
    folder = mkdtempSync(join(tmpdir(), 'torchkeep-old-'))
    await writeLayouts(folder)
  })
  after(() => {
    if (folder !== undefined) rmSync(folder, { recursive: true })
  })

  function start(
    name: string,
    options: { threads?: number; phases?: TrainingConfig['phases']; optimizer?: TrainingConfig['optimizer'] } = {},
  ) {
    manualSeed(9)
    const loader = new DataLoader(new TensorDataset(randint(1, 26, [8, 5]), randn([8, 1])), { batchSize: 4 })
    const model = new Model()
    const { phases = config.phases, optimizer = config.optimizer! } = options
    const trainer = new ProgressiveTrainer(
      model,
      null,
      { ...config, optimizer, phases },
      { checkpointDir: join(folder, name), threads: 1, logs: false },
    )
    const warnings: WarningEvent[] = []
    trainer.on('warning', (event) => warnings.push(event))
    return { model, trainer, loader, warnings }
  }
  const bytes = (model: nn.Module): Record<string, string> =>
    Object.fromEntries(
      [...model.stateDict()].map(([name, tensor]) => [
        name,
        Buffer.from(tensor.data().buffer as ArrayBuffer).toString('hex'),
      ]),
    )

  for (const layout of ['L1', 'L2'])
    it(`${layout} goes on in its phase, with its optimizer and history, and says what it did not hold`, async () => {
      const run = start(`resumed-${layout}`)
      const path = join(folder, `${layout}.pth`)
      const summary = await run.trainer.train(run.loader, null, { resumeFrom: path })
      assert.deepEqual(
        summary.metricsHistory.map(({ epoch, phase }) => [epoch, phase]),
        [
          [1, 1],
          [2, 1],
          [3, 2],
          [4, 2],
          [5, 2],
        ],
      )
      assert.deepEqual(summary.metricsHistory[2]?.valMetrics['pearson'], 0.8125)
      assert.deepEqual(
        summary.metricsHistory.slice(3).map(({ learningRate }) => learningRate),
        [5e-5, 2.5e-5],
        'the scheduler counts the epoch done',
      )
      assert.equal(summary.totalSteps, 3 + 4, 'three steps, as the optimizer counted, and two epochs of two')
      assert.deepEqual(bytes(run.model), JSON.parse(await runPython(program, [join(folder, 'L1.pth')])))
      assert.deepEqual(
        run.warnings.map(({ id }) => id),
        ['old_checkpoint'],
      )
      assert.match(
        summary.notes[0] ?? '',
        /did not hold the random state and the position in the data.*training configuration.*early stopping/,
      )
      const latest = decodeCheckpoint(await load(latestPath(join(folder, `resumed-${layout}`))), 'latest')
      assert.equal(latest.trainingState.bestValLoss, 0.25)
    })

  it('says why an optimizer state was not taken over', async () => {
    const run = start('sgd', { optimizer: { name: 'SGD' } })
    const summary = await run.trainer.train(run.loader, null, { resumeFrom: join(folder, 'L1.pth') })
    assert.match(summary.notes[0] ?? '', /it is of Adam, and this phase has SGD/)
    assert.equal(summary.totalEpochs, 5)
  })

  it('refuses one that stands in a phase that the configuration does not have', async () => {
    const run = start('short', { phases: [config.phases[0]!] })
    await assert.rejects(run.trainer.train(run.loader, null, { resumeFrom: join(folder, 'L1.pth') }), {
      code: 'ERR_CHECKPOINT_INCOMPATIBLE',
      message: /stands in phase 2/,
    })
  })

  it('takes the weights alone of any file to begin with', async () => {
    const expected = start('weights').model
    const { model_state_dict } = Object.fromEntries((await load(join(folder, 'L1.pth'))) as Map<string, unknown>) as {
      model_state_dict: Map<string, Tensor>
    }
    expected.loadStateDict(model_state_dict)
    for (const layout of ['L2', 'L3', 'L7', 'L9']) {
      const run = start(`init-${layout}`, { phases: [{ name: 'p', epochs: 1, lr: 1e-30, optimizer: { name: 'SGD' } }] })
      const before: Record<string, string>[] = []
      run.trainer.on('phase', () => before.push(bytes(run.model)))
      const summary = await run.trainer.train(run.loader, null, { initFrom: join(folder, `${layout}.pth`) })
      assert.deepEqual(before, [bytes(expected)], layout)
      assert.equal(summary.totalEpochs, 1)
      assert.match(run.warnings[0]?.message ?? '', new RegExp(`layout ${layout}.*nothing else of it counts`))
    }
    const run = start('both')
    await assert.rejects(run.trainer.train(run.loader, null, { initFrom: 'a.pth', resumeFrom: 'latest' }), {
      code: 'ERR_INVALID_ARGUMENT',
    })
  })
})
