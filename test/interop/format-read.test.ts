/** Files that Python wrote, read by us: types, values and bytes equal what `torch.load(weights_only=True)` gives. */
import assert from 'node:assert/strict'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { planTorchFile, readTorchFile, verifyStorages, writePlan } from '../../src/format/index.js'
import { needPython, runPython } from '../python.js'
import { describeFile, pythonDescribe } from './format-describe.js'

/** Each case is a Python expression or statements that set `v`. */
const cases: Record<string, string> = {
  'a state dict with module versions': `v = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.Linear(4, 2)).state_dict()`,
  'optimizer and scheduler states': `
m = torch.nn.Linear(3, 2); o = torch.optim.AdamW(m.parameters(), lr=1.0, amsgrad=True); s = torch.optim.lr_scheduler.MultiStepLR(o, [2, 2, 5])
for _ in range(3):
    o.zero_grad(); m(torch.ones(4, 3)).sum().backward(); o.step(); s.step()
v = {'model_state_dict': m.state_dict(), 'optimizer_state_dict': o.state_dict(), 'scheduler': s.state_dict(), 'epoch': 3, 'loss': float('inf')}`,
  'every dtype': `
names = 'float64 float32 float16 bfloat16 int64 int32 int16 int8 uint8 bool complex128 complex64 complex32 uint16 uint32 uint64 float8_e4m3fn float8_e5m2 float8_e4m3fnuz float8_e5m2fnuz float8_e8m0fnu'.split()
b = torch.arange(0, 96, dtype=torch.uint8) * 5
v = {n: (b % 2).bool() if n == 'bool' else b.clone().view(getattr(torch, n)).reshape(2, -1) for n in names}`,
  'packed and bit dtypes': `
b = torch.arange(8, dtype=torch.uint8)
v = [b.clone().view(getattr(torch, n)) for n in 'bits8 bits16 bits1x8 bits2x4 bits4x2 float4_e2m1fn_x2'.split()]`,
  '0-d, empty and zero-size tensors': `v = [torch.tensor(2.5), torch.zeros(0), torch.zeros(2, 0, 3), torch.tensor(7), torch.zeros(0, dtype=torch.int64)]`,
  'views, strides and shared storages': `
a = torch.arange(24.).reshape(2, 3, 4); tied = torch.nn.Parameter(torch.ones(2, 2))
v = {'a': a, 't': a.permute(2, 0, 1), 'row': a[1, 2], 'step': a[:, ::2], 'expanded': torch.tensor([[1.], [2.]]).expand(2, 5),
     'cl': torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last), 'tied': [tied, tied, tied.data], 'slice': torch.arange(100)[90:]}`,
  'parameters, requires_grad, attributes': `
p = torch.nn.Parameter(torch.ones(2), requires_grad=False); q = torch.nn.Parameter(torch.zeros(3)); q.note = 'x'; q.n = [1, 2]
t = torch.zeros(2, requires_grad=True); u = torch.zeros(2); u.tag = {'a': 1}
v = [p, q, t, u, torch.nn.Buffer(torch.ones(2))]`,
  'conjugate and negative views': `
c = torch.tensor([1+2j, 3-4j]); v = [c, c.conj(), torch.tensor([1+2j, 5j]).conj().imag, torch.view_as_real(c.clone()), c[1:].conj()]`,
  'sparse, quantized, meta, nested': `
e = torch.eye(3) * 2
pc = torch.quantize_per_channel(torch.randn(2, 3), torch.tensor([.1, .2], dtype=torch.float64), torch.tensor([1, 2]), 0, torch.qint8)
v = {'coo': e.to_sparse(), 'raw': torch.sparse_coo_tensor([[0, 0], [1, 1]], [1., 2.], (2, 2)), 'csr': e.to_sparse_csr(), 'csc': e.to_sparse_csc(),
     'bsr': torch.eye(4).to_sparse_bsr((2, 2)), 'q': torch.quantize_per_tensor(torch.randn(5), 0.5, 3, torch.quint8),
     'q32': torch.quantize_per_tensor(torch.randn(5), 0.5, 0, torch.qint32), 'pc': pc, 'meta': torch.zeros(2, 3, device='meta'),
     'nested': torch.nested.nested_tensor([torch.zeros(2), torch.ones(3)])}`,
  'numbers of every size': `
v = [0, 1, -1, 255, 256, 65535, 65536, 2**31 - 1, 2**31, -2**31, -2**31 - 1, 2**53, 2**53 + 1, -2**63, 2**64, 10**300, -10**300, 2**2039 - 1,
     0.0, -0.0, 1.0, 1e22, 2.0**53, 2.0**60, 0.1, 5e-324, float('inf'), float('-inf'), float('nan'), 1+2j, -0j, complex(1.5, float('nan'))]`,
  'strings and bytes': `
v = ['', 'abc', 'Zürich', '日本', '😀', '\\ud800', 'a\\udc00b', '\\ufffd', '\\x00', 'x' * 300, '\\ufeffbom', b'\\x00\\xff' * 200, bytearray(b'ab\\xfe'), bytearray()]`,
  'containers of every kind': `
v = {'__proto__': 1, 'constructor': 2, 1: 'int key', 2.5: 'float key', None: 'none key', True: 'true key', (1, 'a'): 'tuple key', 'set': {1, 'b', 2.5, None}, 'empty': [(), [], {}, set()],
     'counter': collections.Counter('abca'), 'od': collections.OrderedDict([('b', 1), ('a', 2)]), 'size': torch.Size([2, 3]), 'size0': torch.Size([]),
     'nested': [[[(1, (2, (3, (4, 5, 6, 7))))]]], 'bools': [True, False]}
v.pop(True)`,
  'batches of 999 to 2001 items': `
v = {n: [list(range(n)), {i: i for i in range(n)}, collections.OrderedDict((str(i), i) for i in range(n))] for n in (1, 2, 999, 1000, 1001, 2000, 2001)}`,
  'dtypes, devices, layouts and classes as values': `
v = [torch.float32, torch.int1, torch.uint7, torch.bfloat16, torch.device('cpu'), torch.device('cuda', 3), torch.sparse_coo, torch.strided, torch.Size, torch.Tensor]`,
  'bare storages': `s = torch.arange(4.); v = [s.untyped_storage(), torch.zeros(3, dtype=torch.int16).storage()]`,
  'random states': `v = {'cpu': torch.get_rng_state(), 'list': [torch.get_rng_state()]}`,
  'many storages': `v = {str(i): torch.full((i % 3,), i, dtype=torch.int32) for i in range(300)}`,
}

