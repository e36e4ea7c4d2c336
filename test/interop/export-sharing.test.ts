/** Shared exports in Python: the card by the Hub's own library, the weights by safetensors and by torch.load(weights_only=True), the graph by torch.export; and the printed ways of loading run as printed. */
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { ModelExporter } from '../../src/export/exporter.js'
import type { ExportResult } from '../../src/export/types.js'
import { packageRoot } from '../../src/libtorch/index.js'
import { dict } from '../checkpoint/judged.js'
import { cleanCheckpoint, plantedCheckpoint, writeCheckpoint } from '../export/sharing-fixture.js'
import { needPackages, runPython } from '../python.js'

const program = `
import os
from huggingface_hub import ModelCard, ModelCardData
from safetensors.torch import load_model, load_file
os.chdir(sys.argv[1])
nn = torch.nn
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Linear(3, 2); self.second = nn.Linear(3, 2, bias=False); self.second.weight = self.first.weight
source = torch.load(sys.argv[2], weights_only=True)['model_state_dict']
shared = torch.load('model.pth', weights_only=True)
same = lambda state: list(state) == list(source) and all(torch.equal(state[k], v) and state[k].dtype == v.dtype for k, v in source.items())
model = Net(); load_model(model, 'model.safetensors')
card = ModelCard.load('README.md')
names = sorted(load_file('model.safetensors'))
data = card.data
assert isinstance(data, ModelCardData)
os.chdir(sys.argv[3])
scrubbed = torch.load('model.pth', weights_only=True)
planted = [sorted(scrubbed), scrubbed['config']['all']['item0'], float(scrubbed['optimizer_state_dict']['state'][0]['exp_avg'].sum()) != 0, ModelCard.load('README.md').data.model_name]
print(json.dumps({
  'pth': same(shared['model_state_dict']), 'tied': shared['model_state_dict']['first.weight'].data_ptr() == shared['model_state_dict']['second.weight'].data_ptr(),
  'safetensors': same(model.state_dict()), 'names': names,
  'keys': sorted(shared), 'summary': shared['metrics_summary'],
  'license': data.license, 'library': data.library_name, 'tags': data.tags, 'metrics': data.metrics, 'name': data.model_name,
  'results': [[r.task_type, r.task_name, r.dataset_type, r.dataset_name, r.dataset_split, r.metric_type, r.metric_name, r.metric_value] for r in data.eval_results or []],
  'again': ModelCard(str(card)).data.to_dict() == data.to_dict(),
  'planted': planted,
}))
class Graph(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.first = torch.nn.Linear(3, 2)
    def forward(self, user):  # a name that tells something as a key of a configuration
        return torch.relu(self.first(user))
net = Graph().eval()
torch.export.save(torch.export.export(net, (torch.zeros(2, 3),), dynamic_shapes=({0: torch.export.Dim('batch')},)), os.path.join(sys.argv[4], 'own.pt2'))
x = torch.linspace(-1, 1, 15).reshape(5, 3)
torch.save(net(x), os.path.join(sys.argv[4], 'expected.pth'))
`

