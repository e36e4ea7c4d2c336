/** Reading the bytes of tensors that lie inside bytes, or claim more than there is, and of storages that are parts of others. */
import assert from 'node:assert/strict'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import {
  NestedTensorRecord,
  planTorchFile,
  QuantizedTensorRecord,
  readStorageBytes,
  readTensorBytes,
  readTorchFile,
  StorageRecord,
  TensorRecord,
  tensorFromBytes,
  type TorchFile,
} from '../../src/format/index.js'
import { CheckpointValidator } from '../../src/checkpoint/index.js'
import { readElements } from '../../src/format/elements.js'
import { forgeLegacy, forgeTar, legacyStorage, tarParts } from './container-forge.js'
import { ints, op, pickle, render, withFile, withFolder } from './fixtures.js'

const written = (value: unknown, use: (file: TorchFile) => Promise<void>): Promise<void> =>
  withFolder(async (folder) => {
    const path = join(folder, 'x.pth')
    await writeFile(path, render(planTorchFile<Uint8Array>(value, { topFolder: 'x' }).parts))
    await use(await readTorchFile(path))
  })

describe('reading bytes', () => {
  it('gives elements that begin inside a byte one by one, and refuses them packed', async () => {
    const whole = tensorFromBytes({ dtype: 'quint4x2', sizes: [6], bytes: Uint8Array.of(0x21, 0x43, 0x65) })
    const part = new TensorRecord({ ...whole, sizes: [4], storageOffset: 1 })
    const quantizer = { scheme: 'torch.per_tensor_affine', scale: 1, zeroPoint: 0 }
    await written(new QuantizedTensorRecord(part, quantizer), async (file) => {
      const { integers } = file.value as QuantizedTensorRecord
      const values: number[] = []
      for await (const piece of readElements(file, integers)) values.push(...piece)
      assert.deepEqual(values, [2, 3, 4, 5])
      await assert.rejects(readTensorBytes(file, integers), { code: 'ERR_CHECKPOINT_UNSUPPORTED' })
    })
  })

  it('fills no memory with the parts of a nested tensor that claims millions of them', async () => {
    const int64 = (sizes: number[], strides: number[]) =>
      new TensorRecord({ ...tensorFromBytes({ dtype: 'int64', sizes: [1], bytes: new Uint8Array(8) }), sizes, strides })
    const many = int64([2 ** 28], [0])
    const buffer = tensorFromBytes({ dtype: 'float32', sizes: [1], bytes: new Uint8Array(4) })
    const nested = new NestedTensorRecord(buffer, int64([2 ** 28, 1], [0, 0]), int64([2 ** 28, 1], [0, 0]), many)
    await written(new Map([['a', nested]]), async (file) => {
      const before = process.memoryUsage().heapUsed
      const { errors } = await CheckpointValidator.validateCheckpointFile(file.path)
      assert.ok(errors.some(({ id }) => id === 'pickle.limit'))
      assert.ok(process.memoryUsage().heapUsed - before < 200 << 20)
    })
  })

  it('gives parts of storages of the stream format their own bytes', () => {
    const part = op.str('9') + op.int(1) + op.int(2) + op.tuple3
    return withFile(forgeLegacy({ object: pickle(legacyStorage('7', 4, part)) }), async (path) => {
      const file = await readTorchFile(path)
      const bytes = await readStorageBytes(file, file.value as StorageRecord)
      assert.deepEqual([...new Float32Array(bytes.buffer)], [2, 3])
    })
  })

  it('gives parts of parts of storages their own bytes', () => {
    const views = pickle(op.list, op.mark, ints(11, 10, 1, 3), ints(12, 11, 1, 2), op.appends)
    const bytes = forgeTar(tarParts({ views, object: pickle(op.str('12'), op.persid) }))
    return withFile(bytes, async (path) => {
      const file = await readTorchFile(path)
      assert.ok(file.value instanceof StorageRecord)
      const part = await readStorageBytes(file, file.value as StorageRecord)
      assert.deepEqual([...new Float32Array(part.buffer)], [3, 4])
    })
  })
})
