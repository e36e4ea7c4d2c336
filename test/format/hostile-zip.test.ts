/** Zip archives that say one thing here and another there, so that two readers would see two files. Each is refused with the kind of lie named. */
import assert from 'node:assert/strict'
import { readTorchFile, verifyStorages, type FormatFindingId, type TorchkeepError } from '../../src/format/index.js'
import { ints, pickle, storage, tensor, withFile } from './fixtures.js'
import { forgeZip, zip64Extra, type ForgedEnd, type ForgedRecord } from './zip-forge.js'

const floats = new Uint8Array(new Float32Array([1, 2, 3, 4]).buffer)
const text = (content: string) => new Uint8Array(Buffer.from(content))
const value = new Uint8Array(pickle(tensor(storage('0', 4), 0, ints(4), ints(1))))
const evil = new Uint8Array(pickle('cos\nsystem\n'))

const honest: readonly ForgedRecord[] = [
  { name: 'x/data.pkl', data: value },
  { name: 'x/byteorder', data: text('little') },
  { name: 'x/data/0', data: floats },
  { name: 'x/version', data: text('3\n') },
]

/** The honest archive with one record changed. */
const change = (name: string, lies: Partial<ForgedRecord>): Buffer =>
  forgeZip(honest.map((record) => (record.name === `x/${name}` ? { ...record, ...lies } : record)))
/** The honest archive with more records. */
const withMore = (...records: ForgedRecord[]): Buffer => forgeZip([...honest, ...records])
/** The honest archive with records before it. */
const withFirst = (...records: ForgedRecord[]): Buffer => forgeZip([...records, ...honest])
const withEnd = (end: ForgedEnd): Buffer => forgeZip(honest, end)
const whole = forgeZip(honest)
const named = (name: string): ForgedRecord => ({ name, data: text('x') })
const both = (lies: Partial<ForgedRecord['central']>): Partial<ForgedRecord> => ({
  local: lies as NonNullable<ForgedRecord['local']>,
  central: lies as NonNullable<ForgedRecord['central']>,
})

type Lie = readonly [title: string, file: Buffer, ...ids: FormatFindingId[]]

const structure = 'zip.structure'
const mismatch = 'zip.header_mismatch'

