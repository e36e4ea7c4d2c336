/** `save` and `load` against `torch.save` and `torch.load`: every kind of value and tensor, both ways. */
import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import type { Tensor } from '../../lib/index.js'
import { full, nn, tensor } from '../../lib/index.js'
import { readTorchFile } from '../../src/format/index.js'
import type { OrderedDict } from '../../src/format/values.js'
import { PyFloat, Tuple } from '../../src/format/values.js'
import { load, save } from '../../src/serialization.js'
import { needPython, runPython } from '../python.js'

/** Prints each tensor of a dict as `dtype shape stride sha256-of-values`; values in C order as raw bytes. */
const describePython = `
def describe(t):
    values = t.detach().resolve_conj().contiguous().flatten()
    raw = values.view(torch.uint8).numpy().tobytes() if values.numel() else b''
    return f"{str(t.dtype)[6:]} {list(t.shape)} {list(t.stride())} {hashlib.sha256(raw).hexdigest()}".replace(', ', ',')
def equal(a, b):
    if isinstance(a, torch.Tensor):
        return describe(a) == describe(b) and a.requires_grad == b.requires_grad and type(a) is type(b)
    if type(a) is not type(b):
        return False
    if isinstance(a, dict):
        return list(a) == list(b) and all(equal(a[k], b[k]) for k in a) and equal(getattr(a, '_metadata', None), getattr(b, '_metadata', None))
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(equal, a, b))
    return a == b or (a != a and b != b)
`

const makeValues = `
from collections import OrderedDict
torch.manual_seed(0)
base = torch.randn(6, 8)
linear = torch.nn.Linear(3, 2)
tensors = {
    **{str(d)[6:]: (torch.randn(3, 5) * 9).to(d) for d in [torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.float8_e4m3fn, torch.float8_e5m2,
                                                          torch.int8, torch.int16, torch.int32, torch.int64]},
    **{str(d)[6:]: torch.arange(15).to(d) for d in [torch.uint8, torch.uint16, torch.uint32, torch.uint64]},
    'bool': torch.tensor([True, False, True]), 'complex64': torch.randn(2, 3, dtype=torch.complex64), 'complex128': torch.randn(2, dtype=torch.complex128),
    'scalar': torch.tensor(2.5), 'int scalar': torch.tensor(2**62 + 1), 'bool scalar': torch.tensor(True),
    'empty': torch.empty(0), 'empty 2d': torch.empty(3, 0, 2, dtype=torch.int64),
    'transposed': torch.randn(4, 3).t(), 'stepped': torch.arange(20)[3::4], 'expanded': torch.randn(3, 1).expand(3, 4), 'column': torch.randn(5, 5)[:, 2],
    'view a': base[1:3], 'view b': base[2:5, ::2], 'base': base, 'nan': torch.tensor([float('nan'), float('inf'), -0.0]),
    'requires grad': torch.ones(2, requires_grad=True), 'channels last': torch.randn(1, 2, 3, 4).to(memory_format=torch.channels_last),
}
value = {'tensors': tensors, 'state': linear.state_dict(), 'tuple': (1, 2.0, 'x', None, True), 'list': [1, [2.5, []], {}], 'int': 2**70, 'float': 1.0,
         'nested': OrderedDict([('b', {1: 'one', (2, 3): 'two'}), ('a', float('inf'))]), 'bytes': b'\\x00\\xff', 'set': {1, 2}, 'text': 'naïve 火', 'size': torch.Size([2, 3]),
         'dtype': torch.bfloat16, 'device': torch.device('cpu'), 'again': tensors['scalar']}
`

/** The same text as `describe` of the Python side. */
function summarize(value: Tensor): string {
  const { buffer, byteOffset, byteLength } = value.data()
  const digest = createHash('sha256')
    .update(new Uint8Array(buffer, byteOffset, byteLength))
    .digest('hex')
  return `${value.dtype} [${value.shape.join(',')}] [${value.stride().join(',')}] ${digest}`
}

