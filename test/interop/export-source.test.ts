/** Checkpoints made by Python, run with a model given as a module or as a `.pt2`: the outputs of Python's own model, in every bit. */
import assert from 'node:assert/strict'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { openExportSource, type ExportSource } from '../../src/export/model-source.js'
import { checkExport, makeSample } from '../../src/export/run-model-with-libtorch.js'
import type { ExportableModel } from '../../src/export/types.js'
import { flipped } from '../checkpoint/recovery-fixture.js'
import { needPackages, runPython } from '../python.js'

/** Two inputs, tied weights, batch norm, dropout, a buffer that is not saved and a tensor made in forward(). */
const program = `
from safetensors.torch import save_file, save_model
import numpy as np, os, torch.distributed.checkpoint
os.chdir(sys.argv[1])
nn = torch.nn
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 3, 3, padding=1); self.bn = nn.BatchNorm2d(3); self.drop = nn.Dropout(0.5)
        self.emb = nn.Embedding(7, 4); self.a = nn.Linear(4, 4); self.b = nn.Linear(4, 4); self.b.weight = self.a.weight
        self.head = nn.Linear(7, 2)
        self.register_buffer('scale', torch.tensor([1., 2., 3., 4.]), persistent=False)
    def forward(self, images, tokens):
        x = torch.relu(self.bn(self.conv(images))).mean([2, 3])
        t = self.b(self.drop(self.a(self.emb(tokens).mean(1))) * self.scale)
        return self.head(torch.cat([x, t], 1)) + torch.tensor([1., 2.])
def export(model, path):
    batch = torch.export.Dim('batch', min=1, max=64)
    shapes = ({0: batch}, {0: batch})
    torch.export.save(torch.export.export(model, (images, tokens), dynamic_shapes=shapes), path)
torch.manual_seed(3)
images, tokens = torch.randn(5, 1, 6, 6), torch.randint(0, 7, (5, 2))
export(Net().eval(), 'untrained.pt2')
export(Net().train(), 'training.pt2')
untied = Net(); untied.b.weight = nn.Parameter(untied.b.weight.detach() + 1)
net = Net(); optimizer = torch.optim.AdamW(net.parameters(), lr=0.01)
for _ in range(3):
    optimizer.zero_grad(); (net(images, tokens) ** 2).mean().backward(); optimizer.step()
net.eval()
weights = net.state_dict()
row = {'epoch': 1, 'phase': 1, 'val_loss': 0.5, 'val_pearson': np.float32(0.8)}
state = {'current_epoch': 1, 'current_phase': 1, 'best_val_loss': 0.5, 'best_val_pearson': np.float32(0.8), 'patience_counter': 0, 'total_training_time': 1.0, 'metrics_history': [row]}
torch.save({'version': '1.0', 'timestamp': 1755400000, 'model_state_dict': weights, 'training_state': state, 'config': {'seed': 1}, 'validation_loss': 0.5,
            'is_best': True, 'epoch': 1, 'phase': 1, 'optimizer_state_dict': optimizer.state_dict()}, 'L1.pth')
torch.save(weights, 'bare.pth')
torch.save(weights, 'legacy.pth', _use_new_zipfile_serialization=False)
torch.save({'epoch': 1, 'global_step': 3, 'pytorch-lightning_version': '2.5.0', 'state_dict': {'net.' + k: v for k, v in weights.items()},
            'loops': {}, 'callbacks': {}, 'optimizer_states': [optimizer.state_dict()], 'lr_schedulers': []}, 'lightning.ckpt')
without = lambda state: type(state)((k, v) for k, v in state.items() if not k.endswith('num_batches_tracked'))
torch.save(without(weights), 'old.pth')
parallel = nn.DataParallel(net).state_dict(); torch.save(parallel, 'parallel.pth')
new = without(parallel); new._metadata = parallel._metadata; torch.save(new, 'lacking.pth')
channels = {k: v.to(memory_format=torch.channels_last) if v.dim() == 4 else v for k, v in weights.items()}
torch.save({**channels, 'head.weight': weights['head.weight'].t().contiguous().t()}, 'strides.pth')
torch.save(untied.state_dict(), 'untied.pth')
torch.distributed.checkpoint.save(untied.state_dict(), checkpoint_id='untied', no_dist=True)
torch.save({'model': weights, 'step': 3, 'optimizer': optimizer.state_dict()}, 'keyed.pth')
torch.distributed.checkpoint.save(weights, checkpoint_id='distributed', no_dist=True)
names = list(weights)
parts = {f'part-{i}.safetensors': names[i::2] for i in range(2)}
for part, own in parts.items(): save_file({name: weights[name].clone() for name in own}, part)
json.dump({'metadata': {}, 'weight_map': {name: part for part, own in parts.items() for name in own}}, open('parts.safetensors.index.json', 'w'))
old = {
    'L2': {'model_state': weights, 'optimizer_state': optimizer.state_dict(), 'val_loss': 0.5, 'training_state': state, 'config': {}, 'epoch': 1, 'phase': 1},
    'L3': {'epoch': 1, 'model_state_dict': weights, 'optimizer_state_dict': optimizer.state_dict(), 'loss': 0.5, 'metrics': {}, 'model_info': {}},
    'L4': {'epoch': 1, 'model_state_dict': weights, 'optimizer_state_dict': optimizer.state_dict(), 'metrics': {}, 'config': None},
    'L5': {'epoch': 1, 'model_state_dict': weights, 'optimizer_state_dict': optimizer.state_dict(), 'val_loss': 0.5, 'model_config': {}, 'training_config': {}},
    'L6': {'epoch': 1, 'model_state_dict': weights, 'optimizer_state_dict': optimizer.state_dict(), 'train_losses': [1.], 'val_losses': [1.]},
    'L7': {'state_dict': weights},
    'L8': {'model_state_dict': weights, 'config': {}, 'export_timestamp': 1755400001, 'export_type': 'inference', 'model_class': 'Net'},
    'L9': {'model_state_dict': weights, 'config': {}, 'validation_loss': 0.5, 'epoch': 1, 'phase': 1, 'version': '1.0', 'export_timestamp': 1, 'export_type': 'shared'},
    'L10': {'version': '2.0', 'model_state_dict': weights, 'config': {}, 'epoch': 1, 'phase': 1, 'training_state': {'current_epoch': 1}},
}
for name, value in old.items(): torch.save(value, name + '.pth')
class Keyword(nn.Module):
    def forward(self, x, *, scale): return x * scale
torch.export.save(torch.export.export(Keyword(), (images,), {'scale': images}), 'keyword.pt2')
torch.export.save(torch.export.export(net, (images, tokens)), 'fixed.pt2')
class Pairs(nn.Module):
    def __init__(self):
        super().__init__(); self.line = nn.Linear(6, 2)
    def forward(self, x): return self.line(x.reshape(-1, 2, 1, 6, 6).sum(1))
torch.export.save(torch.export.export(Pairs(), (torch.randn(4, 1, 6, 6),), dynamic_shapes=({0: torch.export.Dim.AUTO},)), 'pairs.pt2')
save_model(net, 'tied.safetensors')
export(net, 'trained.pt2')
torch.save({'images': images, 'tokens': tokens}, 'sample.pth')
save_file({'images': images, 'tokens': tokens}, 'sample.safetensors')
with torch.no_grad(): print(json.dumps({'output': net(images, tokens).numpy().tobytes().hex()}))
`

