/** Exports for inference, used by others: each of their files in Python, and their own programs in processes of their own, in folders with nothing else in them. */
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import {
  autocast,
  DataLoader,
  loadArchive,
  manualSeed,
  noGrad,
  randn,
  setNumThreads,
  TensorDataset,
} from '../../lib/index.js'
import type { Tensor } from '../../lib/index.js'
import { ModelExporter } from '../../src/export/index.js'
import type { ExportResult } from '../../src/export/index.js'
import { loadForInference } from '../../src/inference/load.js'
import { packageRoot } from '../../src/libtorch/index.js'
import { load } from '../../src/serialization.js'
import { ProgressiveTrainer } from '../../src/training/trainer.js'
import { needPackages, python, runPython } from '../python.js'
import { provingProgram, type Proofs } from './export-inference-programs.js'
import { twins, type Twin } from './export-models.js'

const run = promisify(execFile)

/** A checkpoint after three steps, and what its model gives when it is called. */
interface Trained {
  checkpoint: string
  call: (inputs: Tensor[]) => Tensor[]
}

async function train(name: string, folder: string): Promise<Trained> {
  const { make, inputs, autocast: dtype } = twins[name] as Twin
  manualSeed(11)
  const model = make()
  const examples = inputs(12)
  const forward = (given: Tensor[]): Tensor[] => noGrad(() => [model.eval().call(...given) as Tensor | Tensor[]].flat())
  const target = randn(forward(examples)[0]?.shape ?? [])
  const loss = (output: Tensor, ...rest: Tensor[]): Tensor =>
    output
      .sub(rest.at(-1) as Tensor)
      .square()
      .mean()
  const phases = [{ name: 'all', epochs: 1, lr: 0.05, ...(dtype !== undefined && { autocast: dtype }) }]
  const checkpointDir = join(folder, 'checkpoints', name)
  const options = { checkpointDir, threads: 1, logs: false as const, loss }
  const trainer = new ProgressiveTrainer(model, { hidden: 5 }, { loss: 'custom', phases }, options)
  const loader = (): DataLoader => new DataLoader(new TensorDataset(...examples, target), { batchSize: 4 })
  await trainer.train(loader(), loader())
  return {
    checkpoint: join(checkpointDir, 'latest.pth'),
    call: (given) => (dtype === undefined ? forward(given) : autocast('cpu', dtype, () => forward(given))),
  }
}

const bytesOf = (tensor: Tensor): string => {
  const { buffer, byteOffset, byteLength } = tensor.contiguous().data()
  return `${tensor.dtype} ${tensor.shape.join()} ${Buffer.from(buffer, byteOffset, byteLength).toString('hex')}`
}

/** Rounds what the exports of these names hold. */
const rounded: Readonly<Record<string, { of: string; dtype: 'bfloat16' | 'float16' }>> = {
  mlp_bf16: { of: 'mlp', dtype: 'bfloat16' },
  cnn_fp16: { of: 'cnn', dtype: 'float16' },
  tied_bf16: { of: 'tied', dtype: 'bfloat16' },
}

