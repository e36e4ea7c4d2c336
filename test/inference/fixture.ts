/** Small checkpoints to load for inference. */
import { setImmediate } from 'node:timers/promises'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { DataLoader, manualSeed, nn, randint, randn, TensorDataset, type Tensor } from '../../lib/index.js'
import { latestPath } from '../../src/checkpoint/layout.js'
import { ProgressiveTrainer } from '../../src/training/trainer.js'
import { digest } from '../lib/digest.js'

/** Words whose number is 10 or more fail when it runs. */
export class WordNet extends nn.Module {
  readonly embedding = new nn.Embedding(10, 4)
  readonly head = new nn.Linear(4, 2)

  override forward(words: Tensor): Tensor {
    return this.head.call((this.embedding.call(words) as Tensor).mean([1])) as Tensor
  }
}

/** A checkpoint of a {@link WordNet} that learned for a step. Takes int64 [batch, 3]. */
export async function wordCheckpoint(folder: string): Promise<string> {
  manualSeed(1)
  const data = new TensorDataset(randint(0, 10, [8, 3]), randn([8, 2]))
  return trained(folder, new WordNet(), data)
}

/** Rows of a batch that keep {@link slowCheckpoint} busy for some tenths of a second, in many operators. */
export const slowRows = 2000

/** A checkpoint of a model of many operators. Takes float32 [batch, 256]. */
export async function slowCheckpoint(folder: string): Promise<string> {
  manualSeed(2)
  const layers = Array.from({ length: 30 }, () => [new nn.Linear(256, 256), new nn.ReLU()]).flat()
  return trained(folder, new nn.Sequential(...layers), new TensorDataset(randn([4, 256]), randn([4, 256])))
}

async function trained(folder: string, model: nn.Module, data: TensorDataset): Promise<string> {
  const training = {
    loss: 'mse' as const,
    optimizer: { name: 'SGD' as const },
    phases: [{ name: 'one', epochs: 1, lr: 0.1 }],
  }
  const options = { checkpointDir: folder, checkpoint: { saveBest: false }, threads: 1, logs: false as const }
  const loader = new DataLoader(data, { batchSize: data.length })
  await new ProgressiveTrainer(model, {}, training, options).train(loader, loader)
  return latestPath(folder)
}

/** The bits of outputs, to compare. */
export const bitsOf = (outputs: readonly Tensor[]): string => outputs.map(digest).join(' ')

/** Collects the tensors that nobody holds, so that they are not counted; their finalizers run before the next turn's end. */
export async function collectGarbage(): Promise<void> {
  setFlagsFromString('--expose-gc')
  runInNewContext('gc')()
  await setImmediate()
  await setImmediate()
}
