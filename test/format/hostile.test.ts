/** Damaged, lying and hostile files: each is refused with its reason, nothing is executed, nothing grows. */
import assert from 'node:assert/strict'
import { readTensorBytes, readTorchFile, TensorRecord, type ErrorCode } from '../../src/format/index.js'
import { archive, ints, op, patchHeader, pickle, soundFile, storage, tensor, torchFile, withFile } from './fixtures.js'

type Refusal = [name: string, file: Buffer, code: ErrorCode, message: RegExp]

const corrupt = 'ERR_CHECKPOINT_CORRUPT'
const unsafe = 'ERR_CHECKPOINT_UNSAFE'
const unsupported = 'ERR_CHECKPOINT_UNSUPPORTED'

/** A file whose pickle is these opcodes. */
const code = (...opcodes: string[]) => torchFile(pickle(...opcodes))
/** The same with a float storage `0` of 16 bytes. */
const withStorage = (...opcodes: string[]) => torchFile(pickle(...opcodes), { 0: new Uint8Array(16) })
const callNothing = op.tuple0 + op.reduce

const calls: Refusal[] = [
  ['os.system', code(op.global('os', 'system'), op.str('id'), op.tuple1, op.reduce), unsafe, /global os\.system/],
  ['posix.system', code(op.global('posix', 'system'), op.str('id'), op.tuple1, op.reduce), unsafe, /posix\.system/],
  ['eval by its Python 2 name', code(op.global('__builtin__', 'eval'), callNothing), unsafe, /builtins\.eval/],
  ['a global that is only mentioned', code(op.global('builtins', 'exec')), unsafe, /builtins\.exec/],
  [
    'a dotted name behind an allowed one',
    code(op.global('torch._utils', '_rebuild_tensor_v2.__globals__')),
    unsafe,
    /__globals__/,
  ],
  [
    'an allowed name in another module',
    code(op.global('evil', 'OrderedDict'), callNothing),
    unsafe,
    /evil\.OrderedDict/,
  ],
  [
    'torch.storage._load_from_bytes',
    code(op.global('torch.storage', '_load_from_bytes'), callNothing),
    unsafe,
    /_load_from_bytes/,
  ],
  ['numpy scalars', code(op.global('numpy._core.multiarray', 'scalar'), callNothing), unsafe, /multiarray\.scalar/],
  ['defaultdict', code(op.global('collections', 'defaultdict'), callNothing), unsafe, /collections\.defaultdict/],
  ['copyreg', code(op.global('copy_reg', '_reconstructor'), callNothing), unsafe, /copy_reg\._reconstructor/],
  ['INST', code(op.mark, 'ios\nsystem\n'), unsupported, /opcode INST/],
  ['OBJ', code(op.mark, op.str('x'), 'o'), unsupported, /opcode OBJ/],
  ['STACK_GLOBAL', code(op.str('os'), op.str('system'), '\x93'), unsupported, /opcode STACK_GLOBAL/],
  ['NEWOBJ_EX', code('\x92'), unsupported, /opcode NEWOBJ_EX/],
  ['EXT1', code('\x82\x01'), unsupported, /opcode EXT1/],
  ['PERSID', code('P0\n'), unsupported, /opcode PERSID/],
  ['POP', code(op.none, op.none, '0'), unsupported, /opcode POP/],
  ['LONG4', code('\x8b\x01\x00\x00\x00\x01'), unsupported, /opcode LONG4/],
  ['a byte that is no opcode', code('\xff'), corrupt, /0xff is no pickle opcode/],
  ['calling a str', code(op.str('x'), callNothing), corrupt, /string x is called/],
  [
    'calling an OrderedDict',
    code(op.global('collections', 'OrderedDict'), callNothing, callNothing),
    corrupt,
    /a OrderedDict is called/,
  ],
  [
    'a bytearray of 2 GB',
    code(op.global('__builtin__', 'bytearray'), op.int(2e9), op.tuple1, op.reduce),
    corrupt,
    /instead of bytes/,
  ],
  [
    'FloatTensor(5e8)',
    code(op.global('torch', 'FloatTensor'), op.int(5e8), op.tuple1, op.reduce),
    unsupported,
    /calls torch\.FloatTensor/,
  ],
  [
    'UntypedStorage(2e9)',
    code(op.global('torch.storage', 'UntypedStorage'), op.int(2e9), op.tuple1, op.reduce),
    unsupported,
    /UntypedStorage/,
  ],
  [
    'NEWOBJ of a tensor',
    code(op.global('torch', 'FloatTensor'), op.tuple0, op.newobj),
    unsupported,
    /calls torch\.FloatTensor/,
  ],
  ['state on a list', code(op.list, op.dict, op.build), unsupported, /state is set on a Array/],
  [
    'another codec',
    code(op.global('_codecs', 'encode'), op.str('a'), op.str('zlib'), op.tuple2, op.reduce),
    unsupported,
    /"zlib"/,
  ],
  ['a persistent id of a module', code(op.str('module'), op.tuple1, op.persid), corrupt, /persistent id/],
]

