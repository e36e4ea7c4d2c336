/** Files that we planned and wrote, opened by Python with `weights_only=True`, mapped and not, and compared with what `torch.save` writes. */
import assert from 'node:assert/strict'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import {
  ByteArray,
  Complex,
  contiguousStrides,
  Counter,
  Device,
  dtypes,
  OrderedDict,
  planTorchFile,
  PyFloat,
  readTorchFile,
  Size,
  StorageRecord,
  tensorFromBytes,
  TensorRecord,
  TorchDType,
  Tuple,
  writePlan,
  type DTypeName,
} from '../../src/format/index.js'
import { needPython, runPython } from '../python.js'
import { describeFile, pythonDescribe } from './format-describe.js'

const float32 = (...values: number[]) => new Uint8Array(new Float32Array(values).buffer)
const vector = (...values: number[]) =>
  tensorFromBytes({ dtype: 'float32', sizes: [values.length], bytes: float32(...values) })

/** A storage of `count` bytes 0, 1, 2... and views of it. */
function viewsOf(dtype: DTypeName, count: number) {
  const { storageClass } = dtypes[dtype]
  const storage = new StorageRecord({
    id: `${count} bytes of ${dtype}`,
    dtype: storageClass === null ? null : dtype,
    sizeBytes: count,
    source: Uint8Array.from({ length: count }, (_, index) => index),
  })
  return (sizes: number[], strides = contiguousStrides(sizes), storageOffset = 0) =>
    new TensorRecord({ storage, dtype, sizes, strides, storageOffset })
}

/** A state dict of three layers with module versions, as `state_dict()` gives it. */
function stateDict(): OrderedDict {
  const state = new OrderedDict<string, unknown>([
    ['0.weight', tensorFromBytes({ dtype: 'float32', sizes: [2, 2], bytes: float32(1, 2, 3, 4) })],
    ['0.bias', vector(5, 6)],
    ['1.num_batches_tracked', tensorFromBytes({ dtype: 'int64', sizes: [], bytes: new Uint8Array(8) })],
  ])
  state.metadata = new OrderedDict([
    ['', new Map([['version', 1]])],
    ['1', new Map([['version', 2]])],
  ])
  return state
}

const pythonStateDict = `
sd = collections.OrderedDict([('0.weight', torch.tensor([[1., 2.], [3., 4.]])), ('0.bias', torch.tensor([5., 6.])), ('1.num_batches_tracked', torch.tensor(0))])
sd._metadata = collections.OrderedDict([('', {'version': 1}), ('1', {'version': 2})])`

/** Values whose file must equal torch.save's, byte for byte but for the id that PyTorch makes of its own hashes. */
const equalFiles: [name: string, ours: () => unknown, python: string][] = [
  [
    'a dict of tensors',
    () => ({ a: vector(1, 2, 3), b: vector(4) }),
    `v = {'a': torch.tensor([1., 2., 3.]), 'b': torch.tensor([4.])}`,
  ],
  ['a state dict', stateDict, `${pythonStateDict}\nv = sd`],
  [
    'an optimizer state',
    () => ({
      state: new Map([
        [0, { step: tensorFromBytes({ dtype: 'float32', sizes: [], bytes: float32(3) }), exp_avg: vector(0.5, 0.25) }],
      ]),
      param_groups: [{ lr: 0.001, betas: Tuple.of(0.9, 0.999), eps: 1e-8, amsgrad: false, foreach: null, params: [0] }],
    }),
    `v = {'state': {0: {'step': torch.tensor(3.), 'exp_avg': torch.tensor([.5, .25])}},
     'param_groups': [{'lr': .001, 'betas': (.9, .999), 'eps': 1e-8, 'amsgrad': False, 'foreach': None, 'params': [0]}]}`,
  ],
  [
    'plain values of every kind',
    () => [
      1,
      -1,
      300,
      70000,
      2 ** 40,
      2n ** 70n,
      -(2n ** 63n),
      0.5,
      new PyFloat(2),
      1e300,
      true,
      null,
      'text',
      'text',
      new Complex(1, -2),
      new Size([2, 3]),
      new Device('cuda', 1),
      TorchDType.of('bfloat16'),
    ],
    `v = [1, -1, 300, 70000, 2**40, 2**70, -2**63, .5, 2.0, 1e300, True, None, 'text', 'text', 1-2j, torch.Size([2, 3]), torch.device('cuda', 1), torch.bfloat16]`,
  ],
  [
    'an empty tensor and a long memo',
    () => [vector(), ...Array.from({ length: 1500 }, (_, index) => [index])],
    `v = [torch.zeros(0)] + [[i] for i in range(1500)]`,
  ],
  [
    'a list of uint16',
    () => [tensorFromBytes({ dtype: 'uint16', sizes: [2], bytes: new Uint8Array(4) })],
    `v = [torch.zeros(2, dtype=torch.uint16)]`,
  ],
]

