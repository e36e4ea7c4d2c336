/** What `inspect` says of a file against what real Python says of it: types, shapes, sharing, figures of the values, optimizers. */
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { inspectCheckpoint, type InspectedTensor, type Inspection, type TreeNode } from '../../src/checkpoint/index.js'
import { runCommand } from '../commands/run-command.js'
import { checkedJson } from '../commands/schema.js'
import { needPython, runPython } from '../python.js'

interface Facts {
  type: string
  dtype: string
  shape: number[]
  strides: number[] | null
  contiguous: boolean | null
  sizeBytes: number
  count: number
  min: number | null
  max: number | null
  mean: number | null
  std: number | null
  zeros: number
  nan: number
  positiveInfinite: number
  negativeInfinite: number
  histogram: number[]
}

const writeTensors = `
import math
torch.manual_seed(0)
t = {}
base = torch.randn(40, 30)
odd = torch.randn(1000); odd[3] = math.nan; odd[5] = math.inf; odd[7] = odd[8] = -math.inf; odd[9] = 0
t['odd'] = odd
t['base'] = base
t['view'] = base[2:9, ::3]
t['transposed'] = base.t()
t['expanded'] = torch.randn(7, 1).expand(7, 5)
t['parameter'] = torch.nn.Parameter(torch.randn(5))
for name in 'float64 float16 bfloat16 float8_e4m3fn float8_e5m2'.split(): t[name] = (torch.randn(300) * 3).to(getattr(torch, name))
for name in 'uint8 int8 int16 int32 int64'.split(): t[name] = torch.randint(0, 100, (11, 13)).to(getattr(torch, name))
t['bool'] = torch.rand(17) > 0.5
t['scalar'] = torch.tensor(3.5)
t['empty'] = torch.zeros(0, 4)
t['large'] = torch.tensor([1e308, -1e308, 0.0], dtype=torch.float64)
t['complex64'] = torch.randn(9, dtype=torch.complex64)
torch.save(t, sys.argv[1])
def facts(x):
    d = torch.view_as_real(x.detach().resolve_conj()).flatten().double() if x.is_complex() else x.detach().double().flatten()
    f = d[torch.isfinite(d)]
    n = f.numel()
    # float32 would lose digits, and torch.histc takes only float
    lo, hi = (f.min().item(), f.max().item()) if n else (None, None)
    h = [0] * 16 if n else []
    for v in f.tolist():
        half = hi / 2 - lo / 2
        h[0 if half == 0 else min(15, int((v / 2 - lo / 2) / half * 16))] += 1
    mean = math.fsum(f.tolist()) / n if n else None
    std = math.sqrt(math.fsum((v - mean) ** 2 for v in f.tolist()) / n) if n and hi < 1e300 else None
    return dict(type=('torch.' if type(x) is torch.Tensor else 'torch.nn.parameter.') + type(x).__name__, dtype=str(x.dtype)[6:], shape=list(x.shape), strides=list(x.stride()), contiguous=x.is_contiguous(),
        sizeBytes=x.numel() * x.element_size(), count=d.numel(), min=lo, max=hi, mean=mean, std=std, zeros=int((d == 0).sum()), nan=int(d.isnan().sum()),
        positiveInfinite=int((d == math.inf).sum()), negativeInfinite=int((d == -math.inf).sum()), histogram=h)
print(json.dumps({name: facts(x) for name, x in torch.load(sys.argv[1]).items()}))`