const nested = (depth: number) => op.none + op.tuple1.repeat(depth)
const manyBytes =
  op.mark +
  op.str('x'.repeat(1e6)) +
  op.put(0) +
  (op.global('_codecs', 'encode') + op.get(0) + op.str('latin1') + op.tuple2 + op.reduce).repeat(50) +
  op.tuple
const manySets =
  op.mark +
  op.list +
  op.put(0) +
  op.mark +
  op.int(7).repeat(20000) +
  op.appends +
  (op.global('__builtin__', 'set') + op.get(0) + op.tuple1 + op.reduce).repeat(100) +
  op.tuple
const fromType = (inner: string) =>
  op.mark +
  op.global('torch._tensor', '_rebuild_from_type_v2') +
  op.global('torch', 'Tensor') +
  inner +
  op.none +
  op.tuple
const endless = Array.from({ length: 3000 }).reduce<string>((inner) => fromType(inner), op.tuple0)

const pickles: Refusal[] = [
  ['tuples in each other 100,000 deep', code(nested(100_000)), unsafe, /nested deeper than 1000/],
  ['bytes from one str again and again', code(manyBytes), unsafe, /more than 8 times its length/],
  ['sets from one list again and again', code(manySets), unsafe, /more than 8 times its length/],
  [
    'a rebuild inside a rebuild',
    code(op.global('torch._tensor', '_rebuild_from_type_v2'), endless, op.reduce),
    corrupt,
    /instead of a function/,
  ],
  ['an empty pickle', torchFile(Buffer.alloc(0)), corrupt, /1 bytes are wanted at 0/],
  ['a pickle without STOP', torchFile(Buffer.from('\x80\x02N', 'latin1')), corrupt, /are wanted at 3/],
  ['an empty stack', code(), corrupt, /left over|stack is empty/],
  ['bytes after STOP', torchFile(Buffer.from('\x80\x02N.N', 'latin1')), corrupt, /1 bytes follow STOP/],
  ['a mark without use', code(op.mark, op.none), corrupt, /left over/],
  ['two values', code(op.none, op.none), corrupt, /left over/],
  ['a pop through a mark', code(op.none, op.mark, op.tuple1), corrupt, /stack is empty/],
  ['a tuple without a mark', code(op.none, op.tuple), corrupt, /no mark/],
  ['an unknown memo entry', code(op.get(3)), corrupt, /memo has no entry 3/],
  ['a memo entry far away', code(op.none, op.putFar(0x7fffffff)), corrupt, /memo entry 2147483647/],
  ['a str of 2 GB', code('X\xff\xff\xff\x7f'), corrupt, /2147483647 bytes are wanted/],
  ['a str that is not UTF-8', code('X\x02\x00\x00\x00\xc3\x28'), corrupt, /not UTF-8/],
  ['a name without an end', torchFile(Buffer.from('\x80\x02ctorch', 'latin1')), corrupt, /name does not end/],
  ['APPEND on a tuple', code(op.tuple0, op.none, op.append), corrupt, /no list/],
  ['SETITEM on a list', code(op.list, op.none, op.none, op.setitem), corrupt, /no dict/],
  ['a key without a value', code(op.dict, op.mark, op.none, op.setitems), corrupt, /without a value/],
  ['a list as a key', code(op.dict, op.list, op.none, op.setitem), corrupt, /as a key/],
  [
    '1 and True as keys',
    code(op.dict, op.mark, op.int(1), op.none, op.yes, op.none, op.setitems),
    corrupt,
    /keys true and 1/,
  ],
  [
    'a list in a set',
    code(op.global('__builtin__', 'set'), op.list, op.list, op.append, op.tuple1, op.reduce),
    corrupt,
    /member of a set/,
  ],
  ['arguments that are a list', code(op.global('torch', 'Size'), op.list, op.reduce), corrupt, /no tuple/],
  [
    'a Size of strings',
    code(op.global('torch', 'Size'), op.str('a'), op.tuple1, op.tuple1, op.reduce),
    corrupt,
    /expected a tuple of ints/,
  ],
  [
    'a layout that does not exist',
    code(op.global('torch.serialization', '_get_layout'), op.str('torch.os'), op.tuple1, op.reduce),
    corrupt,
    /no layout/,
  ],
]

