/** What is told of containers besides their tensors, damage in them, tensors in chunks, files beyond 4 GiB, and `load` from other formats. */
import assert from 'node:assert/strict'
import { mkdtemp, open, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import {
  type AnyTensorRecord,
  ChunkedTensorRecord,
  listTensors,
  OpaqueObject,
  planTorchFile,
  readTensorBytes,
  readTensorValues,
  readTorchFile,
  StorageRecord,
  TensorRecord,
  verifyStorages,
  writePlan,
} from '../../src/format/index.js'
import { inspectCheckpoint } from '../../src/checkpoint/index.js'
import { needPython, runPython } from '../python.js'

/** Writes all fixtures; classes are scripted, so it is a module of its own. */
const program = `
import sys, os, io, json, struct, zipfile, torch, warnings
warnings.simplefilter('ignore')
folder = sys.argv[1]
torch.manual_seed(0)
class Inner(torch.nn.Module):
    def forward(self, x): return x * 2
class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.l = torch.nn.Linear(3, 2); self.inner = Inner(); self.register_buffer('nb', torch.zeros(2), persistent=False)
    def forward(self, x): return self.inner(self.l(x)) + self.nb
net = Net()
torch.jit.save(torch.jit.script(net), folder + '/script.pt', _extra_files={'note.txt': 'hello'})
torch.export.save(torch.export.export(net, (torch.ones(4, 3),), dynamic_shapes=({0: torch.export.Dim('batch')},)), folder + '/net.pt2')
torch.save(net, folder + '/module.legacy', _use_new_zipfile_serialization=False)
torch.save(torch.arange(6.), folder + '/little.pth')
with zipfile.ZipFile(folder + '/little.pth') as source, zipfile.ZipFile(folder + '/big.pth', 'w') as copy:
    for name in source.namelist():
        data = source.read(name)
        copy.writestr(name, b'big' if name.endswith('byteorder') else struct.pack('>6f', *range(6)) if name.endswith('data/0') else data)
shared = torch.arange(12.)
v = {'a': shared, 'v': shared[2:8].reshape(2, 3), 'n': 3}
torch.save(v, folder + '/v.legacy', _use_new_zipfile_serialization=False)
torch.save(v, folder + '/v-1.bin'); torch.save({'b': torch.ones(2)}, folder + '/v-2.bin')
json.dump({'weight_map': {'a': 'v-1.bin', 'v': 'v-1.bin', 'b': 'v-2.bin'}}, open(folder + '/v.index.json', 'w'))
header = json.dumps({'a': {'dtype': 'F32', 'shape': [3], 'data_offsets': [0, 12]}}).encode()
open(folder + '/a.safetensors', 'wb').write(struct.pack('<Q', len(header)) + header + struct.pack('<3f', 1, 2, 3))

# A tensor whose rows are spread over two processes, in two files.
import torch.distributed as dist, torch.multiprocessing as mp
def rank(index):
    import torch.distributed.checkpoint as dcp
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor import distribute_tensor, Shard, Replicate
    dist.init_process_group('gloo', init_method='file://' + folder + '/rendezvous', rank=index, world_size=2)
    mesh = init_device_mesh('cpu', (2,))
    rows = distribute_tensor(torch.arange(35.).reshape(5, 7), mesh, [Shard(0)])
    columns = distribute_tensor(torch.arange(35.).reshape(5, 7), mesh, [Shard(1)])
    same = distribute_tensor(torch.arange(4.), mesh, [Replicate()])
    dcp.save({'model': {'rows': rows, 'columns': columns, 'same': same}, 'epoch': 3}, checkpoint_id=folder + '/dcp')
    dist.destroy_process_group()
mp.start_processes(rank, nprocs=2, start_method='fork')
`

describe('format: what containers hold besides tensors', function () {
  this.timeout(240_000)
  let folder = ''
  const at = (name: string) => join(folder, name)

  before(async function () {
    needPython(this)
    folder = await mkdtemp(join(tmpdir(), 'torchkeep-details-'))
    await writeFile(at('fixtures.py'), program)
    await runPython(`sys.path.insert(0, '${folder}'); sys.argv = ['', '${folder}']; import fixtures`)
  })

  after(async () => {
    if (folder !== '') await rm(folder, { recursive: true })
  })

  it('lists the code and the classes of a scripted module', async () => {
    const { details, protection } = await readTorchFile(at('script.pt'))
    const { codeFiles, extraFiles, classNames, hasBytecode } = details as Record<string, { name: string }[]>
    const names = codeFiles?.map(({ name }) => name.replace(/.*\//, '')).sort()
    assert.deepEqual(names, ['fixtures.py', 'linear.py'])
    assert.deepEqual(extraFiles, [{ name: 'extra/note.txt', sizeBytes: 5 }])
    assert((classNames as unknown as string[]).includes('__torch__.torch.nn.modules.linear.Linear'))
    assert.equal((classNames as unknown as string[]).filter((name) => /\.(Net|Inner)$/.test(name)).length, 2)
    assert.equal(hasBytecode, false)
    assert.equal(protection, 'crc32')
  })

  it('summarises the graph of an exported program', async () => {
    const { details } = await readTorchFile(at('net.pt2'))
    const [model] = details['models'] as Record<string, unknown>[]
    assert.deepEqual(model?.['inputs'], [
      { name: 'p_l_weight', role: 'parameter', target: 'l.weight', dtype: 'float32', sizes: [2, 3] },
      { name: 'p_l_bias', role: 'parameter', target: 'l.bias', dtype: 'float32', sizes: [2] },
      { name: 'b_nb', role: 'buffer', target: 'nb', dtype: 'float32', sizes: [2] },
      {
        name: 'x',
        role: 'user_input',
        target: null,
        dtype: 'float32',
        sizes: [(model?.['inputs'] as { sizes: unknown[] }[])[3]?.sizes[0], 3],
      },
    ])
    assert.equal(typeof (model?.['inputs'] as { sizes: unknown[] }[])[3]?.sizes[0], 'string')
    assert.equal((model?.['outputs'] as { role: string }[])[0]?.role, 'user_output')
    assert.deepEqual(model?.['operators'], {
      'torch.ops.aten.linear.default': 1,
      'torch.ops.aten.mul.Tensor': 1,
      'torch.ops.aten.add.Tensor': 1,
    })
    assert.equal(model?.['nodes'], 3)
    assert.match(String(model?.['schemaVersion']), /^\d+\.\d+$/)
    assert.equal((details['sampleInputs'] as unknown[]).length, 1)
  })

  it('keeps a whole module of the stream format as a named object with its tensors', async () => {
    const { value, details, globals } = await readTorchFile(at('module.legacy'))
    assert(value instanceof OpaqueObject)
    assert.match(value.className, /\.Net$/)
    const sizes = listTensors(value).map(({ record }) => (record as TensorRecord).sizes.join('x'))
    assert.deepEqual(sizes.sort(), ['2', '2', '2x3'])
    assert(
      (details['sources'] as { className: string; sizeBytes: number }[]).some(({ className }) =>
        /\.Inner$/.test(className),
      ),
    )
    assert(globals.some((name) => /\.Net$/.test(name)))
  })

  for (const name of ['script.pt', 'net.pt2']) {
    it(`detects every flipped byte of the tensors of ${name}`, async () => {
      const { storages } = await readTorchFile(at(name))
      const sound = await readFile(at(name))
      for (const { source } of storages) {
        for (let offset = source.offsetBytes; offset < source.offsetBytes + source.sizeBytes; offset++) {
          const damaged = Buffer.from(sound)
          damaged[offset] = (damaged[offset] as number) ^ 4
          await writeFile(at('damaged'), damaged)
          const file = await readTorchFile(at('damaged'))
          await assert.rejects(verifyStorages(file), { finding: 'record.crc' })
        }
      }
    })
  }

  it('puts tensors together that were spread over processes', async () => {
    const file = await readTorchFile(at('dcp'))
    const model = (file.value as Map<string, Map<string, unknown>>).get('model') as Map<string, AnyTensorRecord>
    const expected = Array.from({ length: 35 }, (_, index) => index)
    for (const name of ['rows', 'columns']) {
      const tensor = model.get(name)
      assert(tensor instanceof ChunkedTensorRecord)
      assert.deepEqual(tensor.sizes, [5, 7])
      assert.equal(tensor.chunks.length, 2)
      assert.equal(new Set(tensor.chunks.map(({ tensor: part }) => part.storage.source.path)).size, 2)
      assert.deepEqual([...(await readTensorValues(file, tensor))].map(Number), expected)
    }
    const same = model.get('same')
    assert(same instanceof TensorRecord)
    assert.deepEqual([...(await readTensorValues(file, same as TensorRecord))].map(Number), [0, 1, 2, 3])
    assert.equal((file.value as Map<string, unknown>).get('epoch'), 3)
    const files = (file.details['files'] as { name: string }[]).map(({ name }) => name)
    assert.deepEqual(files, ['__0_0.distcp', '__1_0.distcp'])
    const { tensors } = await inspectCheckpoint(at('dcp'), { tensors: true, statistics: true, filter: 'model.rows' })
    const [{ layout, statistics } = {}] = tensors ?? []
    assert.deepEqual(
      [layout, statistics?.count, statistics?.min, statistics?.max, statistics?.mean],
      ['chunked', 35, 0, 34, 17],
    )
    assert.throws(() => planTorchFile(file.value, { topFolder: 'x' }), {
      code: 'ERR_INVALID_ARGUMENT',
      message: /chunks/,
    })
    await verifyStorages(file)
    const head = await readTorchFile(at('dcp'), { structure: 'directory' })
    const rows = (head.value as Map<string, Map<string, unknown>>).get('model')?.get('rows')
    assert(rows instanceof ChunkedTensorRecord)
    await assert.rejects(readTensorBytes(head, rows), { code: 'ERR_INVALID_ARGUMENT' })
  })

  it('writes tensors of a big-endian file as they are, and Python reads the same values', async () => {
    const file = await readTorchFile(at('big.pth'))
    assert.deepEqual([...(await readTensorValues(file, file.value as TensorRecord))].map(Number), [0, 1, 2, 3, 4, 5])
    await writePlan(at('again.pth'), planTorchFile(file.value, { topFolder: 'again' }))
    const out = await runPython(`print(torch.load('${at('again.pth')}').tolist())`)
    assert.equal(out.trim(), '[0.0, 1.0, 2.0, 3.0, 4.0, 5.0]')
    const little = await readTorchFile(at('little.pth'))
    const mixed = [file.value, little.value]
    assert.throws(() => planTorchFile(mixed, { topFolder: 'x' }), {
      code: 'ERR_INVALID_ARGUMENT',
      message: /big-endian/,
    })
  })

  it('reads a file beyond 4 GiB, which Python reads too', async () => {
    // Written with holes: the tensors are zeros but for one element, and nothing of them is read or written.
    const large = 2 ** 32 + 64
    const bytes = new Uint8Array(0)
    const storage = new StorageRecord({ id: 'large', dtype: 'uint8', sizeBytes: large, source: bytes })
    const small = new StorageRecord({ id: 'small', dtype: 'int64', sizeBytes: 8, source: bytes })
    const tensors = [
      new TensorRecord({ storage, dtype: 'uint8', sizes: [large], strides: [1] }),
      new TensorRecord({ storage: small, dtype: 'int64', sizes: [1], strides: [1] }),
    ]
    const plan = planTorchFile<Uint8Array>(tensors, { topFolder: 'large' })
    const path = at('large.pth')
    const file = await open(path, 'w')
    let place = 0
    for (const part of plan.parts) {
      if (part.kind === 'bytes') await file.write(part.bytes, 0, part.bytes.byteLength, place)
      place += part.kind === 'bytes' ? part.bytes.byteLength : part.sizeBytes
    }
    const places = plan.storages.map(({ offsetBytes }) => offsetBytes)
    await file.write(Uint8Array.of(7), 0, 1, (places[0] as number) + large - 1)
    await file.write(Uint8Array.of(9), 0, 1, places[1] as number)
    await file.close()
    const read = await readTorchFile(path)
    assert.deepEqual(
      read.storages.map(({ source }) => source.offsetBytes),
      places,
    )
    assert.deepEqual(
      read.storages.map(({ crc32 }) => crc32),
      [null, null],
    )
    const [first, second] = read.value as [TensorRecord, TensorRecord]
    const last = new TensorRecord({ ...first, sizes: [2], storageOffset: large - 2 })
    assert.deepEqual([...(await readTensorBytes(read, last))], [0, 7])
    assert.deepEqual([...(await readTensorValues(read, second))], [9n])
    const out = await runPython(`a, b = torch.load('${path}', mmap=True, weights_only=True)
print(a.numel(), a[-2:].tolist(), b.tolist())`)
    assert.equal(out.trim(), `${large} [0, 7] [9]`)
    await rm(path)
  })
})
