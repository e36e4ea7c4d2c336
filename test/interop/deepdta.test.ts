/** Proof of examples/dta: DeepDTA as `torchkeep train` runs it has the losses and weights of plain PyTorch, and learns. `npm run proof:dta` shows the rest. */
import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import type { Tensor } from '../../lib/index.js'
import { load } from '../../src/serialization.js'
import type { DataSpec } from '../../src/data/spec.js'
import { readTrainConfig, type TrainConfig } from '../../src/train-config/read-config.js'
import { prepareRun } from '../../src/train-config/train.js'
import type { TrainingSummary } from '../../src/training/trainer.js'
import { needPython, python, runPython } from '../python.js'

const example = 'examples/dta/deepdta.yaml'
/** Real data, which must not be in the repository; see examples/dta/README.md. */
const davisSample = process.env['TORCHKEEP_DAVIS_SAMPLE'] ?? resolve('../shared/data/davis-sample')

/** What a run changes of the example. */
interface Variant {
  /** Where affinities.csv, drugs.csv, proteins.csv and folds.json lie. */
  data: string
  lengths: readonly [smiles: number, protein: number]
  batchSize: number
  /** Length of the one phase: `steps=10`, `epochs=5`. */
  until: { steps: number } | { epochs: number }
}

describe('examples/dta', function () {
  let folder: string
  /** Small texts that are always there; the real ones at their full length. */
  let variants: Record<'synthetic' | 'davis', Variant>
  /** What Python has for those of them that are there. */
  let expected: Partial<Record<string, { losses: number[]; state: Record<string, string> }>>
  before(async () => {
    folder = mkdtempSync(join(tmpdir(), 'torchkeep-dta-'))
    writeSynthetic(folder)
    variants = {
      // An epoch has 10 steps: the last ones come after a validation.
      synthetic: { data: folder, lengths: [24, 40], batchSize: 16, until: { steps: 13 } },
      davis: { data: davisSample, lengths: [85, 1200], batchSize: 4, until: { steps: 10 } },
    }
    expected =
      python === undefined ? {} : await reference(Object.entries(variants).filter(([, { data }]) => existsSync(data)))
  })
  after(() => rmSync(folder, { recursive: true }))

  it('has the first losses and the weights of plain PyTorch', async function () {
    needPython(this)
    assert.deepEqual(await firstSteps(folder, variants.synthetic), expected['synthetic'])
  })

  it('has them on real data', async function () {
    needPython(this)
    if (expected['davis'] === undefined) {
      console.log(
        `      skipped: there is no ${davisSample} (or where TORCHKEEP_DAVIS_SAMPLE points); see examples/dta/README.md`,
      )
      this.skip()
    }
    assert.deepEqual(await firstSteps(folder, variants.davis), expected['davis'])
  })

  it('refuses options that it does not have', async () => {
    const prepared = async (more: object): Promise<unknown> =>
      prepareRun(await configure(variants.synthetic, more), { checkpointDir: join(folder, 'checkpoints') })
    const invalid = (message: RegExp) => ({ name: 'TorchkeepError', code: 'ERR_INVALID_ARGUMENT', message })
    const misspelt = { 'model.options': '{"smilesFilter": 4}' }
    await assert.rejects(prepared(misspelt), invalid(/unknown option 'smilesFilter', expected smilesFilterLength/))
    const other = { 'model.options': '{"initialisation": "glorot"}' }
    await assert.rejects(prepared(other), invalid(/initialisation is 'glorot', expected keras or torch/))
  })

  it('learns from letters', async () => {
    const rarelySaved = { 'checkpoint.every_epochs': null, 'checkpoint.save_best': false }
    const { summary } = await train(folder, { ...variants.synthetic, until: { epochs: 8 } }, rarelySaved)
    const values = rowsOf(folder, 0).map((row) => affinities[row] as number)
    const mean = values.reduce((sum, value) => sum + value) / values.length
    const variance = values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / values.length
    assert.ok(summary.bestValLoss < 0.75 * variance, `validation MSE ${summary.bestValLoss}, of the mean ${variance}`)
  })
})

/** Losses and digests of weights of the same runs in plain PyTorch. */
async function reference(variants: readonly (readonly [string, Variant])[]): Promise<Record<string, never>> {
  const jobs = variants.map(async ([, variant]) => {
    const { smiles, sequence } = alphabets((await configure(variant)).settings.data)
    const [first, second] = variant.lengths
    return {
      folder: variant.data,
      smiles: { alphabet: smiles, length: first },
      protein: { alphabet: sequence, length: second },
      fold: 0,
      batch_size: variant.batchSize,
      steps: 'steps' in variant.until ? variant.until.steps : 0,
      seed: 0,
    }
  })
  const program = readFileSync('bench/dta_reference.py', 'utf8')
  const results = JSON.parse(await runPython(program, [JSON.stringify(await Promise.all(jobs))])) as never[]
  return Object.fromEntries(variants.map(([name], i) => [name, results[i] as never]))
}

