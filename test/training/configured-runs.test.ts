/** Runs of configuration files, inside this process: models, losses and metrics of modules, what a resumed run must agree with, evaluation, prediction. */
import assert from 'node:assert/strict'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import {
  evaluateCheckpoint,
  load,
  nn,
  predictCheckpoint,
  type Tensor,
  tensor,
  type TrainingSummary,
} from '../../src/index.js'
import type { TorchkeepError } from '../../src/format/errors.js'
import { evaluateOn } from '../../src/train-config/evaluate.js'
import { loadExport } from '../../src/train-config/load-module.js'
import { float32Text, predictFile, type PredictOptions } from '../../src/train-config/predict.js'
import { readTrainConfig } from '../../src/train-config/read-config.js'
import { requireRecorded } from '../../src/train-config/recorded-config.js'
import { prepareRun, type RunOptions } from '../../src/train-config/train.js'

const config = `
threads: 1
model: {name: mlp, hidden: [4]}
data:
  format: csv
  file: table.csv
  columns: {a: {role: number, missing: drop}, b: {role: number}, kind: {role: category}}
  target: kind
  split: {by: fraction, val: 0.25}
  batch_size: 8
loss: cross_entropy
metrics: [accuracy]
phases: [{name: one, epochs: 2, lr: 0.01}]
`
const modules: Readonly<Record<string, string>> = {
  'model.ts': `import { nn, type Tensor } from 'torchkeep'
    import { widthOf } from './width.ts'
    export default class Net extends nn.Module {
      fc: nn.Linear
      constructor(options: { bias: boolean }, { data }: { data: { inputs: { shape: number[] }[]; classes: string[] } }) {
        super()
        this.fc = new nn.Linear(widthOf(data), data.classes.length, options)
      }
      override forward(x: Tensor): Tensor { return this.fc.call(x) as Tensor }
    }
    export const made = async (options: object, context: never) => new Net({ bias: true }, context)`,
  'width.ts': 'export const widthOf = (data: { inputs: { shape: number[] }[] }): number => data.inputs[0].shape[0]',
  'model.cjs':
    "const { nn } = require('torchkeep'); exports.Net = class extends nn.Linear { constructor(o, { data }) { super(2, data.classes.length) } }",
  'odd.mjs':
    "export const number = 3; export const nothing = () => undefined; export const throws = () => { throw new Error('no such width') }",
  'broken.ts': 'export const a = (',
  'own.mjs': `import { nn } from 'torchkeep'
    export const doubled = (output, target) => nn.functional.crossEntropy(output, target).mul(2)
    export const rows = (outputs) => outputs.shape[0]`,
}

