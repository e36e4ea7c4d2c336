/** Files that name other files: indices of shards, metadata of distributed checkpoints, archives of torch.export. None leads out of its folder, makes work or hides a lie. */
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { mkdir, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { readTorchFile, verifyStorages, type FormatFindingId, type TorchkeepError } from '../../src/format/index.js'
import { forgeSafetensors } from './container-forge.js'
import { chunk, dict, metadata, place, size, tensorItem } from './distributed-forge.js'
import { ints, op, pickle, soundFile, storage, tensor, torchFile, withFolder } from './fixtures.js'
import { forgeZip } from './zip-forge.js'

type Lie = readonly [title: string, files: Record<string, Uint8Array | string>, ...ids: FormatFindingId[]]

const shard = (...names: string[]) =>
  forgeSafetensors(
    Object.fromEntries(
      names.map((name, index) => [name, { dtype: 'F32', shape: [1], data_offsets: [4 * index, 4 * index + 4] }]),
    ),
    Buffer.alloc(4 * names.length),
  )
const index = 'model.safetensors.index.json'
const sharded = (weightMap: unknown, files: Record<string, Uint8Array | string> = {}) => ({
  'one.safetensors': shard('a'),
  'two.safetensors': shard('b'),
  [index]: JSON.stringify({ metadata: { total_size: 8 }, weight_map: weightMap }),
  ...files,
})
const escape = (name: string): Lie => [
  `a shard named ${JSON.stringify(name)}`,
  sharded({ a: 'one.safetensors', b: name }),
  'shard.name',
]

const indices: readonly Lie[] = [
  ...[
    '../one.safetensors',
    '/etc/passwd',
    'sub/one.safetensors',
    './one.safetensors',
    '..',
    '.',
    '',
    'C:\\x',
    '..\\x',
    'a\0b',
  ].map(escape),
  ['a shard that is missing', sharded({ a: 'one.safetensors', b: 'three.safetensors' }), 'shard.missing'],
  ['a shard that is the index', sharded({ a: index }), 'shard.tensor', 'file.limit', 'shard.name'],
  ['a shard that is text', sharded({ a: 'x.txt' }, { 'x.txt': 'hello there, this is text' }), 'file.unrecognized'],
  [
    'a shard that runs code',
    sharded(
      { a: 'x.bin' },
      { 'x.bin': torchFile(pickle(op.global('os', 'system') + op.str('true') + op.tuple1 + op.reduce)) },
    ),
    'pickle.unsafe_global',
  ],
  ['a shard without the tensor', sharded({ a: 'two.safetensors' }), 'shard.tensor'],
  ['a shard whose value is no dict', sharded({ a: 'x.bin' }, { 'x.bin': torchFile(pickle(op.none)) }), 'shard.tensor'],
  ['a tensor that is no tensor', sharded({ epoch: 'x.bin' }, { 'x.bin': soundFile() }), 'shard.tensor'],
  ['a weight_map that is a list', sharded(['one.safetensors']), 'json.malformed'],
  ['names that are numbers', sharded({ a: 1 }), 'json.malformed'],
  ['an index without a weight_map', { [index]: '{}' }, 'file.unrecognized'],
  [
    'an index that is cut',
    { [index]: '{"weight_map": {"a": ' },
    'json.malformed',
    'file.unrecognized',
    'file.truncated',
  ],
  [
    'a name twice',
    { 'one.safetensors': shard('a'), [index]: '{"weight_map":{"a":"one.safetensors","a":"../x"}}' },
    'json.malformed',
  ],
]

const item = torchFile(pickle(tensor(storage('0', 4), 0, ints(4), ints(1))), { 0: new Uint8Array(16) })
const whole = tensorItem(size(4), chunk(size(0), size(4)))
const here = place('a', '__0_0.distcp', op.int(0), op.int(item.length))
const folder = (items: string, places: string, planner?: string, data: Uint8Array = item) => ({
  '.metadata': metadata(items, places, planner),
  '__0_0.distcp': data,
})
const one = dict(op.str('a') + whole)
const at = (file: string, offset: string, length: string) => folder(one, dict(place('a', file, offset, length)))
const many = 8_000
/** Names that all stand for the one item. */
const sameItem = () => {
  const names = Array.from({ length: many }, (_, number) => `n${number}`)
  const items =
    op.dict +
    op.mark +
    (op.str('n0') + whole + op.put(1)) +
    names
      .slice(1)
      .map((name) => op.str(name) + op.get(1))
      .join('') +
    op.setitems
  const places = dict(...names.map((name) => place(name, '__0_0.distcp', op.int(0), op.int(item.length))))
  return { '.metadata': metadata(items, places), '__0_0.distcp': item }
}

const distributed: readonly Lie[] = [
  [
    'code in the metadata',
    { '.metadata': pickle(op.global('os', 'system') + op.str('true') + op.tuple1 + op.reduce) },
    'pickle.unsafe_global',
  ],
  [
    'code in an item',
    folder(one, dict(here), op.none, torchFile(pickle(op.global('os', 'system')))),
    'pickle.unsafe_global',
    'storage.too_small',
    'zip.structure',
    'file.truncated',
    'distributed.metadata',
  ],
  [
    'metadata of another class',
    { '.metadata': pickle(dict(op.str('state_dict_metadata') + op.dict)) },
    'distributed.metadata',
  ],
  [
    'metadata 100,000 deep',
    { '.metadata': pickle(op.none + op.tuple1.repeat(1e5)) },
    'pickle.limit',
    'distributed.metadata',
  ],
  ...['../x', '/etc/passwd', 'sub/x', '..', '', '..\\x', 'a\0b'].map((name): Lie => [
    `a file named ${JSON.stringify(name)}`,
    at(name, op.int(0), op.int(item.length)),
    'shard.name',
  ]),
  ['a file that is missing', at('__9_0.distcp', op.int(0), op.int(item.length)), 'shard.missing'],
  [
    'the metadata as a file of data',
    at('.metadata', op.int(0), op.int(100)),
    'zip.structure',
    'file.truncated',
    'file.trailing_bytes',
    'distributed.metadata',
  ],
  [
    'a place beyond the file',
    at('__0_0.distcp', op.int(1), op.int(item.length)),
    'file.truncated',
    'distributed.metadata',
  ],
  [
    'a place of 2^62 bytes',
    at('__0_0.distcp', op.int(0), op.long(2n ** 62n)),
    'distributed.metadata',
    'file.truncated',
  ],
  ['a negative place', at('__0_0.distcp', op.int(-1), op.int(10)), 'distributed.metadata'],
  ['a place that is a text', at('__0_0.distcp', op.str('0'), op.int(10)), 'distributed.metadata'],
  [
    'a place inside the item',
    at('__0_0.distcp', op.int(64), op.int(item.length - 64)),
    'zip.structure',
    'zip.header_mismatch',
    'zip.overlap',
  ],
  ['a tensor without a place', folder(one, dict()), 'distributed.metadata'],
  [
    'a tensor of other sizes',
    folder(dict(op.str('a') + tensorItem(size(2), chunk(size(0), size(2)))), dict(here)),
    'distributed.metadata',
  ],
  [
    'a tensor of 2^60 elements',
    folder(
      dict(op.str('a') + tensorItem(op.global('torch', 'Size') + ints(2n ** 52n, 256) + op.tuple1 + op.reduce)),
      dict(here),
    ),
    'distributed.metadata',
    'pickle.malformed',
    'tensor.malformed',
  ],
  [
    'chunks that leave a hole',
    folder(dict(op.str('a') + tensorItem(size(8), chunk(size(0), size(4)))), dict(here)),
    'distributed.metadata',
  ],
  [
    'chunks that overlap',
    folder(dict(op.str('a') + tensorItem(size(6), chunk(size(0), size(4)), chunk(size(2), size(4)))), dict(here)),
    'distributed.metadata',
  ],
  [
    'a chunk outside the tensor',
    folder(dict(op.str('a') + tensorItem(size(4), chunk(size(4), size(4)))), dict(here)),
    'distributed.metadata',
  ],
  ['many names for one item', sameItem(), 'distributed.metadata'],
  [
    'a path of 100,000 steps',
    folder(
      one,
      dict(here),
      dict(op.str('a') + (op.mark + (op.str('x') + op.put(2)) + op.get(2).repeat(1e5) + op.tuple)),
    ),
    'distributed.metadata',
    'pickle.limit',
  ],
  [
    'a path to the billionth place of a list',
    folder(one, dict(here), dict(op.str('a') + (op.mark + op.str('x') + op.int(1e9) + op.tuple))),
    'distributed.metadata',
  ],
  ['a path that is no list', folder(one, dict(here), dict(op.str('a') + op.int(1))), 'distributed.metadata'],
]

const floats = new Uint8Array(16)
const config = (changes: object = {}, meta: object = {}) => ({
  config: {
    w: {
      path_name: 'weight_0',
      is_param: true,
      use_pickle: false,
      tensor_meta: {
        ...{ dtype: 7, sizes: [{ as_int: 4 }], strides: [{ as_int: 1 }], storage_offset: { as_int: 0 } },
        ...{ device: { type: 'cpu', index: null }, layout: 7, requires_grad: true },
        ...meta,
      },
      ...changes,
    },
  },
})
const graph = {
  graph: { nodes: [], inputs: [], outputs: [], tensor_values: {} },
  signature: { input_specs: [], output_specs: [] },
}
const exported = (weights: unknown, more: Record<string, string | Uint8Array> = {}) => ({
  'x.pt2': forgeZip(
    Object.entries({
      'x/archive_format': 'pt2',
      'x/archive_version': '0',
      'x/byteorder': 'little',
      'x/.data/version': '6',
      'x/data/weights/model_weights_config.json': typeof weights === 'string' ? weights : JSON.stringify(weights),
      'x/data/weights/weight_0': floats,
      'x/data/constants/model_constants_config.json': '{"config":{}}',
      'x/models/model.json': JSON.stringify({
        graph_module: graph,
        schema_version: { major: 8, minor: 20 },
        opset_version: { aten: 10 },
      }),
      ...more,
    }).map(([name, data]) => ({ name, data: typeof data === 'string' ? new Uint8Array(Buffer.from(data)) : data })),
  ),
})

const pt2: readonly Lie[] = [
  ...['../weight_0', '/etc/passwd', '../../models/model.json', 'weight_1', ''].map((name): Lie => [
    `a weight named ${JSON.stringify(name)}`,
    exported(config({ path_name: name })),
    'record.missing',
    'pt2.structure',
    'record.size',
  ]),
  [
    'a weight larger than its record',
    exported(config({}, { sizes: [{ as_int: 5 }] })),
    'storage.too_small',
    'pt2.structure',
    'record.size',
  ],
  [
    'an offset beyond the record',
    exported(config({}, { storage_offset: { as_int: 1 } })),
    'storage.too_small',
    'pt2.structure',
    'record.size',
  ],
  ['a negative size', exported(config({}, { sizes: [{ as_int: -4 }] })), 'pt2.structure', 'tensor.malformed'],
  [
    'sizes whose product overflows',
    exported(
      config({}, { sizes: [{ as_int: 2 ** 40 }, { as_int: 2 ** 40 }], strides: [{ as_int: 0 }, { as_int: 0 }] }),
    ),
    'pt2.structure',
    'tensor.malformed',
    'storage.too_small',
    'record.size',
  ],
  [
    'more sizes than strides',
    exported(config({}, { sizes: [{ as_int: 2 }, { as_int: 2 }] })),
    'pt2.structure',
    'tensor.malformed',
  ],
  ['a dtype that does not exist', exported(config({}, { dtype: 99 })), 'pt2.structure'],
  [
    'a pickled weight that runs code',
    exported(config({ use_pickle: true, tensor_meta: null }), {
      'x/data/weights/weight_0': torchFile(pickle('cos\nsystem\n')),
    }),
    'pickle.unsafe_global',
    'pt2.structure',
    'zip.structure',
    'zip.header_mismatch',
    'pickle.unsupported',
  ],
  ['a config that is a list', exported([]), 'pt2.structure', 'json.malformed'],
  ['a config 100,000 deep', exported('['.repeat(1e5)), 'json.malformed', 'file.limit'],
  [
    'a graph 100,000 deep',
    exported(config(), { 'x/models/model.json': `{"graph_module":${'['.repeat(1e5)}${']'.repeat(1e5)}}` }),
    'json.malformed',
    'file.limit',
    'pt2.structure',
  ],
  ['another format', exported(config(), { 'x/archive_format': 'pt3' }), 'record.content'],
]

async function refusal(path: string): Promise<TorchkeepError> {
  return readTorchFile(path)
    .then(verifyStorages)
    .then(
      () => assert.fail('it was read'),
      (reason: unknown) => reason as TorchkeepError,
    )
}

/** Writes files into a folder and gives what to open. */
async function make(parent: string, files: Record<string, Uint8Array | string>): Promise<string> {
  for (const [name, content] of Object.entries(files)) {
    if (name.includes('/')) await mkdir(join(parent, name, '..'), { recursive: true })
    await writeFile(join(parent, name), content)
  }
  const opened = [index, 'x.pt2'].find((name) => name in files)
  return opened === undefined ? parent : join(parent, opened)
}

describe('format: files that name other files', () => {
  it('takes those without lies', async () => {
    for (const files of [
      sharded({ a: 'one.safetensors', b: 'two.safetensors' }),
      folder(one, dict(here)),
      exported(config()),
    ]) {
      await withFolder(async (parent) => {
        const read = await readTorchFile(await make(parent, files))
        await verifyStorages(read)
        assert(read.storages.length > 0)
      })
    }
  })

  for (const [title, lies] of Object.entries({ indices, distributed, pt2 })) {
    describe(title, () => {
      for (const [name, files, ...ids] of lies) {
        it(`refuses ${name}`, () =>
          withFolder(async (parent) => {
            const path = await make(parent, files)
            const before = process.cpuUsage()
            const error = await refusal(path)
            const { user, system } = process.cpuUsage(before)
            assert.equal(error.name, 'TorchkeepError', String(error.stack))
            assert(ids.includes(error.finding ?? 'file.empty'), `${String(error.finding)}: ${error.message}`)
            assert(user + system < 2e6, `it took ${(user + system) / 1e3} ms`)
          }))
      }
    })
  }

  it('does not wait for a pipe, nor read a device or a folder, that stands in the place of a shard', function () {
    if (process.platform === 'win32') return this.skip()
    return withFolder(async (parent) => {
      execFileSync('mkfifo', [join(parent, 'pipe')])
      await symlink('/dev/zero', join(parent, 'device'))
      await mkdir(join(parent, 'folder'))
      for (const name of ['pipe', 'device', 'folder']) {
        const path = await make(parent, sharded({ a: name }))
        const error = await refusal(path)
        assert.deepEqual([error.name, error.code], ['TorchkeepError', 'ERR_CHECKPOINT_UNREADABLE'], error.message)
      }
    })
  })
})
