/** `load` makes live tensors of files of every container whose tensors are ranges of files: values, dtypes, aliases and gradients as Python has them. */
import assert from 'node:assert/strict'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Tensor } from '../../lib/index.js'
import { load } from '../../src/index.js'
import { needPython, runPython } from '../python.js'

const fixtures = (folder: string) => `
import os, struct, zipfile
shared = torch.arange(12.)
v = {'a': shared, 'v': shared[2:8].reshape(2, 3).t(), 'n': 3, 'p': torch.nn.Parameter(torch.ones(2))}
torch.save(v, '${folder}/legacy', _use_new_zipfile_serialization=False)
torch.save({'a': v['a'], 'v': v['v']}, '${folder}/1.bin'); torch.save({'p': v['p']}, '${folder}/2.bin')
json.dump({'weight_map': {'a': '1.bin', 'v': '1.bin', 'p': '2.bin'}}, open('${folder}/sharded', 'w'))
def safetensors(path, names):
    header, data = {}, b''
    for name in names:
        raw = struct.pack('<%df' % v[name].numel(), *v[name].detach().reshape(-1).tolist())
        header[name] = {'dtype': 'F32', 'shape': list(v[name].shape), 'data_offsets': [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(header).encode()
    open(path, 'wb').write(struct.pack('<Q', len(text)) + text + data)
safetensors('${folder}/safetensors', 'avp')
class M(torch.nn.Module):
    def __init__(self):
        super().__init__(); self.p = torch.nn.Parameter(torch.ones(2)); self.register_buffer('a', shared)
    def forward(self, x): return x + self.p + self.a[:2]
torch.export.save(torch.export.export(M(), (torch.ones(2),)), '${folder}/pt2')
torch.save(shared, '${folder}/little')
with zipfile.ZipFile('${folder}/little') as source, zipfile.ZipFile('${folder}/big', 'w') as copy:
    for name in source.namelist(): copy.writestr(name, b'big' if name.endswith('byteorder') else source.read(name))
`

describe('load: other containers', function () {
  this.timeout(120_000)
  let folder = ''

  before(async function () {
    needPython(this)
    folder = await mkdtemp(join(tmpdir(), 'torchkeep-load-'))
    await runPython(fixtures(folder))
  })

  after(async () => {
    if (folder !== '') await rm(folder, { recursive: true })
  })

  const numbers = (tensor: Tensor | undefined) => [...(tensor as Tensor).data()].map(Number)
  const a = Array.from({ length: 12 }, (_, index) => index)
  const v = [2, 5, 3, 6, 4, 7]

  for (const mmap of [false, true]) {
    for (const name of ['legacy', 'sharded', 'safetensors']) {
      it(`makes the tensors of ${name} (mmap ${mmap})`, async () => {
        const value = (await load(join(folder, name), { mmap })) as Map<string, Tensor>
        assert.deepEqual(numbers(value.get('a')), a)
        assert.deepEqual(numbers(value.get('v')), v)
        assert.deepEqual(numbers(value.get('p')), [1, 1])
        assert.deepEqual(value.get('v')?.info().sizes, [3, 2])
        // safetensors keeps neither aliases nor gradients.
        const isTorch = name !== 'safetensors'
        assert.equal(value.get('a')?.info().storageId === value.get('v')?.info().storageId, isTorch)
        assert.equal(value.get('p')?.info().requiresGrad, isTorch)
      })
    }

    it(`makes the tensors of an exported program (mmap ${mmap})`, async () => {
      const value = (await load(join(folder, 'pt2'), { mmap })) as Map<string, Map<string, Tensor>>
      assert.deepEqual(numbers(value.get('state_dict')?.get('a')), a)
      assert.deepEqual(numbers(value.get('state_dict')?.get('p')), [1, 1])
      assert.equal(value.get('state_dict')?.get('p')?.info().requiresGrad, true)
    })
  }

  it('refuses a big-endian file with what reads it', () =>
    assert.rejects(load(join(folder, 'big')), {
      code: 'ERR_CHECKPOINT_UNSUPPORTED',
      message: /big-endian/,
      suggestions: ['readTensorValues of torchkeep/format reads them as typed arrays'],
    }))
})
