/** The one pass over all storages: every byte once and in order, wherever storages lie; CRC-32, progress, stopping. */
import assert from 'node:assert/strict'
import { appendFile, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { crc32 } from 'node:zlib'
import { scanStorages, StorageRecord, TensorRecord, type ScannedStorage } from '../../src/format/index.js'
import { NonFiniteScan } from '../../src/format/scan-nonfinite.js'
import { StridedView } from '../../src/format/strided-view.js'
import { withFolder } from './fixtures.js'

const mebi = 1 << 20

/** A file of pseudo-random bytes and storages that lie in it as told. */
async function withStorages(
  places: readonly (readonly [offset: number, size: number])[],
  use: (storages: StorageRecord[], bytes: Uint8Array, path: string) => Promise<void>,
): Promise<void> {
  await withFolder(async (folder) => {
    const path = join(folder, 'x.bin')
    const length = Math.max(0, ...places.map(([offset, size]) => offset + size))
    let state = 1
    const bytes = Uint8Array.from({ length }, () => (state = (state * 48271) % 0x7fffffff) & 0xff)
    await writeFile(path, bytes)
    const { ino, size, mtimeNs } = await stat(path, { bigint: true })
    const identity = { inode: ino, sizeBytes: Number(size), modifiedNs: mtimeNs }
    const storages = places.map(([offsetBytes, sizeBytes], index) => {
      const crc = crc32(bytes.subarray(offsetBytes, offsetBytes + sizeBytes))
      const source = { path, offsetBytes, sizeBytes, identity }
      return new StorageRecord({ id: `${path}#${index}`, dtype: null, sizeBytes, source, crc32: crc })
    })
    await use(storages, bytes, path)
  })
}

describe('scanStorages', () => {
  const layouts: [string, (readonly [number, number])[]][] = [
    ['small neighbours', Array.from({ length: 500 }, (_none, index) => [64 + index * 192, 100] as const)],
    [
      'odd places and sizes',
      [
        [1, 17],
        [18, 1],
        [19, 0],
        [3001, 4099],
        [9000, 3 * mebi + 5],
        [7 * mebi + 3, 64],
      ],
    ],
    ['one large storage', [[64, 5 * mebi]]],
    [
      'out of order, sharing bytes',
      [
        [5000, 3000],
        [0, 9000],
        [4000, 10],
      ],
    ],
    [
      'exactly a piece',
      [
        [0, 2 * mebi],
        [2 * mebi, 4 * mebi],
      ],
    ],
    ['nothing', []],
    ['an empty storage', [[10, 0]]],
  ]
  for (const [title, places] of layouts) {
    it(`sees every byte once and in order: ${title}`, async () => {
      await withStorages(places, async (storages, bytes) => {
        const seen = new Map<StorageRecord, number>()
        const done: ScannedStorage[] = []
        let last = [0, 0]
        await scanStorages(
          { storages },
          {
            onChunk(storage, chunk, offset) {
              assert.equal(offset, seen.get(storage) ?? 0)
              assert.equal(offset % 16, 0)
              assert.equal(chunk.byteOffset % 16, 0)
              const from = storage.source.offsetBytes + offset
              assert.ok(Buffer.from(chunk).equals(bytes.subarray(from, from + chunk.length)))
              seen.set(storage, offset + chunk.length)
            },
            onStorage: (result) => done.push(result),
            progress: (doneBytes, totalBytes) => (last = [doneBytes, totalBytes]),
          },
        )
        assert.equal(done.length, storages.length)
        for (const { storage, matches } of done) {
          assert.equal(matches, true)
          assert.equal(seen.get(storage), storage.sizeBytes)
        }
        const total = places.reduce((sum, [, size]) => sum + size, 0)
        if (places.length > 0) assert.deepEqual(last, [total, total])
      })
    })
  }

  it('says which CRC-32 does not match', async () => {
    await withStorages(
      [
        [0, 100],
        [100, 100],
      ],
      async ([first, second]) => {
        const wrong = new StorageRecord({ ...(second as StorageRecord), crc32: 7 })
        const unknown = new StorageRecord({ ...(first as StorageRecord), crc32: null })
        const results: (boolean | null)[] = []
        await scanStorages({ storages: [unknown, wrong] }, { onStorage: ({ matches }) => results.push(matches) })
        assert.deepEqual(results, [null, false])
      },
    )
  })

  it('refuses a file that has changed since it was described', async () => {
    await withStorages([[0, 100]], async (storages, _bytes, path) => {
      await appendFile(path, 'more')
      await assert.rejects(scanStorages({ storages }), { code: 'ERR_CHECKPOINT_CORRUPT', finding: 'file.changed' })
    })
  })

  it('stops when told, and lets the event loop run meanwhile', async () => {
    await withStorages([[0, 12 * mebi]], async (storages) => {
      const controller = new AbortController()
      setImmediate(() => controller.abort())
      let pieces = 0
      await assert.rejects(scanStorages({ storages }, { signal: controller.signal, onChunk: () => pieces++ }), {
        code: 'ERR_ABORTED',
      })
      assert.ok(pieces < 6)
    })
  })

  it('passes on what a callback throws', async () => {
    await withStorages([[0, 6 * mebi]], async (storages) => {
      const onChunk = () => {
        throw new Error('mine')
      }
      await assert.rejects(scanStorages({ storages }, { onChunk }), /mine/)
    })
  })
})

describe('a strided view', () => {
  it('knows the elements that it covers, whatever its strides', () => {
    const views: [number[], number[], number][] = [
      [[2, 3], [3, 1], 0],
      [[3, 2], [1, 3], 5],
      [[4], [3], 2],
      [[2, 2, 2], [10, 3, 1], 1],
      [[5, 3], [1, 1], 0],
      [[3, 4, 2], [2, 3, 7], 4],
      [[6, 3], [0, 2], 1],
      [[], [], 3],
      [[1, 1], [100, 7], 2],
      [[0, 4], [4, 1], 2],
    ]
    for (const [sizes, strides, storageOffset] of views) {
      const view = new StridedView({ sizes, strides, storageOffset })
      const covered = new Set<number>()
      const visit = (axis: number, position: number): void => {
        if (axis === sizes.length) covered.add(position)
        else
          for (let step = 0; step < (sizes[axis] ?? 0); step++) visit(axis + 1, position + step * (strides[axis] ?? 0))
      }
      visit(0, storageOffset)
      for (let position = 0; position < 40; position++) {
        const index = view.indexOf(position)
        assert.equal(index !== undefined, covered.has(position), `${sizes} ${strides} ${storageOffset} at ${position}`)
        if (index === undefined) continue
        assert.equal(
          index.reduce((sum, step, axis) => sum + step * (strides[axis] ?? 0), storageOffset),
          position,
        )
        assert.ok(index.every((step, axis) => step < (sizes[axis] ?? 0)))
      }
      assert.equal(view.dense, covered.size === view.end - view.begin && covered.size === product(sizes, strides))
    }
  })

  it('is not searched for ever: strides made for that are counted as lower bounds', () => {
    const count = 1 << 18
    const storage = new StorageRecord({
      id: 's',
      dtype: 'float32',
      sizeBytes: count * 4,
      source: { path: '', offsetBytes: 0, sizeBytes: count * 4 },
    })
    const tensors = Array.from({ length: 200 }, (_none, index) => {
      const [sizes, strides] = [
        [count >> 3, 3, 3],
        [2, 3, 5 + (index % 7)],
      ]
      return new TensorRecord({ storage, dtype: 'float32', sizes, strides, storageOffset: index })
    })
    const scan = new NonFiniteScan(tensors)
    const values = new Float32Array(count).fill(NaN)
    scan.see(storage, new Uint8Array(values.buffer), 0)
    const results = tensors.map((tensor) => scan.of(tensor))
    assert.ok(results.every((result) => result !== undefined))
    assert.equal(results.at(-1)?.atLeast, true)
  })
})

/** Elements without those that stride 0 repeats. */
const product = (sizes: readonly number[], strides: readonly number[]): number =>
  sizes.reduce((all, size, axis) => all * (strides[axis] === 0 ? 1 : size), 1)
