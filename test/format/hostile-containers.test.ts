/** Lies in safetensors files, in the stream format and in the tar format: each refused with its kind of fault, without effort. */
import assert from 'node:assert/strict'
import { readTorchFile, verifyStorages, type FormatFindingId, type TorchkeepError } from '../../src/format/index.js'
import {
  forgeLegacy,
  forgeSafetensors,
  forgeTar,
  legacyBytes,
  legacyStorage,
  tarParts,
  textList,
  type TarPart,
} from './container-forge.js'
import { ints, op, pickle, tensor, withFile } from './fixtures.js'

type Lie = readonly [title: string, file: Buffer, ...ids: FormatFindingId[]]

const system = op.global('os', 'system') + op.str('true') + op.tuple1 + op.reduce
const evil = pickle(system)
const nested = (depth: number) => pickle(op.none + op.tuple1.repeat(depth))

const entry = { dtype: 'F32', shape: [2], data_offsets: [0, 8] }
const eight = Buffer.alloc(8)
const oneTensor = (changes: object, data: Uint8Array = eight) => forgeSafetensors({ a: { ...entry, ...changes } }, data)

const safetensors: readonly Lie[] = [
  ['a header of 2^63 bytes', forgeSafetensors({ a: entry }, eight, 2n ** 63n), 'file.limit', 'file.unrecognized'],
  ['a header of 2^64 - 1 bytes', forgeSafetensors({ a: entry }, eight, -1n), 'file.limit', 'file.unrecognized'],
  [
    'a header just beyond the limit',
    forgeSafetensors({ a: entry }, eight, 100_000_001n),
    'file.limit',
    'file.unrecognized',
  ],
  ['a header beyond the file', forgeSafetensors({ a: entry }, eight, 5000n), 'file.truncated', 'file.unrecognized'],
  ['no header', forgeSafetensors('', eight, 0n), 'json.malformed', 'file.unrecognized', 'legacy.structure'],
  ['a header that is cut', forgeSafetensors({ a: entry }, eight, 20n), 'json.malformed'],
  [
    'a header that is a list',
    forgeSafetensors([entry], eight),
    'json.malformed',
    'file.unrecognized',
    'safetensors.header',
  ],
  ['two values', forgeSafetensors('{}{}', eight), 'json.malformed'],
  [
    'a key twice',
    forgeSafetensors(
      '{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"a":{"dtype":"I64","shape":[1],"data_offsets":[0,8]}}',
      eight,
    ),
    'json.malformed',
  ],
  [
    'lists in each other 100,000 deep',
    forgeSafetensors(`{"a":${'['.repeat(1e5)}${']'.repeat(1e5)}}`),
    'json.malformed',
    'file.limit',
    'safetensors.header',
  ],
  [
    'objects in each other 100,000 deep',
    forgeSafetensors(`${'{"a":'.repeat(1e5)}1${'}'.repeat(1e5)}`),
    'json.malformed',
    'file.limit',
    'safetensors.header',
  ],
  ['a header that is not UTF-8', forgeSafetensors({ a: entry }, eight).fill(0xff, 10, 11), 'json.malformed'],
  ['an entry that is a number', forgeSafetensors({ a: 1 }), 'safetensors.header'],
  ['an entry without a dtype', oneTensor({ dtype: undefined }), 'safetensors.header'],
  ['an entry without offsets', oneTensor({ data_offsets: undefined }), 'safetensors.header'],
  ['a dtype that does not exist', oneTensor({ dtype: 'F33' }), 'safetensors.header'],
  ['a dtype of a prototype', oneTensor({ dtype: 'constructor' }), 'safetensors.header'],
  ['a shape that is no list', oneTensor({ shape: 2 }), 'safetensors.header'],
  ['a negative size', oneTensor({ shape: [-2] }), 'safetensors.header'],
  ['a size that is no integer', oneTensor({ shape: [2.5] }), 'safetensors.header'],
  ['a size beyond 2^53', oneTensor({ shape: [2 ** 60] }), 'safetensors.header'],
  [
    'sizes whose product overflows',
    oneTensor({ shape: [2 ** 32, 2 ** 32, 0, 2] }, Buffer.alloc(8)),
    'safetensors.header',
  ],
  ['sizes whose product is 2^64 + 2', oneTensor({ shape: [4294967296, 4294967296] }), 'safetensors.header'],
  ['a shape of other bytes', oneTensor({ shape: [3] }), 'safetensors.header'],
  ['offsets the wrong way round', oneTensor({ data_offsets: [8, 0] }), 'safetensors.header'],
  ['negative offsets', oneTensor({ data_offsets: [-8, 0] }), 'safetensors.header'],
  ['three offsets', oneTensor({ data_offsets: [0, 4, 8] }), 'safetensors.header'],
  ['offsets beyond the file', oneTensor({ shape: [200], data_offsets: [0, 800] }), 'file.truncated'],
  ['a hole before the first tensor', oneTensor({ data_offsets: [8, 16] }, Buffer.alloc(16)), 'safetensors.header'],
  ['bytes after the last tensor', oneTensor({}, Buffer.alloc(16)), 'file.trailing_bytes'],
  [
    'tensors that overlap',
    forgeSafetensors({ a: entry, b: { ...entry, data_offsets: [4, 12] } }, Buffer.alloc(12)),
    'safetensors.header',
  ],
  ['tensors that share their bytes', forgeSafetensors({ a: entry, b: entry }, eight), 'safetensors.header'],
  ['metadata that are no texts', forgeSafetensors({ __metadata__: { a: 1 }, a: entry }, eight), 'safetensors.header'],
  [
    'a polyglot: a zip archive behind',
    Buffer.concat([oneTensor({}), Buffer.from('PK\x05\x06'), Buffer.alloc(18)]),
    'file.trailing_bytes',
    'zip.structure',
  ],
]