describe('format: files that Python wrote', function () {
  this.timeout(120_000)
  let folder = ''
  let expected: Record<string, unknown> = {}

  before(async function () {
    needPython(this)
    folder = await mkdtemp(join(tmpdir(), 'torchkeep-format-'))
    const program = Object.values(cases)
      .map(
        (body, index) => `
torch.manual_seed(${index})
${body.trim()}
torch.save(v, '${folder}/${index}.pth')
out.append(describe(torch.load('${folder}/${index}.pth', weights_only=True)))`,
      )
      .join('\n')
    const stdout = await runPython(`${pythonDescribe}\nout = []\n${program}\nprint(json.dumps(out))`)
    const described = JSON.parse(stdout) as unknown[]
    expected = Object.fromEntries(Object.keys(cases).map((name, index) => [name, described[index]]))
  })

  after(async () => {
    if (folder !== '') await rm(folder, { recursive: true })
  })

  for (const [index, name] of Object.keys(cases).entries()) {
    it(`reads ${name}`, async () => {
      const file = await readTorchFile(join(folder, `${index}.pth`), { keepFloats: true })
      assert.deepEqual(await describeFile(file), expected[name])
      assert.deepEqual(file.findings, [])
      await verifyStorages(file)
    })
  }

  it('writes them again, and Python reads the same values and sharing', async () => {
    for (const index of Object.keys(cases).keys()) {
      const file = await readTorchFile(join(folder, `${index}.pth`), { keepFloats: true })
      await writePlan(join(folder, `again-${index}.pth`), planTorchFile(file.value, { topFolder: `again-${index}` }))
    }
    const stdout = await runPython(`${pythonDescribe}
out = []
for i in range(${Object.keys(cases).length}):
    path = '${folder}/again-%d.pth' % i
    assert zipfile.ZipFile(path).testzip() is None
    out.append([describe(torch.load(path, weights_only=True)), describe(torch.load(path, weights_only=True, mmap=True))])
print(json.dumps(out))`)
    const described = JSON.parse(stdout) as unknown[][]
    for (const [index, name] of Object.keys(cases).entries()) {
      assert.deepEqual(described[index]?.[0], expected[name], name)
      assert.deepEqual(described[index]?.[1], expected[name], `${name}, mapped`)
    }
  })

  it('reads a file of Python without CRC-32s and says so', async () => {
    const path = join(folder, 'nocrc.pth')
    await runPython(`torch.serialization.set_crc32_options(False); torch.save({'a': torch.ones(3)}, '${path}')`)
    const file = await readTorchFile(path)
    assert.deepEqual(
      file.findings.map(({ id }) => id),
      ['record.crc_not_stored'],
    )
    assert.equal(file.storages[0]?.crc32, null)
  })

  it('reads a file whose alignment is 4096 and one written to a buffer', async () => {
    await runPython(`
from torch.utils.serialization import config
import io
b = io.BytesIO(); torch.save([torch.arange(3)], b); open('${folder}/buffer.pth', 'wb').write(b.getvalue())
config.save.storage_alignment = 4096
torch.save([torch.arange(3)], '${folder}/aligned.pth')`)
    const buffered = await readTorchFile(join(folder, 'buffer.pth'))
    assert.equal(buffered.topFolder, 'archive')
    const aligned = await readTorchFile(join(folder, 'aligned.pth'))
    assert.equal((aligned.storages[0]?.source.offsetBytes ?? 1) % 4096, 0)
  })

  it('reads files of pickle protocols 3 to 5 and says that weights_only refuses them', async () => {
    await runPython(
      `for p in (2, 3, 4, 5): torch.save({'a': torch.ones(3)}, f'${folder}/protocol-{p}.pth', pickle_protocol=p)`,
    )
    const expected = await describeFile(await readTorchFile(join(folder, 'protocol-2.pth')))
    for (const protocol of [3, 4, 5]) {
      const file = await readTorchFile(join(folder, `protocol-${protocol}.pth`))
      assert.deepEqual(await describeFile(file), expected)
      const ids = file.findings.map(({ id }) => id)
      assert.deepEqual(ids, protocol === 3 ? [] : ['pickle.weights_only'])
    }
  })

  it('refuses compressed records', async () => {
    await runPython(
      `
z = zipfile.ZipFile('${folder}/deflated.pth', 'w', zipfile.ZIP_DEFLATED)
torch.save([torch.ones(3)], '${folder}/plain.pth')
for n in zipfile.ZipFile('${folder}/plain.pth').namelist(): z.writestr(n, zipfile.ZipFile('${folder}/plain.pth').read(n))
z.close()`.replace(/^/, 'import zipfile\n'),
    )
    const refusal = {
      code: 'ERR_CHECKPOINT_UNSUPPORTED',
      finding: 'zip.compressed',
      message: /compressed \(method 8\)/,
    }
    await assert.rejects(readTorchFile(join(folder, 'deflated.pth')), refusal)
  })
})
