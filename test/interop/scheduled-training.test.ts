/** Runs whose rates change at every step or by a metric end with the weights, optimizer and scheduler of the same loop in plain PyTorch. */
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DataLoader, manualSeed, nn, randn, TensorDataset } from '../../lib/index.js'
import type { Phase } from '../../src/checkpoint/training-config.js'
import { latestPath } from '../../src/checkpoint/layout.js'
import { ProgressiveTrainer } from '../../src/training/trainer.js'
import { needPython, runPython } from '../python.js'

/** Names of runs; `pythonRuns` has the same. */
const phases: Record<string, Phase> = {
  cycle: {
    name: 'cycle',
    epochs: 6,
    lr: 0.01,
    optimizer: { name: 'AdamW' },
    groups: [{ params: ['0.*'], lr: 0.02, weightDecay: 0.3 }],
    scheduler: { name: 'OneCycleLR', maxLr: [0.05, 0.03] },
  },
  momentum: {
    name: 'momentum',
    epochs: 6,
    lr: 0.01,
    optimizer: { name: 'SGD', momentum: 0.9 },
    scheduler: { name: 'OneCycleLR', maxLr: 0.05, totalSteps: 40, annealStrategy: 'linear' },
  },
  plateau: {
    name: 'plateau',
    epochs: 8,
    lr: 0.3,
    optimizer: { name: 'SGD' },
    scheduler: { name: 'ReduceLROnPlateau', patience: 0, threshold: 0.05, factor: 0.5 },
  },
  sequence: {
    name: 'sequence',
    epochs: 6,
    lr: 0.02,
    optimizer: { name: 'Adam' },
    scheduler: {
      name: 'SequentialLR',
      interval: 'step',
      schedulers: [
        { name: 'LinearLR', startFactor: 0.2, totalIters: 7 },
        { name: 'CosineAnnealingLR', tMax: 17 },
      ],
      milestones: [7],
    },
  },
}

const program = `
from torch.optim.lr_scheduler import *
L = torch.optim.lr_scheduler
def sequence(o): return L.SequentialLR(o, [L.LinearLR(o, 0.2, total_iters=7), L.CosineAnnealingLR(o, 17)], [7])
runs = {
    'cycle': (6, True, lambda m: torch.optim.AdamW([{'params': list(m[0].parameters()), 'lr': 0.02, 'weight_decay': 0.3}, {'params': list(m[2].parameters())}], lr=0.01),
              lambda o: L.OneCycleLR(o, [0.05, 0.03], total_steps=24)),
    'momentum': (6, True, lambda m: torch.optim.SGD(m.parameters(), lr=0.01, momentum=0.9), lambda o: L.OneCycleLR(o, 0.05, total_steps=40, anneal_strategy='linear')),
    'plateau': (8, False, lambda m: torch.optim.SGD(m.parameters(), lr=0.3), lambda o: L.ReduceLROnPlateau(o, patience=0, threshold=0.05, factor=0.5)),
    'sequence': (6, True, lambda m: torch.optim.Adam(m.parameters(), lr=0.02), sequence),
}
def equal(a, b):
    if isinstance(a, torch.Tensor): return torch.equal(a, b)
    if isinstance(a, dict): return list(a) == list(b) and all(equal(a[k], b[k]) for k in a)
    if isinstance(a, (list, tuple)): return len(a) == len(b) and all(map(equal, a, b))
    return a == b
def train(name):
    epochs, each_step, make, schedule = runs[name]
    torch.manual_seed(2)
    x, y, vx, vy = torch.randn(13, 3), torch.randn(13, 1), torch.randn(6, 3), torch.randn(6, 1)
    model = torch.nn.Sequential(torch.nn.Linear(3, 5), torch.nn.ReLU(), torch.nn.Linear(5, 1))
    optimizer = make(model)
    scheduler = schedule(optimizer)
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x, y), batch_size=4, shuffle=True)
    loss_of = torch.nn.functional.mse_loss
    for _ in range(epochs):
        for a, b in loader:
            optimizer.zero_grad()
            loss_of(model(a), b).backward()
            optimizer.step()
            if each_step: scheduler.step()
        iter(torch.utils.data.DataLoader(vx, batch_size=6))
        with torch.no_grad(): score = loss_of(model(vx), vy).item()
        if not each_step: scheduler.step(score)
    return model.state_dict(), optimizer.state_dict(), scheduler.state_dict()
checked = {}
for name, path in json.loads(sys.argv[1]).items():
    ck = torch.load(path, weights_only=True)
    for part, found, expected in zip(['model', 'optimizer', 'scheduler'], [ck['model_state_dict'], ck['optimizer_state_dict'], ck['scheduler_state']], train(name)):
        assert equal(dict(found), dict(expected)), f'{name}: {part}: {found} is not {expected}'
    checked[name] = ck['scheduler_state']['_last_lr']
print(json.dumps(checked))`

describe('training with schedulers against plain PyTorch', function () {
  let folder: string
  before(function () {
    needPython(this)
    folder = mkdtempSync(join(tmpdir(), 'torchkeep-scheduled-'))
  })
  after(() => folder !== undefined && rmSync(folder, { recursive: true }))

  it('ends with the same weights, optimizer and scheduler', async () => {
    const paths: Record<string, string> = {}
    for (const [name, phase] of Object.entries(phases)) {
      manualSeed(2)
      const [x, y, vx, vy] = [randn([13, 3]), randn([13, 1]), randn([6, 3]), randn([6, 1])] as const
      const model = new nn.Sequential(new nn.Linear(3, 5), new nn.ReLU(), new nn.Linear(5, 1))
      const checkpointDir = join(folder, name)
      const options = { checkpointDir, threads: 1, logs: false }
      const trainer = new ProgressiveTrainer(model, {}, { loss: 'mse', phases: [phase] }, options)
      const train = new DataLoader(new TensorDataset(x, y), { batchSize: 4, shuffle: true })
      await trainer.train(train, new DataLoader(new TensorDataset(vx, vy), { batchSize: 6 }))
      paths[name] = latestPath(checkpointDir)
    }
    const rates = JSON.parse(await runPython(program, [JSON.stringify(paths)])) as Record<string, number[]>
    assert.deepEqual(Object.keys(rates), Object.keys(phases))
    assert.ok((rates['plateau']?.[0] as number) < 0.3, 'the metric of this run should lower the rate')
  })
})
