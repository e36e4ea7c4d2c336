/** Tensors in chunks, as `torch.distributed.checkpoint` keeps them, against whole ones and against other chunks. */
import assert from 'node:assert/strict'
import { TensorComparer } from '../../src/checkpoint/compare-tensors.js'
import { planTorchFile, readTorchFile, tensorFromBytes, TensorRecord, type TorchFile } from '../../src/format/index.js'
import { ChunkedTensorRecord } from '../../src/format/tensor-record.js'
import { render, withFile } from '../format/fixtures.js'

/** Runs `use` with a file of one float32 tensor of 6 by 8 values. */
function withTensor(
  change: (values: Float32Array) => void,
  use: (file: TorchFile, tensor: TensorRecord) => Promise<void>,
): Promise<void> {
  const values = Float32Array.from({ length: 48 }, (_, index) => index)
  change(values)
  const tensor = tensorFromBytes({ dtype: 'float32', sizes: [6, 8], bytes: new Uint8Array(values.buffer) })
  return withFile(render(planTorchFile<Uint8Array>({ tensor }, { topFolder: 'x' }).parts), async (path) => {
    const file = await readTorchFile(path)
    await use(file, (file.value as Map<string, TensorRecord>).get('tensor') as TensorRecord)
  })
}

/** The tensor cut at these rows and columns. */
function inChunks(whole: TensorRecord, rows: readonly number[], columns: readonly number[]): ChunkedTensorRecord {
  const chunks = rows.slice(0, -1).flatMap((row, i) =>
    columns.slice(0, -1).map((column, j) => {
      const sizes = [(rows[i + 1] ?? 0) - row, (columns[j + 1] ?? 0) - column]
      return { offsets: [row, column], tensor: new TensorRecord({ ...whole, sizes, storageOffset: row * 8 + column }) }
    }),
  )
  return new ChunkedTensorRecord('float32', [6, 8], chunks, false)
}

describe('compare: tensors in chunks', () => {
  const cuts: [rows: number[], columns: number[]][] = [
    [
      [0, 6],
      [0, 8],
    ],
    [
      [0, 2, 6],
      [0, 3, 8],
    ],
    [
      [0, 1, 3, 6],
      [0, 8],
    ],
    [
      [0, 3, 6],
      [0, 1, 4, 8],
    ],
  ]

  it('equal whole tensors and other chunks of the same values', () =>
    withTensor(
      () => undefined,
      (file, whole) =>
        withTensor(
          () => undefined,
          async (otherFile, other) => {
            const comparer = new TensorComparer(file, otherFile, options)
            for (const [rows, columns] of cuts) {
              const cut = inChunks(whole, rows, columns)
              assert.equal(await comparer.compare('x', cut, other), null)
              assert.equal(await comparer.compare('x', whole, inChunks(other, rows, columns)), null)
              for (const [otherRows, otherColumns] of cuts)
                assert.equal(await comparer.compare('x', cut, inChunks(other, otherRows, otherColumns)), null)
            }
            await comparer.close()
          },
        ),
    ))

  it('give the figures of the whole tensor', () =>
    withTensor(
      () => undefined,
      (file, whole) =>
        withTensor(
          (values) => {
            values[9] = 100
            values[47] = -1
          },
          async (otherFile, other) => {
            const comparer = new TensorComparer(file, otherFile, options)
            const figures = async (a: TensorRecord | ChunkedTensorRecord, b: TensorRecord | ChunkedTensorRecord) =>
              (await comparer.compare('x', a, b))?.comparison.figures
            const expected = await figures(whole, other)
            assert.deepEqual([expected?.differing, expected?.maxAbs, expected?.meanAbs], [2, 91, (91 + 48) / 48])
            for (const [rows, columns] of cuts) {
              assert.deepEqual(await figures(inChunks(whole, rows, columns), other), expected)
              assert.deepEqual(
                await figures(inChunks(whole, rows, columns), inChunks(other, [0, 5, 6], [0, 8])),
                expected,
              )
              const norms = (await comparer.norms(inChunks(whole, rows, columns))).figures()
              assert.deepEqual(norms, (await comparer.norms(whole)).figures())
            }
            await comparer.close()
          },
        ),
    ))
})

const options = { tolerance: null, signal: null, onProgress: () => undefined }