const headers: readonly Lie[] = [
  ['no descriptor flag in the local header', change('data/0', { local: { flags: 0x0800 } }), mismatch],
  ['no descriptor flag in the directory', change('data/0', { central: { flags: 0x0800 } }), mismatch, 'zip.overlap'],
  ['another method in the local header', change('data/0', { local: { method: 8 } }), mismatch],
  ['another method in the directory', change('data/0', { central: { method: 8 } }), mismatch, 'zip.compressed'],
  [
    'a method that does not exist',
    change('data/0', both({ method: 99 })),
    'zip.compressed',
    'zip.encrypted',
    structure,
  ],
  ['another CRC-32 in the local header', change('data/0', { local: { crc: 7 } }), mismatch],
  ['another CRC-32 in the directory', change('data/0', { central: { crc: 7 } }), mismatch],
  ['no CRC-32 in the directory, one in the descriptor', change('data/0', { central: { crc: 0 } }), mismatch],
  ['another CRC-32 in the descriptor', change('data/0', { descriptor: { crc: 7 } }), mismatch],
  ['no CRC-32 in the descriptor', change('data/0', { descriptor: { crc: 0 } }), mismatch],
  ['another size in the local header', change('data/0', { local: { size: 12, stored: 12 } }), mismatch],
  ['a smaller size in the directory', change('data/0', { central: { size: 12, stored: 12 } }), mismatch],
  ['a larger size in the directory', change('data/0', { central: { size: 20, stored: 20 } }), mismatch, 'zip.overlap'],
  ['a stored size that differs from the size', change('data/0', { central: { stored: 12 } }), mismatch, structure],
  ['another size in the descriptor', change('data/0', { descriptor: { size: 12 } }), mismatch],
  ['another stored size in the descriptor', change('data/0', { descriptor: { stored: 12 } }), mismatch],
  ['a descriptor without its signature', change('data/0', { descriptor: { signature: 0 } }), mismatch, structure],
  ['another name in the local header', change('data/0', { local: { name: Buffer.from('x/data/1') } }), mismatch],
  ['a longer name in the local header', change('data/0', { local: { name: Buffer.from('x/data/0 ') } }), mismatch],
  [
    'another name in the directory',
    change('data.pkl', { central: { name: Buffer.from('x/data.pkk') } }),
    mismatch,
    'record.missing',
  ],
  ['a broken local signature', change('data/0', { local: { signature: 0x04034b51 } }), structure, mismatch],
  ['a broken central signature', change('data/0', { central: { signature: 0x02014b51 } }), structure],
  ['a record on another disk', change('data/0', { central: { disk: 1 } }), structure],
  ['a header beyond the file', change('data/0', { central: { headerOffset: 0x7fffffff } }), structure, mismatch],
  ['a header one byte off', change('data/0', { central: { headerOffset: 1 } }), structure, mismatch, 'zip.overlap'],
  [
    'a zip64 size that the field does not announce',
    change('data/0', { central: { size: 0xffffffff } }),
    structure,
    mismatch,
  ],
  [
    'a zip64 size of 2^63',
    change('data/0', { central: { size: 0xffffffff, stored: 0xffffffff, extra: zip64Extra(2 ** 63, 2 ** 63) } }),
    structure,
    mismatch,
  ],
  [
    'a zip64 size of 8 EiB - 1',
    change('data/0', { central: { size: 0xffffffff, stored: 0xffffffff, extra: zip64Extra(-1, -1) } }),
    structure,
    mismatch,
  ],
  [
    'a zip64 size that is smaller than the record',
    change('data/0', { central: { size: 0xffffffff, stored: 0xffffffff, extra: zip64Extra(12, 12) } }),
    structure,
    mismatch,
  ],
  [
    'a zip64 header offset of another record',
    change('data/0', { central: { headerOffset: 0xffffffff, extra: zip64Extra(0) } }),
    structure,
    mismatch,
    'zip.overlap',
  ],
  [
    'an extra field longer than the header says',
    change('data/0', { central: { size: 0xffffffff, stored: 0xffffffff, extra: Buffer.from([1, 0, 255, 255, 1, 2]) } }),
    structure,
    mismatch,
  ],
  ['an encrypted record', change('data/0', both({ flags: 0x0809 })), 'zip.encrypted'],
  ['a strongly encrypted record', change('data/0', both({ flags: 0x0849 })), 'zip.encrypted'],
  ['masked local headers', change('data/0', both({ flags: 0x2808 })), 'zip.encrypted'],
  ['encryption in the local header only', change('data/0', { local: { flags: 0x0809 } }), mismatch, 'zip.encrypted'],
  ['encryption in the directory only', change('data/0', { central: { flags: 0x0809 } }), mismatch, 'zip.encrypted'],
]

