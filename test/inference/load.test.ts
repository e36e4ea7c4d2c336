/** What is loaded for inference: checkpoints, exports, and what is refused. */
import assert from 'node:assert/strict'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DataLoader, liveTensors, manualSeed, nn, randn, TensorDataset, type Tensor } from '../../lib/index.js'
import { latestPath } from '../../src/checkpoint/layout.js'
import { ModelExporter } from '../../src/export/exporter.js'
import { loadForInference } from '../../src/inference/load.js'
import { save } from '../../src/serialization.js'
import { ProgressiveTrainer } from '../../src/training/trainer.js'
import { bitsOf, collectGarbage, wordCheckpoint } from './fixture.js'

describe('loadForInference', function () {
  this.timeout(60_000)
  const folder = mkdtempSync(join(tmpdir(), 'torchkeep-load-'))
  const at = (...names: string[]): string => join(folder, ...names)
  const batch = [[1, 2, 3], [4, 5, 6]] // prettier-ignore
  let words = ''
  before(async () => (words = await wordCheckpoint(at('words'))))
  after(() => rmSync(folder, { recursive: true }))

  async function bits(path: string, input: Tensor | number[][], threads?: number): Promise<string> {
    using model = await loadForInference(path, threads === undefined ? {} : { threads })
    return bitsOf(await model.predict([input]))
  }

  it('takes a checkpoint, an export folder and its model.pt2, and says what goes in and comes out', async () => {
    const exported = await new ModelExporter({ exportDir: at('exports') }).exportForInference(words, 'words')
    const expected = await bits(words, batch)
    for (const path of [exported.folder, join(exported.folder, 'model.pt2')]) {
      assert.equal(await bits(path, batch), expected)
      using model = await loadForInference(path)
      assert.deepEqual(model.inputs.map(({ dtype, shape }) => ({ dtype, shape })), [{ dtype: 'int64', shape: [null, 3] }]) // prettier-ignore
      assert.deepEqual(model.outputs.map(({ dtype, shape }) => ({ dtype, shape })), [{ dtype: 'float32', shape: [null, 2] }]) // prettier-ignore
    }
  })

  it('runs under autocast what was trained so, from the export too', async () => {
    manualSeed(1)
    const loader = new DataLoader(new TensorDataset(randn([8, 4]), randn([8, 1])), { batchSize: 8 })
    const phases = [{ name: 'one', epochs: 1, lr: 0.1, autocast: 'bfloat16' as const }]
    const options = { checkpointDir: at('cast'), checkpoint: { saveBest: false }, threads: 1, logs: false as const }
    await new ProgressiveTrainer(new nn.Linear(4, 1), {}, { loss: 'mse', phases }, options).train(loader, loader)
    const exported = await new ModelExporter({ exportDir: at('exports') }).exportForInference(
      latestPath(at('cast')),
      'cast',
    )
    const x = randn([3, 4])
    const expected = await bits(latestPath(at('cast')), x)
    assert.match(expected, /^bfloat16\[3,1\]/)
    assert.equal(await bits(exported.folder, x), expected)
  })

  it('does not change a checkpoint, whose weights train on elsewhere', async () => {
    const before = readFileSync(words)
    await bits(words, batch)
    assert.ok(before.equals(readFileSync(words)))
  })

  it('gives the bits of its number of threads, whatever runs in other models', async () => {
    const expected = await bits(words, batch, 2)
    using one = await loadForInference(words)
    using two = await loadForInference(words, { threads: 2 })
    const outputs = await Promise.all([one, two, one, two].map((model) => model.predict([batch])))
    assert.deepEqual([outputs[1], outputs[3]].map((own) => bitsOf(own ?? [])), [expected, expected]) // prettier-ignore
  })

  it('refuses what it cannot run, naming it, and keeps no tensor of it', async () => {
    await save(at('weights.pth'), { weight: randn([2, 2]) })
    mkdirSync(at('empty'))
    writeFileSync(at('text.pt2'), 'no archive')
    const changed = readFileSync(words)
    writeFileSync(at('changed.pth'), Buffer.concat([changed.subarray(0, changed.length / 2), changed.subarray(changed.length / 2 + 1)])) // prettier-ignore
    await collectGarbage()
    const tensors = liveTensors()
    const cases: [string, object, string, RegExp][] = [
      [at('absent.pt2'), {}, 'ERR_CHECKPOINT_MISSING', /absent\.pt2/],
      [at('empty'), {}, 'ERR_CHECKPOINT_MISSING', /holds no model\.pt2/],
      [at('weights.pth'), {}, 'ERR_CHECKPOINT_UNSUPPORTED', /no recorded model/],
      [at('text.pt2'), {}, 'ERR_CHECKPOINT_CORRUPT', /text\.pt2: this is no file of PyTorch/],
      [at('changed.pth'), {}, 'ERR_CHECKPOINT_CORRUPT', /changed\.pth/],
      [words, { threads: 0 }, 'ERR_INVALID_ARGUMENT', /threads should be 1 to 1024, but is 0/],
      [words, { threads: 1.5 }, 'ERR_INVALID_ARGUMENT', /threads/],
      [words, { device: 'nowhere' }, 'ERR_INVALID_ARGUMENT', /nowhere/],
    ]
    for (const [path, options, code, message] of cases)
      await assert.rejects(loadForInference(path, options), { code, message }, path)
    await collectGarbage()
    assert.equal(liveTensors(), tensors)
  })
})
