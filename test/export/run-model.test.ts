/** Samples, the models of Torchkeep's own checkpoints and of modules, and the comparison of an exported file with them. */
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import {
  autocast,
  cat,
  DataLoader,
  exportedProgram,
  manualSeed,
  nn,
  noGrad,
  randint,
  randn,
  tensor,
  type Tensor,
  TensorDataset,
  trace,
  zeros,
} from '../../lib/index.js'
import { latestPath } from '../../src/checkpoint/layout.js'
import { stateSpecs } from '../../src/export/graph-tensors.js'
import { liveTensors, recordOf } from '../../src/export/live-tensors-with-libtorch.js'
import { openExportSource } from '../../src/export/model-source.js'
import { checkExport, makeSample } from '../../src/export/run-model-with-libtorch.js'
import type { ExportableModel } from '../../src/export/types.js'
import { planPt2 } from '../../src/format/pt2-write.js'
import { writePlan } from '../../src/format/write-plan.js'
import { load, save } from '../../src/serialization.js'
import { ProgressiveTrainer } from '../../src/training/trainer.js'

/** Needs a tensor made in forward() and a buffer that no state dict holds. */
class Masked extends nn.Module {
  readonly linear = new nn.Linear(4, 4)
  readonly inner = new nn.Linear(4, 1)

  constructor() {
    super()
    this.registerBuffer('mask', tensor([1, 1, 0.5, 1]), { persistent: false })
  }

  override forward(x: Tensor): Tensor {
    const hidden = (this.linear.call(x) as Tensor).mul(this.buffer('mask') as Tensor)
    return (this.inner.call(hidden.add(tensor([0, 0, 0.25, 1]))) as Tensor).sigmoid()
  }
}