describe('runs of configuration files', function () {
  this.timeout(60_000)
  let folder: string
  before(() => {
    folder = mkdtempSync(join(tmpdir(), 'torchkeep-configured-'))
    const rows = Array.from(
      { length: 40 },
      (_, row) => `r${row},${row % 7 === 3 ? '' : row % 5},${(row * 3) % 4},${row % 3 === 0 ? 'yes' : 'no, "never"'}`,
    )
    const quoted = rows.map((row) => row.replace('no, "never"', '"no, ""never"""'))
    writeFileSync(join(folder, 'table.csv'), ['id,a,b,kind', ...quoted, ''].join('\n'))
    writeFileSync(join(folder, 'train.yaml'), config)
    for (const [name, text] of Object.entries(modules)) writeFileSync(join(folder, name), text)
  })
  after(() => rmSync(folder, { recursive: true }))

  const file = (...names: string[]): string => join(folder, ...names)
  async function train(
    name: string,
    changes: readonly string[] = [],
    options: Partial<RunOptions> = {},
  ): Promise<TrainingSummary> {
    const read = await readTrainConfig(file('train.yaml'), ['logs=false', ...changes])
    const run = await prepareRun(read, { checkpointDir: file(name), ...options })
    return run.train(new AbortController().signal)
  }
  const refused = (promise: Promise<unknown>, code: string, message: RegExp): Promise<void> =>
    assert.rejects(promise, (error: TorchkeepError) => {
      assert.deepEqual([error.code, message.test(error.message)], [code, true], error.message)
      return true
    })

  it('takes models of TypeScript, ES modules and CommonJS, whose torchkeep is this one', async () => {
    for (const [name, model] of Object.entries({
      class: '{file: model.ts, options: {bias: false}}',
      function: '{file: model.ts, export: made}',
      cjs: '{file: model.cjs, export: Net}',
    })) {
      const summary = await train(name, [`model=${model}`])
      assert.equal(summary.totalEpochs, 2, name)
      const { recorded } = await requireRecorded(file(name, 'latest.pth'))
      const { settings } = await readTrainConfig(file('train.yaml'), [`model=${model}`])
      assert.deepEqual(recorded.model, settings.model)
    }
    assert.equal(
      ((await loadExport(file('model.ts'), {})) as object as { prototype: unknown }).prototype instanceof nn.Module,
      true,
    )
  })

  it('says what is wrong with a module', async () => {
    const model = (spec: string): Promise<unknown> => train('refused', [`model=${spec}`])
    await refused(
      model('{file: model.ts, export: Nett}'),
      'ERR_INVALID_ARGUMENT',
      /model\.ts has no export 'Nett'; it has default, made/,
    )
    await refused(
      model('{file: odd.mjs, export: number}'),
      'ERR_INVALID_ARGUMENT',
      /model number of odd\.mjs should be a class or a function, but is number/,
    )
    await refused(
      model('{file: odd.mjs, export: nothing}'),
      'ERR_INVALID_ARGUMENT',
      /should give a nn\.Module, but gives undefined/,
    )
    await refused(
      model('{file: odd.mjs, export: throws, options: {a: 1}}'),
      'ERR_INVALID_ARGUMENT',
      /cannot be made with the options \{"a":1\}: no such width/,
    )
    await refused(model('{file: broken.ts}'), 'ERR_INVALID_ARGUMENT', /broken\.ts cannot be loaded: .*Unexpected token/)
    await refused(
      train('refused', ['data.columns.a={role: text, alphabet: "0123456789", length: 2, missing: drop}']),
      'ERR_INVALID_ARGUMENT',
      /model mlp takes one input of numbers, but the data give float32 \[1\] and int64 \[2\]/,
    )
    await refused(
      train('refused', ['loss={file: odd.mjs, export: number}']),
      'ERR_INVALID_ARGUMENT',
      /loss number of odd\.mjs should be a function, but is number/,
    )
  })

  it('trains with a loss and a metric of a module, and evaluates with them where the configuration is at hand', async () => {
    const changes = ['loss={file: own.mjs, export: doubled}', 'metrics=[accuracy, {file: own.mjs, export: rows}]']
    const summary = await train('own', changes)
    const last = summary.metricsHistory.at(-1)
    assert.equal(last?.valMetrics['rows'], 8)
    const checkpoint = file('own', 'latest.pth')
    const { recorded, trainingConfig } = await requireRecorded(checkpoint)
    const options = { checkpoint, recorded, trainedMetrics: trainingConfig.metrics ?? [], threads: 1 }
    writeFileSync(
      file('own.yaml'),
      `${config.replace('loss: cross_entropy', 'loss: {file: own.mjs, export: doubled}').replace('[accuracy]', '[accuracy, {file: own.mjs, export: rows}]')}`,
    )
    const whole = await evaluateOn(file('own.yaml'), { ...options, split: 'val' })
    assert.deepEqual([whole.loss, whole.metrics, whole.withoutMetrics], [last?.valLoss, last?.valMetrics, []])
    const alone = await evaluateOn(file('table.csv'), { ...options, split: 'val' })
    assert.deepEqual(
      [alone.loss, alone.metrics, alone.withoutMetrics],
      [null, { accuracy: last?.valMetrics['accuracy'] }, ['rows']],
    )
  })

  it('refuses to go on with another configuration, by the names of the file, until it is accepted', async () => {
    await train('resumed')
    const resume = file('resumed', 'latest.pth')
    const changes = [
      'data.batch_size=4',
      'data.columns.b.normalize=mean_std',
      'seed=5',
      'phases[0].epochs=3',
      'clip_grad_norm=1',
      'scheduler={name: CosineAnnealingLR, T_max: 4}',
    ]
    await refused(
      train('resumed', changes, { resume }),
      'ERR_CHECKPOINT_INCOMPATIBLE',
      /these differ: data\.columns\.b\.normalize, data\.batch_size, seed, phases\[0\]\.epochs, scheduler, clip_grad_norm$/,
    )
    await refused(
      train('resumed', ['model.hidden=[5]'], { resume }),
      'ERR_CHECKPOINT_INCOMPATIBLE',
      /these differ: model\.hidden\[0\]$/,
    )
    const accept = ['data.batch_size', 'phases', 'clip_grad_norm']
    const summary = await train('resumed', ['data.batch_size=4', 'phases[0].epochs=3', 'clip_grad_norm=1'], {
      resume,
      accept,
    })
    assert.equal(summary.totalEpochs, 3)
  })

  it('evaluates by a checkpoint alone what the run found, in bits', async () => {
    const { best, metricsHistory } = await train('bits')
    const path = file('bits', 'best', 'latest_best.pth')
    const { recorded } = await requireRecorded(path)
    const found = await evaluateOn(file('table.csv'), {
      checkpoint: path,
      recorded,
      trainedMetrics: ['accuracy'],
      split: 'val',
      threads: 1,
    })
    assert.deepEqual([found.loss, found.samples], [best?.score, 8])
    assert.deepEqual(found.metrics, metricsHistory[(best?.epoch ?? 0) - 1]?.valMetrics)
    const all = await evaluateOn(file('table.csv'), {
      checkpoint: path,
      recorded,
      trainedMetrics: [],
      threads: 1,
      metrics: ['macro_f1'],
    })
    assert.deepEqual([all.split, all.samples, Object.keys(all.metrics)], ['all', 34, ['macro_f1']])
    await refused(
      evaluateOn(file('table.csv'), { checkpoint: path, recorded, trainedMetrics: [], split: 'test' }),
      'ERR_INVALID_ARGUMENT',
      /has no split 'test'; there are train, val/,
    )
    await refused(
      evaluateOn(file('table.csv'), { checkpoint: path, recorded, trainedMetrics: [], metrics: ['acuracy'] }),
      'ERR_INVALID_ARGUMENT',
      /there is no metric 'acuracy'/,
    )
  })

  it('names what does not fit the model, and an interruption', async () => {
    const { bestCheckpointPath: path } = await train('fits')
    const wrong = [[tensor([[1, 2, 3]]), tensor([0], { dtype: 'int64' })]] as const
    await refused(
      evaluateCheckpoint(path as string, {
        *[Symbol.iterator]() {
          yield* wrong
        },
      }),
      'ERR_DATA',
      /takes float32 \[rows, 2\], but the data give float32 \[rows, 3\]/,
    )
    const signal = AbortSignal.abort()
    await refused(
      predictCheckpoint(path as string, [[tensor([[1, 2]])]], { signal }).next(),
      'ERR_ABORTED',
      /interrupted/,
    )
    await refused(evaluateCheckpoint(file('table.csv'), []), 'ERR_CHECKPOINT_CORRUPT', /is no file of PyTorch/)
    const outputs: Tensor[][] = []
    for await (const output of predictCheckpoint(path as string, [
      [tensor([[1, 2]])],
      [
        tensor([
          [1, 2],
          [3, 4],
          [5, 6],
        ]),
      ],
    ]))
      outputs.push(output)
    assert.deepEqual(
      outputs.map(([output]) => output?.shape),
      [
        [1, 2],
        [3, 2],
      ],
    )
  })

  it('predicts every row in order, with what the model does not use, and never over a file', async () => {
    await train('predicts')
    const checkpoint = file('predicts', 'latest.pth')
    const { recorded } = await requireRecorded(checkpoint)
    const output = file('out', 'predictions.csv')
    mkdirSync(file('out'))
    const options: PredictOptions = {
      checkpoint,
      recorded,
      loss: 'cross_entropy',
      data: file('table.csv'),
      output,
      force: false,
      raw: false,
      batchSize: 8,
      threads: 1,
    }
    const result = await predictFile(options)
    assert.deepEqual([result.rows, result.withoutPrediction], [40, 6])
    assert.deepEqual(result.columns, ['id', 'kind', 'predicted_kind', 'probability_no, "never"', 'probability_yes'])
    const lines = readFileSync(output, 'utf8').split('\r\n')
    assert.equal(lines[0], 'id,kind,predicted_kind,"probability_no, ""never""",probability_yes')
    assert.equal(lines[4], 'r3,yes,,,')
    assert.match(lines[2] as string, /^r1,"no, ""never""",("no, ""never"""|yes),0\.\d+,0\.\d+$/)
    await refused(predictFile(options), 'ERR_INVALID_ARGUMENT', /predictions\.csv is there already/)
    await refused(
      predictFile({ ...options, force: true, keep: ['idd'] }),
      'ERR_INVALID_ARGUMENT',
      /has no column 'idd' to keep; it has id, a, b, kind/,
    )
    assert.deepEqual(readFileSync(output, 'utf8').split('\r\n'), lines, 'a failure left another file')
    const raw = await predictFile({ ...options, force: true, keep: ['b', 'id'], raw: true })
    assert.deepEqual(raw.columns, ['b', 'id', 'output_0', 'output_1'])
    // A table without the target, or with one that no training row had.
    writeFileSync(file('new.csv'), 'id,a,b,kind\nx,1,2,\ny,1,2,other\n')
    assert.equal(
      (await predictFile({ ...options, data: file('new.csv'), output: file('new-out.csv') })).withoutPrediction,
      0,
    )
  })

  it('keeps the vocabulary of the first rows when the table has grown', async () => {
    await train('grown')
    const whole = readFileSync(file('table.csv'), 'utf8')
    const fitted = async (): Promise<unknown> =>
      (await requireRecorded(file('grown', 'latest.pth'))).recorded.data.fitted
    const before = await fitted()
    try {
      writeFileSync(file('table.csv'), `${whole}r40,1000,1000,yes\n`)
      await train('grown', ['phases[0].epochs=3'], { resume: file('grown', 'latest.pth'), accept: ['phases'] })
      assert.deepEqual(await fitted(), before)
    } finally {
      writeFileSync(file('table.csv'), whole)
    }
  })

  it('has the same weights for the same seed, others for another', async () => {
    const trained = async (name: string, seed: string): Promise<Map<string, Map<string, Tensor>>> => {
      await train(name, [seed])
      return (await load(file(name, 'latest.pth'))) as Map<string, Map<string, Tensor>>
    }
    const first = await trained('first', 'seed=1')
    const second = await trained('second', 'seed=1')
    const other = await trained('other', 'seed=2')
    const weights = (checkpoint: Map<string, Map<string, Tensor>> | undefined): unknown =>
      checkpoint?.get('model_state_dict')?.get('0.weight')?.tolist()
    assert.deepEqual(weights(first), weights(second))
    assert.notDeepEqual(weights(first), weights(other))
  })

  it('writes the shortest decimals that are read back as the same float32', () => {
    for (const value of [0, -0, 1, 0.1, 1 / 3, 16777216, 1e-45, 3.4028234663852886e38, -2.5e-8, NaN, Infinity].map(
      Math.fround,
    )) {
      const text = float32Text(value)
      assert.ok(Object.is(Math.fround(Number(text)), value === 0 ? Math.fround(Number(text)) : value), text)
      assert.ok(text.length <= 16, text)
    }
    assert.equal(float32Text(Math.fround(0.1)), '0.1')
  })
})
