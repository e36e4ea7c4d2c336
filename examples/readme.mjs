import { DataLoader, ProgressiveTrainer, TensorDataset, manualSeed, nn, randn } from 'torchkeep'

manualSeed(0)
const x = randn([1024, 8])
const y = x.pow(2).sum(1, { keepdim: true })
const data = (start, length) => new TensorDataset(x.narrow(0, start, length), y.narrow(0, start, length))
const trainLoader = new DataLoader(data(0, 896), { batchSize: 32, shuffle: true })
const valLoader = new DataLoader(data(896, 128), { batchSize: 128 })

const model = new nn.Sequential(new nn.Linear(8, 64), new nn.ReLU(), new nn.Linear(64, 1))
const phases = [
  { name: 'head', epochs: 2, lr: 1e-2, freeze: ['0.*'] },
  { name: 'everything', epochs: 8, lr: 1e-3 },
]
const trainer = new ProgressiveTrainer(model, { hidden: 64 }, { loss: 'mse', phases }, { checkpointDir: 'checkpoints' })

// Stop somewhere, as Ctrl-C would: the step is finished and a checkpoint is durable before the promise rejects.
const stop = new AbortController()
trainer.on('step', ({ step }) => step > 100 && stop.abort())
await trainer.train(trainLoader, valLoader, { signal: stop.signal }).catch((error) => console.log(error.message))

// Go on from there: the result has the same bits as a run that was never stopped.
const summary = await trainer.train(trainLoader, valLoader, { resumeFrom: 'latest' })
console.log(`best: epoch ${summary.best.epoch} of ${summary.totalEpochs}, loss ${summary.bestValLoss.toFixed(3)}`)