const object = (opcodes: string) => forgeLegacy({ object: pickle(opcodes) })
const legacy: readonly Lie[] = [
  ...(['magic', 'protocol', 'machine', 'object', 'keys'] as const).map((part): Lie => [
    `code in the pickle of the ${part}`,
    forgeLegacy({ [part]: evil }),
    'pickle.unsafe_global',
    'file.unrecognized',
  ]),
  ...(['machine', 'object', 'keys'] as const).map((part): Lie => [
    `tuples 100,000 deep in the ${part}`,
    forgeLegacy({ [part]: nested(1e5) }),
    'pickle.limit',
    'legacy.structure',
  ]),
  ['another magic number', forgeLegacy({ magic: pickle(op.int(1)) }), 'legacy.structure', 'file.unrecognized'],
  ['another protocol version', forgeLegacy({ protocol: pickle(op.int(1002)) }), 'legacy.structure'],
  ['keys that are no list', forgeLegacy({ keys: pickle(op.dict) }), 'legacy.structure'],
  ['keys that leave out a storage', forgeLegacy({ keys: textList(), storages: Buffer.alloc(0) }), 'record.missing'],
  ['a key twice', forgeLegacy({ keys: textList('7', '7') }), 'legacy.structure'],
  ['a key that nothing uses', forgeLegacy({ keys: textList('7', '8') }), 'legacy.structure'],
  ['another count before the elements', forgeLegacy({ storages: legacyBytes(5n, 1, 2, 3, 4) }), 'record.size'],
  ['a count of 2^64 - 1', forgeLegacy({ storages: legacyBytes(-1n, 1, 2, 3, 4) }), 'record.size'],
  ['too few elements', forgeLegacy({ storages: legacyBytes(4n, 1, 2, 3) }), 'file.truncated'],
  ['no elements', forgeLegacy({ storages: Buffer.alloc(0) }), 'file.truncated'],
  ['bytes after the last storage', forgeLegacy({ storages: legacyBytes(4n, 1, 2, 3, 4, 5) }), 'file.trailing_bytes'],
  [
    'a storage of 2^62 elements',
    object(tensor(legacyStorage('7', 2n ** 62n), 0, ints(4), ints(1))),
    'pickle.malformed',
    'tensor.malformed',
    'pickle.limit',
    'storage.type',
    'storage.too_small',
  ],
  [
    'a storage of -1 elements',
    object(tensor(legacyStorage('7', -1), 0, ints(0), ints(1))),
    'pickle.malformed',
    'tensor.malformed',
  ],
  ['a tensor beyond its storage', object(tensor(legacyStorage('7', 4), 2, ints(4), ints(1))), 'storage.too_small'],
  [
    'a view beyond its storage',
    object(tensor(legacyStorage('7', 4, op.str('8') + op.int(2) + op.int(4) + op.tuple3), 0, ints(4), ints(1))),
    'storage.too_small',
  ],
  [
    'a view before its storage',
    object(tensor(legacyStorage('7', 4, op.str('8') + op.int(-1) + op.int(4) + op.tuple3), 0, ints(4), ints(1))),
    'tensor.malformed',
  ],
  ['a view of a text', object(tensor(legacyStorage('7', 4, op.str('8')), 0, ints(4), ints(1))), 'tensor.malformed'],
  [
    'the source of a module that is code to call',
    object(op.mark + op.str('module') + system + op.str('x.py') + op.str('') + op.tuple + op.persid),
    'pickle.unsafe_global',
  ],
]

