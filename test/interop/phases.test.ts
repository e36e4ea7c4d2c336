/** A run in phases against the same loops written in plain PyTorch: groups, clipping, accumulation, schedulers by step and by epoch, the best epoch's weights and optimizer carried on. */
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Tensor } from '../../lib/index.js'
import { latestPath } from '../../src/checkpoint/layout.js'
import { type Checkpoint, decodeCheckpoint } from '../../src/checkpoint/schema.js'
import type { TrainingConfig } from '../../src/checkpoint/training-config.js'
import { load } from '../../src/serialization.js'
import { needPython, runPython } from '../python.js'
import { smallConfig, smallRun } from '../training/small-run.js'

const program = `
import copy
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

autocast = json.loads(sys.argv[1])
torch.set_num_threads(1)
torch.manual_seed(7)
data = TensorDataset(torch.randn(11, 4), torch.randn(11, 1))
validation = TensorDataset(torch.randn(6, 4), torch.randn(6, 1))
torch.manual_seed(1)

class SmallNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Dropout(0.3))
        self.head = nn.Linear(6, 1)
    def forward(self, x):
        return self.head(self.body(x))

model = SmallNet()
named = dict(model.named_parameters())
criterion = nn.MSELoss()
val_loader = DataLoader(validation, batch_size=4)
history = []
context = lambda: torch.autocast('cpu', dtype=torch.bfloat16, enabled=autocast)

def validate():
    model.eval()
    total = 0.0
    with torch.no_grad():
        for x, y in val_loader:
            with context():
                loss = criterion(model(x), y)
            total += loss.item() * len(x)
    return total / len(validation)

def train(optimizer, loader, accumulate, clip, by_step, by_epoch, epochs, steps):
    best, done = None, 0
    for epoch in range(epochs):
        model.train()
        batches = list(loader)
        total = count = 0
        for start in range(0, len(batches), accumulate):
            group = batches[start:start + accumulate]
            optimizer.zero_grad()
            for x, y in group:
                with context():
                    loss = criterion(model(x), y)
                (loss / len(group) if len(group) > 1 else loss).backward()
                total, count = total + loss.item() * len(x), count + len(x)
            clip()
            optimizer.step()
            if by_step: by_step.step()
            done += 1
            if done == steps: break
        rates = [g['lr'] for g in optimizer.param_groups]
        val_loss = validate()
        history.append([total / count, val_loss, rates])
        if by_epoch: by_epoch.step()
        if best is None or val_loss < best[0]:
            best = val_loss, copy.deepcopy(model.state_dict()), copy.deepcopy(optimizer.state_dict())
        if done == steps: break
    return best

groups = [[named['head.bias']], [named['body.0.weight'], named['body.0.bias'], named['head.weight']]]
first = torch.optim.AdamW([{'params': groups[0], 'lr': 0.1, 'weight_decay': 0.0}, {'params': groups[1]}], lr=0.4, weight_decay=0.1)
by_step = torch.optim.lr_scheduler.LinearLR(first, start_factor=0.5, total_iters=5)
_, weights, state = train(first, DataLoader(data, batch_size=3, shuffle=True), 2, lambda: nn.utils.clip_grad_norm_(model.parameters(), 0.5), by_step, None, 4, None)
model.load_state_dict(weights)
first.load_state_dict(state)

named['head.bias'].requires_grad_(False)
named['head.bias'].grad = None
second = torch.optim.AdamW([{'params': [named['body.0.weight'], named['body.0.bias']], 'lr': 0.02}, {'params': [named['head.weight']]}], lr=0.05, weight_decay=0.1)
for group in second.param_groups:
    for parameter in group['params']:
        second.state[parameter] = first.state[parameter]
by_epoch = torch.optim.lr_scheduler.StepLR(second, step_size=1, gamma=0.5)
train(second, DataLoader(data, batch_size=2, shuffle=True), 4, lambda: nn.utils.clip_grad_value_(model.parameters(), 0.2), None, by_epoch, 100, 7)

text = lambda tensor: tensor.detach().contiguous().numpy().tobytes().hex()
print(json.dumps({
    'weights': {name: text(t) for name, t in model.state_dict().items()},
    'state': {str(i): {k: text(t) for k, t in own.items()} for i, own in second.state_dict()['state'].items()},
    'history': history,
    'rng': text(torch.get_rng_state()),
}))
`

describe('phases against plain PyTorch', function () {
  this.timeout(60_000)
  let folder: string
  before(function () {
    needPython(this)
    folder = mkdtempSync(join(tmpdir(), 'torchkeep-phases-python-'))
  })
  after(() => {
    rmSync(folder, { recursive: true })
  })

  const text = (tensor: unknown): string => Buffer.from((tensor as Tensor).data().buffer).toString('hex')
  const texts = (tensors: ReadonlyMap<unknown, unknown>): Record<string, string> =>
    Object.fromEntries([...tensors].map(([name, tensor]) => [String(name), text(tensor)]))
  function found({ modelStateDict, optimizerStateDict, trainingState, rngState }: Checkpoint<Tensor>): unknown {
    const state = optimizerStateDict.get('state') as Map<number, Map<string, Tensor>>
    return {
      weights: texts(modelStateDict),
      state: Object.fromEntries([...state].map(([number, own]) => [String(number), texts(own)])),
      history: trainingState.metricsHistory.map(({ trainLoss, valLoss, learningRate, learningRates }) => [
        trainLoss,
        valLoss,
        learningRates ?? [learningRate],
      ]),
      rng: text(rngState.cpu),
    }
  }

  for (const autocast of [null, 'bfloat16'] as const)
    it(`gives the same bits${autocast === null ? '' : ` under autocast to ${autocast}`}`, async () => {
      const [first, second] = smallConfig.phases
      const { earlyStopping: _none, ...unstopped } = first as (typeof smallConfig.phases)[number]
      const { metrics: _metrics, ...rest } = smallConfig
      const config: TrainingConfig = {
        ...rest,
        autocast,
        phases: [
          { ...unstopped, epochs: 4 },
          { ...second!, restoreBest: false },
        ],
      }
      const run = smallRun(join(folder, String(autocast)), { config })
      const [expected] = await Promise.all([runPython(program, [JSON.stringify(autocast !== null)]), run.train()])
      const path = latestPath(join(folder, String(autocast)))
      assert.deepEqual(found(decodeCheckpoint<Tensor>(await load(path), path)), JSON.parse(expected))
    })
})
