/** Checkpoints of several files: what index files and the metadata of torch.distributed.checkpoint claim is held against the files. */
import assert from 'node:assert/strict'
import { mkdir, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { readTensorValues, readTorchFile, verifyStorages, type TensorRecord } from '../../src/format/index.js'
import type { TorchkeepError } from '../../src/format/errors.js'
import { forgeSafetensors } from './container-forge.js'
import { ints, op, pickle, storage, tensor, torchFile, withFolder } from './fixtures.js'

type Files = Readonly<Record<string, Uint8Array | string>>

async function withFiles<T>(files: Files, use: (folder: string) => Promise<T>): Promise<T> {
  return withFolder(async (folder) => {
    for (const [name, bytes] of Object.entries(files)) {
      await mkdir(dirname(join(folder, name)), { recursive: true })
      await writeFile(join(folder, name), bytes)
    }
    return use(folder)
  })
}

async function failure(path: string): Promise<TorchkeepError> {
  return readTorchFile(path).then(
    () => assert.fail('it was read'),
    (error: unknown) => error as TorchkeepError,
  )
}

const floats = (...values: number[]) => Buffer.from(new Float32Array(values).buffer)
const shard = (...names: string[]) => {
  const entries = names.map((name, at) => [name, { dtype: 'F32', shape: [1], data_offsets: [at * 4, at * 4 + 4] }])
  const header = JSON.stringify(Object.fromEntries(entries))
  return forgeSafetensors(header.padEnd(Math.ceil(header.length / 8) * 8), floats(...names.map((_, at) => at)))
}
const index = (weightMap: unknown) => JSON.stringify({ metadata: { total_size: 8 }, weight_map: weightMap })

describe('format: sharded checkpoints', () => {
  const sound = { a: '1.safetensors', b: '2.safetensors', c: '1.safetensors' }
  const shards = { '1.safetensors': shard('a', 'c'), '2.safetensors': shard('b') }

  it('gives the tensors of all shards in the order of the index', () =>
    withFiles({ ...shards, 'index.json': index(sound) }, async (folder) => {
      const file = await readTorchFile(join(folder, 'index.json'))
      const tensors = file.value as Map<string, TensorRecord>
      assert.deepEqual([...tensors.keys()], ['a', 'b', 'c'])
      assert.deepEqual([...(await readTensorValues(file, tensors.get('c') as TensorRecord))], [1])
      const of = (name: string, count: number) => {
        return { name, container: 'safetensors', sizeBytes: shards[name as keyof typeof shards].length, tensors: count }
      }
      assert.deepEqual(file.details, {
        metadata: { total_size: 8 },
        shards: [of('1.safetensors', 2), of('2.safetensors', 1)],
      })
      assert.deepEqual(
        file.findings.map(({ id }) => id),
        ['file.unprotected'],
      )
      await verifyStorages(file)
    }))

  const lies: readonly [string, Files, string, string | null][] = [
    ['a shard that is missing', { 'index.json': index({ a: 'x', b: 'y' }), x: shard('a') }, 'shard.missing', 'y'],
    ['a name with a separator', { 'index.json': index({ a: 'sub/x' }), 'sub/x': shard('a') }, 'shard.name', 'sub/x'],
    ['a name that leaves the folder', { 'index.json': index({ a: '..' }) }, 'shard.name', '..'],
    ['an absolute name', { 'index.json': index({ a: '/etc/passwd' }) }, 'shard.name', '/etc/passwd'],
    ['a backslash', { 'index.json': index({ a: '..\\x' }) }, 'shard.name', '..\\x'],
    ['an empty name', { 'index.json': index({ a: '' }) }, 'shard.name', ''],
    ['a name that is no text', { 'index.json': index({ a: 3 }) }, 'json.malformed', null],
    ['a weight map that is a list', { 'index.json': index(['x']) }, 'json.malformed', null],
    ['a tensor twice', { 'index.json': '{"weight_map": {"a": "x", "a": "y"}}' }, 'json.malformed', 'the index'],
    ['a tensor that its shard lacks', { 'index.json': index({ a: 'x', b: 'x' }), x: shard('a') }, 'shard.tensor', 'b'],
    [
      'a shard that is no dict',
      { 'index.json': index({ a: 'x' }), x: torchFile(pickle(op.none)) },
      'shard.tensor',
      'x',
    ],
    [
      'a value that is no tensor',
      { 'index.json': index({ a: 'x' }), x: torchFile(pickle(op.dict, op.str('a'), op.int(3), op.setitem)) },
      'shard.tensor',
      'a',
    ],
    ['a damaged shard', { 'index.json': index({ a: 'x' }), x: shard('a').subarray(0, -1) }, 'file.truncated', 'a'],
  ]
  for (const [name, files, finding, subject] of lies) {
    it(`refuses ${name}`, () =>
      withFiles(files, async (folder) => {
        const error = await failure(join(folder, 'index.json'))
        assert.equal(error.finding, finding, error.stack)
        if (subject !== null) assert.equal(error.subject, subject)
      }))
  }

  it('refuses an index that names itself or another index', () =>
    withFiles(
      { 'index.json': index({ a: 'index.json' }), 'other.json': index({ a: 'index.json' }) },
      async (folder) => {
        for (const name of ['index.json', 'other.json'])
          assert.equal((await failure(join(folder, name))).finding, 'shard.tensor')
      },
    ))

  it('says which tensors the index leaves out', () =>
    withFiles({ 'index.json': index({ a: 'x' }), x: shard('a', 'b') }, async (folder) => {
      const { findings } = await readTorchFile(join(folder, 'index.json'))
      assert.deepEqual(findings.map(({ id, subject }) => [id, subject]), [['shard.unlisted', 'x'], ['file.unprotected', null]]) // prettier-ignore
    }))
})

/** Opcodes of an instance of a dataclass of torch.distributed.checkpoint. */
const instance = (name: string, state: string, module = 'torch.distributed.checkpoint.metadata') =>
  op.global(module, name) + op.tuple0 + op.newobj + state + op.build
const dict = (...entries: [string, string][]) =>
  op.dict + op.mark + entries.map(([key, value]) => op.str(key) + value).join('') + op.setitems
const size = (...sizes: number[]) => op.global('torch', 'Size') + ints(...sizes) + op.tuple1 + op.reduce

interface Chunk {
  offsets: number[]
  sizes: number[]
}
const describeTensor = (sizes: number[], chunks: Chunk[], dtype = 'float32') => {
  const properties = op.mark + op.global('torch', dtype) + op.none + op.no + op.none + op.no + op.tuple
  const places = chunks.map((chunk) =>
    instance('ChunkStorageMetadata', dict(['offsets', size(...chunk.offsets)], ['sizes', size(...chunk.sizes)])),
  )
  return instance(
    'TensorStorageMetadata',
    dict(
      ['properties', instance('TensorProperties', properties)],
      ['size', size(...sizes)],
      ['chunks', op.list + op.mark + places.join('') + op.appends],
    ),
  )
}

interface Item {
  name: string
  offsets: number[]
  file?: string
  begin?: number
  length?: number
}
const place = ({ name, offsets, file = '__0_0.distcp', begin = 0, length = 0 }: Item) =>
  instance('MetadataIndex', dict(['fqn', op.str(name)], ['offset', size(...offsets)], ['index', op.int(0)])) +
  instance(
    '_StorageInfo',
    dict(['relative_path', op.str(file)], ['offset', op.int(begin)], ['length', op.int(length)]),
    'torch.distributed.checkpoint.filesystem',
  )

const metadata = (tensors: [string, string][], items: Item[], planner: string = op.none) =>
  pickle(
    instance(
      'Metadata',
      dict(
        ['state_dict_metadata', dict(...tensors)],
        ['planner_data', planner],
        ['storage_data', op.dict + op.mark + items.map(place).join('') + op.setitems],
      ),
    ),
  )

/** An item: a torch.save file of one float tensor. */
const item = (...values: number[]) =>
  torchFile(pickle(tensor(storage('0', values.length), 0, ints(values.length), ints(1))), { 0: floats(...values) })

describe('format: folders of torch.distributed.checkpoint', () => {
  const [first, second] = [item(1, 2, 3), item(4, 5)]
  const data = Buffer.concat([first, second])
  const whole = describeTensor([5], [{ offsets: [0], sizes: [3] }, { offsets: [3], sizes: [2] }]) // prettier-ignore
  const items: Item[] = [
    { name: 'w', offsets: [0], length: first.length },
    { name: 'w', offsets: [3], begin: first.length, length: second.length },
  ]
  const one = (changes: Partial<Item>): Item[] => [{ ...(items[0] as Item), ...changes }, items[1] as Item]
  const folderOf = (bytes: Uint8Array): Files => ({ '.metadata': bytes, '__0_0.distcp': data })

  it('puts the chunks of a tensor together', () =>
    withFiles(folderOf(metadata([['w', whole]], items)), async (folder) => {
      const file = await readTorchFile(folder)
      const tensor = (file.value as Map<string, TensorRecord>).get('w') as TensorRecord
      assert.deepEqual([...(await readTensorValues(file, tensor))], [1, 2, 3, 4, 5])
      assert.deepEqual(file.details['files'], [{ name: '__0_0.distcp', items: 2 }])
      await verifyStorages(file)
    }))

  it('names files that the metadata do not mention', () =>
    withFiles({ ...folderOf(metadata([['w', whole]], items)), '__9_0.distcp': 'x' }, async (folder) => {
      const { findings } = await readTorchFile(folder)
      assert(findings.some(({ id, subject }) => id === 'record.unused' && subject === '__9_0.distcp'))
    }))

  const tensorOf = (sizes: number[], ...chunks: Chunk[]) =>
    folderOf(metadata([['w', describeTensor(sizes, chunks)]], items))
  const path = (...steps: string[]) => op.mark + steps.join('') + op.tuple
  const lies: readonly [string, Files, string][] = [
    [
      'code in the metadata',
      folderOf(pickle(op.global('os', 'system') + op.str('id') + op.tuple1 + op.reduce)),
      'pickle.unsafe_global',
    ],
    ['metadata that are none', folderOf(pickle(op.dict)), 'distributed.metadata'],
    ['metadata that are cut', folderOf(metadata([['w', whole]], items).subarray(0, -3)), 'pickle.malformed'],
    ['a file that is missing', { '.metadata': metadata([['w', whole]], items) }, 'shard.missing'],
    ['a file elsewhere', folderOf(metadata([['w', whole]], one({ file: '../x' }))), 'shard.name'],
    ['an item beyond its file', folderOf(metadata([['w', whole]], one({ begin: 1e6 }))), 'file.truncated'],
    ['an item that is none', folderOf(metadata([['w', whole]], one({ begin: 1 }))), 'file.trailing_bytes'],
    [
      'an item of another tensor',
      folderOf(metadata([['w', whole]], one({ begin: first.length, length: second.length }))),
      'distributed.metadata',
    ],
    ['a tensor without a place', folderOf(metadata([['w', whole]], items.slice(1))), 'distributed.metadata'],
    ['a chunk that is missing', tensorOf([5], { offsets: [0], sizes: [3] }), 'distributed.metadata'],
    [
      'chunks that overlap',
      tensorOf([5], { offsets: [0], sizes: [3] }, { offsets: [2], sizes: [2] }),
      'distributed.metadata',
    ],
    [
      'a chunk that leaves the tensor',
      tensorOf([4], { offsets: [0], sizes: [3] }, { offsets: [3], sizes: [2] }),
      'distributed.metadata',
    ],
    ['chunks of other dimensions', tensorOf([5], { offsets: [0, 0], sizes: [5, 1] }), 'distributed.metadata'],
    ['sizes beyond any memory', tensorOf([2 ** 30, 2 ** 30]), 'distributed.metadata'],
    [
      'a dtype that tensors cannot have',
      folderOf(metadata([['w', describeTensor([5], [], 'int3')]], items)),
      'distributed.metadata',
    ],
    [
      'a path through a tensor',
      folderOf(
        metadata(
          [
            ['w', whole],
            ['w.x', whole],
          ],
          items,
          dict(['w', path(op.str('w'))], ['w.x', path(op.str('w'), op.str('x'))]),
        ),
      ),
      'distributed.metadata',
    ],
    [
      'an index of 10^9',
      folderOf(metadata([['w', whole]], items, dict(['w', path(op.str('w'), op.int(1e9))]))),
      'distributed.metadata',
    ],
    [
      'a path that begins with an index',
      folderOf(metadata([['w', whole]], items, dict(['w', path(op.int(0))]))),
      'distributed.metadata',
    ],
  ]
  for (const [name, files, finding] of lies) {
    it(`refuses ${name}`, () =>
      withFiles(files, async (folder) => {
        const error = await failure(folder)
        assert.equal(error.name, 'TorchkeepError', error.stack)
        assert.equal(error.finding, finding, error.message)
      }))
  }
})