describe('exports for inference', function () {
  this.timeout(180_000)
  let folder: string
  /** Programs run here, where nothing is. */
  let elsewhere: string
  /** Copies of exports: with another config.json, with another stored output. */
  let changed: string
  let differing: string
  let withArchive: ExportResult
  let proofs: Proofs
  const checkpoints = new Map<string, Trained>()
  const exports = new Map<string, ExportResult>()
  const folderOf = (name: string): string => (exports.get(name) as ExportResult).folder
  const programOf = (name: string): string => (name in twins || name in rounded ? 'inference' : 'load_weights')

  /** A copy of an export elsewhere, in a folder where `npm install` was run. */
  function installed(name: string, place: string): string {
    const target = join(folder, place)
    cpSync(folderOf(name), target, { recursive: true })
    mkdirSync(join(target, 'node_modules'))
    symlinkSync(packageRoot, join(target, 'node_modules', 'torchkeep'))
    return target
  }

  /** What Python calls. */
  function jobs(): { name: string; dtype: string | null }[] {
    return [...Object.keys(twins), ...Object.keys(rounded)].map((name) => {
      const { of, dtype } = rounded[name] ?? { of: name, dtype: null }
      const { python: twin, autocast: under } = twins[of] as Twin
      const { checkpoint } = checkpoints.get(of) as Trained
      return { name, folder: folderOf(name), checkpoint, twin: twin.name, autocast: under !== undefined, dtype }
    })
  }

  before(async function () {
    await needPackages(this, 'safetensors')
    setNumThreads(1)
    folder = mkdtempSync(join(tmpdir(), 'torchkeep-export-'))
    elsewhere = mkdtempSync(join(tmpdir(), 'torchkeep-elsewhere-'))
    const exporter = new ModelExporter({ exportDir: join(folder, 'exports') })
    for (const name of Object.keys(twins)) {
      const made = await train(name, folder)
      checkpoints.set(name, made)
      exports.set(name, await exporter.exportForInference(made.checkpoint, name, { compress: null }))
    }
    for (const [name, { of, dtype }] of Object.entries(rounded)) {
      const { checkpoint } = checkpoints.get(of) as Trained
      exports.set(name, await exporter.exportForInference(checkpoint, name, { compress: null, dtype }))
    }
    const bare = join(folderOf('cnn'), 'model.pth')
    exports.set('weights', await exporter.exportForInference(bare, 'weights', { compress: null }))
    const formats = ['safetensors'] as const
    exports.set('safe', await exporter.exportForInference(bare, 'safe', { compress: null, formats }))
    ;[changed, differing] = [installed('mlp', 'changed'), installed('mlp', 'differing')]
    writeFileSync(join(changed, 'config.json'), '{}\n')
    const { checkpoint } = checkpoints.get('cnn') as Trained
    withArchive = await exporter.exportForInference(checkpoint, 'archive', { formats: ['archive'], compress: null })
    const others = [changed, differing].map((path) => join(path, 'inference.py'))
    const scripts = [...exports.keys()].map((name) => join(folderOf(name), `${programOf(name)}.py`))
    const archive = join(withArchive.folder, 'model_archive.pt')
    const args = [jobs(), elsewhere, differing, [...scripts, ...others], archive]
    const texts = args.map((value) => (typeof value === 'string' ? value : JSON.stringify(value)))
    proofs = JSON.parse(await runPython(provingProgram, texts)) as Proofs
  })
  after(() => {
    for (const made of [folder, elsewhere]) if (made !== undefined) rmSync(made, { recursive: true })
  })

  it('give the outputs of the checkpoint in Node, in bits: its model called, the checkpoint loaded, the export loaded', async () => {
    for (const [name, { call, checkpoint }] of checkpoints) {
      const sample = (await load(join(folderOf(name), 'sample.pth'))) as Map<string, Tensor[]>
      const inputs = sample.get('inputs') as Tensor[]
      const stored = sample.get('outputs')?.map(bytesOf)
      assert.ok(stored !== undefined && stored.length > 0)
      assert.deepEqual(call(inputs).map(bytesOf), stored, `${name}: the model in memory`)
      for (const path of [checkpoint, folderOf(name)]) {
        const model = await loadForInference(path)
        assert.deepEqual((await model.predict(inputs)).map(bytesOf), stored, path)
        model.dispose()
      }
      assert.deepEqual(exports.get(name)?.check?.equal, true)
    }
  })

  it('give them in Python, in bits: checkpoint, .pt2, .pth and .safetensors; rounded weights are those of .to(dtype)', () => {
    const ways = ['pt2', 'pth', 'safetensors', 'weights', 'safetensors weights', 'sharing']
    const all = (names: string[]): object => Object.fromEntries(names.map((name) => [name, true]))
    const expected = jobs().map(({ name, dtype }) => [name, all(dtype === null ? ['checkpoint', ...ways] : ways)])
    assert.deepEqual(proofs.compared, Object.fromEntries(expected))
  })

  it('say how far rounding takes the outputs, whose dtype stays', async () => {
    for (const [name, { of }] of Object.entries(rounded)) {
      const sample = (await load(join(folderOf(name), 'sample.pth'))) as Map<string, Tensor[]>
      const [output] = sample.get('outputs') as [Tensor]
      const [own] = (checkpoints.get(of) as Trained).call(sample.get('inputs') as Tensor[]) as [Tensor]
      const { check } = exports.get(name) as ExportResult
      assert.equal(output.dtype, 'float32')
      const difference = Number(output.to('float64').sub(own.to('float64')).abs().max().item())
      assert.ok(difference > 0 && check?.equal === false && check.maxDifference >= difference, name)
      assert.ok(readFileSync(join(folderOf(name), 'README.md'), 'utf8').includes(String(check.maxDifference)))
    }
  })

  it("hold C++'s archive on top of the usual files where it is asked for, parameters and buffers apart", async () => {
    const { files, folder: made } = withArchive
    const names = files.map(({ name }) => name)
    for (const name of ['model_archive.pt', 'model.pt2', 'model.pth', 'inference.py'])
      assert.ok(names.includes(name), name)
    const loaded = (await loadArchive(join(made, 'model_archive.pt'), { trust: true })) as Map<string, Tensor>
    const weights = (await load(join(made, 'model.pth'))) as Map<string, Tensor>
    for (const [name, tensor] of weights) assert.equal(bytesOf(loaded.get(name) as Tensor), bytesOf(tensor), name)
    const buffers = ['bn.num_batches_tracked', 'bn.running_mean', 'bn.running_var']
    const parameters = [...weights.keys()].filter((name) => !buffers.includes(name)).sort()
    assert.deepEqual(proofs.archive, { parameters, buffers })
  })

  describe('their programs', () => {
    it('inference.py: in a clean process of another folder', async () => {
      const script = join(installed('affinity', 'clean'), 'inference.py')
      const { stdout, stderr } = await run(python as string, [script], { cwd: elsewhere, env: {} })
      assert.equal(stdout, 'output 0: float32 [4, 1], equal to the stored one bit for bit\n')
      assert.equal(stderr, '')
    })

    it('inference.mjs: in a clean process of another folder', async () => {
      const env = { LIBTORCH: process.env['LIBTORCH'] }
      const script = join(installed('two', 'node-two'), 'inference.mjs')
      const { stdout, stderr } = await run(process.execPath, [script], { cwd: elsewhere, env })
      const lines = ['output 0: float32 [4,2]', 'output 1: float32 [4]']
      assert.equal(stdout, lines.map((line) => `${line}, equal to the stored one bit for bit\n`).join(''))
      assert.equal(stderr, '')
    })

    it('load_weights.mjs: without LibTorch', async () => {
      for (const name of ['weights', 'safe']) {
        const script = join(installed(name, `node-${name}`), 'load_weights.mjs')
        const { stdout } = await run(process.execPath, [script], { cwd: elsewhere, env: {} })
        assert.match(stdout, /^conv\.weight float32 \[ 3, 1, 3, 3 \] 27$/m)
      }
    })

    it('in Python: each runs in a process of its own, and requirements.txt names what it imports', () => {
      assert.equal(proofs.ran.length, exports.size + 2)
      for (const { script, status, output, imports, required } of proofs.ran.slice(0, -2)) {
        assert.equal(status, 0, `${script}\n${output}`)
        assert.match(output, /equal to the stored one bit for bit\n$|^conv\.weight float32 \[3, 1, 3, 3\]$/m)
        assert.deepEqual(imports, required, script)
      }
    })

    it('end with 1 where a file was changed, naming it, and where an output differs, with the largest difference', async () => {
      const wanted = [
        /^config\.json is not what was exported: SHA-256 \w{64}, expected \w{64}$/m,
        /^output 0: float32 \[4, 3\], differs from the stored one by up to 0\.5\d*$/m,
      ]
      for (const [index, { status, output }] of proofs.ran.slice(-2).entries()) {
        assert.equal(status, 1, output)
        assert.match(output, wanted[index] as RegExp)
      }
      await assertRefused(changed, /config\.json is not what was exported: SHA-256 \w{64}, expected \w{64}/)
      await assertRefused(differing, /output 0: float32 \[4,3\], differs from the stored one by up to 0\.5\d*/)
    })

    async function assertRefused(path: string, message: RegExp): Promise<void> {
      const failed = run(process.execPath, [join(path, 'inference.mjs')], { cwd: elsewhere })
      await assert.rejects(failed, (error: { code: number; stderr: string }) => {
        assert.equal(error.code, 1)
        assert.match(error.stderr, message)
        return true
      })
    }

    it('take inputs of your own, and print the same in both languages', async () => {
      // Python left two rows in own.pth, and in own.txt what its program printed for them.
      const own = join(elsewhere, 'own.pth')
      const { stdout } = await run(process.execPath, [join(differing, 'inference.mjs'), own], { cwd: elsewhere })
      const printed = readFileSync(join(elsewhere, 'own.txt'), 'utf8')
      assert.match(printed, /^tensor\(\[\[/)
      assert.equal(stdout, printed)
    })
  })
})
