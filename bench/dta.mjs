// `npm run proof:dta -- FOLDER [--batch N] [--epochs N] [--threads N]`: DeepDTA (examples/dta) as `torchkeep train` runs it, on the data in FOLDER (its README.md says which files).
// 1. The first 10 losses, on one thread in batches of 256, have the bits of plain PyTorch.
// 2. After five epochs the validation error is below that of predicting the mean of the training rows.
import { execFileSync, spawn } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { createInterface } from 'node:readline'
import { parseArgs } from 'node:util'
import { parse } from 'yaml'

const { positionals, values } = parseArgs({
  allowPositionals: true,
  options: {
    /** Of the second part. */
    batch: { type: 'string', default: '64' },
    epochs: { type: 'string', default: '5' },
    threads: { type: 'string', default: '1' },
  },
})
if (positionals.length !== 1) throw new Error('expected the folder of the data: npm run proof:dta -- FOLDER')
const python = process.env.TORCHKEEP_TEST_PYTHON
if (python === undefined) throw new Error('TORCHKEEP_TEST_PYTHON is not set: start this through `npm run proof:dta`')
const data = resolve(positionals[0])
const root = resolve(import.meta.dirname, '..')
const config = join(root, 'examples', 'dta', 'deepdta.yaml')

/** Runs the example; gives what it tells, line by line. */
async function* train(folder, { batchSize, phase, threads }) {
  const set = {
    'data.file': join(data, 'affinities.csv'),
    'data.lookups[0].file': join(data, 'drugs.csv'),
    'data.lookups[1].file': join(data, 'proteins.csv'),
    'data.split.file': join(data, 'folds.json'),
    'data.batch_size': batchSize,
    phases: JSON.stringify([{ name: 'all', lr: 1e-3, ...phase }]),
  }
  const changes = Object.entries(set).flatMap(([key, value]) => ['--set', `${key}=${value}`])
  const args = ['train', config, ...changes, '--threads', threads, '--checkpoint-dir', folder, '--json']
  const child = spawn(process.execPath, [join(root, 'bin', 'run.js'), ...args], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const ended = new Promise((done) => child.once('exit', done))
  for await (const line of createInterface({ input: child.stdout })) yield JSON.parse(line)
  if ((await ended) !== 0) throw new Error(`torchkeep train ended with ${child.exitCode}`)
}

/** The losses of the first 10 batches in plain PyTorch. */
function reference(batchSize) {
  const [smiles, protein] = parse(readFileSync(config, 'utf8')).data.lookups.map(
    ({ columns }) => Object.values(columns)[0],
  )
  const job = { folder: data, smiles, protein, fold: 0, batch_size: batchSize, steps: 10, seed: 0 }
  const output = execFileSync(python, [join(root, 'bench', 'dta_reference.py'), JSON.stringify([job])], {
    encoding: 'utf8',
  })
  return JSON.parse(output)[0].losses
}

/** Mean squared error on the validation fold of predicting the mean of the training rows. */
function meanPredictor() {
  const [header, ...lines] = readFileSync(join(data, 'affinities.csv'), 'utf8').trim().split(/\r?\n/)
  const column = header.split(',').indexOf('affinity')
  const affinities = lines.map((line) => Number(line.split(',')[column]))
  const [validation, ...training] = JSON.parse(readFileSync(join(data, 'folds.json'), 'utf8')).train_folds
  const mean = (list) => list.reduce((sum, value) => sum + value, 0) / list.length
  const predicted = mean(training.flat().map((row) => affinities[row]))
  return mean(validation.map((row) => (affinities[row] - predicted) ** 2))
}

async function firstLosses(folder) {
  const batchSize = 256
  const ours = []
  // Each of these steps takes longer than a chunk, so that each is told.
  for await (const { event, loss } of train(folder, { batchSize, phase: { steps: 10 }, threads: '1' }))
    if (event === 'step') ours.push(loss)
  const theirs = reference(batchSize)
  theirs.forEach((loss, i) =>
    console.log(`  ${String(i + 1).padStart(2)}  ${ours[i]}  ${ours[i] === loss ? 'same bits' : `PyTorch: ${loss}`}`),
  )
  return theirs.length === 10 && ours.length === 10 && theirs.every((loss, i) => loss === ours[i])
}

async function learning(folder) {
  const limit = meanPredictor()
  const phase = { epochs: Number(values.epochs) }
  let best = Infinity
  console.log(`  validation MSE of the mean of the training rows: ${limit.toFixed(4)}`)
  for await (const line of train(folder, { batchSize: Number(values.batch), phase, threads: values.threads })) {
    if (line.event !== 'epoch') continue
    const { epoch, train_loss: trainLoss, val_loss: valLoss, metrics, training_time: seconds } = line
    best = Math.min(best, valLoss)
    const index = metrics?.val_concordance_index ?? line.val_concordance_index
    console.log(
      `  epoch ${epoch}: training MSE ${trainLoss.toFixed(4)}, validation MSE ${valLoss.toFixed(4)}, ` +
        `concordance ${index?.toFixed(4)}, ${seconds.toFixed(1)} s`,
    )
  }
  return best < limit
}

const folder = mkdtempSync(join(tmpdir(), 'torchkeep-dta-'))
try {
  console.log('the first 10 losses, batches of 256, one thread, beside plain PyTorch')
  const isSame = await firstLosses(join(folder, 'losses'))
  console.log(`${values.epochs} epochs, batches of ${values.batch}, ${values.threads} thread(s)`)
  const hasLearned = await learning(join(folder, 'epochs'))
  console.log(`same bits: ${isSame}; better than the mean: ${hasLearned}`)
  if (!isSame || !hasLearned) process.exitCode = 1
} finally {
  rmSync(folder, { recursive: true })
}
