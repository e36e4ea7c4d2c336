/** Evaluation and prediction by a checkpoint alone: of models whose recorded graphs need more than a state dict. */
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { readdir } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DataLoader, manualSeed, nn, noGrad, randn, tensor, type Tensor, TensorDataset } from '../../lib/index.js'
import { compareCheckpoints } from '../../src/checkpoint/compare.js'
import { inspectCheckpoint } from '../../src/checkpoint/inspect.js'
import { latestPath } from '../../src/checkpoint/layout.js'
import { validateAll } from '../../src/checkpoint/validate-all.js'
import { load, save } from '../../src/serialization.js'
import { evaluateCheckpoint, predictCheckpoint } from '../../src/training/evaluation.js'
import { ProgressiveTrainer } from '../../src/training/trainer.js'
import { needPython, runPython } from '../python.js'
import { assertSameBits } from './fixture.js'

/** Needs a tensor made in `forward`, one that is a plain field, and non-persistent buffers, of which one changes while training. */
class Masked extends nn.Module {
  readonly linear = new nn.Linear(4, 4)
  readonly inner = new nn.Linear(4, 1)
  readonly field = tensor([0.25])

  constructor(readonly count: number) {
    super()
    this.registerBuffer('mask', tensor([1, 1, 0.5, 1]), { persistent: false })
    this.inner.registerBuffer('seen', tensor([0]), { persistent: false })
  }

  override forward(x: Tensor): Tensor {
    const { mask } = Object.fromEntries(this.namedBuffers()) as { mask: Tensor }
    const seen = this.inner.namedBuffers().get('seen') as Tensor
    if (this.training) seen.add_(this.count)
    // Minus infinity is usual in a mask, and nothing that a validation should complain of.
    const open = tensor([0, 0, 0, -Infinity])
    const hidden = (this.linear.call(x) as Tensor).mul(mask).add(open).relu()
    return (this.inner.call(hidden) as Tensor).add(this.field).add(seen.mul(0.001))
  }
}

describe('evaluation of models with constants', function () {
  this.timeout(60_000)
  let folder: string
  before(() => (folder = mkdtempSync(join(tmpdir(), 'torchkeep-evaluation-'))))
  after(() => rmSync(folder, { recursive: true }))

  /** A run whose buffer counts on by `count` at every step. */
  function run(name: string, count = 1) {
    manualSeed(1)
    const [training, validation] = [
      new TensorDataset(randn([9, 4]), randn([9, 1])),
      new TensorDataset(randn([5, 4]), randn([5, 1])),
    ]
    const model = new Masked(count)
    const trainer = new ProgressiveTrainer(
      model,
      {},
      { loss: 'mse', metrics: ['mae'], phases: [{ name: 'all', epochs: 2, lr: 0.1 }] },
      { checkpointDir: join(folder, name), threads: 1, checkpoint: { keepLast: null } },
    )
    const loaders = [new DataLoader(training, { batchSize: 3 }), new DataLoader(validation, { batchSize: 2 })] as const
    return { model, validation, loaders, trainer }
  }

  it('gives the figures of the run and the outputs of the model, in bits', async () => {
    const { model, loaders, trainer, validation } = run('bits')
    const { metricsHistory } = await trainer.train(...loaders)
    const path = latestPath(join(folder, 'bits'))
    const found = await evaluateCheckpoint(path, loaders[1], { threads: 1 })
    assert.equal(found.loss, metricsHistory.at(-1)?.valLoss)
    assert.deepEqual(found.metrics, metricsHistory.at(-1)?.valMetrics)
    const [x] = validation.tensors as [Tensor]
    for await (const [output] of predictCheckpoint(path, [[x]], { threads: 1 }))
      assert.deepEqual(output?.data(), noGrad(() => model.eval().call(x) as Tensor).data())
  })

  it('writes them as a dict that Python opens, and the tools take the file', async function () {
    needPython(this)
    const path = latestPath(join(folder, 'bits'))
    const { files } = await validateAll([path])
    assert.deepEqual([files[0]?.errors, files[0]?.warnings], [[], []])
    assert.equal((await compareCheckpoints(path, path)).same, true)
    assert.equal((await inspectCheckpoint(path)).kind, 'training_checkpoint')
    const script = `
graph = torch.load(sys.argv[1], weights_only=True)['model_graph']
for name in ('train', 'eval'):
    print(name, {key: value.tolist() for key, value in graph['constants'][name].items()})
`
    const constants =
      "{'lifted_tensor_0': [0.0, 0.0, 0.0, -inf], 'lifted_tensor_1': [0.25], 'mask': [1.0, 1.0, 0.5, 1.0], 'inner.seen': [6.0]}"
    assert.equal(await runPython(`import sys, torch\n${script}`, [path]), `train ${constants}\neval ${constants}\n`)
  })

  it('resumes to the same bits', async () => {
    const [whole, parts] = [run('whole', 0), run('parts', 0)]
    await whole.trainer.train(...whole.loaders)
    const { metricsHistory } = await parts.trainer.train(...parts.loaders, {
      resumeFrom: (await readdir(join(folder, 'whole', 'regular'), { recursive: true }))
        .filter((name) => name.endsWith('.pth'))
        .map((name) => join(folder, 'whole', 'regular', name))
        .sort()[0] as string,
    })
    assert.equal(metricsHistory.length, 2)
    await assertSameBits(latestPath(join(folder, 'parts')), latestPath(join(folder, 'whole')))
  })

  it('tells where a resumed run has other values in buffers that are not put back', async () => {
    const { trainer, loaders } = run('told')
    const { notes } = await trainer.train(...loaders, { resumeFrom: latestPath(join(folder, 'bits')) })
    assert.deepEqual(
      notes.map((note) => /other values in the buffers (.*), which are not persistent/.exec(note)?.[1]),
      ['inner.seen'],
    )
    const same = run('same', 0)
    const { notes: none } = await same.trainer.train(...same.loaders, {
      resumeFrom: latestPath(join(folder, 'whole')),
    })
    assert.deepEqual(none, [])
  })

  it('names what a file lacks', async () => {
    const path = latestPath(join(folder, 'bits'))
    const value = (await load(path)) as Map<string, unknown>
    const graph = value.get('model_graph') as Map<string, unknown>
    graph.delete('constants')
    const without = join(folder, 'without.pth')
    await save(without, value)
    await assert.rejects(evaluateCheckpoint(without, run('x').loaders[1]), {
      code: 'ERR_CHECKPOINT_UNSUPPORTED',
      message: /needs the buffer 'mask', which the file does not hold/,
    })
  })
})
