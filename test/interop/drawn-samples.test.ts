/** Samples that draw random numbers when they are read: the draws come between those of the model as in Python. */
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DataLoader, Dataset, manualSeed, nn, randn, tensor, type Tensor } from '../../lib/index.js'
import { ProgressiveTrainer } from '../../src/training/trainer.js'
import { needPython, runPython } from '../python.js'

class Noisy extends Dataset {
  readonly length = 11
  override get(index: number): Tensor[] {
    const x = tensor([index / 11, 1, -index]).to('float32')
    return [x.add(randn([3])), x.narrow(0, 0, 1)]
  }
}

const program = `
class Noisy(torch.utils.data.Dataset):
    def __len__(self): return 11
    def __getitem__(self, index):
        x = torch.tensor([index / 11, 1, -index])
        return x + torch.randn([3]), x[:1]
torch.manual_seed(4)
model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Dropout(0.4), torch.nn.Linear(4, 1))
optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
loader = torch.utils.data.DataLoader(Noisy(), batch_size=4, shuffle=True)
for epoch in range(2):
    for x, y in loader:
        optimizer.zero_grad()
        torch.nn.functional.mse_loss(model(x), y).backward()
        optimizer.step()
print(json.dumps([p.flatten().view(torch.int32).tolist() for p in model.parameters()]))`

describe('samples that draw', function () {
  this.timeout(60_000)

  it('train to the bits of a Python script', async function () {
    needPython(this)
    const folder = mkdtempSync(join(tmpdir(), 'torchkeep-drawn-'))
    try {
      const expected = runPython(program)
      manualSeed(4)
      const model = new nn.Sequential(new nn.Linear(3, 4), new nn.Dropout(0.4), new nn.Linear(4, 1))
      const phases = [{ name: 'all', epochs: 2, lr: 0.05, optimizer: { name: 'SGD' } as const }]
      const options = { checkpointDir: folder, threads: 1, logs: false }
      const loader = new DataLoader(new Noisy(), { batchSize: 4, shuffle: true })
      await new ProgressiveTrainer(model, null, { loss: 'mse', phases }, options).train(loader)
      const bits = model.parameters().map((one) => Array.from(new Int32Array((one.data() as Float32Array).buffer)))
      assert.deepEqual(bits, JSON.parse(await expected))
    } finally {
      rmSync(folder, { recursive: true })
    }
  })
})