const swap = (change: Partial<TarPart>, at = 0): Buffer =>
  forgeTar(tarParts({}).map((part, index) => (index === at ? { ...part, ...change } : part)))
const withMembers = (...parts: TarPart[]) => forgeTar([...tarParts({}), ...parts])
const member = (name: string, type = '0'): TarPart => ({ name, data: Buffer.alloc(0), type })

const tar: readonly Lie[] = [
  ['code in the storages', forgeTar(tarParts({ storages: evil })), 'pickle.unsafe_global'],
  ['code in the tensors', forgeTar(tarParts({ tensors: evil })), 'pickle.unsafe_global'],
  ['code in the object', forgeTar(tarParts({ object: evil })), 'pickle.unsafe_global'],
  ['code in the views', forgeTar(tarParts({ views: evil })), 'pickle.unsafe_global'],
  ['no storages', forgeTar(tarParts({}).slice(1)), 'record.missing', 'file.unrecognized'],
  ['no object', forgeTar(tarParts({}).slice(0, 2)), 'record.missing'],
  ['a member twice', withMembers({ name: 'pickle', data: evil }), 'tar.structure'],
  ['a symbolic link', withMembers(member('link', '2')), 'tar.structure'],
  ['a hard link', withMembers(member('storages2', '1')), 'tar.structure'],
  ['a device', withMembers(member('device', '3')), 'tar.structure'],
  ['a FIFO', withMembers(member('fifo', '6')), 'tar.structure'],
  ['the object as a link', swap({ type: '2' }, 2), 'tar.structure'],
  ['a wrong checksum', swap({ checksum: '000001\0 ' }), 'tar.structure', 'file.unrecognized'],
  ['a wrong checksum of a later member', swap({ checksum: '000001\0 ' }, 1), 'tar.structure'],
  ['a size beyond the file', swap({ size: '77777777777' }), 'file.truncated'],
  ['a size of 8 EiB', swap({ size: '\x80\0\0\0\x7f\xff\xff\xff\xff\xff\xff' }), 'file.truncated', 'tar.structure'],
  ['a negative size', swap({ size: '\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff' }), 'tar.structure'],
  ['a size that is no number', swap({ size: 'x' }), 'tar.structure'],
  [
    'a size that hides the next member',
    swap({ size: '00000003000' }),
    'tar.structure',
    'file.trailing_bytes',
    'record.missing',
    'pickle.malformed',
  ],
  ['no end', forgeTar(tarParts({}), Buffer.alloc(0)), 'file.truncated'],
  ['bytes after the end', forgeTar(tarParts({}), Buffer.concat([Buffer.alloc(1024), evil])), 'file.trailing_bytes'],
  [
    'a polyglot: a zip archive behind',
    forgeTar(tarParts({}), Buffer.concat([Buffer.alloc(1024), Buffer.from('PK\x05\x06'), Buffer.alloc(18)])),
    'file.trailing_bytes',
    'zip.structure',
  ],
  ['10^9 storages', forgeTar(tarParts({ storages: pickle(op.int(1e9)) })), 'pickle.malformed', 'file.truncated'],
  ['-1 tensors', forgeTar(tarParts({ tensors: pickle(op.int(-1)) })), 'tar.structure'],
  ['a storage beyond its member', forgeTar(tarParts({ count: 2 ** 40 })), 'file.truncated'],
  ['a storage of negative size', forgeTar(tarParts({ count: -4 })), 'file.truncated', 'tar.structure'],
  [
    'a storage that is longer than said',
    forgeTar(tarParts({ count: 3 })),
    'pickle.malformed',
    'tar.structure',
    'file.trailing_bytes',
    'pickle.unsupported',
  ],
  ['a tensor beyond its storage', forgeTar(tarParts({ sizes: [5] })), 'storage.too_small'],
  ['an offset beyond the storage', forgeTar(tarParts({ offset: 1 })), 'storage.too_small'],
  ['a negative offset', forgeTar(tarParts({ offset: -1 })), 'tar.structure'],
  ['2^31 dimensions', forgeTar(tarParts({ dimensions: 2 ** 31 - 1 })), 'tar.structure'],
  ['-1 dimensions', forgeTar(tarParts({ dimensions: -1 })), 'tar.structure'],
  [
    'sizes whose product overflows',
    forgeTar(tarParts({ sizes: [2 ** 40, 2 ** 40] })),
    'storage.too_small',
    'tar.structure',
  ],
  ['an object that is not there', forgeTar(tarParts({ object: pickle(op.str('9'), op.persid) })), 'record.missing'],
  [
    'a view that leaves its storage',
    forgeTar(
      tarParts({ views: pickle(op.list, op.mark, op.int(11), op.int(10), op.int(2), op.int(4), op.tuple, op.append) }),
    ),
    'tar.structure',
  ],
]

