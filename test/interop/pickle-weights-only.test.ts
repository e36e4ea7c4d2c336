/** Odd pickles that `torch.load(weights_only=True)` accepts, made by hand: we read the same, type by type and byte by byte. */
import assert from 'node:assert/strict'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { OpaqueObject, planTorchFile, readTorchFile, TensorRecord, writePlan } from '../../src/format/index.js'
import { ints, op, pickle, storage, tensor, torchFile } from '../format/fixtures.js'
import { needPython, runPython } from '../python.js'
import { describeFile, pythonDescribe } from './format-describe.js'

const float4 = storage('0', 4)
const matrix = tensor(float4, 0, ints(2, 2), ints(2, 1))
const view = op.mark + float4 + op.int(0) + ints(2, 2) + ints(2, 1) + op.tuple
const hooks = op.global('collections', 'OrderedDict') + op.tuple0 + op.reduce
const parameter = op.global('torch.nn.parameter', 'Parameter')
const call = (module: string, name: string, ...args: string[]) =>
  op.global(module, name) + op.mark + args.join('') + op.tuple + op.reduce
const list = (...items: string[]) => op.list + op.mark + items.join('') + op.appends
const dict = (...items: string[]) => op.dict + op.mark + items.join('') + op.setitems
const short = (text: string) => `U${String.fromCharCode(text.length)}${text}`

const cases: Record<string, string> = {
  'a FloatTensor by NEWOBJ and BUILD': op.global('torch', 'FloatTensor') + op.tuple0 + op.newobj + view + op.build,
  'a FloatTensor by REDUCE and BUILD': op.global('torch', 'FloatTensor') + op.tuple0 + op.reduce + view + op.build,
  'a Tensor by NEWOBJ and BUILD': op.global('torch', 'Tensor') + op.tuple0 + op.newobj + view + op.build,
  'a tensor that gets another view': tensor(float4, 1, ints(2), ints(1)) + view + op.build,
  'a memoized FloatTensor':
    op.mark +
    op.global('torch', 'FloatTensor') +
    op.tuple0 +
    op.newobj +
    op.put(9) +
    view +
    op.build +
    op.get(9) +
    op.tuple,
  'a Parameter by NEWOBJ': parameter + matrix + op.tuple1 + op.newobj,
  'a Parameter by REDUCE without a gradient': parameter + matrix + op.no + op.tuple2 + op.reduce,
  'a Parameter with the state of a Variable':
    parameter + matrix + op.tuple1 + op.newobj + op.mark + op.no + op.no + hooks + op.tuple + op.build,
  'a Parameter with the state of an older Variable':
    parameter +
    tensor(float4, 1, ints(2), ints(1)) +
    op.tuple1 +
    op.newobj +
    op.mark +
    matrix +
    op.none +
    hooks +
    op.yes +
    op.no +
    op.tuple +
    op.build,
  'a Parameter without a gradient whose view is set':
    parameter + tensor(float4, 1, ints(2), ints(1)) + op.no + op.tuple2 + op.newobj + view + op.build,
  _rebuild_tensor: call('torch._utils', '_rebuild_tensor', float4, op.int(1), ints(2), ints(1)),
  'an expanded tensor': tensor(float4, 1, ints(3, 2), ints(0, 1)),
  'a Counter of a list': call('collections', 'Counter', list(op.str('a'), op.str('b'), op.str('a'))),
  'a Counter of a tuple': call('collections', 'Counter', ints(3, 1, 3, 3)),
  'a Counter of a dict': call('collections', 'Counter', dict(op.str('a'), op.int(5))),
  'a Counter by SETITEMS':
    op.global('collections', 'Counter') + op.tuple0 + op.reduce + op.str('x') + op.int(2) + op.setitem,
  'a Counter by NEWOBJ':
    op.global('collections', 'Counter') + op.tuple0 + op.newobj + op.str('x') + op.int(2) + op.setitem,
  'an OrderedDict of pairs': call(
    'collections',
    'OrderedDict',
    list(op.str('a') + op.int(1) + op.tuple2, list(op.str('b'), op.none)),
  ),
  'an OrderedDict of a dict': call('collections', 'OrderedDict', dict(op.str('a'), op.int(1))),
  'an OrderedDict with attributes set twice':
    hooks +
    dict(op.str('_metadata'), op.none) +
    op.build +
    dict(op.str('_metadata'), dict(op.str('v'), op.int(1))) +
    op.build,
  'a bytearray of a text': call('__builtin__', 'bytearray', op.str('aé'), op.str('latin-1')),
  'a Size of a list and an empty one':
    op.mark + call('torch', 'Size', list(op.int(2))) + call('torch', 'Size') + op.tuple,
  'a device in one text': call('torch', 'device', op.str('cuda:1')),
  'sets by every way':
    op.mark +
    '\x8f' +
    call('__builtin__', 'set', list(op.int(1), op.str('a'))) +
    call('builtins', 'set', ints(7)) +
    op.tuple,
  'texts of Python 2': op.mark + short('abc') + short('Z\xc3\xbcrich') + short('') + op.tuple,
  'long memo entries': op.mark + op.str('x'.repeat(40)) + op.putFar(40) + 'j\x28\x00\x00\x00' + op.tuple,
  'ints of any length':
    op.mark + '\x8a\x00' + '\x8a\x01\xff' + '\x8a\x03\x00\x00\x80' + '\x8a\x09' + '\xff'.repeat(8) + '\x7f' + op.tuple,
  'another protocol': op.none,
}