const float4 = storage('0', 4)
const tensors: Refusal[] = [
  ['a record that is missing', withStorage(storage('7', 4)), corrupt, /data\/7 of a storage is missing/],
  ['a key that leaves the folder', withStorage(storage('../data/0', 4)), corrupt, /is missing/],
  ['a storage longer than its record', withStorage(storage('0', 5)), corrupt, /20 bytes, its record data\/0 has 16/],
  ['a storage shorter than its record', withStorage(storage('0', 3)), corrupt, /12 bytes, its record data\/0 has 16/],
  ['a storage of 2^62 elements', withStorage(storage('0', 2n ** 62n)), corrupt, /storage 0 of 4611686018427387904/],
  ['a storage of negative size', withStorage(storage('0', -1)), corrupt, /storage 0 of -1/],
  [
    'one key with two dtypes',
    withStorage(float4, storage('0', 4, 'IntStorage'), op.tuple2),
    corrupt,
    /IntStorage of 16 bytes .* FloatStorage/,
  ],
  ['a class that is no storage', withStorage(storage('0', 4, 'FloatTensor')), corrupt, /instead of a storage class/],
  [
    'a tensor past the end',
    withStorage(tensor(float4, 0, ints(5), ints(1))),
    corrupt,
    /needs 20 bytes of storage, there are 16/,
  ],
  ['an offset past the end', withStorage(tensor(float4, 4, ints(1), ints(1))), corrupt, /needs 20 bytes/],
  ['a stride past the end', withStorage(tensor(float4, 0, ints(2), ints(4))), corrupt, /needs 20 bytes/],
  ['an offset beyond 2^53', withStorage(tensor(float4, 2n ** 62n, ints(1), ints(1))), corrupt, /argument 2 is bigint/],
  [
    'products beyond 2^53',
    withStorage(tensor(float4, 0, ints(2n ** 40n, 2n ** 40n), ints(0, 0))),
    corrupt,
    /beyond any memory/,
  ],
  [
    'a stride beyond 2^53',
    withStorage(tensor(float4, 0, ints(2n ** 30n), ints(2n ** 40n))),
    corrupt,
    /beyond any memory|needs/,
  ],
  [
    'a negative stride',
    withStorage(tensor(float4, 3, ints(4), ints(-1))),
    corrupt,
    /expected a tuple of ints of at least 0/,
  ],
  [
    'a negative size',
    withStorage(tensor(float4, 0, ints(-4), ints(1))),
    corrupt,
    /expected a tuple of ints of at least 0/,
  ],
  ['more sizes than strides', withStorage(tensor(float4, 0, ints(2, 2), ints(1))), corrupt, /2 sizes and 1 strides/],
  ['a str instead of a storage', withStorage(tensor(op.str('x'), 0, ints(1), ints(1))), corrupt, /expected a storage/],
]

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

const tables: Record<string, Refusal[]> = { 'code and calls': calls, pickles, tensors, 'zip archives': zips }

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

  it('takes a memo that doubles 60 times, since shared parts stay shared', async () => {
    const doubling =
      op.list +
      op.put(0) +
      Array.from({ length: 60 }, (_, index) => op.get(index) + op.get(index) + op.tuple2 + op.put(index + 1)).join('')
    const left = op.mark + doubling + op.tuple
    await withFile(code(left), async (path) =>
      assert.equal(((await readTorchFile(path)).value as unknown[]).length, 61),
    )
  })

  it('describes a huge expanded tensor, and makes its bytes only within the limit', () =>
    withFile(withStorage(tensor(float4, 0, ints(2 ** 30, 4), ints(0, 1))), async (path) => {
      const file = await readTorchFile(path)
      assert(file.value instanceof TensorRecord)
      await assert.rejects(readTensorBytes(file, file.value as TensorRecord), {
        code: unsafe,
        message: /takes 17179869184 bytes/,
      })
    }))
})
