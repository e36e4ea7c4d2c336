/** Files of every container, written by Python, read by us: values and bytes equal what Python reads, or what it wrote where Python cannot read its own file back. */
import assert from 'node:assert/strict'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import {
  isTensorRecord,
  listTensors,
  OpaqueObject,
  readTorchFile,
  verifyStorages,
  type Container,
  type TorchFile,
} from '../../src/format/index.js'
import { needPython, runPython } from '../python.js'
import { net, rezip, safetensors, tar } from './container-programs.js'
import { describeValue, pythonDescribe } from './format-describe.js'

/** A file: statements that write `path`, and an expression of what must be read. */
interface Case {
  container: Container
  /** Statements; `path` is where the file goes, `v` may be set. */
  write: string
  /** What Python reads; `torch.load(path, weights_only=False)` unless told. */
  expected?: string
  /** What of our value is compared with it; all unless told. */
  part?: (file: TorchFile) => unknown
  /** Ids of the findings, each once. */
  findings: readonly string[]
}

const saveLegacy = 'torch.save(v, path, _use_new_zipfile_serialization=False)'
const legacyFindings = ['file.unprotected']
const map = (value: unknown, ...keys: string[]): unknown =>
  keys.reduce((at, key) => (at as Map<string, unknown>).get(key), value)

/** A module's tensors by their dotted names, without the rest of its attributes. */
function moduleTensors(value: unknown, prefix = ''): Map<string, unknown> {
  const tensors = new Map<string, unknown>()
  const state = value instanceof OpaqueObject ? value.state : null
  if (!(state instanceof Map)) return tensors
  for (const [name, item] of state as Map<string, unknown>) {
    if (isTensorRecord(item)) tensors.set(prefix + name, item)
    for (const [inner, tensor] of moduleTensors(item, `${prefix}${name}.`)) tensors.set(inner, tensor)
  }
  return tensors
}

