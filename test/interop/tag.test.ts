/** Tags files that Python wrote: Python reads everything else as before, and the new metadata. */
import assert from 'node:assert/strict'
import { chmod, copyFile, link, mkdtemp, open, readdir, readFile, rm, stat, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { compareCheckpoints, readMetadata, tagCheckpoint, configHash } from '../../src/checkpoint/index.js'
import { readTorchFile } from '../../src/format/index.js'
import { readRecord, readZipArchive } from '../../src/format/zip-read.js'
import { ByteSource } from '../../src/format/byte-source.js'
import { needPython, runPython } from '../python.js'
import { pythonDescribe } from './format-describe.js'

const write = `
import argparse, collections, numpy as np, datetime, pathlib, warnings; warnings.simplefilter('ignore')
folder = sys.argv[1]
torch.manual_seed(0)
w = torch.randn(20, 30); base = torch.arange(1000.)
plain = {'version': '1.0', 'timestamp': 1700000000, 'model_state_dict': collections.OrderedDict(w=w, tied=w, view=base[10:20], t=w.t(), half=torch.ones(3).bfloat16(), p=torch.nn.Parameter(torch.ones(2))),
         'config': {'protein_encoder_type': 'cnn', 'drug_encoder_type': 'gin', 'width': 4}, 'epoch': 3, 'phase': 2, 'validation_loss': 0.25, 'is_best': True,
         'big': 2**80, 'tuple': (1, (2, 1.0)), 'storage': torch.arange(9).untyped_storage()}
foreign = {**plain, 'validation_loss': np.float32(0.5), 'args': argparse.Namespace(lr=0.1), 'when': datetime.datetime(2024, 1, 2), 'path': pathlib.PurePosixPath('/x'), 'array': np.arange(5.)}
torch.save(plain, folder + '/plain.pth')
torch.save(foreign, folder + '/foreign.pth')
torch.save({'state_dict': {'a': torch.ones(2)}}, folder + '/wrapped.pth')
torch.save({'a': torch.ones(2)}, folder + '/bare.pth')
torch.save([1], folder + '/list.pth')
torch.save({'metadata': 'mine', 'epoch': 1}, folder + '/taken.pth')
torch.save({'metadata': {'author': 'me', 'when': np.float64(1), 'tags': 'a,b'}, 'enhanced_metadata': {'title': 'older'}, 'epoch': 1}, folder + '/own.pth')
torch.save(plain, folder + '/legacy.pth', _use_new_zipfile_serialization=False)
torch.save(plain, folder + '/four.pth', pickle_protocol=4)
torch.save({'epoch': 1}, folder + '/none.pth')
from torch.utils.serialization import config
config.save.storage_alignment = 4096; torch.save(plain, folder + '/aligned.pth'); config.save.storage_alignment = 64
torch.serialization.set_crc32_options(False); torch.save(plain, folder + '/nocrc.pth')
`

describe('tag: files that Python wrote', function () {
  this.timeout(120_000)
  let folder = ''
  const at = (name: string): string => join(folder, name)
  before(async function () {
    needPython(this)
    folder = await mkdtemp(join(tmpdir(), 'torchkeep-tag-'))
    await runPython(write, [folder])
  })
  after(() => rm(folder, { recursive: true, force: true }))

  /** What Python finds in files: a description of each, and what `metadata` holds. */
  async function inPython(
    paths: readonly string[],
    weightsOnly = true,
  ): Promise<{ rest: unknown; metadata: unknown }[]> {
    const text = await runPython(
      `${pythonDescribe}
out = []
for path in sys.argv[1:]:
    v = torch.load(path, weights_only=${weightsOnly ? 'True' : 'False'})
    m = v.pop('metadata', None)
    out.append({'rest': ${weightsOnly ? 'describe(v)' : 'repr(sorted(v.items(), key=str))'}, 'metadata': m})
print(json.dumps(out))`,
      paths,
    )
    return JSON.parse(text) as { rest: unknown; metadata: unknown }[]
  }

  it('stops where it is told to, and leaves the file and nothing else', async () => {
    const [before, names] = await Promise.all([readFile(at('plain.pth')), readdir(folder)])
    await assert.rejects(tagCheckpoint(at('plain.pth'), { title: 'x' }, { signal: AbortSignal.abort() }), {
      code: 'ERR_ABORTED',
    })
    assert.deepEqual(await readFile(at('plain.pth')), before)
    assert.deepEqual(await readdir(folder), names)
  })

  it('sets a title and tags, and Python has the same values as before', async () => {
    const names = ['plain', 'aligned', 'nocrc', 'wrapped']
    for (const name of names) {
      const tagged = at(`tagged-${name}.pth`)
      await copyFile(at(`${name}.pth`), tagged)
      const changes = { title: 'Größer ✓', description: 'a\nb', addTags: ['x', 'y', 'x'] }
      const result = await tagCheckpoint(tagged, changes)
      assert.equal(result.changed, true)
      assert.deepEqual(await readMetadata(tagged), result.metadata)
      const { same, metadata } = await compareCheckpoints(at(`${name}.pth`), tagged)
      assert.deepEqual([same, metadata.map(({ path }) => path)], [true, ['title', 'description', 'tags[0]', 'tags[1]']])
      assert.deepEqual(
        (await readTorchFile(tagged)).findings.filter(({ severity }) => severity === 'error'),
        [],
      )
    }
    const before = await inPython(names.map((name) => at(`${name}.pth`)))
    const after = await inPython(names.map((name) => at(`tagged-${name}.pth`)))
    const metadata = { title: 'Größer ✓', description: 'a\nb', tags: ['x', 'y'] }
    assert.deepEqual(
      after,
      before.map(({ rest }) => ({ rest, metadata })),
    )
  })

  it('keeps every record but the pickle to the byte, and of the pickle all but its end', async () => {
    await copyFile(at('foreign.pth'), at('x.pth'))
    await tagCheckpoint(at('x.pth'), { title: 'first', addTags: ['a'] })
    const [old, once] = [await records(at('foreign.pth')), await records(at('x.pth'))]
    assert.deepEqual([...once.keys()], [...old.keys()])
    for (const [name, bytes] of old) if (name !== 'data.pkl') assert.deepEqual(once.get(name), bytes, name)
    const [oldPickle, newPickle] = [old.get('data.pkl') ?? assert.fail(), once.get('data.pkl') ?? assert.fail()]
    assert.deepEqual(newPickle.subarray(0, oldPickle.length - 1), oldPickle.subarray(0, -1))
    const [before, after] = await inPython([at('foreign.pth'), at('x.pth')], false)
    assert.deepEqual(after, { rest: before?.rest, metadata: { title: 'first', tags: ['a'] } })
  })

  it('leaves nothing of a former title in the file', async () => {
    await copyFile(at('plain.pth'), at('x.pth'))
    await tagCheckpoint(at('x.pth'), { title: 'a secret name', description: 'of a project' })
    const once = (await stat(at('x.pth'))).size
    for (let time = 0; time < 3; time++) await tagCheckpoint(at('x.pth'), { title: `time ${time}`, description: '' })
    const bytes = await readFile(at('x.pth'))
    assert.equal(bytes.includes('secret'), false)
    assert.equal(bytes.includes('time 1'), false)
    assert.ok(bytes.length <= once)
    assert.deepEqual((await inPython([at('x.pth')]))[0]?.metadata, { title: 'time 2', description: '' })
  })

  it('adds, removes and replaces tags, and does not touch a file that says all that already', async () => {
    await copyFile(at('plain.pth'), at('x.pth'))
    assert.deepEqual((await tagCheckpoint(at('x.pth'), { addTags: ['a', 'b'] })).metadata.tags, ['a', 'b'])
    assert.deepEqual(
      (await tagCheckpoint(at('x.pth'), { addTags: ['c', 'a'], removeTags: ['b', 'z'] })).metadata.tags,
      ['a', 'c'],
    )
    const { mtimeNs, ino } = await stat(at('x.pth'), { bigint: true })
    const same = await tagCheckpoint(at('x.pth'), { addTags: ['a'], removeTags: ['b'], title: '' })
    assert.deepEqual([same.changed, same.metadata.tags], [false, ['a', 'c']])
    const now = await stat(at('x.pth'), { bigint: true })
    assert.deepEqual([now.mtimeNs, now.ino], [mtimeNs, ino])
    assert.deepEqual((await tagCheckpoint(at('x.pth'), { tags: ['z'] })).metadata.tags, ['z'])
    for (const tag of ['', ' ', ' a']) {
      await assert.rejects(tagCheckpoint(at('x.pth'), { addTags: [tag] }), { code: 'ERR_INVALID_ARGUMENT' })
    }
  })

  it('keeps what else metadata hold, and what another program has under our keys until it is changed', async () => {
    await copyFile(at('own.pth'), at('x.pth'))
    assert.equal((await readMetadata(at('x.pth'))).title, 'older')
    await tagCheckpoint(at('x.pth'), { title: 'new' })
    const [after] = await inPython([at('x.pth')], false)
    assert.deepEqual(after?.metadata, { author: 'me', when: 1, tags: 'a,b', title: 'new' })
  })

  it('keeps the mode, follows links, and says that other names keep the old file', async () => {
    await copyFile(at('plain.pth'), at('x.pth'))
    await chmod(at('x.pth'), 0o640)
    await link(at('x.pth'), at('hard.pth'))
    await symlink(at('x.pth'), at('soft.pth'))
    const result = await tagCheckpoint(at('soft.pth'), { title: 'linked' })
    assert.deepEqual([result.path, result.otherNames], [at('x.pth'), 1])
    assert.equal((await stat(at('x.pth'))).mode & 0o7777, 0o640)
    assert.equal((await readMetadata(at('soft.pth'))).title, 'linked')
    assert.equal((await readMetadata(at('hard.pth'))).title, '')
    assert.deepEqual(
      (await readdir(folder)).filter((name) => name.startsWith('.')),
      [],
      'no temporary file is left',
    )
    await Promise.all(['x.pth', 'hard.pth', 'soft.pth'].map((name) => rm(at(name))))
  })

  it('refuses what has no place for metadata, and leaves it as it was', async () => {
    const cases = {
      'bare.pth': /bare state dict/,
      'list.pth': /does not hold a dict/,
      'taken.pth': /something else under the key metadata/,
      'legacy.pth': /container torch_legacy/,
      'four.pth': /protocol 4/,
    }
    for (const [name, message] of Object.entries(cases)) {
      const before = await readFile(at(name))
      await assert.rejects(
        tagCheckpoint(at(name), { title: 'x' }),
        { code: 'ERR_CHECKPOINT_UNSUPPORTED', message },
        name,
      )
      assert.deepEqual(await readFile(at(name)), before)
    }
    await assert.rejects(tagCheckpoint(at('absent.pth'), { title: 'x' }), { code: 'ERR_CHECKPOINT_MISSING' })
  })

  it('does not give damaged bytes a CRC-32 that agrees with them', async () => {
    await copyFile(at('plain.pth'), at('x.pth'))
    const [storage] = (await readTorchFile(at('x.pth'))).storages
    const file = await open(at('x.pth'), 'r+')
    await file.write(Buffer.of(0x77), 0, 1, storage?.source.offsetBytes)
    await file.close()
    const before = await readFile(at('x.pth'))
    await assert.rejects(tagCheckpoint(at('x.pth'), { title: 'x' }), {
      code: 'ERR_CHECKPOINT_CORRUPT',
      message: /CRC-32/,
    })
    assert.deepEqual(await readFile(at('x.pth')), before)
    assert.deepEqual(
      (await readdir(folder)).filter((name) => name.startsWith('.')),
      [],
    )
  })

  it('writes the __metadata__ of a safetensors file, whose tensors stay as they are', async () => {
    const header = Buffer.from(
      '{"2":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"1":{"dtype":"U8","shape":[3],"data_offsets":[8,11]},"__metadata__":{"format":"pt"}}',
    )
    const length = Buffer.alloc(8)
    length.writeBigUInt64LE(BigInt(header.length))
    const data = Buffer.from([0, 0, 128, 63, 0, 0, 0, 64, 7, 8, 9])
    await writeFile(at('x.safetensors'), Buffer.concat([length, header, data]))
    await copyFile(at('x.safetensors'), at('y.safetensors'))
    const { metadata } = await tagCheckpoint(at('y.safetensors'), { title: 'T', addTags: ['a', 'b'] })
    assert.deepEqual([metadata.title, metadata.tags], ['T', ['a', 'b']])
    const bytes = await readFile(at('y.safetensors'))
    const headerBytes = Number(bytes.readBigUInt64LE(0))
    assert.equal(headerBytes % 8, 0)
    assert.equal(
      bytes.toString('utf8', 8, 8 + headerBytes).trimEnd(),
      '{"__metadata__":{"format":"pt","title":"T","tags":"[\\"a\\",\\"b\\"]"},"2":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"1":{"dtype":"U8","shape":[3],"data_offsets":[8,11]}}',
    )
    assert.deepEqual(bytes.subarray(8 + headerBytes), data)
    assert.equal((await compareCheckpoints(at('x.safetensors'), at('y.safetensors'))).same, true)
    await tagCheckpoint(at('y.safetensors'), { title: '', tags: [] })
    assert.deepEqual((await readTorchFile(at('y.safetensors'))).details['metadata'], { format: 'pt' })
  })

  it('reads what every layout says about itself', async () => {
    const metadata = await readMetadata(at('foreign.pth'))
    assert.deepEqual(metadata, {
      version: '1.0',
      createdAt: '2023-11-14T22:13:20.000Z',
      modelType: 'cnn_gin',
      configHash: configHash({ width: 4, drug_encoder_type: 'gin', protein_encoder_type: 'cnn' }),
      fileSizeMb: (await stat(at('foreign.pth'))).size / 2 ** 20,
      validationLoss: 0.5,
      epoch: 3,
      phase: 2,
      isBest: true,
      title: '',
      description: '',
      tags: [],
      libraries: { torchkeep: null, libtorch: null, node: null },
    })
    const { configHash: hash, epoch, createdAt, modelType } = await readMetadata(at('none.pth'))
    assert.deepEqual([hash, epoch, createdAt, modelType], [null, 1, null, null])
  })
})

/** The records of a zip archive, by name. */
async function records(path: string): Promise<Map<string, Buffer>> {
  return ByteSource.with(path, async (source) => {
    const archive = await readZipArchive(source, [])
    const all = new Map<string, Buffer>()
    for (const record of archive.records.values()) {
      all.set(record.name, Buffer.from(await readRecord(source, archive, record, record.sizeBytes)))
    }
    return all
  })
}