describe('models that are to be exported', function () {
  this.timeout(60_000)
  let folder: string
  before(() => (folder = mkdtempSync(join(tmpdir(), 'torchkeep-run-model-'))))
  after(() => rmSync(folder, { recursive: true }))

  /** Trains a little; gives the model and its checkpoint. */
  async function trained(
    name: string,
    options: { autocast?: 'bfloat16' } = {},
  ): Promise<{ model: Masked; path: string }> {
    manualSeed(1)
    const model = new Masked()
    const data = new DataLoader(new TensorDataset(randn([9, 4]), randn([9, 1])), { batchSize: 3 })
    const phases = [{ name: 'all', epochs: 1, lr: 0.1, ...options }]
    const trainer = new ProgressiveTrainer(
      model,
      {},
      { loss: 'mse', phases },
      { checkpointDir: join(folder, name), threads: 1, logs: false },
    )
    await trainer.train(data, null)
    return { model: model.eval(), path: latestPath(join(folder, name)) }
  }

  /** Writes a model as a `.pt2`, as an export does. */
  async function written(
    name: string,
    { program, state, constants, autocast: dtype }: ExportableModel,
  ): Promise<string> {
    const path = join(folder, name)
    const persistent = new Set(stateSpecs(program).flatMap((spec) => (spec.persistent ? [spec.name] : [])))
    const others = [...state].filter((entry) => !persistent.has(entry[0]))
    const plan = planPt2({
      topFolder: 'model',
      models: { model: program },
      weights: new Map([...state].filter((entry) => persistent.has(entry[0]))),
      constants: new Map([...others, ...constants]),
      extra: { 'torchkeep.json': JSON.stringify({ autocast: dtype }) },
    })
    await writePlan(path, plan)
    return path
  }

  const bytesOf = (value: Tensor): Buffer => Buffer.from(recordOf(value).storage.source)

  describe('of a checkpoint', () => {
    it('give the outputs of the model in bits, from the exported file too, for other batches as well', async () => {
      const { model, path } = await trained('plain')
      const source = (await openExportSource(path)).model ?? assert.fail()
      assert.deepEqual(
        [source.origin, source.autocast, [...source.constants.keys()]],
        ['checkpoint', null, ['lifted_tensor_0']],
      )
      assert.ok(source.state.has('mask'))
      const inputs = await makeSample(source)
      const exportedPath = await written('plain.pt2', source)
      const { outputs, exportedOutputs, check } = await checkExport({ model: source, inputs, exportedPath })
      const x = (await liveTensors(new Map([['x', inputs[0] ?? assert.fail()]]))).get('x') as Tensor
      const expected = bytesOf(noGrad(() => model.call(x) as Tensor))
      assert.deepEqual(Buffer.from(outputs[0]?.storage.source ?? []), expected)
      assert.deepEqual(Buffer.from(exportedOutputs[0]?.storage.source ?? []), expected)
      const { libtorchVersion, ...figures } = check
      assert.match(libtorchVersion, /^2\.\d+/)
      assert.deepEqual(figures, { equal: true, maxDifference: 0, samples: 4, batchSizes: [4, 1, 3], threads: 1 })
    })

    it('run under autocast where they were trained under it', async () => {
      const { model, path } = await trained('cast', { autocast: 'bfloat16' })
      const source = (await openExportSource(path)).model ?? assert.fail()
      assert.equal(source.autocast, 'bfloat16')
      const inputs = await makeSample(source)
      const exportedPath = await written('cast.pt2', source)
      assert.equal((await openExportSource(exportedPath)).model?.autocast, 'bfloat16')
      const { outputs, check } = await checkExport({ model: source, inputs, exportedPath })
      const x = (await liveTensors(new Map([['x', inputs[0] ?? assert.fail()]]))).get('x') as Tensor
      const expected = noGrad(() => autocast('cpu', 'bfloat16', () => model.call(x) as Tensor))
      assert.equal(outputs[0]?.dtype, 'bfloat16')
      assert.deepEqual(Buffer.from(outputs[0]?.storage.source ?? []), bytesOf(expected))
      assert.equal(check.equal, true)
    })

    it('are not those of another file, and by how much is measured', async () => {
      const { path } = await trained('other')
      const source = (await openExportSource(path)).model ?? assert.fail()
      const changed = { ...source, state: new Map([...source.state, ['inner.bias', recordOf(tensor([1]))]]) }
      const exportedPath = await written('other.pt2', changed)
      const { check } = await checkExport({ model: source, inputs: await makeSample(source), exportedPath })
      assert.equal(check.equal, false)
      assert.ok(check.maxDifference > 0 && check.maxDifference < 1, String(check.maxDifference))
    })

    it('are none where the file lacks what the graph needs', async () => {
      const { path } = await trained('lacking')
      const value = (await load(path)) as Map<string, Map<string, unknown>>
      value.get('model_graph')?.delete('constants')
      await save(join(folder, 'lacking.pth'), value)
      const { model, gaps } = await openExportSource(join(folder, 'lacking.pth'))
      assert.equal(model, null)
      assert.deepEqual(gaps, ["Its recorded model needs the buffer 'mask', which the file does not hold."])
    })

    it('are refused where its tensors are others than its graph says', async () => {
      const { path } = await trained('lying')
      const value = (await load(path)) as Map<string, Map<string, unknown>>
      value.get('model_state_dict')?.set('inner.bias', zeros([2]))
      await save(join(folder, 'lying.pth'), value)
      await assert.rejects(openExportSource(join(folder, 'lying.pth')), {
        code: 'ERR_CHECKPOINT_INCOMPATIBLE',
        message: /lying\.pth: parameter inner\.bias is float32 \[2\], but its recorded model takes float32 \[1\]/,
      })
    })
  })

  describe('of a module', () => {
    const head = "import { nn, randn } from 'torchkeep'\n"
    const linear =
      'export class Net extends nn.Module { f = new nn.Linear(3, 2); forward(x) { return this.f.call(x) } }\n'

    /** Opens a checkpoint of one linear layer with a module of this text. */
    async function open(text: string, options: { modelExport?: string; sample?: string } = {}) {
      const [checkpoint, model] = [join(folder, 'linear.pth'), join(folder, `net-${Math.abs(hash(text))}.mjs`)]
      await save(checkpoint, new Map([['f.weight', randn([2, 3])], ['f.bias', randn([2])]])) // prettier-ignore
      writeFileSync(model, head + text)
      return openExportSource(checkpoint, { model, ...options })
    }
    const hash = (text: string): number => [...text].reduce((sum, letter) => (sum * 31 + letter.charCodeAt(0)) | 0, 7)

    it('are recorded with the inputs that it exports', async () => {
      for (const exported of [
        'randn([2, 3])',
        '[randn([2, 3])]',
        '() => [randn([2, 3])]',
        'async () => randn([2, 3])',
      ]) {
        const source = await open(`${linear}export const exampleInputs = ${exported}`, { modelExport: 'Net' })
        assert.deepEqual(
          source.sample?.map(({ sizes }) => sizes),
          [[2, 3]],
          exported,
        )
        assert.equal(source.model?.origin, 'module')
      }
    })

    it('need a sample', async () => {
      await assert.rejects(open(linear, { modelExport: 'Net' }), {
        code: 'ERR_INVALID_ARGUMENT',
        message: /\.mjs exports no exampleInputs, and a model is recorded with an example of its inputs/,
      })
      await save(join(folder, 'sample.pth'), [randn([5, 3])])
      const { sample } = await open(linear, { modelExport: 'Net', sample: join(folder, 'sample.pth') })
      assert.deepEqual(
        sample?.map(({ sizes }) => sizes),
        [[5, 3]],
      )
    })

    it('are refused by name where there is no such export', async () => {
      await assert.rejects(open(`${linear}export const exampleInputs = randn([2, 3])`, { modelExport: 'Nett' }), {
        code: 'ERR_INVALID_ARGUMENT',
        message: /has no export 'Nett'; it has Net, exampleInputs/,
      })
    })

    it('are refused where they drop values in evaluation too', async () => {
      const text = `export default class extends nn.Module {
        f = new nn.Linear(3, 2); forward(x) { return nn.functional.dropout(this.f.call(x), { p: 0.5, training: true }) }
      }
      export const exampleInputs = randn([4, 3])`
      await assert.rejects(open(text), {
        code: 'ERR_INVALID_ARGUMENT',
        message:
          /cannot be exported: it was recorded in training mode: node dropout \(torch\.ops\.aten\.dropout\.default\): it drops values at random/,
      })
    })

    it('are refused by the comparison where they draw random numbers', async () => {
      const text = `import { bernoulli } from 'torchkeep'
      export default class extends nn.Module { f = new nn.Linear(3, 2); forward(x) { return bernoulli(this.f.call(x).sigmoid()) } }
      export const exampleInputs = randn([40, 3])`
      const { model, sample } = await open(text)
      const source = model ?? assert.fail()
      const exportedPath = await written('random.pt2', source)
      await assert.rejects(checkExport({ model: source, inputs: sample ?? [], exportedPath }), {
        code: 'ERR_CHECKPOINT_INCOMPATIBLE',
        message: /other outputs when it is run again on the same inputs/,
      })
    })

    it('may change their inputs in place', async () => {
      const text = `export default class extends nn.Module { f = new nn.Linear(3, 2); forward(x) { return this.f.call(x.add_(1)) } }
      export const exampleInputs = nn.functional.relu(randn([4, 3])).mul(0)`
      const { model, sample } = await open(text)
      const source = model ?? assert.fail()
      assert.deepEqual([...(sample?.[0]?.storage.source ?? [])], Array(48).fill(0))
      const exportedPath = await written('in-place.pt2', source)
      const { check, outputs } = await checkExport({ model: source, inputs: sample ?? [], exportedPath })
      assert.equal(check.equal, true)
      const [weight, bias] = [...(await liveTensors(source.state)).values()] as [Tensor, Tensor]
      const expected = nn.functional.linear(tensor([[1, 1, 1]]), weight, bias)
      assert.deepEqual(Buffer.from(outputs[0]?.storage.source ?? []).subarray(0, 8), bytesOf(expected))
    })

    it('leave the random state as it was', async () => {
      manualSeed(5)
      const expected = randn([1]).item()
      manualSeed(5)
      await save(join(folder, 'sample.pth'), [zeros([5, 3])])
      const [checkpoint, model] = [join(folder, 'linear.pth'), join(folder, 'seeded.mjs')]
      writeFileSync(model, head + linear)
      await openExportSource(checkpoint, { model, modelExport: 'Net', sample: join(folder, 'sample.pth') })
      assert.equal(randn([1]).item(), expected)
    })
  })

  describe('samples', () => {
    /** Looks up its first input in two tables, through another shape and dtype, and counts with a second integer and a mask. */
    class Lookup extends nn.Module {
      readonly large = new nn.Embedding(50, 2)
      readonly small = new nn.Embedding(5, 2)
      override forward(tokens: Tensor, count: Tensor, mask: Tensor, x: Tensor): Tensor {
        const flat = tokens.reshape(-1, 3).long()
        const [a, b] = [this.large.call(flat) as Tensor, this.small.call(flat) as Tensor]
        const own = cat([a, b], 2).sum([1, 2]).add(count.sum(1))
        return x.sum(1).mul(mask.float().sum(1)).add(own)
      }
    }
    const example = (): Tensor[] => [
      randint(0, 5, [4, 1, 3], { dtype: 'int32' }),
      zeros([4, 2], { dtype: 'int64' }),
      zeros([4, 2], { dtype: 'bool' }),
      randn([4, 2], { dtype: 'float64' }),
    ]
    const program = () => ({ program: exportedProgram(trace(new Lookup().eval(), example()), '2.13.0') })

    it('are drawn from the smallest table, zeros, alternating and normal numbers, always the same', async () => {
      const model = program()
      const sample = await makeSample(model)
      assert.deepEqual(sample.map(({ dtype, sizes }) => `${dtype} ${sizes.join()}`), ['int32 4,1,3', 'int64 4,2', 'bool 4,2', 'float64 4,2']) // prettier-ignore
      const [tokens, count, mask, x] = [
        ...(await liveTensors(new Map(sample.map((item, i) => [`${i}`, item])))).values(),
      ]
      const values = [...(tokens?.data() as Int32Array)]
      assert.ok(values.every((value) => value >= 0 && value < 5) && new Set(values).size > 2, values.join())
      assert.deepEqual([...(count?.data() as BigInt64Array)], Array(8).fill(0n))
      assert.deepEqual([...(mask?.data() as Uint8Array)], [1, 0, 1, 0, 1, 0, 1, 0])
      assert.ok(new Set(x?.data() as Float64Array).size === 8)
      const again = await makeSample(model)
      assert.deepEqual(again.map(({ storage }) => storage.source), sample.map(({ storage }) => storage.source)) // prettier-ignore
      assert.deepEqual((await makeSample(model, 2)).map(({ sizes }) => sizes[0]), [2, 2, 2, 2]) // prettier-ignore
    })

    it('are taken out of a file by name, by number or in its order', async () => {
      const model = program()
      const inputs = example()
      const expected = inputs.map((input) => bytesOf(input).toString('hex'))
      const reversed = (name: (index: number) => string): Map<string, Tensor> =>
        new Map(inputs.map((input, index) => [name(index), input] as const).reverse())
      const files: Record<string, unknown> = {
        named: reversed((index) => `args_${index}`),
        numbered: reversed((index) => `x${index}`),
        listed: inputs,
        ordered: new Map(inputs.map((input, index) => ['abcd'[index] as string, input])),
        exported: { inputs, outputs: [randn([4])] },
      }
      for (const [name, value] of Object.entries(files)) {
        const path = join(folder, `${name}.pth`)
        await save(path, value)
        const found = (await makeSample(model, 4, path)).map(({ storage }) =>
          Buffer.from(storage.source).toString('hex'),
        )
        assert.deepEqual(found, expected, name)
      }
    })

    it('are refused by input where they do not fit', async () => {
      const refused = async (value: unknown, message: RegExp): Promise<void> => {
        const path = join(folder, 'unfit.pth')
        await save(path, value)
        await assert.rejects(makeSample(program(), 4, path), { code: 'ERR_INVALID_ARGUMENT', message })
      }
      const [tokens, count, mask, x] = example() as [Tensor, Tensor, Tensor, Tensor]
      await refused([tokens, count], /holds 2 tensors \(0, 1\), but the model takes args_0, args_1, args_2, args_3/)
      await refused(
        [tokens, count, mask, x.float()],
        /has float32 \[4, 2\] for the input 'args_3', expected float64 \[4, 2\]/,
      )
      await refused(
        [tokens, zeros([3, 2], { dtype: 'int64' }), mask, x],
        /has int64 \[3, 2\] for the input 'args_1', expected int64 \[4, 2\]/,
      )
      await refused({ epoch: 3 }, /holds no tensors/)
    })
  })
})
