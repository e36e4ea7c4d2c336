/** A whole run by commands, each a process of its own: trained, interrupted inside an epoch, resumed, evaluated, predicted; then Python opens the best checkpoint and predicts the same bits. */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { packageRoot } from '../../src/libtorch/index.js'
import { type CommandResult, runCommand } from '../commands/run-command.js'
import { checkedJson } from '../commands/schema.js'
import { needPython, runPython } from '../python.js'

/** Batches of 2, so that an epoch takes long enough to be interrupted. */
const rows = 3000
const config = `
seed: 3
threads: 1
model: {name: mlp, hidden: [16, 8], dropout: 0.25}
data:
  format: csv
  file: table.csv
  columns:
    x1: {role: number, normalize: mean_std}
    x2: {role: number, normalize: min_max}
    kind: {role: category}
    y: {role: number}
  target: y
  split: {by: fraction, val: 0.1}
  batch_size: 2
  eval_batch_size: 64
loss: mse
metrics: [rmse, pearson]
optimizer: {name: AdamW}
scheduler: {name: OneCycleLR, max_lr: 0.01}
accumulate_grad_batches: 3
phases:
  - {name: one, epochs: 2, lr: 1e-3}
`

function table(): string {
  let state = 1
  const random = (): number => (state = (state * 48271) % 2147483647) / 2147483647
  const lines = Array.from({ length: rows }, (_, row) => {
    const [x1, x2, kind] = [random() * 10, random() - 0.5, Math.floor(random() * 3)]
    return `r${row},${x1.toFixed(3)},${x2.toFixed(4)},${'abc'[kind]},${(0.3 * x1 - x2 + kind + 0.1 * random()).toFixed(3)}`
  })
  return ['id,x1,x2,kind,y', ...lines, ''].join('\n')
}

const python = `
import csv, struct
from collections import OrderedDict
best = torch.load(sys.argv[1], weights_only=True)
position = torch.load(sys.argv[2], weights_only=True)['data_position']
resumed, whole = (torch.load(path, weights_only=True) for path in sys.argv[3:5])
same = all(torch.equal(resumed['model_state_dict'][name], value) for name, value in whole['model_state_dict'].items())

mlp = torch.nn.Sequential(torch.nn.Linear(5, 16), torch.nn.ReLU(), torch.nn.Dropout(0.25), torch.nn.Linear(16, 8), torch.nn.ReLU(), torch.nn.Dropout(0.25), torch.nn.Linear(8, 1))
mlp.load_state_dict(best['model_state_dict'])
mlp.eval()
columns = {column['name']: column for column in best['config']['data']['fitted']['columns']}
scaled = lambda name, row: (float(row[name]) - columns[name]['shift']) / columns[name]['scale']
with open(sys.argv[5]) as table, open(sys.argv[6], newline='') as predictions:
    table, predictions = list(csv.DictReader(table)), list(csv.DictReader(predictions))
inputs = torch.tensor([[scaled('x1', row), scaled('x2', row)] + [float(row['kind'] == value) for value in columns['kind']['values']] for row in table])
with torch.no_grad(): outputs = torch.cat([mlp(batch) for batch in inputs.split(64)])
bits = lambda value: struct.pack('<f', value)
wrong = [row['id'] for row, found, output in zip(table, predictions, outputs[:, 0].tolist())
    if row['id'] != found['id'] or bits(float(found['predicted_y'])) != bits(output)]
print(json.dumps({'same': same, 'batches_done': position['batches_done'], 'rows': len(predictions), 'wrong': wrong[:3], 'best_loss': best['validation_loss']}))
`