const records: readonly Lie[] = [
  ['the same record twice', withMore({ name: 'x/data.pkl', data: evil }), 'zip.duplicate_record'],
  ['the same record twice, the other first', withFirst({ name: 'x/data.pkl', data: evil }), 'zip.duplicate_record'],
  ['a twin in capitals', withMore({ name: 'x/DATA.PKL', data: evil }), 'zip.duplicate_record'],
  ['a twin by a Kelvin sign', withMore(named('x/k'), named('x/\u212a')), 'zip.duplicate_record', 'record.unused'],
  [
    'two names for one place',
    withMore({ ...honest[0]!, name: 'x/other', sharesHeaderOf: 'x/data.pkl' }),
    'zip.overlap',
    mismatch,
  ],
  [
    'storages that share their bytes',
    withMore({ ...honest[2]!, name: 'x/data/1', sharesHeaderOf: 'x/data/0' }),
    'zip.overlap',
    mismatch,
  ],
  ['..', withMore(named('x/../evil')), 'zip.record_name'],
  ['.. at the end', withMore(named('x/..')), 'zip.record_name'],
  ['.', withMore(named('x/./data.pkl')), 'zip.record_name'],
  ['an empty part', withMore(named('x//etc/passwd')), 'zip.record_name'],
  ['an absolute name', withMore(named('/etc/passwd')), 'zip.record_name', structure],
  ['a drive', withMore(named('C:\\evil')), 'zip.record_name', structure],
  ['a backslash', withMore(named('x/..\\evil')), 'zip.record_name'],
  ['a NUL', withMore(named('x/data/0\0.txt')), 'zip.record_name'],
  ['another top folder', withMore(named('y/evil')), 'zip.record_name', structure],
  ['no top folder', withMore(named('evil')), 'zip.record_name', structure],
  [
    'a name that is not UTF-8',
    withMore({ ...named('x/a'), ...both({ name: Buffer.from([0x78, 0x2f, 0xff]) }) }),
    structure,
    'zip.record_name',
  ],
  [
    'a top folder of ..',
    forgeZip(honest.map((record) => ({ ...record, name: record.name.replace('x/', '../') }))),
    'zip.record_name',
  ],
  ['no data.pkl', forgeZip(honest.slice(1)), 'record.missing', 'file.unrecognized'],
  ['no storage', forgeZip(honest.filter(({ name }) => name !== 'x/data/0')), 'record.missing'],
  [
    'a folder in place of a storage',
    change('data/0', { name: 'x/data/0/' }),
    'record.missing',
    'zip.record_name',
    structure,
  ],
  [
    'a changed byte in data.pkl',
    change('data.pkl', {
      data: value.map((byte, at) => (at === 5 ? byte ^ 1 : byte)),
      ...both({ crc: 1 }),
      descriptor: { crc: 1 },
    }),
    'record.crc',
    mismatch,
  ],
  ['a deflated storage', change('data/0', { deflate: true }), 'zip.compressed'],
  ['a deflated pickle', change('data.pkl', { deflate: true }), 'zip.compressed'],
  [
    'a deflate bomb as a storage',
    change('data/0', { data: new Uint8Array(64 << 20), deflate: true }),
    'zip.compressed',
    'record.size',
  ],
  [
    'a deflate bomb as the version',
    change('version', { data: new Uint8Array(64 << 20), deflate: true }),
    'zip.compressed',
    'record.content',
    'pickle.limit',
  ],
  ['a version that does not exist', change('version', { data: text('99\n') }), 'record.content', 'pickle.unsupported'],
  [
    'a version of a megabyte',
    change('version', { data: text('3'.repeat(1 << 20)) }),
    'record.content',
    'pickle.limit',
    'record.size',
    'file.limit',
  ],
  ['a byte order that does not exist', change('byteorder', { data: text('pdp') }), 'record.content'],
]

/** Archives that are read, with the oddity as a warning (or with nothing to say, where nothing can come of it). */
const odd: readonly Lie[] = [
  ['a comment', withEnd({ end: { comment: Buffer.from('hello') } }), 'zip.comment'],
  [
    'a record between others that the directory does not list',
    forgeZip([honest[0]!, { ...named('x/hidden'), hidden: true }, ...honest.slice(1)]),
    'zip.hidden_bytes',
  ],
  [
    'bytes between the records and the directory',
    withEnd({ betweenRecordsAndDirectory: new Uint8Array(100) }),
    'zip.hidden_bytes',
  ],
  ['a record that nothing refers to', withMore(named('x/data/9')), 'record.unused'],
  ['another time in the local header', change('data/0', { local: { time: 77 } })],
  ['another needed version in the local header', change('data/0', { local: { versionNeeded: 77 } })],
  ['another flag of the name in the local header', change('data/0', { local: { flags: 0x0008 } })],
  ['another flag of the name in the directory', change('data/0', { central: { flags: 0x0008 } })],
  [
    'a record with the attributes of a symbolic link',
    change('data/0', { central: { external: 0xa1ff0000, versionMade: 0x0314 } }),
  ],
]

