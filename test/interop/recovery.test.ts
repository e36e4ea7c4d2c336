/** Recovers files that real Python wrote, and reads the results with real Python: `torch.load(weights_only=True)`. */
import assert from 'node:assert/strict'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { CheckpointRecovery, type RecoveryOptions, type RecoveryResult } from '../../src/checkpoint/index.js'
import { listTensors, readTorchFile, TensorRecord } from '../../src/format/index.js'
import { coveredBytes } from '../../src/format/tensor-record.js'
import { needPython, runPython } from '../python.js'
import { writeLayouts } from './layouts.js'

/** A training checkpoint with aliases, views, dtypes of all sizes, and things that weights_only refuses. */
const write = `
import numpy, argparse, pathlib, collections
folder = sys.argv[1]
torch.manual_seed(0)
model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.BatchNorm1d(8), torch.nn.Linear(8, 2))
optimizer = torch.optim.Adam(model.parameters())
for _ in range(2):
    optimizer.zero_grad(); model(torch.randn(5, 4)).sum().backward(); optimizer.step()
weights = model.state_dict()
weights['tied.weight'] = weights['0.weight']
base = torch.arange(600.)
weights['rows'], weights['columns'] = base[100:200], base.view(20, 30).t()
weights['half'], weights['brain'], weights['wide'] = torch.randn(3).half(), torch.randn(5).bfloat16(), torch.randn(2, dtype=torch.complex128)
weights['small'] = torch.randn(4).to(torch.float8_e4m3fn)
value = {'version': '1.0', 'timestamp': 1755400000, 'epoch': 7, 'phase': 1, 'config': {'width': 8, 'rate': 1.0}, 'validation_loss': 0.5, 'is_best': False,
         'training_state': {'current_epoch': 7}, 'model_state_dict': weights, 'optimizer_state_dict': optimizer.state_dict(), 'rng_state': torch.get_rng_state()}
torch.save(value, folder + '/whole.pth')
torch.save(value, folder + '/stream.pth', _use_new_zipfile_serialization=False)
class Evil:
    def __reduce__(self): return (exec, ("open(r'" + folder + "/ran', 'w').close()",))
class Custom(collections.OrderedDict): pass
odd = {**value, 'args': argparse.Namespace(lr=1), 'evil': Evil(), 'path': pathlib.PurePosixPath('a'), 'scalar': numpy.float32(0.25), 'array': numpy.arange(6, dtype='f4').reshape(2, 3).T}
torch.save(odd, folder + '/odd.pth')
from safetensors.torch import save_file
`

/** Compares every tensor of recovered files with the whole one: names that are in both must have equal bits, and views must stay views. */
const compare = `
import os
folder = sys.argv[1]
def tensors(value, path=''):
    if isinstance(value, torch.Tensor): yield path, value
    elif isinstance(value, dict):
        for key, item in value.items(): yield from tensors(item, path + '.' + str(key))
    elif isinstance(value, (list, tuple)):
        for key, item in enumerate(value): yield from tensors(item, path + '.' + str(key))
def bits(t): return t.contiguous().view(-1).view(torch.uint8).tolist() if t.numel() else []
whole = dict(tensors(torch.load(folder + '/whole.pth', weights_only=True)))
result = {}
for name in sorted(os.listdir(folder)):
    if not name.startswith('recovered_'): continue
    value = torch.load(os.path.join(folder, name), weights_only=True)
    found = {path: t for path, t in tensors(value)}
    same = sorted(path for path, t in found.items() if path in whole and t.dtype == whole[path].dtype and t.shape == whole[path].shape and t.stride() == whole[path].stride() and bits(t) == bits(whole[path]))
    other = sorted(set(found) - set(same))
    shared = len({t.untyped_storage().data_ptr() for path, t in found.items() if path.startswith('.model_state_dict') and t.numel()})
    result[name] = {'same': same, 'other': other, 'storages': shared, 'recovery': value['metadata']['recovery'] if 'metadata' in value else None}
print(json.dumps(result))
`

interface Compared {
  same: string[]
  other: string[]
  storages: number
  recovery: { lost: string[]; source_sha256: string } | null
}

