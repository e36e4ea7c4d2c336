/**
 * A program for a child process of the doctor: trains a small model twice in a temporary folder, once straight and once stopped in the middle of an epoch
 * and resumed, reads the checkpoint back with its checksums, and compares the bits. Prints one line; any failure ends it with a status other than 0.
 */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import {
  DataLoader,
  load,
  manualSeed,
  nn,
  ProgressiveTrainer,
  randn,
  Tensor,
  TensorDataset,
  type TrainingSummary,
} from '../index.js'

const phases = [
  { name: 'head', epochs: 1, lr: 1e-2, freeze: ['0.*'] },
  { name: 'everything', epochs: 2, lr: 1e-3 },
]

/** Trains from one seed; with `stopAtStep` the run is interrupted there and resumed. */
async function train(checkpointDir: string, stopAtStep: number | null): Promise<TrainingSummary> {
  manualSeed(0)
  const inputs = randn([64, 4])
  const loader = new DataLoader(new TensorDataset(inputs, inputs.pow(2).sum(1, { keepdim: true })), {
    batchSize: 8,
    shuffle: true,
  })
  const model = new nn.Sequential(new nn.Linear(4, 8), new nn.ReLU(), new nn.Dropout(0.1), new nn.Linear(8, 1))
  const trainer = new ProgressiveTrainer(model, {}, { loss: 'mse', phases }, { checkpointDir })
  if (stopAtStep === null) return trainer.train(loader, null)
  const stop = new AbortController()
  trainer.on('step', ({ step }) => {
    if (step >= stopAtStep) stop.abort()
  })
  await trainer.train(loader, null, { signal: stop.signal }).then(
    () => Promise.reject(new Error('the run was to be stopped, but went through')),
    (error: Error & { code?: string }) => (error.code === 'ERR_ABORTED' ? undefined : Promise.reject(error)),
  )
  return trainer.train(loader, null, { resumeFrom: 'latest' })
}

/** All tensors below a value, by path. */
function* tensors(value: unknown, path = ''): Generator<[string, Tensor]> {
  if (value instanceof Tensor) yield [path, value]
  else if (value instanceof Map) for (const [key, item] of value) yield* tensors(item, `${path}.${key}`)
}

function bytes(tensor: Tensor): Buffer {
  const { buffer } = tensor.data()
  return Buffer.from(buffer as ArrayBuffer)
}

/** Loads both checkpoints, which checks every CRC-32, and compares all tensors bit by bit; returns how many there are. */
async function compare(left: string, right: string): Promise<number> {
  const [expected, found] = await Promise.all([load(left), load(right)])
  const others = new Map(tensors(found))
  let count = 0
  for (const [path, tensor] of tensors(expected)) {
    const other = others.get(path)
    if (other === undefined || !bytes(tensor).equals(bytes(other)))
      throw new Error(`the resumed run differs from the straight one in ${path}`)
    count += 1
  }
  if (count === 0) throw new Error(`${left} holds no tensors`)
  return count
}

async function selfTest(): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'torchkeep-self-test-'))
  try {
    const straight = await train(join(folder, 'straight'), null)
    const resumed = await train(join(folder, 'resumed'), 12)
    const count = await compare(straight.latestCheckpointPath, resumed.latestCheckpointPath)
    console.log(
      `trained ${straight.totalSteps} steps, saved, resumed: all ${count} tensors equal the uninterrupted run's`,
    )
  } finally {
    rmSync(folder, { recursive: true })
  }
}

selfTest().catch((error: unknown) => {
  console.error(error)
  process.exitCode = 1
})