describe('format: files that we wrote', function () {
  this.timeout(120_000)
  let folder = ''

  before(async function () {
    needPython(this)
    folder = await mkdtemp(join(tmpdir(), 'torchkeep-format-'))
  })

  after(async () => {
    if (folder !== '') await rm(folder, { recursive: true })
  })

  const write = async (name: string, value: unknown) => {
    const path = join(folder, `${name}.pth`)
    await writePlan(path, planTorchFile<Uint8Array>(value, { topFolder: name }), { fsync: true })
    return path
  }

  it('equals torch.save byte for byte but for the serialization id', async () => {
    for (const [index, [, ours]] of equalFiles.entries()) await write(`f${index}`, ours())
    await runPython(
      `import collections, os\nos.mkdir('${folder}/py')\n` +
        equalFiles.map(([, , python], index) => `${python}\ntorch.save(v, '${folder}/py/f${index}.pth')`).join('\n'),
    )
    for (const [index, [name]] of equalFiles.entries()) {
      const [ours, python] = await Promise.all(['', 'py/'].map((sub) => readFile(join(folder, `${sub}f${index}.pth`))))
      assert.deepEqual(withoutId(ours ?? Buffer.alloc(0)), withoutId(python ?? Buffer.alloc(1)), name)
    }
  })

  it('gives Python every dtype, every value, views, sharing and aliases', async () => {
    const all = Object.keys(dtypes).filter((name) => !/^q/.test(name)) as DTypeName[]
    const floats = viewsOf('float32', 96)
    const words = viewsOf('uint16', 64)
    const shared = ['shared']
    const value = {
      dtypes: all.map((dtype) => viewsOf(dtype, 32)([32 / dtypes[dtype].itemSizeBytes])),
      views: [
        floats([2, 3], [1, 2], 4),
        floats([4], [2], 3),
        floats([2, 2], [0, 1], 9),
        words([3], [1], 11),
        words([2, 2], [2, 1], 20),
      ],
      empty: [vector(), floats([0, 2], [2, 1], 24)],
      parameter: tensorFromBytes({
        dtype: 'float32',
        sizes: [1],
        bytes: float32(1),
        isParameter: true,
        requiresGrad: true,
      }),
      numbers: [0, -0, 1, new PyFloat(1), NaN, Infinity, 2 ** 53, 2n ** 2038n, -(2n ** 100n)],
      strings: ['', 'Zürich 日本 😀', '\ud800', 'a\udc00', '\0'],
      bytes: [new Uint8Array(), Uint8Array.of(0, 255), ByteArray.of(1), new ByteArray()],
      containers: [
        new Set([1, 'a']),
        new Set(),
        new Tuple(),
        Tuple.of(1, [2]),
        new Counter([['a', 2]]),
        new OrderedDict([['z', 1]]),
        new Map<unknown, unknown>([
          [1, 'int'],
          [null, 'none'],
          [Tuple.of(1, 2), 'tuple'],
        ]),
      ],
      aliases: [shared, shared],
      ['__proto__']: 'a key like any other',
      constructor: 'another',
    }
    const path = await write('values', value)
    const ours = await describeFile(await readTorchFile(path, { keepFloats: true }))
    const stdout = await runPython(`${pythonDescribe}
loaded, mapped = (torch.load('${path}', weights_only=True, mmap=m) for m in (False, True))
assert loaded['aliases'][0] is loaded['aliases'][1]
views = loaded['views']
assert len({v.untyped_storage().data_ptr() for v in views[:3]}) == 1 and len({v.untyped_storage().data_ptr() for v in views[3:]}) == 1
assert views[0].untyped_storage().nbytes() == 8 * 4  # elements 3 to 10 of 24
print(json.dumps([describe(loaded), describe(mapped)]))`)
    const [loaded, mapped] = JSON.parse(stdout) as unknown[]
    assert.deepEqual(loaded, ours)
    assert.deepEqual(mapped, ours)
  })

  it('keeps cycles', async () => {
    const cyclic = new Map<string, unknown>()
    cyclic.set('self', [cyclic])
    const path = await write('cycle', cyclic)
    await runPython(`v = torch.load('${path}', weights_only=True)\nassert v['self'][0] is v`)
    const { value } = await readTorchFile(path)
    assert(value instanceof Map)
    assert.equal((value.get('self') as unknown[])[0], value)
  })

  it('passes python -m zipfile -t', async () => {
    const path = await write('tested', { a: vector(1) })
    const stdout = await runPython(`import subprocess
print(subprocess.run([sys.executable, '-m', 'zipfile', '-t', '${path}'], capture_output=True, text=True, check=True).stdout)`)
    assert.match(stdout, /Done testing/)
    assert.doesNotMatch(stdout, /corrupt/)
  })

  it('goes on training in Python from the states', async () => {
    const path = await write('resume', { model: stateDict(), epoch: 3 })
    await runPython(`
m = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.BatchNorm1d(2, affine=False, track_running_stats=True))
sd = torch.load('${path}', weights_only=True)['model']
assert sd._metadata['1'] == {'version': 2}
missing = m.load_state_dict(sd, strict=False)
assert missing.unexpected_keys == [] and m[0].weight.tolist() == [[1, 2], [3, 4]], missing`)
  })
})

/** A file without the 40 digits of its serialization id and their CRC-32, which stands behind them and in the last central entry. */
function withoutId(file: Buffer): Buffer {
  const copy = Buffer.from(file)
  const descriptor = copy.lastIndexOf('PK\x07\x08', undefined, 'latin1')
  copy.fill(0, descriptor - 40, descriptor + 8)
  const entry = copy.lastIndexOf('PK\x01\x02', undefined, 'latin1')
  copy.writeUInt32LE(0, entry + 16)
  return copy
}