describe('recovery of files that Python wrote', function () {
  this.timeout(300_000)
  let folder: string
  let whole: Buffer
  let isWritten = false
  /** Names of the tensors with where their bytes end in the file. */
  let ends: Map<string, number>
  let storages: number
  before(async function () {
    needPython(this)
    folder = await mkdtemp(join(tmpdir(), 'torchkeep-recovery-'))
    await runPython(write.replace('from safetensors.torch import save_file', ''), [folder])
    isWritten = true
    const path = join(folder, 'whole.pth')
    whole = await readFile(path)
    const file = await readTorchFile(path)
    const tensors = listTensors(file.value)
    ends = new Map(
      tensors.map(({ path: place, record }) => {
        assert.ok(record instanceof TensorRecord)
        return [`.${place.join('.')}`, record.storage.source.offsetBytes + coveredBytes(record)[1]]
      }),
    )
    const inModel = tensors.filter(({ path: place }) => place[0] === 'model_state_dict')
    storages = new Set(inModel.map(({ record }) => (record as TensorRecord).storage.id)).size
  })
  after(async () => {
    if (isWritten) await rm(folder, { recursive: true })
  })

  /** The names of all tensors, those of one object too. */
  const allNames = (): string[] => [...ends.keys(), '.model_state_dict.tied.weight'].sort()

  /** Recovers bytes under a name into the same folder, without a backup. */
  async function recover(name: string, bytes: Uint8Array, options: RecoveryOptions = {}): Promise<RecoveryResult> {
    const path = join(folder, name)
    await writeFile(path, bytes)
    return new CheckpointRecovery(folder).attemptRecovery(path, undefined, { backup: false, ...options })
  }

  const compared = async (): Promise<Record<string, Compared>> =>
    JSON.parse(await runPython(compare, [folder])) as Record<string, Compared>

  it('gives back every tensor whose bytes are there, cut at every record boundary and inside', async () => {
    const { records } = await readTorchFile(join(folder, 'whole.pth'))
    const cuts = new Set(
      [...records.values()].flatMap(({ offsetBytes, sizeBytes }) => [
        offsetBytes,
        offsetBytes + sizeBytes,
        offsetBytes + sizeBytes + 16,
      ]),
    )
    for (let cut = 4000; cut < whole.length; cut += 331) cuts.add(cut)
    const results = new Map<number, RecoveryResult>()
    for (const cut of cuts) results.set(cut, await recover(`cut-${cut}.pth`, whole.subarray(0, cut)))
    const found = await compared()
    let checked = 0
    for (const [cut, { recoveredPath, success }] of results) {
      const expected = [...ends].filter(([, end]) => end <= cut && cut > 3000).map(([name]) => name)
      if (expected.length === 0) {
        assert.equal(recoveredPath, null, `cut to ${cut}`)
        continue
      }
      const { same, other } = found[`recovered_cut-${cut}.pth`] ?? assert.fail(`nothing was written for ${cut}`)
      // The state of a parameter that lost a part leaves as a whole.
      const partial = expected.filter((name) => !same.includes(name))
      assert.ok(
        partial.every((name) => /^\.optimizer_state_dict\.state\./.test(name)),
        `cut to ${cut} lost ${partial.join()}`,
      )
      assert.deepEqual(other, [], `cut to ${cut}`)
      assert.equal(success, true)
      checked++
    }
    assert.ok(checked > 100)
  })

  it('gives back everything but the damaged tensor when a byte anywhere is flipped', async () => {
    const names: string[] = []
    for (let at = 3; at < whole.length; at += 157) {
      const copy = Buffer.from(whole)
      copy[at] = (copy[at] as number) ^ 0x11
      const { success, recoveredPath, damaged } = await recover(`flip-${at}.pth`, copy, { damaged: 'drop' })
      assert.equal(success, true, `byte ${at}`)
      assert.deepEqual(damaged, [])
      if (recoveredPath !== null) names.push(`recovered_flip-${at}.pth`)
    }
    const found = await compared()
    const all = allNames()
    for (const name of names) {
      const { same, other, recovery } = found[name] ?? assert.fail(name)
      assert.deepEqual(other, [], name)
      const lost = recovery?.lost.map((text) => `.${text.split(':')[0] ?? ''}`) ?? []
      const missing = all.filter((tensor) => !same.includes(tensor))
      assert.ok(
        missing.every((tensor) => lost.some((entry) => tensor.startsWith(entry))),
        `${name}: ${missing.join()} of ${lost.join()}`,
      )
      if (missing.length === 0) assert.equal(found[name]?.storages, storages, `${name} unshared tensors`)
    }
    assert.ok(names.length > 20)
  })

  it('reads streams from before PyTorch 1.6 as far as they go', async () => {
    const stream = await readFile(join(folder, 'stream.pth'))
    const result = await recover('stream-cut.pth', stream.subarray(0, stream.length - 500))
    assert.equal(result.success, true, result.remainingIssues.join())
    const { same, other } = (await compared())['recovered_stream-cut.pth'] ?? assert.fail()
    assert.deepEqual(other, [])
    assert.ok(same.length > ends.size / 3 && same.length < ends.size)
  })

  it('keeps the data of an unsafe file, drops what could run code and what weights_only refuses, and says so', async () => {
    const result = await recover('odd-copy.pth', await readFile(join(folder, 'odd.pth')))
    assert.equal(result.success, true, result.remainingIssues.join())
    const { same, other } = (await compared())['recovered_odd-copy.pth'] ?? assert.fail()
    assert.deepEqual(same, allNames())
    assert.deepEqual(other, ['.array'])
    assert.ok(result.lost.some((text) => text.startsWith('evil: ')))
    assert.ok(result.lost.some((text) => text.startsWith('args: ')))
    const python = `
value = torch.load(sys.argv[1] + '/recovered_odd-copy.pth', weights_only=True)
import os
print(json.dumps([value['scalar'], type(value['scalar']).__name__, value['array'].tolist(), list(value['array'].stride()), 'evil' in value, os.path.exists(sys.argv[1] + '/ran'), value['config'], type(value['config']['rate']).__name__]))`
    assert.deepEqual(JSON.parse(await runPython(python, [folder])), [
      0.25,
      'float',
      [
        [0, 3],
        [1, 4],
        [2, 5],
      ],
      [1, 3],
      false,
      false,
      { width: 8, rate: 1 },
      'float',
    ])
  })

  it('recovers files whose pickle is lost with the names of a donor, to the bit', async () => {
    const broken = Buffer.from(whole)
    broken.fill(0, 0, 2000)
    const result = await recover('headless.pth', broken, { like: join(folder, 'whole.pth') })
    assert.equal(result.success, true, result.remainingIssues.join())
    const { same, other } = (await compared())['recovered_headless.pth'] ?? assert.fail()
    assert.deepEqual(same, allNames())
    assert.deepEqual(other, [])
  })

  it('brings every layout of the older system into a form that Python opens', async () => {
    const layouts = await mkdtemp(join(tmpdir(), 'torchkeep-layouts-'))
    try {
      await writeLayouts(layouts)
      const recovery = new CheckpointRecovery(layouts)
      for (const layout of ['L1', 'L2', 'L3', 'L4', 'L5', 'L6']) {
        const result = await recovery.attemptRecovery(join(layouts, `${layout}.pth`), undefined, { backup: false })
        assert.equal(result.success, true, `${layout}: ${result.remainingIssues.join()}`)
      }
      const python = `
import os
folder, out = sys.argv[1], {}
for layout in ('L1', 'L2', 'L3', 'L4', 'L5', 'L6'):
    old = torch.load(f'{folder}/{layout}.pth', weights_only=False)
    new = torch.load(f'{folder}/recovered_{layout}.pth', weights_only=True)
    before = old.get('model_state_dict', old.get('model_state'))
    after = new['model_state_dict']
    equal = list(before) == list(after) and all(torch.equal(before[k], after[k]) for k in before)
    shares = lambda d: [[a for a in d if d[a].data_ptr() == d[b].data_ptr()] for b in d]
    out[layout] = [equal, shares(before) == shares(after), new['version'], new['epoch'] == old['epoch'], isinstance(new['config'], dict), after._metadata == before._metadata]
print(json.dumps(out))`
      const found = JSON.parse(await runPython(python, [layouts])) as Record<string, unknown[]>
      for (const [layout, facts] of Object.entries(found))
        assert.deepEqual(facts, [true, true, '1.0', true, true, true], layout)
    } finally {
      await rm(layouts, { recursive: true })
    }
  })
})