const cases: Record<string, Case> = {
  'the stream format with shared storages, views, parameters and attributes': {
    container: 'torch_legacy',
    write: `a = torch.arange(24.).reshape(2, 3, 4); p = torch.nn.Parameter(torch.ones(2, 2)); q = torch.nn.Parameter(torch.zeros(2)); q.note = 'x'
v = {'a': a, 't': a.permute(2, 0, 1), 'row': a[1, 2], 'expanded': torch.ones(2, 1).expand(2, 5), 'tied': [p, p, p.data], 'q': q, 'empty': torch.zeros(0, 3), 'scalar': torch.tensor(2.5),
     'sparse': torch.eye(3).to_sparse(), 'quantized': torch.quantize_per_tensor(torch.randn(5), 0.5, 3, torch.quint8), 'meta': torch.zeros(2, device='meta'), 'n': [1, 2.5, None, 2**70]}
${saveLegacy}`,
    findings: legacyFindings,
  },
  'the stream format with every typed dtype': {
    container: 'torch_legacy',
    write: `b = torch.arange(0, 96, dtype=torch.uint8) * 5
v = {n: (b % 2).bool() if n == 'bool' else b.clone().view(getattr(torch, n)) for n in 'float64 float32 float16 bfloat16 int64 int32 int16 int8 uint8 bool complex128 complex64'.split()}
${saveLegacy}`,
    findings: legacyFindings,
  },
  'the stream format with dtypes that Python cannot read back': {
    container: 'torch_legacy',
    write: `b = torch.arange(0, 96, dtype=torch.uint8) * 5
v = {n: b.clone().view(getattr(torch, n)) for n in 'complex32 uint16 uint32 uint64 float8_e4m3fn float8_e5m2 float8_e8m0fnu'.split()}
${saveLegacy}`,
    expected: 'v',
    findings: ['file.unprotected', 'pickle.weights_only'],
  },
  'the stream format with a state dict and an optimizer': {
    container: 'torch_legacy',
    write: `${net}
o = torch.optim.Adam(net.parameters()); net.train()(torch.ones(2, 3)).sum().backward(); o.step()
v = {'model_state_dict': net.state_dict(), 'optimizer_state_dict': o.state_dict(), 'epoch': 3}
${saveLegacy}`,
    findings: legacyFindings,
  },
  ...Object.fromEntries(
    [1, 3, 4, 5].map((protocol): [string, Case] => [
      `the stream format with pickle_protocol=${protocol}`,
      {
        container: 'torch_legacy',
        write: `v = {'w': torch.arange(6.).reshape(2, 3), 'n': 1, 's': 'text', 'list': [1.5, None]}
torch.save(v, path, pickle_protocol=${protocol}, _use_new_zipfile_serialization=False)`,
        findings: protocol === 3 ? legacyFindings : ['file.unprotected', 'pickle.weights_only'],
      },
    ]),
  ),
  'the stream format with parts of storages, as PyTorch 0.3 wrote them': {
    container: 'torch_legacy',
    write: `
import pickle
class Rebuilt:
    def __init__(self, storage, offset, sizes, strides): self.args = (storage, offset, sizes, strides, False, collections.OrderedDict())
    def __reduce__(self): return torch._utils._rebuild_tensor_v2, self.args
class Storage:
    def __init__(self, view): self.view = view
class Pickler(pickle.Pickler):
    def persistent_id(self, o):
        return ('storage', torch.FloatStorage, '7', 'cpu', 12, o.view) if isinstance(o, Storage) else None
root, part = Storage(None), Storage(('8', 4, 6))
with open(path, 'wb') as f:
    for v in (torch.serialization.MAGIC_NUMBER, 1001, {'protocol_version': 1001, 'little_endian': True, 'type_sizes': {}}): pickle.dump(v, f, 2)
    Pickler(f, 2).dump({'whole': Rebuilt(root, 0, (12,), (1,)), 'part': Rebuilt(part, 1, (2, 2), (2, 1))})
    pickle.dump(['7'], f, 2); f.write(struct.pack('<q12f', 12, *range(12)))
loaded = torch.load(path, weights_only=False)
y = torch.empty(0).set_(loaded['whole'].untyped_storage(), 5, (2, 2), (2, 1))
assert torch.equal(y, loaded['part']) and y.data_ptr() == loaded['part'].data_ptr()
loaded['part'] = y`,
    expected: 'loaded',
    findings: legacyFindings,
  },
  'the tar format': {
    container: 'torch_tar',
    write: `${tar}
keys = {id(x): '101', id(y): '102'}
write_tar(path, {11: ('cpu', a), 12: ('cpu', b)}, [(13, 11, 4, 6)], {101: (11, 'FloatTensor', (3, 2), (4, 1), 1), 102: (13, 'FloatTensor', (2, 3), (3, 1), 0), 103: (12, 'LongTensor', (3,), (1,), 0)},
          {'x': x, 'y': [y, y], 'n': 3, 's': 'text'}, keys)
loaded = torch.load(path, weights_only=False)
# The part of a storage shares its memory, which torch shows by another address.
y = torch.empty(0).set_(loaded['x'].untyped_storage(), 4, (2, 3), (3, 1))
assert torch.equal(y, loaded['y'][0]) and y.data_ptr() == loaded['y'][0].data_ptr()
loaded['y'] = [y, y]`,
    expected: 'loaded',
    findings: ['file.unprotected', 'pickle.weights_only'],
  },
  'a big-endian file': {
    container: 'torch_zip',
    write: `v = [torch.arange(6.), torch.tensor([1, -2, 2**40]), torch.tensor([1, 2], dtype=torch.int16), torch.tensor([1+2j]), torch.tensor([True, False]), torch.ones(3).half(), torch.ones(2).to(torch.float8_e5m2)]
v.append(v[0][1:4])
torch.save(v, path + '.little'); rezip(path + '.little', path, swapped)`,
    findings: [],
  },
  'a big-endian file of a dtype that Python forgets to swap': {
    container: 'torch_zip',
    write: `v = torch.tensor([1, 2**31 + 5]).to(torch.uint32)
torch.save(v, path + '.little'); rezip(path + '.little', path, swapped)`,
    expected: 'v',
    findings: [],
  },
  'a file zipped again by other tools, with folders and without alignment': {
    container: 'torch_zip',
    write: `v = {'a': torch.arange(6.).reshape(2, 3), 'n': 1}
torch.save(v, path + '.old'); rezip(path + '.old', path, folders=True)`,
    findings: [],
  },
  'a file zipped again to a stream, with descriptors': {
    container: 'torch_zip',
    write: `v = {'a': torch.arange(6.).reshape(2, 3), 'n': 1}
torch.save(v, path + '.old'); rezip(path + '.old', path, target=Unseekable(path))`,
    findings: [],
  },
  'a file with the least records, of version 1': {
    container: 'torch_zip',
    write: `v = {'a': torch.arange(6.), 'n': 1}
torch.save(v, path + '.old')
rezip(path + '.old', path, lambda name, data: b'1\\n' if name == 'version' else data if name == 'data.pkl' or name.startswith('data/') else None)`,
    findings: [],
  },
  'a file whose version is where newer writers put it': {
    container: 'torch_zip',
    write: `v = [torch.ones(2)]
torch.save(v, path + '.old')
rezip(path + '.old', path + '.new', lambda name, data: data if name != 'version' else None)
with zipfile.ZipFile(path + '.new') as source, zipfile.ZipFile(path, 'w') as copy:
    for name in source.namelist(): copy.writestr(name, source.read(name))
    copy.writestr('folder/.data/version', '6')`,
    findings: [],
  },
  'records aligned to pages': {
    container: 'torch_zip',
    write: `from torch.utils.serialization import config
config.save.storage_alignment = 4096
v = {'a': torch.arange(6.), 'b': torch.ones(3)}
torch.save(v, path); config.save.storage_alignment = 64`,
    findings: [],
  },
  'pickle_save of a dict': {
    container: 'pickle_save',
    write: `v = {'a': torch.arange(6.).reshape(2, 3).t(), 'b': torch.zeros(2)}
open(path, 'wb').write(torch._C._pickle_save(v))`,
    findings: ['pickle.weights_only'],
  },
  'pickle_save of mixed values': {
    container: 'pickle_save',
    write: `v = (1, 2.5, 'x', None, True, [1.5], [True], [1, 2], torch.ones(2).bfloat16(), torch.device('cpu'), 1+2j, torch.quantize_per_tensor(torch.ones(3), 0.5, 0, torch.qint8))
open(path, 'wb').write(torch._C._pickle_save(v))`,
    findings: ['pickle.weights_only'],
  },
  'pickle_save of one tensor': {
    container: 'pickle_save',
    write: `v = torch.arange(6, dtype=torch.int16)
open(path, 'wb').write(torch._C._pickle_save(v))`,
    findings: [],
  },
  'a scripted module': {
    container: 'torchscript',
    write: `${net}
torch.jit.save(torch.jit.script(net), path, _extra_files={'note.txt': 'hello'})`,
    expected: `{k: t for k, t in torch.jit.load(path).state_dict(keep_vars=True).items()}`,
    part: (file) => moduleTensors(map(file.value, 'module')),
    findings: ['pickle.weights_only'],
  },
  'a traced module': {
    container: 'torchscript',
    write: `${net}
torch.jit.trace(net, torch.ones(2, 3)).save(path)`,
    expected: `{k: t for k, t in torch.jit.load(path).state_dict(keep_vars=True).items()}`,
    part: (file) => moduleTensors(map(file.value, 'module')),
    findings: ['pickle.weights_only'],
  },
  'a frozen module, whose weights are constants of the code': {
    container: 'torchscript',
    write: `
m = torch.nn.Linear(3, 2).eval()
torch.jit.save(torch.jit.freeze(torch.jit.script(m)), path)`,
    expected: '(m.weight.detach(), m.bias.detach())',
    part: (file) => map(file.value, 'constants'),
    findings: ['pickle.weights_only'],
  },
  'a module for the lite interpreter': {
    container: 'torchscript',
    write: `${net}
torch.jit.script(net)._save_for_lite_interpreter(path)`,
    expected: `{k: t for k, t in torch.jit.load(path).state_dict(keep_vars=True).items()}`,
    part: (file) => moduleTensors(map(file.value, 'module')),
    findings: ['pickle.weights_only'],
  },
  'an exported program': {
    container: 'pt2',
    write: `
class Exported(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.l = torch.nn.Linear(3, 2); self.tied = self.l; self.c = torch.ones(2); self.register_buffer('nb', torch.zeros(2), persistent=False)
        self.register_buffer('pb', torch.arange(6.).reshape(2, 3).t())
    def forward(self, x): return self.l(x) + self.c + self.tied(x) + self.nb + self.pb[0]
program = torch.export.export(Exported(), (torch.ones(4, 3),), dynamic_shapes=({0: torch.export.Dim('batch')},))
torch.export.save(program, path)
loaded = torch.export.load(path)`,
    expected: "{'state_dict': dict(loaded.state_dict), 'constants': dict(loaded.constants)}",
    findings: [],
  },
  'an archive of two exported programs': {
    container: 'pt2',
    write: `
from torch.export.pt2_archive._package import package_pt2, load_pt2
programs = {n: torch.export.export(torch.nn.Linear(3, 2), (torch.ones(4, 3),)) for n in 'ab'}
package_pt2(path, exported_programs=programs)
loaded = load_pt2(path).exported_programs`,
    expected:
      "{n: {'state_dict': dict(p.state_dict), 'constants': dict(p.constants)} for n, p in sorted(loaded.items())}",
    findings: [],
  },
  'safetensors as its specification says': {
    container: 'safetensors',
    write: `write_safetensors(few, path, {'format': 'pt'})`,
    expected: '{name: few[name] for name in by_header(path)}',
    findings: ['file.unprotected'],
  },
  'safetensors in shards': {
    container: 'sharded',
    write: `
write_safetensors({'a.w': torch.arange(4.), 'a.b': torch.ones(2)}, path + '-1.safetensors'); write_safetensors({'b.w': torch.zeros(3, 2)}, path + '-2.safetensors')
name = os.path.basename(path)
v = {'b.w': torch.zeros(3, 2), 'a.w': torch.arange(4.), 'a.b': torch.ones(2)}
json.dump({'metadata': {'total_size': 48}, 'weight_map': {'b.w': name + '-2.safetensors', 'a.w': name + '-1.safetensors', 'a.b': name + '-1.safetensors'}}, open(path, 'w'))`,
    expected: 'v',
    findings: ['file.unprotected'],
  },
  'files of torch.save in shards': {
    container: 'sharded',
    write: `
shared = torch.arange(8.)
torch.save({'a': shared, 'v': shared[2:5]}, path + '-1.bin'); torch.save({'b': torch.zeros(3, 2)}, path + '-2.bin')
name = os.path.basename(path)
json.dump({'metadata': {}, 'weight_map': {'a': name + '-1.bin', 'v': name + '-1.bin', 'b': name + '-2.bin'}}, open(path, 'w'))`,
    expected: "{'a': shared, 'v': shared[2:5], 'b': torch.zeros(3, 2)}",
    findings: [],
  },
  'a folder of torch.distributed.checkpoint': {
    container: 'distributed',
    write: `
import torch.distributed.checkpoint as dcp
m = torch.nn.Linear(3, 2); o = torch.optim.Adam(m.parameters()); m(torch.ones(1, 3)).sum().backward(); o.step()
dcp.save({'model': m.state_dict(), 'opt': o.state_dict(), 'epoch': 3, 'names': ['a', 'b'], 's': 'x'}, checkpoint_id=path)
from torch.distributed.checkpoint.format_utils import dcp_to_torch_save
dcp_to_torch_save(path, path + '.pth')`,
    expected: "torch.load(path + '.pth', weights_only=False)",
    findings: ['file.unprotected'],
  },
}

