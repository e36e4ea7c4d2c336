import assert from 'node:assert/strict'
import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { crc32 } from 'node:zlib'
import type { FilePart, MapTensorFileOptions, TensorHandle } from '../../lib/contract.js'
import { addon } from '../../lib/native.js'
import { runChild } from './child.js'
import { call, callTensor, floats, valuesOf, withFolder } from './fixtures.js'

const bytes = (text: string): FilePart => ({ kind: 'bytes', bytes: Buffer.from(text) })
const storage = (tensor: TensorHandle, offsetBytes: number, sizeBytes: number, crcSlot: number): FilePart => {
  return { kind: 'storage', tensor, offsetBytes, sizeBytes, crcSlot }
}
const write = (path: string, parts: FilePart[], fsync = true) => addon().writeTensorFile({ path, parts, fsync })

describe('writeTensorFile', () => {
  it('streams bytes and storages, and patches CRC-32s into later pieces', () =>
    withFolder(async (folder) => {
      const path = join(folder, 'file')
      const tensor = floats([1, 2, 3, 4])
      const raw = Buffer.from(Float32Array.of(1, 2, 3, 4).buffer)
      const trailer = Buffer.from('crc:____;crc:____')
      const patches = [
        { at: 4, slot: 1 },
        { at: 13, slot: 0 },
      ]
      const parts: FilePart[] = [
        bytes('head'),
        storage(tensor, 4, 8, 0),
        storage(callTensor('select.int', [tensor, 0, 3]), 0, 16, 1),
        { kind: 'bytes', bytes: trailer, crcPatches: patches },
      ]
      const written = await write(path, parts)
      const crcs = [crc32(raw.subarray(4, 12)), crc32(raw)]
      assert.deepEqual(written, { sizeBytes: 4 + 8 + 16 + 17, crc32: crcs })
      const expected = Buffer.concat([Buffer.from('head'), raw.subarray(4, 12), raw, Buffer.from('crc:____;crc:____')])
      expected.writeUInt32LE(crcs[1] as number, 28 + 4)
      expected.writeUInt32LE(crcs[0] as number, 28 + 13)
      assert.deepEqual(readFileSync(path), expected)
      assert.equal(trailer.toString(), 'crc:____;crc:____', 'the given bytes stay as they are')
    }))

  it('has the CRC-32 of zlib at every length', () =>
    withFolder(async (folder) => {
      const sizes = [
        ...Array.from({ length: 200 }, (_, i) => i),
        1023,
        4096,
        65537,
        2 ** 20 - 1,
        2 ** 20 + 3,
        3 * 2 ** 20 + 64,
      ]
      const data = Uint8Array.from({ length: 4 << 20 }, (_, i) => (i * 2654435761) >>> 13)
      const tensor = addon().tensorFromData({ dtype: 'uint8', sizes: [data.length], data, device: 'cpu' })
      const parts = sizes.map((size, i) => storage(tensor, i * 3, size, i))
      const written = await write(join(folder, 'file'), parts, false)
      assert.deepEqual(
        written.crc32,
        sizes.map((size, i) => crc32(data.subarray(i * 3, i * 3 + size))),
      )
    }))

  it('refuses an existing file and leaves it alone', () =>
    withFolder(async (folder) => {
      const path = join(folder, 'file')
      writeFileSync(path, 'precious')
      const refusal = {
        name: 'TorchkeepError',
        code: 'ERR_CHECKPOINT_WRITE',
        message: `${path}: cannot create the file: File exists`,
      }
      await assert.rejects(write(path, [bytes('new')]), refusal)
      assert.equal(readFileSync(path, 'utf8'), 'precious')
    }))

  it('names a missing folder', () =>
    withFolder(async (folder) => {
      const path = join(folder, 'no', 'file')
      await assert.rejects(write(path, [bytes('new')]), {
        code: 'ERR_CHECKPOINT_WRITE',
        message: /no\/file: cannot create the file: No such file/,
      })
    }))

  it('removes the file when the disk is full', function () {
    // A file size limit stands in for a full disk: the write itself fails in the middle.
    return withFolder(async (folder) => {
      const path = join(folder, 'file')
      const program = `
process.on('SIGXFSZ', () => {})
const tensor = addon.call({ op: 'aten::ones', args: [[1 << 20]], gradEnabled: false })
await addon.writeTensorFile({ path: ${JSON.stringify(path)}, fsync: true, parts: [{ kind: 'storage', tensor, offsetBytes: 0, sizeBytes: 4 << 20, crcSlot: 0 }] })
  .then(() => console.log('written'), (error) => console.log(error.code, error.message))`
      const { stdout } = await runChild(program, {}, 2048)
      assert.equal(stdout.trim(), `ERR_CHECKPOINT_WRITE ${path}: cannot write: File too large`)
      assert.equal(existsSync(path), false)
    })
  })

  const tensor = () => floats([1, 2])
  const patched = (at: number, slot: number): FilePart => ({
    kind: 'bytes',
    bytes: Buffer.alloc(8),
    crcPatches: [{ at, slot }],
  })
  const refusals: [string, () => FilePart[], RegExp][] = [
    [
      'a range beyond the storage',
      () => [storage(tensor(), 4, 8, 0)],
      /parts\[0\]: expected a range within the storage's 8 bytes, found 8 at 4/,
    ],
    ['a range that overflows', () => [storage(tensor(), 2 ** 53, 2 ** 53, 0)], /within the storage's 8 bytes/],
    ['a negative size', () => [storage(tensor(), 0, -1, 0)], /sizeBytes: expected a number of bytes, found -1/],
    [
      'a slot used twice',
      () => [storage(tensor(), 0, 8, 0), storage(tensor(), 0, 8, 0)],
      /parts\[1\]: crcSlot: expected an unused slot/,
    ],
    [
      'a slot without bound',
      () => [storage(tensor(), 0, 8, 4e9)],
      /crcSlot: expected an unused slot below the number of parts/,
    ],
    [
      'a patch of a slot not yet written',
      () => [patched(0, 0), storage(tensor(), 0, 8, 0)],
      /slot 0 is not written before/,
    ],
    [
      'a patch outside its bytes',
      () => [storage(tensor(), 0, 8, 0), patched(5, 0)],
      /place for 4 bytes within 8, found 5/,
    ],
    [
      'an unknown kind',
      () => [{ kind: 'stuff' } as unknown as FilePart],
      /kind: expected 'bytes' or 'storage', found 'stuff'/,
    ],
  ]
  for (const [name, parts, message] of refusals) {
    it(`refuses ${name} before it makes a file`, () =>
      withFolder(async (folder) => {
        const path = join(folder, 'file')
        await assert.rejects(async () => write(path, parts()), { code: 'ERR_INVALID_ARGUMENT', message })
        assert.equal(existsSync(path), false)
      }))
  }

  it('keeps others from changing a tensor until it is written, but not from reading it', () =>
    withFolder(async (folder) => {
      const large = callTensor('ones', [[1 << 22]])
      const view = callTensor('slice.Tensor', [large, 0, 0, 1])
      const writing = write(join(folder, 'file'), [storage(large, 0, 16 << 20, 0)])
      assert.throws(() => call('add_.Tensor', [view, 1]), {
        code: 'ERR_BUSY',
        message: /^aten::add_\.Tensor: the tensor is in use/,
      })
      assert.deepEqual(valuesOf(callTensor('add.Tensor', [view, 1])), [2])
      assert.deepEqual(valuesOf(view), [1])
      await writing
      call('add_.Tensor', [view, 1])
      assert.deepEqual(valuesOf(view), [2])
    }))
})

describe('mapTensorFile', () => {
  const header = 8
  const data = Buffer.concat([Buffer.from('headhead'), Buffer.from(Float32Array.of(1, 2, 3, 4, 5, 6).buffer)])
  const crc = crc32(data.subarray(header))
  const whole = { offsetBytes: header, sizeBytes: 24, crc32: crc }
  const matrix = { storage: 0, dtype: 'float32' as const, sizes: [2, 3], strides: [3, 1], storageOffset: 0 }

  async function withFile(
    use: (map: (options: Partial<MapTensorFileOptions>) => Promise<TensorHandle[]>, path: string) => Promise<void>,
  ) {
    await withFolder(async (folder) => {
      const path = join(folder, 'file')
      writeFileSync(path, data)
      await use(
        (options) => addon().mapTensorFile({ path, storages: [whole], tensors: [matrix], mode: 'read', ...options }),
        path,
      )
    })
  }

  for (const mode of ['read', 'map'] as const) {
    it(`gives tensors that share their storage (${mode})`, () =>
      withFile(async (map) => {
        const column = { ...matrix, sizes: [2], strides: [3], storageOffset: 1 }
        const [all, some] = (await map({ mode, tensors: [matrix, column] })) as [TensorHandle, TensorHandle]
        assert.deepEqual(valuesOf(all), [1, 2, 3, 4, 5, 6])
        assert.deepEqual(valuesOf(some), [2, 5])
        assert.equal(addon().tensorInfo({ tensor: all }).storageId, addon().tensorInfo({ tensor: some }).storageId)
        assert.equal(addon().tensorInfo({ tensor: all }).storageSizeBytes, 24)
        call('add_.Tensor', [all, 1])
        assert.deepEqual(valuesOf(some), [3, 6])
      }))

    it(`never changes the file (${mode})`, () =>
      withFile(async (map, path) => {
        const [tensor] = (await map({ mode })) as [TensorHandle]
        call('zero_', [tensor])
        assert.deepEqual(readFileSync(path), data)
      }))

    it(`takes ranges at odd places and of no bytes (${mode})`, () =>
      withFile(async (map) => {
        const storages = [
          { offsetBytes: 1, sizeBytes: 4, crc32: null },
          { offsetBytes: data.length, sizeBytes: 0, crc32: 0 },
        ]
        const one = { storage: 0, dtype: 'int32' as const, sizes: [], strides: [], storageOffset: 0 }
        const none = { storage: 1, dtype: 'int32' as const, sizes: [0, 4], strides: [4, 1], storageOffset: 0 }
        const [a, b] = (await map({ mode, storages, tensors: [one, none] })) as [TensorHandle, TensorHandle]
        assert.deepEqual(Buffer.from(addon().tensorToData({ tensor: a })), data.subarray(1, 5))
        assert.deepEqual(addon().tensorInfo({ tensor: b }).sizes, [0, 4])
      }))

    it(`finds a flipped bit and names the storage (${mode})`, () =>
      withFile(async (map) => {
        const wrong = (crc ^ 1) >>> 0
        const storages = [
          { offsetBytes: 0, sizeBytes: 8, crc32: null },
          { ...whole, crc32: wrong },
        ]
        await assert.rejects(
          map({ mode, storages, tensors: [{ ...matrix, storage: 1 }] }),
          (error: Error & { code?: string; storage?: number }) => {
            assert.equal(error.code, 'ERR_CHECKPOINT_CORRUPT')
            assert.equal(error.storage, 1)
            assert.match(error.message, new RegExp(`storage 1: expected CRC-32 ${wrong}, found ${crc}`))
            return true
          },
        )
      }))

    it(`finds a file that is cut (${mode})`, () =>
      withFile(async (map) => {
        const storages = [{ ...whole, sizeBytes: 25 }]
        await assert.rejects(map({ mode, storages }), {
          code: 'ERR_CHECKPOINT_CORRUPT',
          storage: 0,
          message: /expected 25 bytes at 8, found a file of 32/,
        })
      }))
  }

  it('names a file that is not there', () =>
    withFile(async (map, path) => {
      await assert.rejects(map({ path: `${path}s` }), {
        code: 'ERR_CHECKPOINT_MISSING',
        message: /files: cannot open the file: No such file/,
      })
    }))

  const refusals: [string, Partial<typeof matrix> | { dtype: 'qint8' }, RegExp][] = [
    [
      'a tensor beyond its storage',
      { sizes: [3, 3] },
      /tensors\[0\]: expected an extent within the storage's 24 bytes, found 36/,
    ],
    ['strides beyond the storage', { strides: [4, 1] }, /found 28/],
    ['an offset beyond the storage', { storageOffset: 1 }, /found 28/],
    ['a negative stride', { strides: [-3, 1] }, /a size or a stride is negative/],
    ['a negative size', { sizes: [-1, 3] }, /a size or a stride is negative/],
    ['a negative offset', { storageOffset: -1 }, /storageOffset is negative/],
    ['sizes that overflow', { sizes: [2 ** 40, 2 ** 40], strides: [0, 0] }, /sizes overflow 64 bits/],
    ['strides that overflow', { sizes: [2 ** 40, 2], strides: [2 ** 40, 1] }, /strides overflow 64 bits/],
    ['lengths that differ', { strides: [1] }, /sizes and strides differ in length/],
    ['a storage that is not given', { storage: 1 }, /storage: expected an index below 1, found 1/],
    ['a quantized dtype', { dtype: 'qint8' }, /map the integers of qint8/],
  ]
  for (const [name, change, message] of refusals) {
    it(`refuses ${name}`, () =>
      withFile(async (map) => {
        await assert.rejects(map({ tensors: [{ ...matrix, ...change }] }), { code: 'ERR_INVALID_ARGUMENT', message })
      }))
  }

  it('outlives the file when mapped', () =>
    withFile(async (map, path) => {
      const [tensor] = (await map({ mode: 'map' })) as [TensorHandle]
      rmSync(path)
      assert.deepEqual(valuesOf(tensor), [1, 2, 3, 4, 5, 6])
    }))
})