const netModule = `
import { cat, nn, tensor } from 'torchkeep'
export default class Net extends nn.Module {
  constructor(options) {
    super()
    const { words = 7 } = options
    this.conv = new nn.Conv2d(1, 3, 3, { padding: 1 })
    this.bn = new nn.BatchNorm2d(3)
    this.drop = new nn.Dropout(0.5)
    this.emb = new nn.Embedding(words, 4)
    this.a = new nn.Linear(4, 4)
    this.b = new nn.Linear(4, 4)
    this.b.weight = this.a.weight
    this.head = new nn.Linear(7, 2)
    this.registerBuffer('scale', tensor([1, 2, 3, 4]), { persistent: false })
  }
  forward(images, tokens) {
    const x = this.bn.call(this.conv.call(images)).relu().mean([2, 3])
    const t = this.b.call(this.drop.call(this.a.call(this.emb.call(tokens).mean(1))).mul(this.buffer('scale')))
    return this.head.call(cat([x, t], 1)).add(tensor([1, 2]))
  }
}
`

describe('models of checkpoints that Python made', function () {
  this.timeout(120_000)
  let folder = ''
  let expected = ''
  const at = (name: string): string => join(folder, name)

  before(async function () {
    await needPackages(this, 'safetensors', 'numpy')
    folder = mkdtempSync(join(tmpdir(), 'torchkeep-export-source-'))
    expected = (JSON.parse(await runPython(program, [folder])) as { output: string }).output
    writeFileSync(at('net.mjs'), netModule)
  })
  after(() => rmSync(folder, { recursive: true, force: true }))

  /** The outputs of the model on Python's sample, and whether Python's own export of the trained model has the same bits on other batches too. */
  async function outputs({ model, sample }: ExportSource, sampleFile: string): Promise<string> {
    const inputs = sample ?? (await makeSample(model as ExportableModel, 4, sampleFile))
    const result = await checkExport({ model: model as ExportableModel, inputs, exportedPath: at('trained.pt2') })
    assert.equal(result.check.equal, true)
    assert.deepEqual(result.check.batchSizes, [5, 1, 3])
    return Buffer.from(result.outputs[0]?.storage.source ?? []).toString('hex')
  }

  const checkpoints = [
    'L1.pth',
    'bare.pth',
    'legacy.pth',
    'lightning.ckpt',
    'parallel.pth',
    'old.pth',
    'tied.safetensors',
    'strides.pth',
    'distributed',
    'parts.safetensors.index.json',
  ]
  for (const name of checkpoints) {
    it(`${name} with the .pt2 of torch.export`, async () => {
      const source = await openExportSource(at(name), { model: at('untrained.pt2') })
      assert.equal(await outputs(source, at('sample.safetensors')), expected)
      assert.equal(source.model?.origin, 'pt2')
    })

    it(`${name} with a module`, async () => {
      const source = await openExportSource(at(name), { model: at('net.mjs'), sample: at('sample.pth') })
      assert.equal(await outputs(source, ''), expected)
      assert.equal(source.model?.origin, 'module')
    })
  }

  it('a .pt2 is a checkpoint itself', async () => {
    const source = await openExportSource(at('trained.pt2'))
    assert.equal(await outputs(source, at('sample.pth')), expected)
    assert.deepEqual([...(source.model?.constants.keys() ?? [])], ['lifted_tensor_0'])
    assert.equal(source.stateDict.has('scale'), false)
    assert.equal(JSON.stringify(source.model?.program).includes(folder), false, 'no path of the machine that wrote it')
  })

  it('weights that are tied in the model and have one name in the file have both', async () => {
    const source = await openExportSource(at('tied.safetensors'), { model: at('untrained.pt2') })
    assert.equal(source.stateDict.get('a.weight'), source.stateDict.get('b.weight'))
    assert.ok(source.stateDict.has('b.weight'))
  })

  it('names in front of all names are taken away, and that is told', async () => {
    const source = await openExportSource(at('parallel.pth'), { model: at('untrained.pt2') })
    assert.ok(source.stateDict.has('conv.weight'))
    assert.match(source.gaps.join(), /begins with 'module\.'/)
    assert.deepEqual([...(source.stateDict.metadata as Map<string, unknown>).keys()].slice(0, 2), ['', 'conv'])
  })

  it('weights that the model ties and that differ are refused', async () => {
    for (const model of ['net.mjs', 'untrained.pt2'])
      for (const name of ['untied.pth', 'untied'])
        await assert.rejects(openExportSource(at(name), { model: at(model), sample: at('sample.pth') }), {
          code: 'ERR_CHECKPOINT_INCOMPATIBLE',
          message: /one tensor under the names a\.weight and b\.weight, but in .*untied(\.pth)? their values differ/,
        })
  })

  it('a graph of training is refused by its node, and as a checkpoint has no model', async () => {
    await assert.rejects(openExportSource(at('bare.pth'), { model: at('training.pt2') }), {
      code: 'ERR_INVALID_ARGUMENT',
      message:
        /training\.pt2 cannot .* node add_ \(torch\.ops\.aten\.add_\.Tensor, module bn\): it changes 'bn\.num_batches_tracked'/,
      suggestions: ['torch.export.export(model.eval(), ...) records it for inference'],
    })
    const { model, gaps } = await openExportSource(at('training.pt2'))
    assert.equal(model, null)
    assert.match(gaps.join(), /recorded in training mode/)
  })

  it('all names, shapes and dtypes that do not fit are told at once', async () => {
    const options = { model: at('net.mjs'), sample: at('sample.pth'), modelOptions: { words: 9 } }
    await assert.rejects(openExportSource(at('bare.pth'), options), {
      code: 'ERR_CHECKPOINT_INCOMPATIBLE',
      message:
        /bare\.pth does not fit model default of .*net\.mjs; mismatched: emb\.weight: shape \[7, 4\], expected \[9, 4\]/,
    })
  })

  it('a count of batches may be absent only where the batch norm is from before it was saved', async () => {
    const { gaps } = await openExportSource(at('old.pth'), { model: at('untrained.pt2') })
    assert.match(gaps.join(), /from before bn\.num_batches_tracked was saved: the model's own is taken/)
    for (const model of ['net.mjs', 'untrained.pt2'])
      await assert.rejects(openExportSource(at('lacking.pth'), { model: at(model), sample: at('sample.pth') }), {
        code: 'ERR_CHECKPOINT_INCOMPATIBLE',
        message: /missing: bn\.num_batches_tracked$/,
      })
  })

  it('every layout of the older system opens', async () => {
    for (const layout of ['L1', 'L2', 'L3', 'L4', 'L5', 'L6', 'L7', 'L8', 'L9', 'L10']) {
      const source = await openExportSource(at(`${layout}.pth`))
      assert.equal(source.layout, layout)
      assert.ok(source.stateDict.has('bn.running_mean'), layout)
      assert.match(source.gaps.join(), /holds no recorded model: --model FILE/)
      assert.match(source.fileSha256, /^[0-9a-f]{64}$/)
    }
  })

  it('the only state dict under a key of its own is taken, and that is told', async () => {
    const { stateDict, normalized, gaps } = await openExportSource(at('keyed.pth'))
    assert.ok(stateDict.has('conv.weight') && normalized.has('model_state_dict'))
    assert.match(gaps.join(), /those under the key 'model', the only state dict of the file/)
  })

  it('a graph for one batch size is compared with that one only', async () => {
    const { model } = await openExportSource(at('fixed.pt2'))
    const source = model ?? assert.fail()
    const inputs = await makeSample(source)
    assert.deepEqual(inputs.map(({ sizes }) => sizes), [[5, 1, 6, 6], [5, 2]]) // prettier-ignore
    const { check } = await checkExport({ model: source, inputs, exportedPath: at('fixed.pt2') })
    assert.deepEqual([check.equal, check.batchSizes], [true, [5]])
  })

  it('batches that the conditions of a graph exclude are not tried', async () => {
    const source = (await openExportSource(at('pairs.pt2'))).model ?? assert.fail()
    const inputs = await makeSample(source)
    const { check } = await checkExport({ model: source, inputs, exportedPath: at('pairs.pt2') })
    assert.deepEqual([check.equal, check.batchSizes], [true, [4]])
  })

  it('a changed byte of what only the .pt2 holds is refused', async () => {
    writeFileSync(at('damaged.pt2'), flipped(readFileSync(at('untrained.pt2')), 1, 2, 3, 4))
    await assert.rejects(openExportSource(at('bare.pth'), { model: at('damaged.pt2') }), {
      code: 'ERR_CHECKPOINT_CORRUPT',
      message: /damaged\.pt2: record data\/constants\/tensor_\d: its bytes were changed/,
    })
  })

  it('a graph with inputs by keyword is refused', async () => {
    await assert.rejects(openExportSource(at('bare.pth'), { model: at('keyword.pt2') }), {
      code: 'ERR_INVALID_ARGUMENT',
      message: /keyword\.pt2 cannot be exported for inference: it takes inputs by keyword/,
    })
  })
})