describe('format: containers that Python wrote', function () {
  this.timeout(240_000)
  let folder = ''
  let expected: unknown[] = []

  before(async function () {
    needPython(this)
    folder = await mkdtemp(join(tmpdir(), 'torchkeep-containers-'))
    const programs = Object.values(cases).map(
      ({ write, expected: read = 'torch.load(path, weights_only=False)' }, index) => `
torch.manual_seed(${index}); path = '${folder}/${index}'
${write.trim()}
out.append(describe(${read}))`,
    )
    // A module of its own, since scripting wants to read the source of classes.
    const program = `import sys, json, torch\n${pythonDescribe}\n${rezip}\n${safetensors}\nout = []\n${programs.join('\n')}`
    await writeFile(join(folder, 'fixtures.py'), program)
    const stdout = await runPython(
      `sys.path.insert(0, '${folder}')\nimport fixtures\nprint('\\n' + json.dumps(fixtures.out))`,
    )
    expected = JSON.parse(stdout.trim().split('\n').at(-1) ?? '') as unknown[]
  })

  after(async () => {
    if (folder !== '') await rm(folder, { recursive: true })
  })

  for (const [index, [name, { container, part, findings }]] of Object.entries(cases).entries()) {
    it(`reads ${name}`, async () => {
      const file = await readTorchFile(join(folder, String(index)), { keepFloats: true })
      assert.equal(file.container, container)
      assert.deepEqual(await describeValue(part === undefined ? file.value : part(file), file), expected[index])
      assert.deepEqual([...new Set(file.findings.map(({ id }) => id))].sort(), [...findings].sort())
      await verifyStorages(file)
    })

    it(`describes ${name} by head and tail alike, without saying where bytes are`, async () => {
      const path = join(folder, String(index))
      const [full, directory] = [await readTorchFile(path), await readTorchFile(path, { structure: 'directory' })]
      const shapes = (file: TorchFile) =>
        listTensors(file.value).map(({ path: at, record }) => [
          at,
          record.kind,
          'sizes' in record ? record.sizes : null,
        ])
      assert.deepEqual(shapes(directory), shapes(full))
      for (const { source, sizeBytes } of directory.storages) {
        const known = full.storages.some((storage) => storage.source.offsetBytes === source.offsetBytes)
        assert(Number.isNaN(source.offsetBytes) || known || sizeBytes === 0)
      }
    })
  }
})