/** Few processes of Python: each takes seconds to begin. */
describe('shared exports in Python', () => {
  let folder: string
  let shared: ExportResult
  let graph: ExportResult
  let found: Record<string, unknown>
  before(async function () {
    this.timeout(120_000)
    await needPackages(this, 'huggingface_hub', 'safetensors')
    folder = mkdtempSync(join(tmpdir(), 'torchkeep-sharing-'))
    const exporter = new ModelExporter({ exportDir: folder })
    const row = dict({
      epoch: 3,
      phase: 1,
      train_loss: 0.75,
      val_loss: 1e-7,
      val_accuracy: 0.75,
      val_pearson: NaN,
      val_macro_f1: 1,
    })
    const clean = cleanCheckpoint({ training_state: dict({ metrics_history: [row] }), validation_loss: 1e-7 })
    const source = await writeCheckpoint(folder, 'checkpoint.pth', clean)
    shared = await exporter.exportForSharing(source, 'net', { formats: ['safetensors', 'pth'], license: 'mit' })
    const planted = await writeCheckpoint(folder, 'planted.pth', plantedCheckpoint())
    const scrubbed = await exporter.exportForSharing(planted, 'planted', { includeTrainingState: true, compress: null })
    found = JSON.parse(await runPython(program, [shared.folder, source, scrubbed.folder, folder])) as Record<
      string,
      unknown
    >
    graph = await exporter.exportForSharing(join(folder, 'own.pt2'), 'graph', { formats: ['pt2'], compress: null })
  })
  after(() => folder !== undefined && rmSync(folder, { recursive: true }))

  it('the Hub reads the card, safetensors and torch the weights, in every bit and tied', () => {
    const { planted: _planted, ...facts } = found
    const result = (type: string, name: string, value: number) => [
      'other',
      'Classification',
      'unknown',
      'Validation data of the training run',
      'validation',
      type,
      name,
      value,
    ]
    assert.deepEqual(facts, {
      pth: true,
      tied: true,
      safetensors: true,
      names: ['first.bias', 'first.weight'],
      keys: [
        'config',
        'epoch',
        'export_timestamp',
        'export_type',
        'metadata',
        'metrics_summary',
        'model_state_dict',
        'phase',
        'validation_loss',
        'version',
      ],
      summary: { total_epochs: 1, best_val_loss: 1e-7, final_val_loss: 1e-7, best_epoch: 3 },
      license: 'mit',
      library: 'pytorch',
      tags: ['tiny', 'no', 'pytorch', 'torchkeep'],
      metrics: ['loss', 'accuracy', 'f1'],
      name: 'net',
      results: [
        result('loss', 'val_loss', 1e-7),
        result('accuracy', 'val_accuracy', 0.75),
        result('f1', 'val_macro_f1', 1),
      ],
      again: true,
    })
  })

  it('a scrubbed checkpoint with its training state opens with weights_only, and its card is valid', () => {
    const [keys, ...facts] = found['planted'] as unknown[]
    assert.ok((keys as string[]).includes('optimizer_state_dict') && (keys as string[]).includes('training_config'))
    assert.deepEqual(facts, ['see [removed: email] for it', true, 'planted'])
  })

  it('what cards say of loading runs as it is printed; a shared graph tells no file that it was recorded from, and runs', async function () {
    this.timeout(120_000)
    const blocks = (of: ExportResult, language: string): string[] => {
      const card = readFileSync(join(of.folder, 'README.md'), 'utf8')
      return [...card.matchAll(new RegExp(`^\`\`\`${language}\\n(.*?)^\`\`\``, 'gms'))].map(([, text = '']) => text)
    }
    const python = [blocks(shared, 'python'), blocks(graph, 'python')]
    assert.deepEqual(
      python.map(({ length }) => length),
      [2, 1],
    )
    assert.ok(!readFileSync(join(graph.folder, 'model.pt2')).includes('stack_trace'))
    const printed = await runPython(
      `import os; os.chdir(sys.argv[1])
${(python[0] ?? []).join('\n')}
print(sorted(state_dict))
os.chdir(sys.argv[2])
${(python[1] ?? []).join('\n')}
x = torch.linspace(-1, 1, 15).reshape(5, 3)
print('equal', torch.equal(model(x), torch.load(sys.argv[3], weights_only=True)))`,
      [shared.folder, graph.folder, join(folder, 'expected.pth')],
    )
    assert.match(printed, /first\.weight \(2, 3\) torch\.float32/)
    assert.match(printed, /\['first\.bias', 'first\.weight', 'second\.weight'\]\nequal True/)
    const [node = ''] = blocks(shared, 'js')
    // Where this package is found by its own name.
    const work = mkdtempSync(join(packageRoot, 'dist', 'card-'))
    try {
      writeFileSync(join(work, 'load.mjs'), node)
      const output = execFileSync(process.execPath, [join(work, 'load.mjs')], { cwd: shared.folder, encoding: 'utf8' })
      assert.match(output, /first\.weight \[ 2, 3 \] float32 6/)
    } finally {
      rmSync(work, { recursive: true })
    }
  })
})
