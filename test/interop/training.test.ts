/** Runs that move between Node and plain PyTorch in mid-epoch, bit by bit against one uninterrupted Python run. */
import assert from 'node:assert/strict'
import { mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { latestPath } from '../../src/checkpoint/layout.js'
import { needPython, runPython } from '../python.js'
import { assertSameBits, prepare } from '../training/fixture.js'

/**
 * The fixture's run as a PyTorch user would write it, for each job of the JSON list that is the argument: a checkpoint to go on from or `fresh`, the step of the whole run to
 * stop at, the file to save. Only public PyTorch calls; the keys are those of a Torchkeep checkpoint.
 */
const pythonRun = `
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

class ConvNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2))
        self.head = nn.Sequential(nn.Flatten(), nn.Dropout(0.25), nn.Linear(64, 3))
    def forward(self, images):
        return self.head(self.features(images))

def run(start, stop, out):
    torch.manual_seed(5)
    train_data = TensorDataset(torch.randn(22, 1, 8, 8), torch.randint(0, 3, (22,)))
    val_data = TensorDataset(torch.randn(9, 1, 8, 8), torch.randint(0, 3, (9,)))
    torch.manual_seed(3)
    model = ConvNet()
    train_loader = DataLoader(train_data, batch_size=8, shuffle=True)
    val_loader = DataLoader(val_data, batch_size=4)
    criterion = nn.CrossEntropyLoss()

    def open_phase(phase):
        frozen = [n for n, _ in model.named_parameters() if phase == 1 and n.startswith('features.')]
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(name not in frozen)
        trained = [(n, p) for n, p in model.named_parameters() if n not in frozen]
        if phase == 1:
            optimizer, scheduler = torch.optim.SGD([p for _, p in trained], lr=0.01, momentum=0.9), None
        else:
            optimizer = torch.optim.AdamW([p for _, p in trained], lr=0.003)
            scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=1, gamma=0.5)
        still = ['features.1'] if phase == 1 else []
        state = {'name': ['head', 'everything'][phase - 1], 'frozen': frozen, 'groups': [[n for n, _ in trained]], 'modules_in_eval': still}
        return optimizer, scheduler, state

    def train_mode(phase):
        model.train()
        if phase == 1:
            model.features[1].eval()

    if start == 'fresh':
        ck = {
            'format': 'torchkeep', 'version': '3.0', 'timestamp': 1700000000, 'model_state_dict': None,
            'training_state': {'current_epoch': 0, 'current_phase': 1, 'phase_epochs_done': 0, 'global_step': 0,
                               'best_val_loss': float('inf'), 'best': None, 'total_training_time': 0.0, 'metrics_history': []},
            'config': {'width': 4}, 'validation_loss': float('nan'), 'is_best': False, 'epoch': 0, 'phase': 1,
            'optimizer_state_dict': None, 'scheduler_state': None,
            'training_config': {'loss': 'cross_entropy', 'metrics': ['accuracy'], 'phases': [
                {'name': 'head', 'epochs': 2, 'lr': 0.01, 'freeze': ['features.*'], 'optimizer': {'name': 'SGD', 'momentum': 0.9}},
                {'name': 'everything', 'epochs': 2, 'lr': 0.003, 'scheduler': {'name': 'StepLR', 'step_size': 1, 'gamma': 0.5}}]},
            'rng_state': None, 'early_stopping': None, 'data_position': None, 'phase_state': None, 'model_graph': None,
            'metadata': {'title': '', 'description': '', 'tags': [], 'config_hash': '', 'torchkeep_version': '', 'libtorch_version': str(torch.__version__)},
        }
        optimizer, scheduler, ck['phase_state'] = open_phase(1)
    else:
        ck = torch.load(start, weights_only=True)
        model.load_state_dict(ck['model_state_dict'])
        optimizer, scheduler, state = open_phase(ck['phase'])
        assert state == ck['phase_state'], (state, ck['phase_state'])
        optimizer.load_state_dict(ck['optimizer_state_dict'])
        if scheduler:
            scheduler.load_state_dict(ck['scheduler_state'])
        torch.set_rng_state(ck['rng_state']['cpu'])
    state, position = ck['training_state'], ck['data_position']

    def save():
        ck.update(model_state_dict=model.state_dict(), optimizer_state_dict=optimizer.state_dict(), data_position=position,
                  scheduler_state=scheduler.state_dict() if scheduler else None, rng_state={'cpu': torch.get_rng_state(), 'loader': None, 'val_loader': None},
                  epoch=state['current_epoch'], phase=state['current_phase'])
        torch.save(ck, out)

    while True:
        if state['phase_epochs_done'] == 2:
            state['current_phase'], state['phase_epochs_done'] = state['current_phase'] + 1, 0
            optimizer, scheduler, ck['phase_state'] = open_phase(state['current_phase'])
        phase = state['current_phase']
        if position is None:
            state['current_epoch'] += 1
            position = {'batches_done': 0, 'batch_size': 8, 'shuffle': True, 'drop_last': False, 'num_samples': 22, 'epoch_rng_state': torch.get_rng_state(), 'loader_rng_state': None,
                        'loss_sum': 0.0, 'samples_done': 0, 'epoch_time': 0.0}
            batches = list(train_loader)
        else:
            now = torch.get_rng_state()
            torch.set_rng_state(position['epoch_rng_state'])
            batches = list(train_loader)
            torch.set_rng_state(now)
        train_mode(phase)
        for images, labels in batches[position['batches_done']:]:
            optimizer.zero_grad()
            loss = criterion(model(images), labels)
            loss.backward()
            optimizer.step()
            position['loss_sum'] += loss.item() * len(images)
            position['samples_done'] += len(images)
            position['batches_done'] += 1
            state['global_step'] += 1
            if state['global_step'] == stop and position['batches_done'] < len(batches):
                ck.update(validation_loss=float('nan'), is_best=False)
                return save()
        model.eval()
        with torch.no_grad():
            loss_sum, right = 0.0, 0
            for images, labels in val_loader:
                output = model(images)
                loss_sum += criterion(output, labels).item() * len(images)
                right += int((output.argmax(1) == labels).sum())
        val_loss = loss_sum / len(val_data)
        state['metrics_history'].append({'epoch': state['current_epoch'], 'phase': phase, 'train_loss': position['loss_sum'] / position['samples_done'],
            'val_loss': val_loss, 'learning_rate': optimizer.param_groups[0]['lr'], 'training_time': 0.0, 'val_accuracy': right / len(val_data)})
        is_best = state['best'] is None or val_loss < state['best']['score']
        if is_best:
            state['best'] = {'monitor': 'val_loss', 'mode': 'min', 'score': val_loss, 'epoch': state['current_epoch'], 'phase': phase}
        state['best_val_loss'] = min(state['best_val_loss'], val_loss)
        state['phase_epochs_done'] += 1
        position = None
        if scheduler:
            scheduler.step()
        ck.update(validation_loss=val_loss, is_best=is_best)
        if state['global_step'] >= stop:
            return save()

for job in json.loads(sys.argv[1]):
    run(*job)
`

describe('a run that moves between Node and Python', function () {
  this.timeout(180_000)
  let folder: string
  const file = (name: string): string => join(folder, name)
  /** Inside an epoch of either phase, and at the ends of epochs (6 and 12 are those of phases). */
  const steps = [2, 3, 4, 6, 7, 9, 11]
  before(async function () {
    needPython(this)
    folder = mkdtempSync(join(tmpdir(), 'torchkeep-interop-'))
    await python([
      ['fresh', 12, file('reference.pth')],
      ...steps.map((step) => ['fresh', step, file(`begun-${step}.pth`)] as const),
    ])
    await node('alone')
    await python([
      ...steps.map((step) => [atStep('alone', step), 12, file(`finished-${step}.pth`)] as const),
      [atStep('alone', 7), 8, file('middle.pth')],
    ])
  })
  after(() => rmSync(folder, { recursive: true }))

  type Job = readonly [start: string, stop: number, saved: string]
  const python = (jobs: readonly Job[]): Promise<string> => runPython(pythonRun, [JSON.stringify(jobs)])

  /** The Node run from `seed` 3, or from a checkpoint, saving at every step; returns its last checkpoint. */
  async function node(name: string, resumeFrom?: string): Promise<string> {
    const run = prepare(file(name), {
      checkpoint: { everySteps: 1 },
      ...(resumeFrom === undefined ? {} : { seed: 77 }),
    })
    const summary = await run.trainer.train(
      run.trainLoader,
      run.valLoader,
      resumeFrom === undefined ? {} : { resumeFrom },
    )
    return summary.latestCheckpointPath
  }

  /** The checkpoint that a Node run saved after this step: at the end of an epoch the one after validation. */
  function atStep(run: string, step: number): string {
    const names = readdirSync(join(folder, run, 'regular'))
    const pattern =
      step % 3 === 0
        ? new RegExp(`^checkpoint_epoch_${step / 3}_phase_\\d_\\d+\\.pth$`)
        : new RegExp(`_step_${step}\\.pth$`)
    const found = names.find((name) => pattern.test(name))
    assert.ok(found !== undefined, `${run} has no checkpoint of step ${step}: ${names.join(', ')}`)
    return join(folder, run, 'regular', found)
  }

  /** Only what this plain script does not keep: the recorded graph, what names the programs, and the counters that a file of Torchkeep 0.1 did not have either. */
  const notInPython = [
    ...['.model_graph', '.metadata'],
    ...['phase_steps_done', 'phase_best', 'phase_stop_reason', 'patience_counter'].map(
      (key) => `.training_state.${key}`,
    ),
    ...[0, 1, 2, 3].map((row) => `.training_state.metrics_history[${row}].step`),
  ]

  it('gives the same checkpoint in Node alone as in Python alone', async () => {
    await assertSameBits(latestPath(file('alone')), file('reference.pth'), notInPython)
  })

  for (const step of steps) {
    it(`goes from Node to Python, and from Python to Node, at step ${step}`, async () => {
      await assertSameBits(file(`finished-${step}.pth`), file('reference.pth'), notInPython)
      await assertSameBits(await node(`resumed-${step}`, file(`begun-${step}.pth`)), file('reference.pth'), notInPython)
    })
  }

  it('goes from Node to Python to Node within one epoch', async () => {
    await assertSameBits(await node('last', file('middle.pth')), file('reference.pth'), notInPython)
  })

  it('opens every file in Python under weights_only=True, mapped and not', async () => {
    const files = readdirSync(file('alone'), { recursive: true, encoding: 'utf8' }).filter((name) =>
      name.endsWith('.pth'),
    )
    assert.ok(files.length > 15)
    const output = await runPython(
      `for path in sys.argv[1:]:
    a, b = torch.load(path, weights_only=True), torch.load(path, weights_only=True, mmap=True)
    assert a['format'] == 'torchkeep' and a['epoch'] == b['epoch']
    assert all(torch.equal(t, b['model_state_dict'][n]) for n, t in a['model_state_dict'].items())
print(len(sys.argv) - 1)`,
      files.map((name) => join(folder, 'alone', name)),
    )
    assert.equal(Number(output), files.length)
  })
})
