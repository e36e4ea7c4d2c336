/** What files are told apart by, what is named that is no checkpoint, what cannot be read at all; archives and folders whose parts contradict each other. */
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { mkdir, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { readTensorBytes, readTorchFile, type Container, type TensorRecord } from '../../src/format/index.js'
import type { TorchkeepError } from '../../src/format/errors.js'
import { forgeLegacy, forgeSafetensors, forgeTar, tarParts } from './container-forge.js'
import { archive, ints, op, pickle, soundFile, storage, tensor, torchFile, withFile, withFolder } from './fixtures.js'
import { forgeZip, type ForgedRecord } from './zip-forge.js'

const entry = { dtype: 'F32', shape: [2], data_offsets: [0, 8] }
const none = pickle(op.none)
const version = ['version', '3\n'] as const

/** Reads what must not be read. */
async function failure(path: string): Promise<TorchkeepError> {
  return readTorchFile(path).then(
    () => assert.fail('it was read'),
    (error: unknown) => error as TorchkeepError,
  )
}

describe('format: telling files apart', () => {
  const script = archive([['data.pkl', none], ['constants.pkl', pickle(op.tuple0)], version])
  const sound: readonly [string, Buffer, Container][] = [
    ['a zip of torch.save', soundFile(), 'torch_zip'],
    ['a stream', forgeLegacy(), 'torch_legacy'],
    ['a tar archive', forgeTar(tarParts({})), 'torch_tar'],
    ['safetensors', forgeSafetensors({ a: entry }, Buffer.alloc(8)), 'safetensors'],
    ['a TorchScript archive', script, 'torchscript'],
    ['a pt2 archive', archive([['archive_format', 'pt2'], version]), 'pt2'],
    // What torch.load would take each for decides.
    [
      'a TorchScript archive that is also a pt2',
      archive([['archive_format', 'pt2'], ['data.pkl', none], ['constants.pkl', none], version]),
      'torchscript',
    ],
    [
      'a torch.save file that is also a pt2',
      archive([['archive_format', 'pt2'], ['data.pkl', none], version]),
      'torch_zip',
    ],
  ]
  for (const [name, file, container] of sound) {
    it(`takes ${name} for what it is, whatever its name`, () =>
      withFolder(async (folder) => {
        for (const extension of ['pth', 'safetensors', 'json', 'tar']) {
          await writeFile(join(folder, `x.${extension}`), file)
          assert.equal((await readTorchFile(join(folder, `x.${extension}`))).container, container)
        }
      }))
  }

  it('says which records of a file that passes for two are not read', () =>
    withFile(
      torchFile(none, {}, [
        ['archive_format', 'pt2'],
        ['code/evil.py', 'import os'],
      ]),
      async (path) => {
        const { findings } = await readTorchFile(path)
        assert.deepEqual(
          findings.map(({ id, subject }) => [id, subject]),
          [
            ['record.unused', 'archive_format'],
            ['record.unused', 'code/evil.py'],
          ],
        )
      },
    ))

  const npz = forgeZip([{ name: 'a.npy', data: Buffer.from('x') }])
  const oldExport = forgeZip([{ name: 'serialized_exported_program.json', data: Buffer.from('{}') }])
  const foreign: readonly [string, Uint8Array | string, RegExp][] = [
    ['gzip', gzipSync('x'), /gzip/],
    ['HDF5', Buffer.from('\x89HDF\r\n\x1a\n......', 'latin1'), /HDF5/],
    ['a bare pickle', none, /bare pickle/],
    ['a bare pickle of protocol 4', Buffer.from('\x80\x04N.', 'latin1'), /bare pickle/],
    ['npz', npz, /\.npz/],
    ['npy', Buffer.from('\x93NUMPY\x01\x00', 'latin1'), /\.npy/],
    ['an old pt2', oldExport, /before PyTorch 2\.8/],
    ['GGUF', 'GGUF\x03\0\0\0', /GGUF/],
    ['a pointer of Git LFS', 'version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 3\n', /Git LFS/],
    ['an HTML page', '\n<!DOCTYPE html><html>Not found</html>', /HTML/],
    ['an XML text', '<?xml version="1.0"?><Error/>', /XML/],
    ['JSON without a weight map', '{"hidden_size": 3}', /weight_map/],
    ['an empty zip archive', 'PK\x05\x06'.padEnd(22, '\0'), /empty zip/],
    ['zstd', Buffer.from('28b52ffd0000', 'hex'), /zstd/],
    ['a PDF', '%PDF-1.7', /PDF/],
  ]
  for (const [name, bytes, message] of foreign) {
    it(`names ${name}`, () =>
      withFile(Buffer.from(bytes), async (path) => {
        const { code, finding, message: text } = await failure(path)
        assert.deepEqual([code, finding], ['ERR_CHECKPOINT_UNSUPPORTED', 'file.unrecognized'])
        assert.match(text, message)
      }))
  }

  it('says how to get the file behind a pointer of Git LFS', () =>
    withFile(Buffer.from('version https://git-lfs.github.com/spec/v1\n'), async (path) => {
      assert.match((await failure(path)).suggestions.join(), /git lfs pull/)
    }))

  it('tells an empty file and bytes of no known format', async () => {
    await withFile(Buffer.alloc(0), async (path) => assert.equal((await failure(path)).finding, 'file.empty'))
    await withFile(Buffer.from('garbage!'), async (path) => {
      const { code, finding } = await failure(path)
      assert.deepEqual([code, finding], ['ERR_CHECKPOINT_CORRUPT', 'file.unrecognized'])
    })
  })

  it('tells what is not there from what cannot be read', () =>
    withFolder(async (folder) => {
      const at = (name: string) => join(folder, name)
      await writeFile(at('file'), 'x')
      await mkdir(at('folder'))
      await symlink(at('loop'), at('loop'))
      await symlink(at('nowhere'), at('dangling'))
      execFileSync('mkfifo', [at('pipe')])
      const codes = async (name: string) => (await failure(at(name))).code
      assert.equal(await codes('nowhere'), 'ERR_CHECKPOINT_MISSING')
      assert.equal(await codes('dangling'), 'ERR_CHECKPOINT_MISSING')
      for (const name of ['folder', 'loop', 'file/below', 'pipe', 'x'.repeat(300)])
        assert.equal(await codes(name), 'ERR_CHECKPOINT_UNREADABLE', name)
      const { finding, suggestions } = await failure(at('folder'))
      assert.deepEqual([finding, suggestions], [null, []])
    }))
})

describe('format: safetensors beyond the specification', () => {
  const odd: readonly [string, Buffer, RegExp][] = [
    [
      'white space before the header',
      forgeSafetensors(` ${JSON.stringify({ a: entry })}`, Buffer.alloc(8)),
      /white space/,
    ],
    ['a field that is not in the format', forgeSafetensors({ a: { ...entry, note: 'x' } }, Buffer.alloc(8)), /"note"/],
    [
      'elements that are not aligned',
      forgeSafetensors(`${JSON.stringify({ a: entry })} `, Buffer.alloc(8)),
      /not aligned/,
    ],
  ]
  for (const [name, file, message] of odd) {
    it(`takes ${name}, as its library does, and says so`, () =>
      withFile(file, async (path) => {
        const { findings } = await readTorchFile(path)
        const [finding] = findings.filter(({ id, message: text }) => id === 'safetensors.lenient' && message.test(text))
        assert.equal(finding?.severity, 'warning')
      }))
  }

  it('takes two F4 values for one element, as PyTorch does, and names dtypes that PyTorch lacks', async () => {
    const packed = forgeSafetensors({ a: { dtype: 'F4', shape: [2, 8], data_offsets: [0, 8] } }, Buffer.alloc(8))
    await withFile(packed, async (path) => {
      const { dtype, sizes } = ((await readTorchFile(path)).value as Map<string, TensorRecord>).get('a') as TensorRecord
      assert.deepEqual([dtype, sizes], ['float4_e2m1fn_x2', [2, 4]])
    })
    const lies: [string, number[], string][] = [
      ['F4', [2, 7], 'safetensors.header'],
      ['F4', [], 'safetensors.header'],
      ['F6_E2M3', [4], 'pickle.unsupported'],
    ]
    for (const [dtype, shape, finding] of lies) {
      const file = forgeSafetensors({ a: { dtype, shape, data_offsets: [0, 3] } }, Buffer.alloc(3))
      await withFile(file, async (path) => assert.equal((await failure(path)).finding, finding, dtype))
    }
  })
})

describe('format: archives whose parts contradict each other', () => {
  type Lie = readonly [name: string, file: Buffer, finding: string]
  const code = (data: string, changes: Partial<ForgedRecord> = {}): ForgedRecord => {
    return { name: 'x/code/__torch__.py', data: Buffer.from(data), deflate: true, ...changes }
  }
  const script = (...more: ForgedRecord[]) =>
    forgeZip([
      { name: 'x/data.pkl', data: none },
      { name: 'x/constants.pkl', data: pickle(op.tuple0) },
      ...more,
      { name: 'x/version', data: Buffer.from('3\n') },
    ])
  const system = op.global('os', 'system') + op.str('id') + op.tuple1 + op.reduce
  const torchscript: readonly Lie[] = [
    [
      'code in data.pkl',
      archive([['data.pkl', pickle(system)], ['constants.pkl', none], version]),
      'pickle.unsafe_global',
    ],
    [
      'code in constants.pkl',
      archive([['data.pkl', none], ['constants.pkl', pickle(system)], version]),
      'pickle.unsafe_global',
    ],
    [
      'a tensor of constants in data.pkl',
      archive([
        ['data.pkl', pickle(tensor(storage('0', 1), 0, ints(1), ints(1)))],
        ['constants.pkl', none],
        ['constants/0', Buffer.alloc(4)],
        version,
      ]),
      'record.missing',
    ],
    ['deflated tensors', script({ name: 'x/data/0', data: Buffer.alloc(4), deflate: true }), 'zip.compressed'],
    [
      'a deflated pickle',
      forgeZip([
        { name: 'x/data.pkl', data: none, deflate: true },
        { name: 'x/constants.pkl', data: none },
        { name: 'x/version', data: Buffer.from('3\n') },
      ]),
      'zip.compressed',
    ],
    [
      'code of another compression',
      script(code('x', { local: { method: 12 }, central: { method: 12 } })),
      'zip.compressed',
    ],
    [
      'code that is longer than said',
      script(code('x'.repeat(5000), { central: { size: 4000 }, descriptor: { size: 4000 } })),
      'zip.structure',
    ],
    [
      'code that is shorter than said',
      script(code('x'.repeat(5000), { central: { size: 6000 }, descriptor: { size: 6000 } })),
      'zip.structure',
    ],
    [
      'code beyond the limit',
      script(code('x', { central: { size: 2 ** 30 }, descriptor: { size: 2 ** 30 } })),
      'file.limit',
    ],
    ['code with another CRC-32', script(code('x', { central: { crc: 7 }, descriptor: { crc: 7 } })), 'record.crc'],
  ]

  const meta = (changes: Record<string, unknown> = {}, tensorChanges: Record<string, unknown> = {}) => ({
    path_name: 'weight_0',
    is_param: true,
    use_pickle: false,
    tensor_meta: {
      dtype: 7,
      sizes: [{ as_int: 2 }],
      requires_grad: true,
      device: { type: 'cpu', index: null },
      strides: [{ as_int: 1 }],
      storage_offset: { as_int: 0 },
      layout: 7,
      ...tensorChanges,
    },
    ...changes,
  })
  const exported = (config: unknown, model: unknown = {}, weight: Buffer = Buffer.alloc(8)) =>
    archive([
      ['data/weights/weight_0', weight],
      ['data/weights/m_weights_config.json', typeof config === 'string' ? config : JSON.stringify({ config })],
      ['models/m.json', JSON.stringify(model)],
      ['archive_format', 'pt2'],
      ['.data/version', '6'],
    ])
  const bad = (changes: Record<string, unknown>, tensorChanges: Record<string, unknown> = {}) =>
    exported({ w: meta(changes, tensorChanges) })
  const pt2: readonly Lie[] = [
    ['another format', archive([['archive_format', 'pt3'], version]), 'record.content'],
    ['a config that is no JSON', exported('{'), 'json.malformed'],
    ['a config without entries', exported('{}'), 'pt2.structure'],
    ['a weight twice', exported('{"config": {"w": 1, "w": 2}}'), 'json.malformed'],
    ['a record that is missing', bad({ path_name: 'weight_1' }), 'record.missing'],
    ['a record elsewhere', bad({ path_name: '../../models/m.json' }), 'record.missing'],
    ['a name that is no text', bad({ path_name: 3 }), 'pt2.structure'],
    ['an unknown dtype', bad({}, { dtype: 99 }), 'pt2.structure'],
    ['a sparse layout', bad({}, { layout: 1 }), 'pickle.unsupported'],
    ['a size that is an expression', bad({}, { sizes: [{ as_expr: { expr_str: 's0' } }] }), 'pt2.structure'],
    ['a negative stride', bad({}, { strides: [{ as_int: -1 }] }), 'pt2.structure'],
    ['more sizes than strides', bad({}, { strides: [] }), 'pt2.structure'],
    ['a tensor beyond its record', bad({}, { sizes: [{ as_int: 3 }] }), 'storage.too_small'],
    ['an offset beyond its record', bad({}, { storage_offset: { as_int: 1 } }), 'storage.too_small'],
    [
      'sizes beyond any memory',
      bad({}, { sizes: [{ as_int: 2 ** 52 }, { as_int: 2 ** 52 }], strides: [{ as_int: 0 }, { as_int: 0 }] }),
      'storage.too_small',
    ],
    ['one record of two dtypes', exported({ a: meta(), b: meta({}, { dtype: 4 }) }), 'storage.type'],
    [
      'a pickled weight that runs code',
      exported({ w: meta({ use_pickle: true }) }, {}, torchFile(pickle(system))),
      'pickle.unsafe_global',
    ],
    ['a pickled weight that is none', bad({ use_pickle: true }), 'file.truncated'],
    ['a graph without a module', exported({ w: meta() }, {}), 'pt2.structure'],
    ['a graph that is no object', exported({ w: meta() }, []), 'json.malformed'],
  ]
  for (const [title, lies] of Object.entries({ torchscript, pt2 })) {
    for (const [name, file, finding] of lies) {
      it(`refuses ${title} with ${name}`, () =>
        withFile(file, async (path) => {
          const error = await failure(path)
          assert.equal(error.name, 'TorchkeepError', error.stack)
          assert.equal(error.finding, finding, error.message)
        }))
    }
  }

  it('takes a weight of an export without weights as a shape without values', () =>
    withFile(
      archive([
        ['data/weights/weight_0', ''],
        ['data/weights/m_weights_config.json', JSON.stringify({ config: { w: meta() } })],
        ['models/m.json', '{}'],
        ['archive_format', 'pt2'],
        version,
      ]),
      async (path) => {
        const { value } = await readTorchFile(path, { structure: 'directory' })
        const { kind, sizes } = (value as Map<string, Map<string, TensorRecord>>).get('state_dict')?.get('w') ?? {}
        assert.deepEqual([kind, sizes], ['meta', [2]])
      },
    ))
})

describe('format: reading head and tail only', () => {
  it('reads names, shapes and values without looking at the headers of storages', () => {
    const file = soundFile()
    // The local header of data/0 is destroyed, which only a full reading sees.
    const at = file.indexOf('x/data/0') - 30
    file.write('XXXX', at)
    return withFile(file, async (path) => {
      const read = await readTorchFile(path, { structure: 'directory' })
      const value = read.value as Map<string, unknown>
      assert.deepEqual((value.get('weight') as TensorRecord).sizes, [2, 2])
      assert.equal(value.get('epoch'), 3)
      assert(read.storages.every(({ source }) => Number.isNaN(source.offsetBytes)))
      await assert.rejects(readTensorBytes(read, value.get('weight') as TensorRecord), {
        code: 'ERR_INVALID_ARGUMENT',
        message: /structure: 'directory'/,
      })
      assert.equal((await failure(path)).finding, 'zip.structure')
    })
  })

  it('checks the pickle and the places that the directory gives all the same', async () => {
    const file = soundFile()
    const at = file.indexOf(Buffer.from('weight'))
    file.write('x', at)
    await withFile(file, async (path) => {
      await assert.rejects(readTorchFile(path, { structure: 'directory' }), { finding: 'record.crc' })
    })
    const overlapping = forgeZip([
      { name: 'x/data.pkl', data: none },
      { name: 'x/data/0', data: Buffer.alloc(100) },
      { name: 'x/data/1', data: Buffer.alloc(100), sharesHeaderOf: 'x/data/0' },
      { name: 'x/version', data: Buffer.from('3\n') },
    ])
    await withFile(overlapping, async (path) => {
      await assert.rejects(readTorchFile(path, { structure: 'directory' }), { finding: 'zip.overlap' })
    })
  })
})
