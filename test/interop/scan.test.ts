/** What of a tensor is not finite, against Python: every pattern of the small formats, views of every sort. */
import assert from 'node:assert/strict'
import { join } from 'node:path'
import { listTensors, readTorchFile, scanStorages, TensorRecord } from '../../src/format/index.js'
import { NonFiniteScan } from '../../src/format/scan-nonfinite.js'
import { withFolder } from '../format/fixtures.js'
import { needPython, runPython } from '../python.js'

interface Counted {
  nan: number
  infinite: number
}

const program = `
import math
small = {n: getattr(torch, n) for n in ['float8_e4m3fn', 'float8_e5m2', 'float8_e4m3fnuz', 'float8_e5m2fnuz', 'float8_e8m0fnu']}
half = {n: getattr(torch, n) for n in ['float16', 'bfloat16']}
wide = {n: getattr(torch, n) for n in ['float32', 'float64', 'complex64', 'complex128']}
value = {}
for name, dtype in small.items(): value[name] = torch.arange(256, dtype=torch.int16).to(torch.uint8).view(dtype)
for name, dtype in half.items(): value[name] = torch.arange(65536, dtype=torch.int32).to(torch.uint16).view(dtype)
value['complex32'] = torch.arange(65536, dtype=torch.int32).to(torch.uint16).view(torch.complex32)
torch.manual_seed(1)
odd = [float('nan'), float('inf'), -float('inf'), 3.4e38, -0.0, 1e-45]
for name, dtype in wide.items():
    t = torch.randn(700001, dtype=dtype)
    at = torch.randperm(len(t))[:3000]
    for k, v in enumerate(odd): t[at[k::len(odd)]] = v
    value[name] = t
t = value['complex64']; t[5] = complex(1, math.nan); t[6] = complex(math.inf, math.nan); t[7] = complex(0, -math.inf)
base = value['float32']
views = {
    'transposed': base[:600000].view(600, 1000).t(), 'columns': base[:600000].view(600, 1000)[:, 3:10], 'every third': base[1::3],
    'expanded': base[11:17].view(6, 1).expand(6, 50), 'windows': base[:1000].unfold(0, 30, 7), 'backwards part': base[699000:],
    'empty': base[:0], 'one': base[at[0]], 'cube': base[:480000].view(60, 80, 100).permute(2, 0, 1)[::2, ::5, 3:90],
}
value.update(views)
value['ints'] = torch.full((100,), -1, dtype=torch.int32)
value['all nan'] = torch.full((1500000,), math.nan)
torch.save(value, sys.argv[1])
def count(t, name):
    if name in views or name in wide:
        length = t.untyped_storage().nbytes() // t.element_size()
        where = torch.arange(length).as_strided(t.size(), t.stride(), t.storage_offset()).reshape(-1).unique()
        t = t.as_strided((length,), (1,), 0)[where]
    if name in small: t = t.float()
    if name == 'complex32':
        p = t.view(torch.float16).float().view(-1, 2); nan = p.isnan().any(1); inf = p.isinf().any(1) & ~nan
    else:
        nan = t.isnan(); inf = (t.isinf() & ~nan) if t.is_floating_point() or t.is_complex() else torch.zeros(1)
    return {'nan': int(nan.sum()), 'infinite': int(inf.sum())}
print(json.dumps({k: count(t, k) for k, t in value.items()}))
`

describe('scan for non-finite values', () => {
  it('counts what Python counts, in every dtype and every sort of view', async function () {
    needPython(this)
    await withFolder(async (folder) => {
      const path = join(folder, 'x.pth')
      const expected = JSON.parse(await runPython(program, [path])) as Record<string, Counted>
      const file = await readTorchFile(path)
      const tensors = listTensors(file.value).map(({ path: [name], record }) => ({ name: name as string, record }))
      const scan = new NonFiniteScan(
        tensors.map(({ record }) => record).filter((record) => record instanceof TensorRecord),
      )
      let seenBytes = 0
      await scanStorages(file, {
        onChunk: (storage, chunk, offset) => scan.see(storage, chunk, offset),
        onStorage: ({ storage, matches }) => {
          assert.equal(matches, true)
          seenBytes += storage.sizeBytes
        },
      })
      assert.equal(
        seenBytes,
        file.storages.reduce((sum, storage) => sum + storage.sizeBytes, 0),
      )
      const found = Object.fromEntries(
        tensors.map(({ name, record }) => {
          const { nan = 0, infinite = 0, atLeast = false } = scan.of(record as TensorRecord) ?? {}
          assert.equal(atLeast, false)
          return [name, { nan, infinite }]
        }),
      )
      assert.deepEqual(found, expected)
      assert.ok(Object.values(expected).filter(({ nan, infinite }) => nan + infinite > 0).length > 12)
    })
  })
})