describe('format: other containers that lie', () => {
  it('takes the files without lies', async () => {
    for (const file of [oneTensor({}), forgeLegacy(), forgeTar(tarParts({}))]) {
      await withFile(file, async (path) => {
        const read = await readTorchFile(path)
        await verifyStorages(read)
        assert.equal(read.storages.length, 1)
        assert.equal(read.protection, 'none')
        assert(read.findings.some(({ id }) => id === 'file.unprotected'))
      })
    }
  })

  it('takes names of prototypes and paths as names of tensors, which are only names', () => {
    const names = ['__proto__', 'constructor', '../x', '/etc/passwd', '']
    const entries = names.map((name, index) => {
      return `${JSON.stringify(name)}:${JSON.stringify({ ...entry, data_offsets: [index * 8, index * 8 + 8] })}`
    })
    const file = forgeSafetensors(`{${entries.join(',')}}`, Buffer.alloc(8 * names.length))
    return withFile(file, async (path) => {
      const { value } = await readTorchFile(path)
      assert.deepEqual([...(value as Map<string, unknown>).keys()], names)
    })
  })

  for (const [title, lies] of Object.entries({ safetensors, legacy, tar })) {
    describe(title, () => {
      for (const [name, file, ...ids] of lies) {
        it(`refuses ${name}`, () =>
          withFile(file, async (path) => {
            const before = process.cpuUsage()
            const error = await readTorchFile(path)
              .then(verifyStorages)
              .then(
                () => assert.fail('it was read'),
                (reason: unknown) => reason as TorchkeepError,
              )
            const { user, system: inKernel } = process.cpuUsage(before)
            assert.equal(error.name, 'TorchkeepError', String(error.stack))
            assert(ids.includes(error.finding ?? 'file.empty'), `${String(error.finding)}: ${error.message}`)
            assert(user + inKernel < 2e6, `it took ${(user + inKernel) / 1e3} ms`)
          }))
      }
    })
  }
})
