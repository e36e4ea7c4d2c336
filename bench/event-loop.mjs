// What a whole trainer costs and how late the event loop is while it trains: the MLP of bench/train-steps.mjs, the fastest steps there are, with checkpoints and the logs that are asked for.
// usage: node event-loop.mjs none|default|all SECONDS  ->  one JSON line
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { monitorEventLoopDelay } from 'node:perf_hooks'
import { DataLoader, manualSeed, nn, ProgressiveTrainer, randn, TensorDataset } from 'torchkeep'

const [wanted, seconds] = process.argv.slice(2)
const logs = { none: false, default: true, all: { tensorboard: true } }[wanted]
const folder = mkdtempSync(join(tmpdir(), 'torchkeep-bench-'))
manualSeed(0)
const model = new nn.Sequential(new nn.Linear(64, 64), new nn.ReLU(), new nn.Linear(64, 1))
const loader = (length) =>
  new DataLoader(new TensorDataset(randn([length, 64]), randn([length, 1])), { batchSize: 32, shuffle: true })
const trainingConfig = {
  loss: 'mse',
  metrics: ['mae'],
  optimizer: { name: 'Adam' },
  phases: [{ name: 'all', epochs: 1e6, lr: 1e-3 }],
}
const checkpoint = { everyEpochs: null, everySeconds: 1, saveBest: false }
const trainer = new ProgressiveTrainer(model, {}, trainingConfig, {
  checkpointDir: folder,
  threads: 1,
  checkpoint,
  logs,
})

const delay = monitorEventLoopDelay({ resolution: 1 })
const stop = new AbortController()
const steps = { first: 0, last: 0 }
// The first second warms up.
setTimeout(() => {
  delay.enable()
  steps.first = steps.last
}, 1000)
setTimeout(() => stop.abort(), 1000 + Number(seconds) * 1000)
trainer.on('step', ({ step }) => (steps.last = step))
await trainer.train(loader(32768), loader(1024), { signal: stop.signal }).catch((error) => {
  if (error.code !== 'ERR_ABORTED') throw error
})
delay.disable()
rmSync(folder, { recursive: true })
const milliseconds = (nanoseconds) => nanoseconds / 1e6
console.log(
  JSON.stringify({
    stepsPerSecond: (steps.last - steps.first) / Number(seconds),
    p99Ms: milliseconds(delay.percentile(99)),
    maxMs: milliseconds(delay.max),
  }),
)