describe('format: odd pickles that weights_only accepts', function () {
  this.timeout(120_000)
  let folder = ''
  let expected: unknown[] = []

  before(async function () {
    needPython(this)
    folder = await mkdtemp(join(tmpdir(), 'torchkeep-weights-only-'))
    for (const [index, opcodes] of Object.values(cases).entries()) {
      const bytes = new Uint8Array(new Float32Array([1, 2, 3, 4]).buffer)
      const file = torchFile(pickle(opcodes), opcodes.includes(float4) ? { 0: bytes } : {})
      await writeFile(join(folder, `${index}.pth`), file)
    }
    const stdout = await runPython(`${pythonDescribe}
torch.save(torch.nested.nested_tensor([torch.zeros(2), torch.ones(3)], layout=torch.jagged), '${folder}/jagged.pth')
def load(path):
    try: return describe(torch.load(path, weights_only=True))
    except Exception as error: return repr(error)
print(json.dumps([load(f'${folder}/{i}.pth') for i in range(${Object.keys(cases).length})]))`)
    expected = JSON.parse(stdout) as unknown[]
  })

  after(async () => {
    if (folder !== '') await rm(folder, { recursive: true })
  })

  for (const [index, name] of Object.keys(cases).entries()) {
    it(`reads ${name}`, async () => {
      const file = await readTorchFile(join(folder, `${index}.pth`), { keepFloats: true })
      assert.deepEqual(await describeFile(file), expected[index])
      assert.deepEqual(file.findings, [])
    })
  }

  it('keeps a jagged nested tensor as an object that holds its tensors, and writes it again', async () => {
    const file = await readTorchFile(join(folder, 'jagged.pth'))
    assert(file.value instanceof OpaqueObject)
    assert.equal(file.value.className, 'torch._tensor._rebuild_from_type_v2')
    const [parts] = file.value.args[2] as [Map<string, unknown>]
    assert(parts.get('values') instanceof TensorRecord && parts.get('offsets') instanceof TensorRecord)
    const path = join(folder, 'jagged-again.pth')
    await writePlan(path, planTorchFile(file.value, { topFolder: 'x', foreign: 'keep' }))
    const stdout = await runPython(`import torch.nested._internal.nested_tensor, torch._dynamo
v = torch.load('${path}', weights_only=True)
print([t.tolist() for t in v.unbind()], v.layout)`)
    assert.equal(stdout, '[[0.0, 0.0], [1.0, 1.0, 1.0]] torch.jagged\n')
  })
})