describe('save and load', function () {
  this.timeout(120_000)
  let folder: string
  const file = (name: string): string => join(folder, name)
  before(() => (folder = mkdtempSync(join(tmpdir(), 'torchkeep-serialization-'))))
  after(() => rmSync(folder, { recursive: true }))

  for (const mmap of [false, true]) {
    it(`reads every tensor of torch.save with the same bits and strides, and gives all back (mmap: ${mmap})`, async function () {
      needPython(this)
      const [from, to] = [file(`python-${mmap}.pth`), file(`node-${mmap}.pth`)]
      const output = await runPython(
        `${describePython}${makeValues}\ntorch.save(value, sys.argv[1])\nprint(json.dumps({k: describe(t) for k, t in tensors.items()}))`,
        [from],
      )
      const expected = JSON.parse(output) as Record<string, string>
      const value = (await load(from, { mmap, keepFloats: true })) as Map<string, unknown>
      const tensors = value.get('tensors') as Map<string, Tensor>
      assert.ok(tensors.size > 30)
      assert.deepEqual(Object.fromEntries([...tensors].map(([name, found]) => [name, summarize(found)])), expected)
      assert.equal(value.get('again'), tensors.get('scalar'), 'one object stays one object')
      assert.equal(tensors.get('requires grad')?.requiresGrad, true)
      const [view, whole] = [tensors.get('view a'), tensors.get('base')]
      assert.equal(view?.info().storageId, whole?.info().storageId, 'views share their storage')

      await save(to, value)
      const verdict = await runPython(
        `${describePython}
a, b, c = torch.load(sys.argv[1]), torch.load(sys.argv[2], weights_only=True), torch.load(sys.argv[2], weights_only=True, mmap=True)
assert list(a) == list(b)
print([k for k in a if k != 'tensors' and not (equal(a[k], b[k]) and equal(a[k], c[k]))], [k for k, t in a['tensors'].items() if not (equal(t, b['tensors'][k]) and equal(t, c['tensors'][k]))])
t = b['tensors']
assert t['view a'].untyped_storage().data_ptr() == t['view b'].untyped_storage().data_ptr() == t['base'].untyped_storage().data_ptr()
assert b['again'] is t['scalar']`,
        [from, to],
      )
      assert.equal(verdict.trim(), '[] []')
    })
  }

  it('keeps tied weights tied and gives Python a state dict like its own', async function () {
    needPython(this)
    class Tied extends nn.Module {
      readonly encoder = new nn.Embedding(5, 3)
      readonly decoder = new nn.Linear(3, 5, { bias: false })
      readonly norm = new nn.BatchNorm2d(2)
      constructor() {
        super()
        this.decoder.weight = this.encoder.weight
      }
      override forward(x: Tensor): Tensor {
        return x
      }
    }
    const path = file('tied.pth')
    await save(path, new Tied().stateDict())
    const output = await runPython(
      `
from torch import nn
class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder, self.decoder, self.norm = nn.Embedding(5, 3), nn.Linear(3, 5, bias=False), nn.BatchNorm2d(2)
        self.decoder.weight = self.encoder.weight
own, saved = Tied().state_dict(), torch.load(sys.argv[1], weights_only=True)
assert saved['encoder.weight'].data_ptr() == saved['decoder.weight'].data_ptr()
print(type(saved) is type(own), list(saved) == list(own), saved._metadata == own._metadata, any(t.requires_grad for t in saved.values()))`,
      [path],
    )
    assert.equal(output.trim(), 'True True True False')
    const again = (await load(path)) as OrderedDict<string, Tensor>
    assert.equal(again.get('encoder.weight')?.info().storageId, again.get('decoder.weight')?.info().storageId)
  })

  it('survives its own round trip', async () => {
    const path = file('own.pth')
    const value = new Map<unknown, unknown>([
      [
        'a',
        [
          tensor([
            [1, 2],
            [3, 4],
          ]).transpose(0, 1),
          full([], 7, { dtype: 'int64' }),
        ],
      ],
      ['b', new Tuple([1, 2.5, null, 'x', true])],
      ['c', { plain: new PyFloat(3) }],
    ])
    await save(path, value)
    const back = (await load(path)) as Map<string, unknown>
    const [matrix, scalar] = back.get('a') as [Tensor, Tensor]
    assert.deepEqual(matrix.tolist(), [
      [1, 3],
      [2, 4],
    ])
    assert.deepEqual(matrix.stride(), [1, 2])
    assert.equal(scalar.item(), 7)
    assert.deepEqual(back.get('b'), new Tuple([1, 2.5, null, 'x', true]))
    assert.ok(back.get('c') instanceof Map)
  })

  it('finds a flipped bit, names the file and the tensor, and can be told not to look', async () => {
    const path = file('flipped.pth')
    await save(path, { first: full([100], 1), second: full([100], 2) })
    const bytes = readFileSync(path)
    const at = bytes.indexOf(Buffer.from(Float32Array.of(2, 2, 2).buffer))
    bytes.writeUInt8(bytes.readUInt8(at) ^ 1, at)
    writeFileSync(path, bytes)
    for (const mmap of [false, true]) {
      await assert.rejects(load(path, { mmap }), (error: Error & { code: string }) => {
        assert.equal(error.code, 'ERR_CHECKPOINT_CORRUPT')
        assert.ok(error.message.includes(path) && error.message.includes('second'), error.message)
        return true
      })
      const value = (await load(path, { mmap, verify: false })) as Map<string, Tensor>
      assert.equal(value.get('first')?.at(0).item(), 1)
    }
  })

  it('leaves the old file and no other when a value cannot be saved', async () => {
    const path = file('kept.pth')
    await save(path, 1)
    await assert.rejects(save(path, { list: [1, () => 0] }), { code: 'ERR_INVALID_ARGUMENT', message: /list/ })
    assert.equal(await load(path), 1)
    await assert.rejects(load(file('absent.pth')), { code: 'ERR_CHECKPOINT_MISSING', message: /absent\.pth/ })
  })

  it('writes the same bytes with and without the addon', async () => {
    // The base name is part of the file: PyTorch names the folder inside the zip after it.
    const [native, plain] = [file('native/x.pth'), file('plain/x.pth')]
    for (const path of [native, plain]) mkdirSync(dirname(path))
    const matrix = tensor([
      [1, 2, 3],
      [4, 5, 6],
    ])
    await save(native, { matrix, row: matrix.at(1), list: [1, 'two'], labels: tensor(BigInt64Array.of(5n)) })
    await save(plain, (await readTorchFile(native)).value)
    assert.ok(readFileSync(plain).equals(readFileSync(native)))
  })
})
