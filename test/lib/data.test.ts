import assert from 'node:assert/strict'
import { arange, DataLoader, Dataset, ones, tensor, type Tensor, TensorDataset } from '../../lib/index.js'

class Squares extends Dataset {
  override readonly length = 5
  override get(index: number): Tensor[] {
    return [tensor([index]), tensor(index * index, { dtype: 'int64' })]
  }
}

describe('DataLoader', () => {
  it('gives batches in order, the last one shorter or left out', () => {
    const dataset = new TensorDataset(arange(5), ones([5, 2]))
    const batches = [...new DataLoader(dataset, { batchSize: 2 })]
    assert.deepEqual(
      batches.map(([x, y]) => [x?.tolist(), y?.shape]),
      [
        [
          [0, 1],
          [2, 2],
        ],
        [
          [2, 3],
          [2, 2],
        ],
        [[4], [1, 2]],
      ],
    )
    const loader = new DataLoader(dataset, { batchSize: 2, dropLast: true })
    assert.equal(loader.numBatches, 2)
    assert.equal([...loader].length, 2)
  })

  it('stacks the samples of any dataset', () => {
    const [first] = [...new DataLoader(new Squares(), { batchSize: 3 })]
    assert.deepEqual(
      first?.map((part) => part.tolist()),
      [
        [[0], [1], [2]],
        [0, 1, 4],
      ],
    )
    assert.equal(first?.[1]?.dtype, 'int64')
  })

  it('gives every sample once in a shuffled epoch', () => {
    const order = new DataLoader(new Squares(), { shuffle: true }).epochOrder()
    assert.deepEqual([...order].map(Number).sort(), [0, 1, 2, 3, 4])
  })

  it('refuses sizes that do not fit', () => {
    const invalid = { name: 'TorchkeepError', code: 'ERR_INVALID_ARGUMENT' }
    assert.throws(() => new TensorDataset(), invalid)
    assert.throws(() => new TensorDataset(arange(3), arange(4)), invalid)
    assert.throws(() => new TensorDataset(tensor(3)), invalid)
    assert.throws(() => new DataLoader(new Squares(), { batchSize: 0 }), invalid)
  })
})