const fakeEnd = whole.subarray(whole.length - 22)
const ends: readonly Lie[] = [
  [
    'a byte before the archive',
    withEnd({ prefix: text('#'), offsetsIgnorePrefix: true }),
    structure,
    'file.unrecognized',
    mismatch,
  ],
  [
    'a script before the archive',
    withEnd({ prefix: text('#!/bin/sh\nexit\n') }),
    structure,
    'file.unrecognized',
    'zip.overlap',
    mismatch,
  ],
  [
    'a pickle before the archive',
    withEnd({ prefix: evil }),
    structure,
    'file.unrecognized',
    'pickle.unsafe_global',
    'pickle.malformed',
    'zip.overlap',
    mismatch,
  ],
  ['bytes after the archive', withEnd({ suffix: new Uint8Array(10) }), 'file.trailing_bytes'],
  [
    '70,000 bytes after the archive',
    withEnd({ suffix: new Uint8Array(70_000) }),
    structure,
    'file.trailing_bytes',
    'file.truncated',
    'file.unrecognized',
  ],
  ['an archive after the archive', withEnd({ suffix: whole }), structure, 'zip.overlap', mismatch],
  ['a comment that holds an end record', withEnd({ end: { comment: fakeEnd } }), structure, 'zip.comment'],
  ['a comment that holds an archive', withEnd({ end: { comment: whole } }), structure, 'zip.comment'],
  ['two end records', withEnd({ suffix: fakeEnd }), structure],
  ['another count', withEnd({ end: { count: 3, countHere: 3 } }), structure],
  [
    'a smaller count everywhere',
    withEnd({ end: { count: 3, countHere: 3 }, end64: { count: 3, countHere: 3 } }),
    structure,
  ],
  [
    '65,535 records',
    withEnd({ end: { count: 0xffff, countHere: 0xffff }, end64: { count: 0xffff, countHere: 0xffff } }),
    structure,
  ],
  [
    '2^62 records',
    withEnd({ end: { count: 0xffff, countHere: 0xffff }, end64: { count: 2 ** 62, countHere: 2 ** 62 } }),
    structure,
  ],
  ['a count of this disk', withEnd({ end: { countHere: 3 } }), structure],
  ['another disk', withEnd({ end: { disk: 1 } }), structure],
  ['a directory on another disk', withEnd({ end64: { directoryDisk: 1 } }), structure],
  ['another place of the directory', withEnd({ end: { offset: 1 } }), structure],
  ['another place of the directory in both', withEnd({ end: { offset: 1 }, end64: { offset: 1 } }), structure],
  ['a directory of 2^63 bytes', withEnd({ end: { sizeBytes: 0xffffffff }, end64: { sizeBytes: 2 ** 63 } }), structure],
  ['a directory beyond the file', withEnd({ end: { offset: 0xffffffff }, end64: { offset: 2 ** 52 } }), structure],
  ['a directory that the short record alone denies', withEnd({ end: { sizeBytes: 46 } }), structure],
  ['a zip64 record elsewhere', withEnd({ locator: { offset: 0 } }), structure],
  ['a zip64 record beyond the file', withEnd({ locator: { offset: 2 ** 53 } }), structure],
  ['a zip64 record on another disk', withEnd({ locator: { disk: 1 } }), structure],
  ['several disks', withEnd({ locator: { disks: 2 } }), structure],
  ['a zip64 record of another length', withEnd({ end64: { recordBytes: 45 } }), structure],
  [
    '32-bit fields of all ones without a zip64 record',
    withEnd({ end: { offset: 0xffffffff }, end64: 'none' }),
    structure,
  ],
  ['an archive without records', forgeZip([]), structure, 'file.empty', 'file.unrecognized'],
]

async function refusal(path: string): Promise<TorchkeepError> {
  return readTorchFile(path)
    .then(verifyStorages)
    .then(
      () => assert.fail('it was read'),
      (error: unknown) => error as TorchkeepError,
    )
}

describe('format: zip archives that lie', () => {
  it('takes the archive without lies, with and without zip64 end records', async () => {
    for (const file of [whole, withEnd({ end64: 'none' })]) {
      await withFile(file, async (path) => {
        const read = await readTorchFile(path)
        await verifyStorages(read)
        assert.deepEqual(read.findings, [])
      })
    }
  })

  describe('oddities', () => {
    for (const [name, file, ...ids] of odd) {
      it(`reads ${name}`, () =>
        withFile(file, async (path) => {
          const read = await readTorchFile(path)
          await verifyStorages(read)
          const found = read.findings.map(({ id }) => id)
          assert.deepEqual(found, ids)
        }))
    }
  })

  for (const [title, lies] of Object.entries({ headers, records, ends })) {
    describe(title, () => {
      for (const [name, file, ...ids] of lies) {
        it(`refuses ${name}`, () =>
          withFile(file, async (path) => {
            const error = await refusal(path)
            assert.equal(error.name, 'TorchkeepError', String(error.stack))
            assert(ids.includes(error.finding ?? 'file.empty'), `${String(error.finding)}: ${error.message}`)
          }))
      }
    })
  }
})
