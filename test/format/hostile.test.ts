/** Damaged, lying and hostile archives (pickles: `pickle-hostile.test.ts`): each is refused with its reason, nothing is executed, nothing grows. */
import assert from 'node:assert/strict'
import { readTorchFile, type ErrorCode } from '../../src/format/index.js'
import { archive, op, patchHeader, pickle, soundFile, withFile } from './fixtures.js'

type Refusal = [name: string, file: Buffer, code: ErrorCode, message: RegExp]

const corrupt = 'ERR_CHECKPOINT_CORRUPT'
const unsafe = 'ERR_CHECKPOINT_UNSAFE'
const unsupported = 'ERR_CHECKPOINT_UNSUPPORTED'

const sound = soundFile()
const records = [
  ['data.pkl', pickle(op.none)],
  ['version', '3\n'],
] as const
const end = sound.length - 22
const edit = (at: number, ...bytes: number[]) => {
  const copy = Buffer.from(sound)
  copy.set(bytes, at)
  return copy
}
const local = (change: (header: Buffer) => void) => patchHeader(sound, 'local', 'x/data/0', change)
const central = (change: (header: Buffer) => void) => patchHeader(sound, 'central', 'x/data/0', change)
const both = (change: (header: Buffer, shift: number) => void) =>
  patchHeader(
    local((header) => change(header, 0)),
    'central',
    'x/data/0',
    (header) => change(header, 2),
  )

const zips: Refusal[] = [
  ['an empty file', Buffer.alloc(0), corrupt, /the file is empty/],
  ['text', Buffer.from('hello world, this is no checkpoint at all'), corrupt, /is no file of PyTorch/],
  ['a byte before the archive', Buffer.concat([Buffer.from('x'), sound]), corrupt, /is no file of PyTorch/],
  ['bytes after the archive', Buffer.concat([sound, Buffer.alloc(10)]), corrupt, /10 bytes follow the end/],
  ['no data.pkl', archive([['version', '3\n']]), corrupt, /data\.pkl is missing/],
  ['no version', archive([['data.pkl', pickle(op.none)]]), corrupt, /record version is missing/],
  [
    'version 11',
    archive([
      ['data.pkl', pickle(op.none)],
      ['version', '11\n'],
    ]),
    unsupported,
    /version 11/,
  ],
  [
    'a version that is no number',
    archive([
      ['data.pkl', pickle(op.none)],
      ['version', 'x'],
    ]),
    corrupt,
    /expected a number/,
  ],
  ['an unknown byte order', archive([...records, ['byteorder', 'middle']]), corrupt, /expected "little"/],
  ['the same record twice', archive([...records, ['data.pkl', pickle(op.none)]]), corrupt, /data\.pkl is there twice/],
  ['names that differ in case', archive([...records, ['DATA.PKL', pickle(op.none)]]), corrupt, /differ in case only/],
  ['a name that leaves the folder', archive([...records, ['../evil', 'x']]), unsafe, /leaves its folder/],
  ['a backslash in a name', archive([...records, ['..\\evil', 'x']]), unsafe, /leaves its folder/],
  ['no top folder', archive([...records], '').subarray(), corrupt, /in no top folder/],
  [
    'another name in the local header',
    local((header) => header.write('y', 30)),
    corrupt,
    /is named "y\/data\/0" in its local header/,
  ],
  [
    'another top folder',
    patchHeader(
      local((header) => header.write('y', 30)),
      'central',
      'x/data/0',
      (header) => header.write('y', 46),
    ),
    corrupt,
    /not in the top folder x/,
  ],
  ['another method in the local header', local((header) => header.writeUInt16LE(8, 8)), corrupt, /method 8/],
  ['deflate in the directory only', central((header) => header.writeUInt16LE(8, 10)), corrupt, /method 0 and flags/],
  [
    'deflate in both',
    both((header, shift) => header.writeUInt16LE(8, 8 + shift)),
    unsupported,
    /compressed \(method 8\)/,
  ],
  ['encryption', both((header, shift) => header.writeUInt16LE(0x0809, 6 + shift)), unsupported, /encrypted/],
  ['encryption in the local header', local((header) => header.writeUInt16LE(0x0809, 6)), corrupt, /flags 2057/],
  [
    'another CRC-32 in the directory',
    central((header) => header.writeUInt32LE(1, 16)),
    corrupt,
    /descriptor at .* does not agree/,
  ],
  [
    'a CRC-32 in the local header',
    local((header) => header.writeUInt32LE(1, 14)),
    corrupt,
    /0x00000001 in the local header/,
  ],
  [
    'a larger size in the directory',
    central((header) => (header.writeUInt32LE(17, 20), header.writeUInt32LE(17, 24))),
    corrupt,
    /descriptor/,
  ],
  ['two sizes', central((header) => header.writeUInt32LE(17, 24)), corrupt, /17 bytes and 16 in the file/],
  [
    'a size beyond the file',
    central((header) => (header.writeUInt32LE(1e9, 20), header.writeUInt32LE(1e9, 24))),
    corrupt,
    /runs into the central directory/,
  ],
  [
    'a size that needs zip64 without it',
    central((header) => header.writeUInt32LE(0xffffffff, 24)),
    corrupt,
    /zip64 field is missing/,
  ],
  ['a header elsewhere', central((header) => header.writeUInt32LE(1, 42)), corrupt, /no local header at 1|overlaps/],
  ['two entries at one place', central((header) => header.writeUInt32LE(0, 42)), corrupt, /overlaps|named/],
  [
    'a header beyond the file',
    central((header) => header.writeUInt32LE(0x7fffffff, 42)),
    corrupt,
    /no room for a header/,
  ],
  ['another disk in an entry', central((header) => header.writeUInt16LE(1, 34)), corrupt, /another disk/],
  ['another disk in the end record', edit(end + 4, 1), corrupt, /several disks/],
  ['another count of entries', edit(end + 8, 3, 0, 3, 0), corrupt, /disagree/],
  ['another size of the directory', edit(end + 12, 1), corrupt, /disagree/],
  ['a zip64 end record elsewhere', edit(end - 12, 1), corrupt, /zip64 end record/],
  ['no end record', edit(end, 0), corrupt, /end of the zip archive is missing/],
]

const tables: Record<string, Refusal[]> = { 'zip archives': zips }

describe('format: hostile and damaged files', () => {
  for (const [title, table] of Object.entries(tables)) {
    describe(title, () => {
      for (const [name, file, errorCode, message] of table) {
        it(`refuses ${name}`, () =>
          withFile(file, (path) =>
            assert.rejects(readTorchFile(path), { name: 'TorchkeepError', code: errorCode, message }),
          ))
      }
    })
  }
})