/** The same of ours. */
async function firstSteps(
  folder: string,
  variant: Variant,
): Promise<{ losses: number[]; state: Record<string, string> }> {
  const { losses } = await train(folder, variant)
  const checkpoint = (await load(join(folder, 'checkpoints', 'latest.pth'))) as Map<string, Map<string, Tensor>>
  const state = checkpoint.get('model_state_dict') as Map<string, Tensor>
  return { losses, state: Object.fromEntries([...state].map(([name, tensor]) => [name, sha256(tensor)])) }
}

function sha256(tensor: Tensor): string {
  const { buffer, byteOffset, byteLength } = tensor.data()
  return createHash('sha256')
    .update(new Uint8Array(buffer, byteOffset, byteLength))
    .digest('hex')
}

/** The alphabets of the example. */
function alphabets(data: DataSpec): { smiles: string; sequence: string } {
  assert.equal(data.format, 'csv')
  const columns = Object.assign(
    {},
    ...(data.format === 'csv' ? (data.lookups ?? []) : []).map((one) => one.columns),
  ) as Record<string, { alphabet: string }>
  return { smiles: columns['smiles']?.alphabet as string, sequence: columns['sequence']?.alphabet as string }
}

/** The example with the changes of a variant, as `--set` makes them. */
function configure({ data, lengths, batchSize, until }: Variant, more: object = {}): Promise<TrainConfig> {
  const set = {
    'data.file': join(data, 'affinities.csv'),
    'data.lookups[0].file': join(data, 'drugs.csv'),
    'data.lookups[1].file': join(data, 'proteins.csv'),
    'data.split.file': join(data, 'folds.json'),
    'data.lookups[0].columns.smiles.length': lengths[0],
    'data.lookups[1].columns.sequence.length': lengths[1],
    'data.batch_size': batchSize,
    phases: JSON.stringify([{ name: 'all', lr: 1e-3, ...until }]),
    ...more,
  }
  const changes = Object.entries(set).map(([key, value]) => `${key}=${value}`)
  return readTrainConfig(example, changes)
}

/** What `torchkeep train --threads 1` runs. */
async function train(
  folder: string,
  variant: Variant,
  more: object = {},
): Promise<{ losses: number[]; summary: TrainingSummary }> {
  const checkpointDir = join(folder, 'checkpoints')
  rmSync(checkpointDir, { recursive: true, force: true })
  const run = await prepareRun(await configure(variant, more), { checkpointDir, threads: 1 })
  const losses: number[] = []
  run.trainer.on('step', (event) => losses.push(...event.losses))
  return { losses, summary: await run.train(new AbortController().signal) }
}

/** Pairs whose affinity is to be read from the letters: how many N the molecule has, and whether the protein has a pattern. */
const affinities: number[] = []

function writeSynthetic(folder: string): void {
  const random = randomNumbers(3)
  const text = (letters: string, length: number): string =>
    Array.from({ length }, () => letters[Math.floor(random() * letters.length)]).join('')
  const drugs = Array.from({ length: 12 }, (_, i) => text('CO()=1', 10 + i) + 'N'.repeat(i % 4))
  const proteins = Array.from({ length: 20 }, (_, i) => text('ACDEFGHIKL', 25) + (i % 2 === 0 ? 'WWYWW' : ''))
  const pairs = drugs.flatMap((_, d) => proteins.map((__, p) => [d, p] as const))
  affinities.length = 0
  affinities.push(...pairs.map(([d, p]) => 5 + (d % 4) * 0.5 + (p % 2 === 0 ? 1 : 0)))
  const rows = pairs.map((_, row) => row).sort((a, b) => ((a * 97) % 241) - ((b * 97) % 241))
  const folds = Array.from({ length: 5 }, (_, fold) => rows.slice(40).filter((row) => row % 5 === fold))
  const table = (name: string, header: string, lines: readonly string[]): void =>
    writeFileSync(join(folder, `${name}.csv`), [header, ...lines, ''].join('\n'))
  table(
    'drugs',
    'id,smiles',
    drugs.map((smiles, i) => `d${i},${smiles}`),
  )
  table(
    'proteins',
    'id,sequence',
    proteins.map((sequence, i) => `p${i},${sequence}`),
  )
  table(
    'affinities',
    'drug_index,protein_index,affinity',
    pairs.map(([d, p], row) => `${d},${p},${affinities[row]}`),
  )
  writeFileSync(join(folder, 'folds.json'), JSON.stringify({ train_folds: folds, test: rows.slice(0, 40) }))
}

function rowsOf(folder: string, fold: number): number[] {
  const { train_folds: folds } = JSON.parse(readFileSync(join(folder, 'folds.json'), 'utf8')) as {
    train_folds: number[][]
  }
  return folds[fold] as number[]
}

/** Numbers in [0, 1), the same every time. */
function randomNumbers(seed: number): () => number {
  let state = seed
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    return state / 2 ** 32
  }
}
