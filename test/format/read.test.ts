/** Reading: options, decoding, what happens to files that are missing or change, and the event loop. */
import assert from 'node:assert/strict'
import { appendFile, mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import {
  listTensors,
  OrderedDict,
  planTorchFile,
  PyFloat,
  readTensorBytes,
  readTensorValues,
  readTorchFile,
  replaceTensors,
  StorageRecord,
  tensorFromBytes,
  TensorRecord,
  Tuple,
  writePlan,
} from '../../src/format/index.js'
import { op, pickle, torchFile, withFile, withFolder } from './fixtures.js'

/** Stands for a live tensor. */
class Live {
  constructor(readonly record: unknown) {}
}

const two = () =>
  tensorFromBytes({ dtype: 'float32', sizes: [2], bytes: new Uint8Array(new Float32Array([1, 2]).buffer) })

async function written<T>(value: unknown, use: (path: string) => Promise<T>): Promise<T> {
  return withFolder(async (folder) => {
    const path = join(folder, 'a.pth')
    await writePlan(path, planTorchFile<Uint8Array>(value, { topFolder: 'a' }))
    return use(path)
  })
}

describe('format: reading', () => {
  it('gives integral floats as numbers, or as PyFloat where they are to be kept', () =>
    written([new PyFloat(1), 1, 0.5, -0, 2 ** 60], async (path) => {
      assert.deepEqual((await readTorchFile(path)).value, [1, 1, 0.5, -0, 2 ** 60])
      assert.deepEqual((await readTorchFile(path, { keepFloats: true })).value, [new PyFloat(1), 1, 0.5, -0, 2 ** 60])
    }))

  it('keeps keys such as __proto__ as keys', () =>
    written({ ['__proto__']: { polluted: 1 } }, async (path) => {
      const { value } = await readTorchFile(path)
      assert(value instanceof Map)
      assert.deepEqual([...value.keys()], ['__proto__'])
      assert.equal(({} as { polluted?: number }).polluted, undefined)
    }))

  it('replaces tensors in place, each once, shared and nested', () => {
    const tensor = two()
    return written(
      { a: tensor, again: [tensor, Tuple.of(tensor)], dict: new OrderedDict([['w', two()]]) },
      async (path) => {
        const file = await readTorchFile(path)
        const paths: unknown[][] = []
        const value = replaceTensors(file.value, (record, place) => {
          paths.push([...place])
          return new Live(record)
        }) as Map<string, unknown>
        const again = value.get('again') as [unknown, Tuple]
        assert.equal(value, file.value)
        assert.equal(value.get('a'), again[0])
        assert.equal(value.get('a'), again[1][0])
        assert.deepEqual(paths, [['a'], ['dict', 'w']])
        assert.deepEqual(listTensors(value), [])
      },
    )
  })

  it('replaces a value that is one tensor', () =>
    written(two(), async (path) => {
      const file = await readTorchFile(path)
      assert.equal(
        replaceTensors(file.value, () => 'live'),
        'live',
      )
    }))

  it('reads strided views in C order', async () => {
    const storage = new StorageRecord({
      id: 's',
      dtype: 'int16',
      sizeBytes: 24,
      source: new Uint8Array(Int16Array.from({ length: 12 }, (_, index) => index).buffer),
    })
    const views: [TensorRecord<Uint8Array>, number[]][] = [
      [
        new TensorRecord({ storage, dtype: 'int16', sizes: [3, 4], strides: [4, 1] }),
        [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11],
      ],
      [
        new TensorRecord({ storage, dtype: 'int16', sizes: [4, 3], strides: [1, 4] }),
        [0, 4, 8, 1, 5, 9, 2, 6, 10, 3, 7, 11],
      ],
      [new TensorRecord({ storage, dtype: 'int16', sizes: [2, 2], strides: [0, 3], storageOffset: 1 }), [1, 4, 1, 4]],
      [new TensorRecord({ storage, dtype: 'int16', sizes: [1, 2], strides: [7, 1], storageOffset: 5 }), [5, 6]],
      [new TensorRecord({ storage, dtype: 'int16', sizes: [], strides: [], storageOffset: 9 }), [9]],
      [new TensorRecord({ storage, dtype: 'int16', sizes: [0, 3], strides: [3, 1] }), []],
    ]
    await written(
      views.map(([view]) => view),
      async (path) => {
        const file = await readTorchFile(path)
        const records = file.value as TensorRecord[]
        for (const [index, [, expected]] of views.entries()) {
          assert.deepEqual([...(await readTensorValues(file, records[index] as TensorRecord))].map(Number), expected)
        }
        assert.equal(new Set(records.map((record) => record.storage)).size, 1)
      },
    )
  })

  it('refuses bytes of a file that has changed since', () =>
    written(two(), async (path) => {
      const file = await readTorchFile(path)
      await appendFile(path, 'x')
      await assert.rejects(readTensorBytes(file, file.value as TensorRecord), {
        code: 'ERR_CHECKPOINT_CORRUPT',
        message: /has changed/,
      })
    }))

  it('names a file that is missing, and a folder', () =>
    withFolder(async (folder) => {
      await assert.rejects(readTorchFile(join(folder, 'none.pth')), {
        code: 'ERR_CHECKPOINT_MISSING',
        message: /none\.pth/,
      })
      await mkdir(join(folder, 'sub'))
      await assert.rejects(readTorchFile(join(folder, 'sub')), {
        code: 'ERR_CHECKPOINT_UNREADABLE',
        message: /is a folder/,
      })
    }))

  it('refuses a pickle larger than the limit', () =>
    withFile(torchFile(pickle(op.str('x'.repeat(1000)))), (path) =>
      assert.rejects(readTorchFile(path, { maxPickleBytes: 100 }), {
        code: 'ERR_CHECKPOINT_UNSAFE',
        message: /data\.pkl has 1\d{3} bytes, at most 100/,
      }),
    ))

  it('names the first hundred of the records that nothing refers to', () => {
    const records = Object.fromEntries(Array.from({ length: 150 }, (_none, index) => [index, new Uint8Array(1)]))
    return withFile(torchFile(pickle(op.none), records), async (path) => {
      const { findings } = await readTorchFile(path)
      assert.equal(findings.length, 101)
      assert.equal(findings.at(-1)?.message, 'and nothing refers to 50 more records')
    })
  })

  it('says which records nothing refers to, and which globals the pickle mentions', () =>
    withFile(
      torchFile(pickle(op.global('collections', 'OrderedDict'), op.tuple0, op.reduce), { 0: new Uint8Array(4) }),
      async (path) => {
        const file = await readTorchFile(path)
        assert.deepEqual(
          file.findings.map(({ id, message }) => `${id}: ${message}`),
          ['record.unused: nothing refers to the record data/0'],
        )
        assert.deepEqual(file.globals, ['collections.OrderedDict'])
      },
    ))

  it('reads a file of 20,000 tensors', () =>
    written(Array.from({ length: 20_000 }, two), async (path) =>
      assert.equal((await readTorchFile(path)).storages.length, 20_000),
    ))
})
