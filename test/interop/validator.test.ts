/** Sound files of real Python are not called invalid: every optimizer, several groups, odd dtypes, every container that the reference can write. */
import assert from 'node:assert/strict'
import { mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { CheckpointValidator, type ValidationReport } from '../../src/checkpoint/index.js'
import { needPython, runPython } from '../python.js'

const program = `
import os, warnings
warnings.simplefilter('ignore')
folder = sys.argv[1]
torch.manual_seed(3)
class Model(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = torch.nn.Conv1d(2, 4, 3); self.norm = torch.nn.BatchNorm1d(4); self.lstm = torch.nn.LSTM(4, 5, 2)
        self.attention = torch.nn.MultiheadAttention(4, 2); self.head = torch.nn.Linear(5, 3); self.tied = torch.nn.Linear(5, 3, bias=False)
        self.tied.weight = self.head.weight; self.scale = torch.nn.Parameter(torch.ones(()))
    def forward(self, x):
        x = self.norm(self.conv(x)).permute(2, 0, 1); x = x + self.attention(x, x, x)[0]
        return self.head(self.lstm(x)[0]) + self.tied(self.lstm(x)[0]) * self.scale
def steps(model, optimizer, n=3):
    for _ in range(n):
        def closure():
            optimizer.zero_grad(); loss = (model(torch.randn(6, 2, 9)) ** 2).mean(); loss.backward(); return loss
        optimizer.step(closure)
def save(name, model, optimizer, **more):
    torch.save({'epoch': 1, 'model_state_dict': model.state_dict(), 'optimizer_state_dict': optimizer.state_dict(), 'loss': 0.5, **more}, os.path.join(folder, name + '.pth'))
O = torch.optim
makers = {
    'SGD': lambda p: O.SGD(p, 1e-2), 'SGD-momentum': lambda p: O.SGD(p, 1e-2, momentum=0.9), 'Adam': O.Adam, 'Adam-amsgrad': lambda p: O.Adam(p, amsgrad=True), 'AdamW': O.AdamW,
    'Adagrad': O.Adagrad, 'Adadelta': O.Adadelta, 'Adamax': O.Adamax, 'NAdam': O.NAdam, 'RAdam': O.RAdam, 'RMSprop': lambda p: O.RMSprop(p, momentum=0.9, centered=True),
    'Rprop': O.Rprop, 'ASGD': O.ASGD, 'LBFGS': lambda p: O.LBFGS(p, max_iter=3), 'Adafactor': O.Adafactor, 'Adam-capturable-lr': lambda p: O.Adam(p, lr=torch.tensor(1e-3)),
}
for name, make in makers.items():
    model = Model(); optimizer = make(model.parameters()); steps(model, optimizer); save(name, model, optimizer)
model = Model(); optimizer = O.Adam(model.parameters()); save('fresh', model, optimizer)
model = Model()
decay = [p for p in model.parameters() if p.ndim > 1]; rest = [p for p in model.parameters() if p.ndim <= 1]
optimizer = O.AdamW([{'params': decay}, {'params': rest, 'weight_decay': 0.0}]); steps(model, optimizer); save('two-groups', model, optimizer)
model = Model(); optimizer = O.AdamW(model.named_parameters()); steps(model, optimizer); save('named', model, optimizer)
model = Model(); model.lstm.requires_grad_(False)
optimizer = O.Adam(filter(lambda p: p.requires_grad, model.parameters())); steps(model, optimizer); save('frozen', model, optimizer)
model = Model(); model.lstm.requires_grad_(False); optimizer = O.Adam(model.parameters()); steps(model, optimizer); save('frozen-listed', model, optimizer)
model = Model().double(); optimizer = O.Adam(model.parameters())
torch.set_default_dtype(torch.float64); steps(model, optimizer); torch.set_default_dtype(torch.float32); save('double', model, optimizer)
model = Model().bfloat16(); optimizer = O.Adam(model.parameters())
for p in model.parameters(): p.grad = torch.randn_like(p)
optimizer.step(); save('bfloat16', model, optimizer)
model = Model(); optimizer = O.Adam(model.parameters()); steps(model, optimizer)
scheduler = O.lr_scheduler.OneCycleLR(optimizer, 0.1, 10); save('one-cycle', model, optimizer, scheduler_state_dict=scheduler.state_dict())
torch.save(dict(model.named_parameters()), os.path.join(folder, 'parameters.pth'))
torch.save(model.state_dict(), os.path.join(folder, 'legacy.pth'), _use_new_zipfile_serialization=False)
torch.jit.save(torch.jit.script(torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.ReLU())), os.path.join(folder, 'script.pt'))
torch.export.save(torch.export.export(torch.nn.Linear(2, 3).eval(), (torch.randn(4, 2),)), os.path.join(folder, 'export.pt2'))
sparse = torch.zeros(4, 6); sparse[1, 2] = 1; sparse[3, 5] = 2
torch.save({'coo': sparse.to_sparse_coo(), 'csr': sparse.to_sparse_csr(), 'csc': sparse.to_sparse_csc(), 'bsr': sparse.to_sparse_bsr((2, 3)), 'bsc': sparse.to_sparse_bsc((2, 3)),
    'batch': torch.stack([sparse, sparse]).to_sparse_csr(), 'empty': torch.zeros(2, 3).to_sparse_csr(), 'nested': torch.nested.nested_tensor([torch.ones(2, 3), torch.ones(1, 3)])}, os.path.join(folder, 'sparse.pth'))
`

const spoil = `
import os, math, warnings
warnings.simplefilter('ignore')
import torch.distributed.checkpoint as dcp
at = lambda name: os.path.join(sys.argv[1], name)
m = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.BatchNorm1d(3)).eval()
with torch.no_grad(): m[0].weight[1, 1] = math.nan; m[1].running_var[2] = math.inf
torch.save(m.state_dict(), at('legacy.pth'), _use_new_zipfile_serialization=False)
torch.save(m, at('module.pth'))
torch.jit.save(torch.jit.script(m), at('script.pt'))
torch.export.save(torch.export.export(m, (torch.randn(4, 2),)), at('export.pt2'))
dcp.save({'model': m.state_dict()}, checkpoint_id=at('distributed'))
`

describe('verdicts on sound files of real Python', () => {
  let folder: string
  const reports = new Map<string, ValidationReport>()
  before(async function () {
    needPython(this)
    folder = await mkdtemp(join(tmpdir(), 'torchkeep-sound-'))
    await runPython(program, [folder])
    for (const name of await readdir(folder)) {
      reports.set(name, await CheckpointValidator.validateCheckpointFile(join(folder, name)))
    }
  })
  after(() => folder && rm(folder, { recursive: true }))

  it('are valid, all of them', () => {
    assert.equal(reports.size, 29)
    const invalid = [...reports].filter(([, { valid }]) => !valid).map(([name, { errors }]) => [name, errors])
    assert.deepEqual(invalid, [])
  })

  it('have no warnings about the optimizer but where it is unusual', () => {
    const warned = [...reports].flatMap(([name, { warnings }]) =>
      warnings
        .filter(({ id }) => id.startsWith('optimizer.') || id.startsWith('tensor.'))
        .map(({ message }) => `${name}: ${message}`),
    )
    assert.deepEqual(warned, [])
  })

  it('count the parameters of the model, aliases once', () => {
    const counts = new Set(
      ['Adam.pth', 'legacy.pth', 'parameters.pth', 'frozen.pth'].map(
        (name) => reports.get(name)?.metadata.numParameters,
      ),
    )
    assert.equal(counts.size, 1)
    assert.ok([...counts][0] !== null)
  })

  it('look into every container, and into pickled modules', async () => {
    const spoilt = await mkdtemp(join(tmpdir(), 'torchkeep-spoilt-'))
    try {
      await runPython(spoil, [spoilt])
      const found: Record<string, string[]> = {}
      for (const name of await readdir(spoilt)) {
        const { errors, warnings } = await CheckpointValidator.validateCheckpointFile(join(spoilt, name))
        found[name] = [...errors, ...warnings]
          .filter(({ id }) => id.startsWith('tensor.'))
          .map(({ id, subject }) => `${id} ${subject}`)
      }
      const both = (weight: string, variance: string) => [
        `tensor.nonfinite ${weight}`,
        `tensor.infinite_buffer ${variance}`,
      ]
      assert.deepEqual(found, {
        distributed: both('model.0.weight', 'model.1.running_var'),
        'export.pt2': both('state_dict.0.weight', 'state_dict.1.running_var'),
        'legacy.pth': both('0.weight', '1.running_var'),
        'module.pth': both('_modules.0._parameters.weight', '_modules.1._buffers.running_var'),
        'script.pt': both('module.0.weight', 'module.1.running_var'),
      })
    } finally {
      await rm(spoilt, { recursive: true })
    }
  })
})