describe('a run by commands', function () {
  this.timeout(120_000)
  let folder: string
  before(function () {
    needPython(this)
    folder = mkdtempSync(join(tmpdir(), 'torchkeep-train-command-'))
    writeFileSync(join(folder, 'train.yaml'), config)
    writeFileSync(join(folder, 'table.csv'), table())
  })
  after(() => folder !== undefined && rmSync(folder, { recursive: true }))

  const file = (...names: string[]): string => join(folder, ...names)
  const LIBTORCH = process.env['LIBTORCH'] ?? ''
  const run = (...args: string[]): Promise<CommandResult> => runCommand(args, { LIBTORCH })
  const dir = ['--checkpoint-dir', 'CHECKPOINTS']
  const inDir = (name: string): string[] => dir.map((part) => part.replace('CHECKPOINTS', file(name)))
  const linesOf = (stdout: string): Record<string, unknown>[] =>
    stdout
      .trimEnd()
      .split('\n')
      .map((line) => checkedJson('train', line) as Record<string, unknown>)

  /** Starts a run and sends it a signal in the middle of an epoch. */
  async function interrupted(name: string, signal: NodeJS.Signals): Promise<{ status: number | null; stdout: string }> {
    const program = join(packageRoot, 'bin', 'run.js')
    const child = spawn(process.execPath, [program, 'train', file('train.yaml'), ...inDir(name), '--json'], {
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    const seen: string[] = []
    createInterface({ input: child.stdout }).on('line', (line) => {
      seen.push(line)
      const event = JSON.parse(line) as { event: string; batch?: number }
      if (event.event === 'step' && (event.batch ?? 0) > 10 && !child.killed) child.kill(signal)
    })
    const [status] = (await once(child, 'close')) as [number | null]
    return { status, stdout: seen.join('\n') }
  }

  it('trains, is interrupted inside an epoch, resumes, evaluates, predicts; Python predicts the same bits from the best checkpoint', async () => {
    const first = await interrupted('stopped', 'SIGINT')
    assert.equal(first.status, 130)
    const stopped = linesOf(first.stdout)
    const { error } = stopped.at(-1) as { error: { code: string; message: string } }
    assert.equal(error.code, 'ERR_ABORTED')
    const interruption = file('interruption.pth')
    writeFileSync(interruption, readFileSync(file('stopped', 'latest.pth')))

    const resumed = await run('train', file('train.yaml'), ...inDir('stopped'), '--resume', 'latest', '--json')
    assert.equal(resumed.status, 0, resumed.stderr + resumed.stdout)
    const summary = linesOf(resumed.stdout).at(-1) as { event: string; best: { score: number; epoch: number } }
    assert.equal(summary.event, 'summary')
    const whole = await run('train', file('train.yaml'), ...inDir('whole'), '--quiet')
    assert.deepEqual([whole.status, whole.stdout, whole.stderr], [0, '', ''])

    const evaluated = await run(
      'evaluate',
      'best',
      ...inDir('stopped'),
      '--data',
      file('train.yaml'),
      '--threads',
      '1',
      '--json',
    )
    assert.equal(evaluated.status, 0, evaluated.stderr + evaluated.stdout)
    const { evaluations } = checkedJson('evaluate', evaluated.stdout) as {
      evaluations: { split: string; samples: number; loss: number; metrics: Record<string, number> }[]
    }
    assert.equal(evaluations.length, 1)
    assert.deepEqual(
      [evaluations[0]?.split, evaluations[0]?.samples, evaluations[0]?.loss],
      ['val', 300, summary.best.score],
    )
    const epochs = [...stopped, ...linesOf(resumed.stdout)].filter(({ event }) => event === 'epoch')
    const bestEpoch = epochs.find(({ epoch }) => epoch === summary.best.epoch)
    assert.deepEqual(evaluations[0]?.metrics, { rmse: bestEpoch?.['val_rmse'], pearson: bestEpoch?.['val_pearson'] })

    const output = file('predictions.csv')
    const predicted = await run(
      'predict',
      'best',
      ...inDir('stopped'),
      '--data',
      file('table.csv'),
      '-o',
      output,
      '--threads',
      '1',
      '--json',
    )
    const result = checkedJson('predict', predicted.stdout) as {
      columns: string[]
      rows: number
      withoutPrediction: number
    }
    assert.deepEqual([result.columns, result.rows, result.withoutPrediction], [['id', 'y', 'predicted_y'], rows, 0])

    const [best, last, uninterrupted] = [
      ['stopped', 'best', 'latest_best.pth'],
      ['stopped', 'latest.pth'],
      ['whole', 'latest.pth'],
    ].map((path) => file(...path))
    const files = [best, interruption, last, uninterrupted, file('table.csv'), output] as string[]
    const found = JSON.parse(await runPython(python, files)) as Record<string, unknown>
    assert.ok((found['batches_done'] as number) > 10 && (found['batches_done'] as number) < 1350)
    assert.deepEqual(
      { ...found, batches_done: 0 },
      { same: true, batches_done: 0, rows, wrong: [], best_loss: summary.best.score },
    )
  })

  it('ends with 143 after SIGTERM, its checkpoint durable', async () => {
    const { status, stdout } = await interrupted('terminated', 'SIGTERM')
    assert.equal(status, 143)
    const lines = linesOf(stdout)
    assert.equal((lines.at(-1) as { error: { code: string } }).error.code, 'ERR_ABORTED')
    assert.deepEqual(
      lines.filter(({ event }) => event === 'checkpoint').map(({ copies }) => copies),
      [[file('terminated', 'latest.pth')]],
    )
  })
})