describe('inspect beside Python', function () {
  let folder: string
  before(function () {
    needPython(this)
    folder = mkdtempSync(join(tmpdir(), 'torchkeep-inspect-'))
  })
  after(() => folder !== undefined && rmSync(folder, { recursive: true }))

  it('says dtype, shape, strides, sharing and figures of every tensor as Python does', async () => {
    const path = join(folder, 'tensors.pth')
    const expected = JSON.parse(await runPython(writeTensors, [path])) as Record<string, Facts>
    const { tensors } = await inspectCheckpoint(path, { tensors: true, statistics: true })
    assert.deepEqual(
      tensors?.map(({ name }) => name),
      Object.keys(expected),
    )
    for (const { name, ...tensor } of tensors ?? []) compare(name, tensor, expected[name] as Facts)
    const shared = new Map(tensors?.map(({ name, sharedWith }) => [name, sharedWith]))
    assert.deepEqual(shared.get('view'), ['base', 'transposed'])
    assert.deepEqual(shared.get('odd'), [])
  })

  function compare(name: string, tensor: Omit<InspectedTensor, 'name'>, expected: Facts): void {
    const { type, dtype, shape, strides, contiguous, sizeBytes } = tensor
    const { mean, std, ...figures } = tensor.statistics as NonNullable<InspectedTensor['statistics']>
    const { mean: expectedMean, std: expectedStd, ...rest } = expected
    assert.deepEqual({ type, dtype, shape, strides, contiguous, sizeBytes, ...figures }, rest, name)
    close(`${name}: mean`, mean, expectedMean, Math.max(Math.abs(expected.min ?? 0), Math.abs(expected.max ?? 0)))
    if (name !== 'large') close(`${name}: std`, std, expectedStd, expectedStd ?? 0)
  }

  /** Python sums exactly (fsum), we with compensation: a few units in the last place of the largest value. */
  function close(what: string, actual: number | null, expected: number | null, scale: number): void {
    if (expected === null || actual === null) assert.equal(actual, expected, what)
    else assert.ok(Math.abs(actual - expected) <= 1e-14 * scale, `${what}: ${actual}, expected ${expected}`)
  }

  it('names the types that Python names', async () => {
    const path = join(folder, 'types.pth')
    const program = `
import collections, numpy as np
d = collections.OrderedDict(a=1)
v = {'d': d, 'i': 1, 'big': 2 ** 80, 'f': 1.0, 'g': 0.5, 'n': None, 'b': True, 's': 'x', 'l': [1], 't': (1, 2), 'set': {1}, 'bytes': b'ab', 'array': bytearray(b'x'), 'c': 1 + 2j,
  'size': torch.Size([2, 3]), 'dtype': torch.float16, 'device': torch.device('cpu'), 'np32': np.float32(1.5), 'np64': np.float64(2.5), 'npi': np.int64(3), 'npb': np.bool_(True),
  'nparray': np.zeros((2, 3)), 'counter': collections.Counter('aab'), 'default': collections.defaultdict(list), 'frozen': frozenset([1]),
  'untyped': torch.ones(2).untyped_storage(), 'tensor': torch.ones(2), 'parameter': torch.nn.Parameter(torch.ones(2))}
torch.save(v, sys.argv[1])
name = lambda x: (type(x).__module__ + '.').replace('builtins.', '') + type(x).__qualname__
print(json.dumps({k: name(x) for k, x in v.items()}))`
    const expected = JSON.parse(await runPython(program, [path])) as Record<string, string>
    const { contents, weightsOnly } = await inspectCheckpoint(path)
    const actual = Object.fromEntries((contents.children as TreeNode[]).map(({ key, type }) => [key, type]))
    assert.deepEqual(actual, { ...expected, npb: 'numpy.bool' })
    assert.equal(weightsOnly, false)
  })

  it('says whether torch.load(weights_only=True) takes a file', async () => {
    const program = `
import numpy as np, argparse, collections
class Own: pass
values = {'plain': {'a': 1}, 'tensors': {'w': torch.ones(2)}, 'numpy': {'x': np.float32(1)}, 'namespace': argparse.Namespace(lr=1), 'own': Own(), 'counter': collections.Counter('a'),
  'default': collections.defaultdict(list), 'function': {'f': torch.nn.functional.relu}}
result = {}
for name, value in values.items():
    torch.save(value, sys.argv[1] + '/' + name + '.pth')
    try: torch.load(sys.argv[1] + '/' + name + '.pth', weights_only=True); result[name] = True
    except Exception: result[name] = False
print(json.dumps(result))`
    const expected = JSON.parse(await runPython(program, [folder])) as Record<string, boolean>
    for (const [name, takes] of Object.entries(expected)) {
      const { weightsOnly, globals } = await inspectCheckpoint(join(folder, `${name}.pth`))
      assert.equal(weightsOnly, takes, `${name}: ${JSON.stringify(globals)}`)
    }
  })

  it('tells every optimizer of torch from its options, its groups and steps', async () => {
    const program = `
from torch import optim
names = [n for n in dir(optim) if isinstance(getattr(optim, n), type) and issubclass(getattr(optim, n), optim.Optimizer) and n != 'Optimizer']
for n in names:
    a, b = torch.nn.Parameter(torch.randn(3, 3)), torch.nn.Parameter(torch.randn(3, 3))
    o = getattr(optim, n)([a, b])
    for _ in range(0 if n == 'SparseAdam' else 3):
        loss = (a + b).square().sum(); o.zero_grad(); loss.backward(); o.step(lambda: loss)
    torch.save({'model_state_dict': {'a': a, 'b': b}, 'optimizer_state_dict': o.state_dict(), 'epoch': 1}, sys.argv[1] + '/' + n + '.pth')
print(json.dumps(names))`
    const names = JSON.parse(await runPython(program, [folder])) as string[]
    assert.ok(names.length >= 14)
    for (const name of names) {
      const { optimizer } = await inspectCheckpoint(join(folder, `${name}.pth`))
      assert.equal(optimizer?.name, name)
      assert.deepEqual(
        optimizer?.groups.map(({ parameters }) => parameters),
        [2],
      )
      if (optimizer?.stateKeys.includes('step') === true) assert.deepEqual(optimizer.steps, { least: 3, most: 3 }, name)
    }
  })

  it('looks into every container, its JSON under the schema', async () => {
    const program = `
import warnings; warnings.simplefilter('ignore')
import struct, torch.distributed.checkpoint as dcp
from torch import nn
m = nn.Sequential(nn.Linear(3, 2), nn.ReLU())
d = sys.argv[1] + '/'
torch.save(m.state_dict(), d + 'torch_zip.pth')
torch.save(m.state_dict(), d + 'torch_legacy.pth', _use_new_zipfile_serialization=False)
torch.jit.save(torch.jit.script(m), d + 'torchscript.pt')
torch.export.save(torch.export.export(m, (torch.randn(1, 3),)), d + 'pt2.pt2')
dcp.save(m.state_dict(), checkpoint_id=d + 'distributed')
w = m[0].weight.detach().numpy().tobytes()
header = json.dumps({'0.weight': {'dtype': 'F32', 'shape': [2, 3], 'data_offsets': [0, len(w)]}, '__metadata__': {'format': 'pt'}}).encode()
safetensors = struct.pack('<Q', len(header)) + header + w
for name in ('safetensors.safetensors', 'part-00001-of-00001.safetensors'): open(d + name, 'wb').write(safetensors)
json.dump({'metadata': {'total_size': len(w)}, 'weight_map': {'0.weight': 'part-00001-of-00001.safetensors'}}, open(d + 'part.safetensors.index.json', 'w'))`
    await runPython(program, [folder])
    const names: Record<string, string> = {
      distributed: 'distributed',
      sharded: 'part.safetensors.index.json',
      torchscript: 'torchscript.pt',
      pt2: 'pt2.pt2',
      safetensors: 'safetensors.safetensors',
    }
    for (const container of [
      'torch_zip',
      'torch_legacy',
      'torchscript',
      'pt2',
      'distributed',
      'safetensors',
      'sharded',
    ]) {
      const path = join(folder, names[container] ?? `${container}.pth`)
      const { stdout, stderr, status } = await runCommand(['inspect', path, '--stats', '--json'])
      assert.equal(status, 0, stderr + stdout)
      const { container: facts, tensors } = checkedJson('inspect', stdout) as Inspection
      assert.equal(facts.format, container)
      const weight = tensors?.find(({ name, shape }) => /weight$/.test(name) && shape.length === 2)
      assert.deepEqual([weight?.shape, weight?.dtype, weight?.statistics?.count], [[2, 3], 'float32', 6], container)
      assert.equal((await runCommand(['inspect', path])).status, 0)
    }
  })
})
