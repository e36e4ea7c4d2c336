/** Plans: the bytes of headers beyond 4 GiB, top folders, what cannot be saved; and the Node executor's failures. */
import assert from 'node:assert/strict'
import { open, readdir, readFile, truncate, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { crc32 } from 'node:zlib'
import {
  ByteArray,
  planTorchFile,
  PyFloat,
  readStorageBytes,
  readTensorValues,
  readTorchFile,
  StorageRecord,
  tensorFromBytes,
  TensorRecord,
  topFolderOf,
  Tuple,
  writePlan,
  type ByteOrigin,
  type TorchFilePlan,
} from '../../src/format/index.js'
import { needPython, runPython } from '../python.js'
import { withFolder } from './fixtures.js'

const beyond32 = 2 ** 32 + 64

/** A uint8 tensor of more than 4 GiB that is nowhere, and a small one that comes after it. */
function hugePlan(topFolder: string): TorchFilePlan<Uint8Array> {
  const storage = new StorageRecord({ id: 'huge', dtype: 'uint8', sizeBytes: beyond32, source: new Uint8Array() })
  const huge = new TensorRecord({ storage, dtype: 'uint8', sizes: [beyond32], strides: [1] })
  const small = tensorFromBytes({
    dtype: 'float32',
    sizes: [3],
    bytes: new Uint8Array(new Float32Array([1, 1, 1]).buffer),
  })
  return planTorchFile<Uint8Array>({ a: huge, b: small }, { topFolder })
}

/** Writes a plan with holes where the huge storages are. */
async function writeSparse(path: string, plan: TorchFilePlan<Uint8Array>): Promise<void> {
  const file = await open(path, 'wx')
  const crcs = new Map<number, number>()
  let at = 0
  for (const part of plan.parts) {
    if (part.kind === 'bytes') {
      const bytes = Buffer.from(part.bytes)
      for (const { at: place, slot } of part.crcPatches ?? []) bytes.writeUInt32LE(crcs.get(slot) ?? 0, place)
      await file.write(bytes, 0, bytes.length, at)
      at += bytes.length
      continue
    }
    if (part.tensor.length > 0) {
      await file.write(part.tensor, 0, part.sizeBytes, at)
      crcs.set(part.crcSlot, crc32(part.tensor))
    }
    at += part.sizeBytes
  }
  await truncate(path, plan.sizeBytes)
  await file.close()
}

/**
 * What torch 2.13 wrote for `{'a': torch.zeros(2**32 + 64, dtype=torch.uint8), 'b': torch.ones(3)}` as big.pt around its huge record: the local header of `data/0`,
 * the descriptor behind it, the local header of `data/1` (CRC-32s of the huge record left out), and the sizes of the whole.
 */
const torchWrote = {
  sizeBytes: 4294969221,
  hugeHeader: [
    '504b0304' + '0000' + '0808' + '0000' + '00000000', // signature, version, flags, method, time
    '00000000'.repeat(3) + '0a00' + '4200', // CRC-32, sizes, lengths of name and extra fields
    '6269672f646174612f30', // big/data/0
    '01001000' + '4000000001000000' + '0000000000000000', // zip64: size, compressed size
    '46422a00', // FB, 42 bytes of padding
  ].join(''),
  smallData: 2 ** 32 + 0x3c0,
  /** From the sizes on. */
  centralEntries: [
    'ffffffff'.repeat(2) +
      '0a001400' +
      '0000'.repeat(5) +
      '96020000' +
      '6269672f646174612f30' +
      '01001000' +
      '4000000001000000'.repeat(2),
    '0c000000'.repeat(2) +
      '0a000c00' +
      '0000'.repeat(5) +
      'ffffffff' +
      '6269672f646174612f31' +
      '01000800' +
      '5803000001000000',
  ],
}

describe('format: plans', () => {
  it('writes the zip64 headers that torch writes', () => {
    const plan = hugePlan('big')
    assert.equal(plan.sizeBytes, torchWrote.sizeBytes)
    const [head, huge, between, small, tail] = plan.parts
    assert(
      head?.kind === 'bytes' &&
        huge?.kind === 'storage' &&
        between?.kind === 'bytes' &&
        small?.kind === 'storage' &&
        tail?.kind === 'bytes',
    )
    const header = Buffer.from(head.bytes).subarray(0x296, 0x2d6)
    assert.equal(header.toString('hex'), torchWrote.hugeHeader)
    assert.equal(head.bytes.length, 0x300)
    assert.equal(huge.sizeBytes, beyond32)
    assert.deepEqual(
      plan.storages.map(({ offsetBytes }) => offsetBytes),
      [0x300, torchWrote.smallData],
    )
    const descriptor = Buffer.from(between.bytes).subarray(0, 24)
    assert.deepEqual(between.crcPatches, [{ at: 4, slot: 0 }])
    assert.equal(descriptor.toString('hex'), '504b070800000000' + '4000000001000000'.repeat(2))
    const central = Buffer.from(tail.bytes).toString('hex')
    for (const entry of torchWrote.centralEntries) assert(central.includes(entry), entry)
  })

  it('plans a file beyond 4 GiB that we and Python read', async function () {
    needPython(this)
    await withFolder(async (folder) => {
      const path = join(folder, 'big.pt')
      await writeSparse(path, hugePlan('big'))
      const file = await readTorchFile(path)
      assert(file.value instanceof Map)
      assert.deepEqual(await readTensorValues(file, file.value.get('b') as TensorRecord), new Float32Array([1, 1, 1]))
      assert.deepEqual(
        file.findings.map(({ id }) => id),
        ['record.crc_not_stored'],
      )
      const stdout = await runPython(`v = torch.load('${path}', weights_only=True, mmap=True)
import zipfile
print(v['a'].shape[0], v['a'][-1].item(), v['b'].tolist(), len(zipfile.ZipFile('${path}').namelist()))`)
      assert.equal(stdout.trim(), `${beyond32} 0 [1.0, 1.0, 1.0] 8`)
    })
  })

  it('names the top folder as torch does', () => {
    const names: [string, string][] = [
      ['a/b/model.pth', 'model'],
      ['a.v1.2.pth', 'a.v1.2'],
      ['noextension', 'noextension'],
      ['/tmp/.pth', 'archive'],
      ['zürich.pth', 'archive'],
      ['...', 'archive'],
    ]
    for (const [path, folder] of names) assert.equal(topFolderOf(path), folder, path)
  })

  it('aligns every record as asked', async () => {
    for (const alignment of [1, 64, 4096]) {
      await withFolder(async (folder) => {
        const path = join(folder, 'a.pth')
        const value = [tensorFromBytes({ dtype: 'uint8', sizes: [3], bytes: Uint8Array.of(1, 2, 3) })]
        await writePlan(path, planTorchFile<Uint8Array>(value, { topFolder: 'a', alignment }))
        const file = await readTorchFile(path)
        for (const record of file.records.values()) assert.equal(record.offsetBytes % alignment, 0)
        assert.deepEqual(await readStorageBytes(file, file.storages[0] as StorageRecord), Uint8Array.of(1, 2, 3))
      })
    }
  })

  it('plans equal files for equal values', () => {
    const plan = () => planTorchFile({ a: [1, 2], b: 'x' }, { topFolder: 'a' })
    assert.deepEqual(plan(), plan())
  })

  const cyclicTuple = new Tuple<unknown>([[]])
  ;(cyclicTuple[0] as unknown[]).push(cyclicTuple)
  let deep: unknown = null
  for (let depth = 0; depth < 1100; depth++) deep = [deep]
  const storage = new StorageRecord({ id: 's', dtype: 'float32', sizeBytes: 16, source: new Uint8Array(16) })
  const view = (facts: { dtype?: 'float32' | 'int32'; sizes: number[]; strides: number[]; storageOffset?: number }) =>
    new TensorRecord({ storage, dtype: 'float32', ...facts })
  const refusals: [string, unknown, RegExp][] = [
    ['undefined', { a: [undefined] }, /\["a"\]\[0\]: a value of type undefined/],
    ['a function', [() => 1], /type function/],
    ['a symbol', { a: Symbol('x') }, /type symbol/],
    ['a symbol as a key', { a: { [Symbol('x')]: 1 } }, /\["a"\]: the key Symbol\(x\) has no counterpart/],
    ['an object as a key', new Map([[{}, 1]]), /cannot be the key of a dict/],
    ['a Date', { when: new Date() }, /\["when"\]: an object of class Date/],
    ['a Float32Array', { a: new Float32Array(1) }, /Float32Array is neither bytes .* nor a tensor/],
    ['an int of 256 bytes', 2n ** 2040n, /more than 255 bytes/],
    ['a list as a key', new Map([[[1], 2]]), /cannot be the key/],
    ['a bytearray in a set', new Set([new ByteArray(1)]), /member of a set/],
    [
      '1 and true as keys',
      new Map<unknown, number>([
        [1, 1],
        [true, 2],
      ]),
      /keys 1 and true|keys true and 1/,
    ],
    ['1 and 1.0 in a set', new Set([1, new PyFloat(1)]), /the same as another member/],
    ['a tuple in itself', cyclicTuple, /tuple that contains itself/],
    ['too deep a nesting', deep, /nested deeper than 1000/],
    ['a tensor past its storage', view({ sizes: [5], strides: [1] }), /needs 20 bytes, its storage has 16/],
    [
      'two dtypes over one storage',
      [view({ sizes: [1], strides: [1] }), view({ dtype: 'int32', sizes: [1], strides: [1] })],
      /two dtypes over one storage/,
    ],
  ]
  for (const [name, value, message] of refusals) {
    it(`refuses to save ${name}`, () => {
      assert.throws(() => planTorchFile(value, { topFolder: 'a' }), { code: 'ERR_INVALID_ARGUMENT', message })
    })
  }

  it('refuses a top folder that is none, and an odd alignment', () => {
    for (const topFolder of ['', '..', 'a/b', 'a\0']) {
      assert.throws(() => planTorchFile(1, { topFolder }), { code: 'ERR_INVALID_ARGUMENT', message: /topFolder/ })
    }
    for (const alignment of [0, 3, -64, 65536, NaN]) {
      assert.throws(() => planTorchFile(1, { topFolder: 'a', alignment }), {
        code: 'ERR_INVALID_ARGUMENT',
        message: /alignment/,
      })
    }
  })
})

describe('format: the Node executor', () => {
  const plan = (source: ByteOrigin, sizeBytes: number) => {
    const storage = new StorageRecord<ByteOrigin>({ id: 's', dtype: 'uint8', sizeBytes, source })
    const tensor = new TensorRecord<ByteOrigin>({ storage, dtype: 'uint8', sizes: [sizeBytes], strides: [1] })
    return planTorchFile<ByteOrigin>([tensor], { topFolder: 'a' })
  }

  it('copies a range of another file', () =>
    withFolder(async (folder) => {
      const source = join(folder, 'source')
      const bytes = Buffer.alloc(9 << 20, 'torchkeep')
      await writeFile(source, bytes)
      const origin = { path: source, offsetBytes: 5, sizeBytes: bytes.length - 5 }
      const written = await writePlan(join(folder, 'a.pth'), plan(origin, bytes.length - 5), { fsync: true })
      assert.equal(written.sizeBytes, (await readFile(join(folder, 'a.pth'))).length)
      const file = await readTorchFile(join(folder, 'a.pth'))
      assert.deepEqual(Buffer.from(await readStorageBytes(file, file.storages[0] as StorageRecord)), bytes.subarray(5))
      assert.equal(file.storages[0]?.crc32, written.crc32[0])
    }))

  it('leaves a file that exists alone', () =>
    withFolder(async (folder) => {
      const path = join(folder, 'a.pth')
      await writeFile(path, 'mine')
      await assert.rejects(writePlan(path, plan(new Uint8Array(1), 1)), {
        code: 'ERR_CHECKPOINT_WRITE',
        message: /cannot create .*EEXIST/,
      })
      assert.equal(await readFile(path, 'utf8'), 'mine')
    }))

  const range = (folder: string, name: string, crc?: number): ByteOrigin => ({
    path: join(folder, name),
    offsetBytes: 0,
    sizeBytes: 8,
    ...(crc === undefined ? {} : { crc32: crc }),
  })
  const failures: [string, (folder: string) => ByteOrigin, string, RegExp][] = [
    ['bytes that are not there', () => new Uint8Array(3), 'WRITE', /a storage of 3 bytes was to give bytes 0 to 8/],
    ['a source that is missing', (folder) => range(folder, 'none'), 'MISSING', /no such file/],
    ['a source that ends early', (folder) => range(folder, 'short'), 'CORRUPT', /bytes 0 to 8 are wanted, there are 3/],
    [
      'a source that is damaged',
      (folder) => range(folder, 'other', 1),
      'CORRUPT',
      /CRC-32 is 0x[0-9a-f]{8}, expected 0x00000001/,
    ],
  ]
  for (const [name, origin, family, message] of failures) {
    it(`removes what it began on ${name}`, () =>
      withFolder(async (folder) => {
        await writeFile(join(folder, 'short'), 'abc')
        await writeFile(join(folder, 'other'), 'abcdefgh')
        const writing = writePlan(join(folder, 'a.pth'), plan(origin(folder), 8))
        await assert.rejects(writing, { code: `ERR_CHECKPOINT_${family}`, message })
        assert.deepEqual((await readdir(folder)).sort(), ['other', 'short'])
      }))
  }

  it('refuses to copy from a checkpoint that has changed or is damaged', () =>
    withFolder(async (folder) => {
      const source = join(folder, 'a.pth')
      await writePlan(source, plan(new Uint8Array(100), 100))
      const { value, storages } = await readTorchFile(source)
      const copy = planTorchFile<ByteOrigin>(value, { topFolder: 'b' })
      const file = await open(source, 'r+')
      await file.write(Buffer.of(1), 0, 1, storages[0]?.source.offsetBytes)
      await file.close()
      // The clock of the file system may be too coarse to show the change; the CRC-32 shows it then.
      const refused = { code: 'ERR_CHECKPOINT_CORRUPT', message: /has changed since it was read|CRC-32/ }
      await assert.rejects(writePlan(join(folder, 'b.pth'), copy), refused)
      const again = planTorchFile<ByteOrigin>((await readTorchFile(source)).value, { topFolder: 'b' })
      await assert.rejects(writePlan(join(folder, 'b.pth'), again), {
        code: 'ERR_CHECKPOINT_CORRUPT',
        message: /CRC-32/,
      })
      assert.deepEqual(await readdir(folder), ['a.pth'])
    }))

  it('refuses a folder that is missing', () =>
    withFolder(async (folder) => {
      const path = join(folder, 'none', 'a.pth')
      await assert.rejects(writePlan(path, plan(new Uint8Array(1), 1)), {
        code: 'ERR_CHECKPOINT_WRITE',
        message: /no such file/,
      })
    }))
})
