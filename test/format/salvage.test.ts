import assert from 'node:assert/strict'
import { appendFile, stat, truncate, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { crc32 } from 'node:zlib'
import { correctByte } from '../../src/format/crc-correct.js'
import {
  listTensors,
  planTorchFile,
  readTorchFile,
  StorageRecord,
  TensorRecord,
  type TorchFile,
} from '../../src/format/index.js'
import { salvageFile, type Salvage } from '../../src/format/salvage.js'
import { completedValue } from '../../src/format/salvage-pickle.js'
import { coveredBytes } from '../../src/format/tensor-record.js'
import { PythonGlobal, Tuple } from '../../src/format/values.js'
import { ZipPlanner } from '../../src/format/zip-write.js'
import { checkpoint, fileOf } from '../checkpoint/judged.js'
import { render, withFolder } from './fixtures.js'

/** Where each tensor's bytes are in a sound file, by name. */
interface Place {
  readonly begin: number
  readonly end: number
}

function placesOf(value: unknown): Map<string, Place> {
  return new Map(
    listTensors(value).map(({ path, record }) => {
      assert.ok(record instanceof TensorRecord)
      const [begin, end] = coveredBytes(record)
      const { offsetBytes } = record.storage.source
      return [path.join('.'), { begin: offsetBytes + begin, end: offsetBytes + end }]
    }),
  )
}

/** Names and places of the tensors that a salvage gives back whole. */
function savedPlaces({ file, incomplete }: Salvage): Map<string, Place> {
  const there = listTensors(file.value ?? null).filter(
    ({ record }) =>
      record instanceof TensorRecord && coveredBytes(record)[1] <= (incomplete.get(record.storage.id) ?? Infinity),
  )
  return placesOf(new Map(there.map(({ path, record }) => [path.join('.'), record])))
}

async function salvaged(path: string, bytes: Uint8Array): Promise<Salvage> {
  await writeFile(path, bytes)
  return salvageFile(path)
}

describe('salvage of zip checkpoints', function () {
  this.timeout(120_000)
  const bytes = fileOf(checkpoint())
  let file: TorchFile
  let places: Map<string, Place>
  before(() =>
    withFolder(async (folder) => {
      await writeFile(join(folder, 'x.pth'), bytes)
      file = await readTorchFile(join(folder, 'x.pth'))
      places = placesOf(file.value)
    }),
  )

  /** The beginnings of everything in the file: headers, data, descriptors, directory, end records. */
  const boundaries = (): number[] => {
    const found = [0, bytes.length]
    for (let at = bytes.indexOf('PK'); at >= 0; at = bytes.indexOf('PK', at + 1)) found.push(at)
    for (const { offsetBytes, sizeBytes } of file.records.values()) found.push(offsetBytes, offsetBytes + sizeBytes)
    return found
  }

  it('gives back every tensor whose bytes are there, wherever the file is cut', () =>
    withFolder(async (folder) => {
      const cuts = new Set(boundaries().flatMap((at) => [at - 1, at, at + 1]))
      for (let at = 0; at <= bytes.length; at += 13) cuts.add(at)
      const pickleEnd =
        (file.records.get('data.pkl')?.offsetBytes ?? 0) + (file.records.get('data.pkl')?.sizeBytes ?? 0)
      for (const cut of cuts) {
        if (cut < 0 || cut > bytes.length) continue
        const result = await salvaged(join(folder, 'cut.pth'), bytes.subarray(0, cut))
        const expected = [...places].filter(([, { end }]) => cut >= pickleEnd && end <= cut)
        const found = [...savedPlaces(result)].filter(([, { begin, end }]) => end > begin)
        assert.deepEqual(new Map(found), new Map(expected), `cut to ${cut} bytes`)
        assert.equal(result.isSound, cut === bytes.length)
      }
    }))

  for (const [name, change] of [
    ['every bit', 0xff],
    ['the lowest bit', 0x01],
    ['the highest bit', 0x80],
  ] as const) {
    it(`finds all tensors in their places when a byte anywhere has ${name} flipped`, () =>
      withFolder(async (folder) => {
        const states = new Set<string>()
        for (let at = 0; at < bytes.length; at += 5) {
          const copy = Buffer.from(bytes)
          copy[at] = (copy[at] as number) ^ change
          const result = await salvaged(join(folder, 'flipped.pth'), copy)
          states.add(result.pickle)
          assert.deepEqual(savedPlaces(result), places, `byte ${at}`)
        }
        // Bytes of the pickle are put right by its CRC-32.
        assert.deepEqual([...states].sort(), ['corrected', 'whole'])
      }))
  }

  for (const change of [0xff, 0x01])
    it(`finds them without a directory too when a header is damaged by ${change}`, () =>
      withFolder(async (folder) => {
        const directory = bytes.indexOf('PK\x01\x02')
        for (let at = 0; at < directory; at += 7) {
          const copy = Buffer.from(bytes.subarray(0, directory))
          copy[at] = (copy[at] as number) ^ change
          assert.deepEqual(savedPlaces(await salvaged(join(folder, 'flipped.pth'), copy)), places, `byte ${at}`)
        }
      }))

  it('tells which byte of the pickle was wrong, and gives the value that was written', () =>
    withFolder(async (folder) => {
      const at = bytes.indexOf('validation_loss') + 'validation_loss'.length + 5
      const copy = Buffer.from(bytes)
      copy[at] = (copy[at] as number) ^ 0x10
      const result = await salvaged(join(folder, 'x.pth'), copy)
      assert.equal(result.pickle, 'corrected')
      assert.equal((result.file.value as Map<string, unknown>).get('validation_loss'), 0.25)
      const start = file.records.get('data.pkl')?.offsetBytes ?? 0
      assert.match(result.pickleNote ?? '', new RegExp(`byte ${at - start} was 0x`))
    }))

  it('reads on where the head is overwritten: the directory knows the records, and nothing names the tensors', () =>
    withFolder(async (folder) => {
      const copy = Buffer.from(bytes)
      copy.fill(0, 0, 700)
      const result = await salvaged(join(folder, 'x.pth'), copy)
      assert.equal(result.pickle, 'unreadable')
      const found = result.unclaimed.map(({ source, recordName }) => [recordName, source.offsetBytes, source.sizeBytes])
      const stored = [...file.records.values()].filter(({ name }) => /^data\/\d/.test(name))
      assert.deepEqual(
        found,
        stored.map(({ name, offsetBytes, sizeBytes }) => [name, offsetBytes, sizeBytes]),
      )
    }))

  it('passes over garbage before, between and after', () =>
    withFolder(async (folder) => {
      const second = bytes.indexOf('PK\x03\x04', 10)
      const garbage = Buffer.alloc(1000, 'PK garbage PK\x03\x04 ')
      for (const at of [0, second, bytes.length]) {
        const path = join(folder, 'x.pth')
        const result = await salvaged(path, Buffer.concat([bytes.subarray(0, at), garbage, bytes.subarray(at)]))
        const moved = new Map(
          [...places].map(([name, { begin, end }]) => [
            name,
            { begin: begin + (at < begin ? 1000 : 0), end: end + (at < begin ? 1000 : 0) },
          ]),
        )
        assert.deepEqual(savedPlaces(result), moved, `garbage at ${at}`)
      }
    }))

  it('takes from one of two copies what the other lost', () =>
    withFolder(async (folder) => {
      const { begin } = places.get('model_state_dict.first.weight') as Place
      const other = places.get('model_state_dict.last.weight') as Place
      const first = Buffer.from(bytes)
      const second = Buffer.from(bytes)
      first[begin] = (first[begin] as number) ^ 1
      second[other.begin] = (second[other.begin] as number) ^ 1
      const result = await salvaged(join(folder, 'x.pth'), Buffer.concat([first, second]))
      const found = savedPlaces(result)
      assert.equal(found.size, places.size)
      // Of equally good copies the last is taken, and what is damaged in it comes from the first.
      assert.equal(found.get('model_state_dict.first.weight')?.begin, begin + bytes.length)
      assert.equal(found.get('model_state_dict.last.weight')?.begin, other.begin)
    }))

  it('reads archives with the data before the pickle, as C++ writes them, and a pickle that is cut as far as it goes', () =>
    withFolder(async (folder) => {
      const zip = new ZipPlanner<Uint8Array>('archive', 64)
      const record = (name: string) => {
        const { offsetBytes, sizeBytes } = file.records.get(name) as { offsetBytes: number; sizeBytes: number }
        return bytes.subarray(offsetBytes, offsetBytes + sizeBytes)
      }
      const names = [...file.records.keys()].filter((name) => /^data\/\d/.test(name))
      for (const name of names) zip.addStorage(name, record(name), 0, record(name).length)
      zip.addBytes('data.pkl', record('data.pkl'))
      zip.addBytes('version', record('version'))
      zip.finish()
      const data = render(zip.parts)
      const pickleAt = data.indexOf(record('data.pkl'))
      const counts: number[] = []
      for (let cut = pickleAt; cut < pickleAt + record('data.pkl').length; cut += 11) {
        const result = await salvaged(join(folder, 'x.pth'), data.subarray(0, cut))
        const saved = savedPlaces(result)
        for (const [name, { begin, end }] of saved) {
          const own = places.get(name) as Place
          assert.ok(data.subarray(begin, end).equals(bytes.subarray(own.begin, own.end)), `${name} at cut ${cut}`)
        }
        assert.equal(result.unclaimed.length + result.file.storages.length >= names.length, true)
        counts.push(saved.size)
      }
      assert.equal(counts[0], 0)
      assert.equal(counts.at(-1), places.size)
      assert.deepEqual(
        counts,
        [...counts].sort((left, right) => left - right),
      )
      assert.deepEqual(savedPlaces(await salvaged(join(folder, 'x.pth'), data.subarray(0, pickleAt - 40))), new Map())
    }))

  it('names a record whose name is damaged by its neighbours', () =>
    withFolder(async (folder) => {
      const directory = bytes.indexOf('PK\x01\x02')
      const copy = Buffer.from(bytes.subarray(0, directory))
      // Digits of other records, of no record, and no digit.
      for (const digit of ['1', '2', '4', '9', '!'])
        for (const key of ['3', '14']) {
          const damaged = Buffer.from(copy)
          damaged.write(digit, damaged.indexOf(`x/data/${key}FB`) + 7)
          assert.deepEqual(savedPlaces(await salvaged(join(folder, 'x.pth'), damaged)), places, `${key} by ${digit}`)
        }
    }))

  it('takes little time for files that are built to look like broken archives everywhere', () =>
    withFolder(async (folder) => {
      const header = Buffer.from('504b0304000000000000000000000000000000000000000000000500000078', 'hex')
      const patterns = [
        'PK\x03\x04',
        'PK\x07\x08',
        'PK\x01\x02',
        'PK\x05\x06',
        'FB',
        `${header.toString('latin1')}/abc`,
      ]
      for (const pattern of patterns) {
        const before = performance.now()
        const result = await salvaged(join(folder, 'x.pth'), Buffer.alloc(2 << 20, pattern, 'latin1'))
        assert.ok(result.file.records.size <= (2 << 20) / 64 + 1)
        assert.ok(performance.now() - before < 5000, `${JSON.stringify(pattern)} took long`)
      }
    }))

  it('reads what is left of a file of more than 4 GiB in little time and memory', function () {
    return withFolder(async (folder) => {
      const path = join(folder, 'big.pth')
      const before = process.memoryUsage().rss
      const source = new Uint8Array(0)
      const storage = new StorageRecord({ id: 'a', dtype: 'float32', sizeBytes: 4.5 * 2 ** 30, source })
      const facts = { dtype: 'float32', sizes: [storage.sizeBytes / 4], strides: [1], storage } as const
      const big = new TensorRecord<Uint8Array>(facts)
      const plan = planTorchFile<Uint8Array>(
        new Map<string, unknown>([
          ['big', big],
          ['small', (checkpoint().get('model_state_dict') as Map<string, unknown>).get('first.weight')],
        ]),
        { topFolder: 'big' },
      )
      await writeFile(path, '')
      for (const part of plan.parts) {
        if (part.kind === 'bytes') await appendFile(path, part.bytes)
        else if (part.sizeBytes > 2 ** 30) {
          const { size } = await stat(path)
          await truncate(path, size + part.sizeBytes)
        } else await appendFile(path, part.tensor.subarray(part.offsetBytes, part.offsetBytes + part.sizeBytes))
      }
      assert.equal((await salvageFile(path)).isSound, true)
      await truncate(path, plan.sizeBytes - 30)
      const cut = await salvageFile(path)
      assert.equal(cut.isSound, false)
      assert.deepEqual([...savedPlaces(cut).keys()], ['big', 'small'])
      await truncate(path, 4 * 2 ** 30)
      const shorter = await salvageFile(path)
      assert.deepEqual([...savedPlaces(shorter).keys()], [])
      assert.equal(
        [...shorter.incomplete.values()].some((size) => size > 3.9 * 2 ** 30),
        true,
      )
      assert.ok(process.memoryUsage().rss - before < 150 * 2 ** 20)
    })
  })
})

describe('corrections by CRC-32', () => {
  it('finds any single changed byte', () => {
    const bytes = Uint8Array.from({ length: 500 }, (_none, index) => (index * 37) % 256)
    const stated = crc32(bytes)
    for (let position = 0; position < bytes.length; position += 7) {
      for (const change of [1, 0x80, 0xff, 0x5a]) {
        const copy = bytes.slice()
        copy[position] = (copy[position] as number) ^ change
        const { position: found, expected } = correctByte(copy, stated) ?? assert.fail('nothing found')
        assert.deepEqual([found, expected], [position, bytes[position]])
      }
    }
  })

  it('claims nothing for larger damage, sound bytes, or so many bytes that a match proves nothing', () => {
    const bytes = new Uint8Array(300)
    const stated = crc32(bytes)
    assert.equal(correctByte(bytes, stated), null)
    const copy = bytes.slice()
    copy[10] = 1
    copy[200] = 7
    assert.equal(correctByte(copy, stated), null)
    const large = new Uint8Array(300_000)
    const largeCrc = crc32(large)
    large[5] = 0x03
    assert.equal(correctByte(large, largeCrc), null)
    large[5] = 0x40
    assert.equal(correctByte(large, largeCrc)?.position, 5)
    const huge = new Uint8Array(6_000_000)
    const hugeCrc = crc32(huge)
    huge[5] = 1
    assert.equal(correctByte(huge, hugeCrc), null)
  })
})

describe('values of cut pickles', () => {
  const rebuild = new PythonGlobal('torch._utils._rebuild_tensor_v2')
  it('fills the containers that were open', () => {
    const inner = new Map<unknown, unknown>()
    const outer = new Map<unknown, unknown>()
    const value = completedValue([[outer], ['epoch', 3, 'config', inner], ['width', 4, 'depth']])
    assert.deepEqual(
      value,
      new Map<unknown, unknown>([
        ['epoch', 3],
        ['config', new Map([['width', 4]])],
      ]),
    )
  })

  it('drops calls, tuples and keys that were being made', () => {
    assert.deepEqual(completedValue([[new Map()], ['a', 1, 'w', rebuild, new Tuple([1])]]), new Map([['a', 1]]))
    assert.deepEqual(completedValue([[new Map()], ['a', 1, 'betas'], [0.9, 0.99, 1]]), new Map([['a', 1]]))
    assert.deepEqual(completedValue([[new Map()], ['a', [], 'w', rebuild], [1, 2]]), new Map([['a', []]]))
    assert.equal(completedValue([[rebuild], [1, 2]]), undefined)
    assert.equal(completedValue([[]]), undefined)
  })

  it('puts an int key after an empty dict into that dict', () => {
    const value = completedValue([[new Map()], ['state', new Map(), 0, new Map([['step', 1]])]])
    assert.deepEqual(value, new Map([['state', new Map([[0, new Map([['step', 1]])]])]]))
  })
})
