// The Node side of `npm run bench`: training steps a second of a session, the same model, data and optimizer as bench/train_steps.py.
// usage: node train-steps.mjs MODEL OPTIMIZER THREADS SECONDS  ->  one JSON line
import { nn, optim, manualSeed, randn, randint, randperm, Session, trace, traceFunction } from 'torchkeep'

const [modelName, optimizerName, threads, seconds] = process.argv.slice(2)
const batchSize = 32
manualSeed(0)

const [model, x, y, criterion] =
  modelName === 'mlp'
    ? [
        new nn.Sequential(new nn.Linear(64, 64), new nn.ReLU(), new nn.Linear(64, 1)),
        randn([4096, 64]),
        randn([4096, 1]),
        new nn.MSELoss(),
      ]
    : [
        new nn.Sequential(
          new nn.Conv2d(1, 16, 3, { padding: 1 }),
          new nn.BatchNorm2d(16),
          new nn.ReLU(),
          new nn.MaxPool2d(2),
          new nn.Conv2d(16, 32, 3, { padding: 1 }),
          new nn.BatchNorm2d(32),
          new nn.ReLU(),
          new nn.MaxPool2d(2),
          new nn.Flatten(),
          new nn.Dropout(0.25),
          new nn.Linear(32 * 7 * 7, 10),
        ),
        randn([2048, 1, 28, 28]),
        randint(0, 10, [2048]),
        new nn.CrossEntropyLoss(),
      ]

const exampleX = x.narrow(0, 0, batchSize)
const exampleY = y.narrow(0, 0, batchSize)
const session = await Session.create({
  module: model,
  trainGraph: trace(model.train(), [exampleX]),
  evalGraph: trace(model.eval(), [exampleX]),
  lossGraph: traceFunction((output, target) => criterion.call(output, target), [model.call(exampleX), exampleY]),
  optimizer: new optim[optimizerName](model.parameters(), { lr: 1e-3 }),
  threads: Number(threads),
})

/** Shuffled passes until the time is up; returns the steps done. */
async function trainFor(durationMs) {
  const deadline = performance.now() + durationMs
  let steps = 0
  while (performance.now() < deadline) {
    let order = randperm(x.shape[0]).data()
    while (order.length > 0 && performance.now() < deadline) {
      const chunk = await session.run({ tensors: [x, y], order, batchSize, inputs: 1, maxDurationMs: 75 })
      steps += chunk.steps
      order = order.subarray(chunk.samples)
    }
  }
  return steps
}

await trainFor(500) // warm-up
const start = performance.now()
const steps = await trainFor(Number(seconds) * 1000)
console.log(JSON.stringify({ stepsPerSecond: (steps / (performance.now() - start)) * 1000 }))
session.dispose()
