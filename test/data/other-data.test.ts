/** Data of tensor files and of modules, and subsets. */
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Dataset } from '../../lib/index.js'
import { DataLoader, Subset, tensor, TensorDataset, type Tensor } from '../../lib/index.js'
import { openData } from '../../src/data/open-data.js'
import type { DataSpec, ModuleSpec, TensorFileSpec } from '../../src/data/spec.js'
import type { TorchkeepError } from '../../src/format/errors.js'
import { save } from '../../src/serialization.js'

const numbers = (...values: number[]): Tensor => tensor(Float32Array.from(values))

describe('tensor files and modules as data', function () {
  this.timeout(20_000)
  let folder: string
  before(async () => {
    folder = mkdtempSync(join(tmpdir(), 'torchkeep-other-data-'))
    await save(join(folder, 'all.pth'), {
      part: { x: numbers(0, 1, 2, 3, 4), z: numbers(1, 2) },
      y: numbers(0, 2, 4, 6, 8),
    })
    await save(join(folder, 'val.pth'), { part: { x: numbers(9) }, y: tensor(BigInt64Array.of(1n)) })
    writeFileSync(
      join(folder, 'data.mjs'),
      `import { DataLoader, tensor, TensorDataset } from 'torchkeep'
const x = tensor(Float32Array.of(1, 2, 3, 4)).reshape([4, 1])
export const set = new TensorDataset(x, x)
export const loader = new DataLoader(set, { batchSize: 3 })
export const iterable = [[x, x]]
export const make = async ({ rows }, { seed, folder }) => ({ train: new TensorDataset(x.narrow(0, 0, rows), x.narrow(0, 0, rows)), val: loader, test: null, seed, folder })
export const fails = () => { throw new Error('no such host') }
export const wrong = { validation: set }
export default 7
`,
    )
  })
  after(() => rmSync(folder, { recursive: true }))

  const open = (spec: DataSpec) => openData(spec, { baseFolder: folder, seed: 5 })
  const refused = (spec: DataSpec, code: string, message: RegExp): Promise<void> =>
    assert.rejects(open(spec), (error: TorchkeepError) => {
      assert.equal(error.code, code, error.stack)
      assert.match(error.message, message)
      return true
    })
  const targets = (data: unknown): number[] => {
    const { dataset } = data as DataLoader
    return Array.from({ length: dataset.length }, (_, index) => Number((dataset.get(index).at(-1) as Tensor).data()[0]))
  }

  it('takes tensors by name, whole and split, and names what does not fit', async () => {
    const spec: TensorFileSpec = { format: 'tensors', file: 'all.pth', inputs: ['part.x'], target: 'y' }
    assert.deepEqual(targets((await open(spec)).train), [0, 2, 4, 6, 8])
    const split = await open({ ...spec, split: { by: 'fraction', val: 0.4 } })
    assert.deepEqual([...targets(split.train), ...targets(split.val)].sort(), [0, 2, 4, 6, 8])
    assert.equal(targets(split.val).length, 2)
    await refused(
      { ...spec, target: 'part.yy' },
      'ERR_DATA',
      /all\.pth has no tensor 'part\.yy'; it has part\.x, part\.z, y/,
    )
    await refused(
      { ...spec, inputs: ['part.x', 'part.z'] },
      'ERR_DATA',
      /'part\.z' has shape \[2\], but 'part\.x' has 5 samples/,
    )
    await refused(
      { ...spec, val_file: 'val.pth' },
      'ERR_DATA',
      /val\.pth: the tensor 'y' should be float32 \[n\] as in the training file, but is int64 \[n\]/,
    )
  })

  it('takes a tensor that the file has under another name too', async () => {
    const [x, y] = [numbers(1, 2, 3), numbers(4, 5, 6)]
    await save(join(folder, 'alias.pth'), { x, also_x: x, y })
    const { train } = await open({ format: 'tensors', file: 'alias.pth', inputs: ['x'], target: 'y', shuffle: false })
    assert.deepEqual(
      (train as DataLoader).dataset.get(2).map((value) => value.item()),
      [3, 6],
    )
  })

  it('takes what a module exports or gives', async () => {
    const spec: ModuleSpec = { format: 'module', file: 'data.mjs', batch_size: 2, shuffle: false }
    assert.deepEqual(targets((await open({ ...spec, export: 'set' })).train), [1, 2, 3, 4])
    assert.equal(
      ((await open({ ...spec, export: 'set', split: { by: 'fraction', test: 0.5 } })).test as DataLoader).dataset
        .length,
      2,
    )
    assert.equal(((await open({ ...spec, export: 'loader' })).train as DataLoader).batchSize, 3)
    assert.ok(Array.isArray((await open({ ...spec, export: 'iterable' })).train))
    const made = await open({ ...spec, export: 'make', options: { rows: 3 } })
    assert.deepEqual([targets(made.train), (made.val as DataLoader).batchSize, made.test], [[1, 2, 3], 3, null])
    assert.deepEqual(made.inputs, [{ name: 'input 1', dtype: 'float32', shape: [1], indices: null }])
    await refused(spec, 'ERR_DATA', /data\.mjs: default should give a Dataset, a DataLoader, .* but gives number/)
    await refused({ ...spec, export: 'wrong' }, 'ERR_DATA', /but gives an object with validation/)
    await refused({ ...spec, export: 'fails' }, 'ERR_DATA', /fails\(\) failed: no such host/)
    await refused({ ...spec, export: 'sett' }, 'ERR_INVALID_ARGUMENT', /has no export 'sett'; it has/)
    await refused(
      { ...spec, export: 'loader', split: { by: 'fraction', val: 0.5 } },
      'ERR_INVALID_ARGUMENT',
      /split is for a Dataset/,
    )
    await refused(
      { ...spec, format: 'parquet' } as unknown as DataSpec,
      'ERR_INVALID_ARGUMENT',
      /should be 'csv', 'tensors' or 'module'/,
    )
  })

  it('gives some samples of a data set, by what its class says of them', () => {
    class Negated extends TensorDataset {
      override get(index: number): Tensor[] {
        return super.get(index).map((one) => one.neg())
      }
    }
    const whole = new Negated(numbers(1, 2, 3, 4))
    const loaded = (dataset: Dataset): number[][] =>
      [...new DataLoader(dataset, { batchSize: 2 })].map(([batch]) => Array.from(batch?.data() as Float32Array))
    assert.deepEqual(
      loaded(whole),
      [
        [-1, -2],
        [-3, -4],
      ],
      'a get of its own counts in batches too',
    )
    const indices = BigInt64Array.of(3n, 0n)
    assert.deepEqual(loaded(new Subset(whole, indices)), [[-4, -1]])
    assert.deepEqual(loaded(new Subset(whole, indices).settled()), [[-4, -1]])
    const plain = new TensorDataset(numbers(1, 2, 3, 4))
    assert.deepEqual(
      [loaded(new Subset(plain, indices)), loaded(new Subset(plain, indices).settled())],
      [[[4, 1]], [[4, 1]]],
    )
    assert.throws(() => new Subset(plain, BigInt64Array.of(4n)), {
      code: 'ERR_INVALID_ARGUMENT',
      message: /index 4 of a data set of 4/,
    })
  })
})
