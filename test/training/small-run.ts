/** A tiny two-phase run with everything that a resume must bring back, on clocks that stand still, so that equal runs give equal files. */
import crypto from 'node:crypto'
import { readFileSync } from 'node:fs'
import { syncBuiltinESMExports } from 'node:module'
import { DataLoader, manualSeed, nn, randn, TensorDataset, type Tensor } from '../../lib/index.js'
import type { TrainingConfig } from '../../src/checkpoint/training-config.js'
import { latestPath } from '../../src/checkpoint/layout.js'
import { ProgressiveTrainer, type TrainerOptions } from '../../src/training/trainer.js'

export class SmallNet extends nn.Module {
  readonly body = new nn.Sequential(new nn.Linear(4, 6), new nn.ReLU(), new nn.Dropout(0.3))
  readonly head = new nn.Linear(6, 1)

  override forward(x: Tensor): Tensor {
    return this.head.call(this.body.call(x) as Tensor) as Tensor
  }
}

/** Phase 1 stops early and puts its best weights back; phase 2 goes on with that epoch's optimizer and ends after 7 steps, inside an epoch. Last groups of accumulation are smaller. */
export const smallConfig: TrainingConfig = {
  loss: 'mse',
  metrics: ['mae'],
  optimizer: { name: 'AdamW', weightDecay: 0.1 },
  restoreBest: true,
  phases: [
    {
      name: 'head',
      epochs: 6,
      lr: 0.4,
      groups: [{ params: ['head.bias'], lr: 0.1, weightDecay: 0 }],
      accumulateGradBatches: 2,
      clipGradNorm: 0.5,
      scheduler: { name: 'LinearLR', startFactor: 0.5, totalIters: 5, interval: 'step' },
      earlyStopping: { patience: 2, minDelta: 0.01 },
    },
    {
      name: 'all but the bias',
      steps: 7,
      lr: 0.05,
      keepOptimizer: true,
      freeze: ['head.bias'],
      groups: [{ params: ['body.*'], lr: 0.02 }],
      batchSize: 2,
      accumulateGradBatches: 4,
      clipGradValue: 0.2,
      scheduler: { name: 'StepLR', stepSize: 1, gamma: 0.5 },
    },
  ],
}

export interface SmallRun {
  model: SmallNet
  trainer: ProgressiveTrainer
  train: (options?: Parameters<ProgressiveTrainer['train']>[2]) => ReturnType<ProgressiveTrainer['train']>
}

/** Data are always the same; the model, and all random numbers after it, come from `seed`. */
export function smallRun(
  checkpointDir: string,
  {
    seed = 1,
    config = smallConfig,
    withoutValidation = false,
    ...options
  }: TrainerOptions & { seed?: number; config?: TrainingConfig; withoutValidation?: boolean } = {},
): SmallRun {
  manualSeed(7)
  const data = new TensorDataset(randn([11, 4]), randn([11, 1]))
  const validation = new TensorDataset(randn([6, 4]), randn([6, 1]))
  manualSeed(seed)
  const model = new SmallNet()
  const trainer = new ProgressiveTrainer(model, { hidden: 6 }, config, {
    checkpointDir,
    threads: 1,
    logs: false,
    ...options,
  })
  const trainLoader = new DataLoader(data, { batchSize: 3, shuffle: true })
  const valLoader = withoutValidation ? null : new DataLoader(validation, { batchSize: 4 })
  return { model, trainer, train: (trainOptions) => trainer.train(trainLoader, valLoader, trainOptions) }
}

export const latestBytes = (folder: string): Buffer => readFileSync(latestPath(folder))

/** Stops the clocks, the measuring of memory and the naming of runs, the only things in a checkpoint that differ between equal runs. */
export function stopClocks(): () => void {
  const [now, performanceNow, rss, randomUUID] = [Date.now, performance.now, process.memoryUsage.rss, crypto.randomUUID]
  const nameRuns = (by: typeof randomUUID): void => {
    crypto.randomUUID = by
    syncBuiltinESMExports()
  }
  nameRuns(() => '00000000-0000-4000-8000-000000000000')
  Date.now = () => 1_800_000_000_000
  performance.now = () => 1000
  process.memoryUsage.rss = () => 123_000_000
  return () => {
    Date.now = now
    performance.now = performanceNow
    process.memoryUsage.rss = rss
    nameRuns(randomUUID)
  }
}
