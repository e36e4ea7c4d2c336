/** A small two-phase run that the tests of the trainer share: a CNN with batch norm and dropout on 22 random images. */
import assert from 'node:assert/strict'
import { DataLoader, type Generator, manualSeed, nn, randint, randn, Tensor, TensorDataset } from '../../lib/index.js'
import type { TrainingConfig } from '../../src/checkpoint/training-config.js'
import { load } from '../../src/serialization.js'
import { ProgressiveTrainer, type TrainerOptions } from '../../src/training/trainer.js'

export class ConvNet extends nn.Module {
  readonly features = new nn.Sequential(
    new nn.Conv2d(1, 4, 3, { padding: 1 }),
    new nn.BatchNorm2d(4),
    new nn.ReLU(),
    new nn.MaxPool2d(2),
  )
  readonly head = new nn.Sequential(new nn.Flatten(), new nn.Dropout(0.25), new nn.Linear(64, 3))

  override forward(images: Tensor): Tensor {
    return this.head.call(this.features.call(images) as Tensor) as Tensor
  }
}

/** Three batches an epoch, the last one shorter: 4 epochs, 12 steps. */
export const trainingConfig: TrainingConfig = {
  loss: 'cross_entropy',
  metrics: ['accuracy'],
  phases: [
    { name: 'head', epochs: 2, lr: 0.01, freeze: ['features.*'], optimizer: { name: 'SGD', momentum: 0.9 } },
    { name: 'everything', epochs: 2, lr: 0.003, scheduler: { name: 'StepLR', stepSize: 1, gamma: 0.5 } },
  ],
}

export interface Run {
  model: ConvNet
  trainer: ProgressiveTrainer
  trainLoader: DataLoader
  valLoader: DataLoader
}

/** Makes data (always the same) and a model from `seed`. */
export function prepare(
  checkpointDir: string,
  options: TrainerOptions & {
    seed?: number
    generator?: Generator
    valGenerator?: Generator
    config?: TrainingConfig
  } = {},
): Run {
  const { seed = 3, generator, valGenerator, config = trainingConfig, checkpoint, ...trainerOptions } = options
  manualSeed(5)
  const data = new TensorDataset(randn([22, 1, 8, 8]), randint(0, 3, [22]))
  const validation = new TensorDataset(randn([9, 1, 8, 8]), randint(0, 3, [9]))
  manualSeed(seed)
  const model = new ConvNet()
  return {
    model,
    trainer: new ProgressiveTrainer(model, { width: 4 }, config, {
      checkpointDir,
      threads: 1,
      checkpoint: { keepLast: null, ...checkpoint },
      ...trainerOptions,
    }),
    trainLoader: new DataLoader(data, {
      batchSize: 8,
      shuffle: true,
      ...(generator === undefined ? {} : { generator }),
    }),
    valLoader: new DataLoader(validation, {
      batchSize: 4,
      ...(valGenerator === undefined ? {} : { shuffle: true, generator: valGenerator }),
    }),
  }
}

/** Keys whose values are times, memory or the name of the run: they differ between runs of the same bits. */
const times = new Set([
  'run_id',
  'timestamp',
  'total_training_time',
  'training_time',
  'epoch_time',
  'samples_per_second',
  'memory_usage',
])

/** A checkpoint's content as text: tensors as dtype, shape and bytes; without times. Equal texts mean equal bits. */
export async function fingerprint(path: string): Promise<Map<string, string>> {
  const lines = new Map<string, string>()
  // One may be in several places.
  const tensors = new Set<Tensor>()
  const visit = (value: unknown, at: string): void => {
    if (value instanceof Tensor) {
      lines.set(
        at,
        `${value.dtype} ${String(value.shape)} ${Buffer.from(value.data().buffer as ArrayBuffer).toString('hex')}`,
      )
      tensors.add(value)
    } else if (value instanceof Map) {
      for (const [key, item] of value) if (!times.has(String(key))) visit(item, `${at}.${String(key)}`)
    } else if (Array.isArray(value)) {
      value.forEach((item, index) => visit(item, `${at}[${index}]`))
    } else {
      lines.set(
        at,
        typeof value === 'string'
          ? JSON.stringify(value)
          : `${typeof value} ${Object.is(value, -0) ? '-0' : String(value)}`,
      )
    }
  }
  visit(await load(path), '')
  for (const tensor of tensors) tensor.dispose()
  assert.ok(lines.size > 50, `${path} holds only ${lines.size} values`)
  return lines
}

/** Asserts equal bits of two checkpoints, naming what differs. `ignored` are beginnings of paths. */
export async function assertSameBits(actual: string, expected: string, ignored: readonly string[] = []): Promise<void> {
  const [left, right] = [await fingerprint(actual), await fingerprint(expected)]
  const differing = [...new Set([...left.keys(), ...right.keys()])].filter(
    (key) => left.get(key) !== right.get(key) && !ignored.some((start) => key.startsWith(start)),
  )
  assert.deepEqual(
    differing,
    [],
    `${actual} and ${expected} differ: ${differing.map((key) => `${key}: ${left.get(key)?.slice(0, 80)} / ${right.get(key)?.slice(0, 80)}`).join('\n')}`,
  )
}
