/** Files written without LibTorch against what Python's own libraries write and read. */
import assert from 'node:assert/strict'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import {
  castTensors,
  planPt2,
  planSafetensors,
  readTorchFile,
  tensorFromBytes,
  upcastProgram,
  writePlan,
  type AnyTensorRecord,
  type ByteOrigin,
  type TensorRecord,
} from '../../src/format/index.js'
import {
  arange,
  exportedProgram,
  manualSeed,
  nn,
  noGrad,
  randn,
  save,
  setNumThreads,
  tensor,
  trace,
  versions,
  type Tensor,
} from '../../src/index.js'
import { constantsOf } from '../../lib/nn/trace.js'
import { needPackages, runPython } from '../python.js'

type Tensors = ReadonlyMap<string, AnyTensorRecord>

/** Constants, a tied weight, a buffer that no state dict has, an operator in place. */
class Tied extends nn.Module {
  first = new nn.Linear(3, 4)
  twin = new nn.Linear(3, 4)
  last = new nn.Linear(4, 2)

  constructor() {
    super()
    this.twin.weight = this.first.weight
    this.registerBuffer('scale', tensor([2, 3]))
    this.registerBuffer('shift', tensor([0.5, 1]), { persistent: false })
  }

  override forward(x: Tensor): Tensor {
    const hidden = this.first.call(x).relu_().add(this.twin.call(x))
    const scaled = this.last.call(hidden).mul(this.buffer('scale') as Tensor)
    return scaled
      .add(this.buffer('shift') as Tensor)
      .add(arange(2).mul(2))
      .add(tensor([0.25, 1e-3]))
  }
}

const isSafetensorsDType = `[torch.bool, torch.uint8, torch.int8, torch.uint16, torch.int16, torch.float16, torch.bfloat16, torch.uint32, torch.int32, torch.float32, torch.uint64, torch.int64, torch.float64,
  torch.complex64, torch.float8_e4m3fn, torch.float8_e5m2, torch.float8_e4m3fnuz, torch.float8_e5m2fnuz, torch.float8_e8m0fnu]`

describe('files of exports against Python', () => {
  let folder: string
  const at = (name: string): string => join(folder, name)
  const stateDict = async (name: string): Promise<Tensors> => (await readTorchFile(at(name))).value as Tensors

  before(async function () {
    folder = mkdtempSync(join(tmpdir(), 'torchkeep-export-formats-'))
    await needPackages(this, 'safetensors')
    setNumThreads(1)
    await runPython(
      `
import sys
from safetensors.torch import save_file, save_model
folder = sys.argv[1]
values = torch.tensor([0., 1., 0., 1., 1., 0.])
every = {str(dtype).removeprefix('torch.'): values.to(dtype).reshape(2, 3) for dtype in ${isSafetensorsDType}}
every['é"\\n\\u0001/𝒳'] = torch.tensor(3.5)
every['empty'] = torch.zeros(0, 3)
every['__proto__'] = torch.arange(4.)
every['1'] = torch.arange(3.)
torch.save(every, folder + '/every.pth')
save_file(every, folder + '/every.safetensors', metadata={'format': 'pt'})
base = torch.arange(24.).reshape(2, 3, 4)
strange = {'transposed': base.transpose(0, 2), 'expanded': torch.arange(3.).reshape(3, 1).expand(3, 5), 'every other': base[:, ::2], 'slice': torch.arange(100.)[10:20]}
torch.save(strange, folder + '/strange.pth')
save_file({name: value.contiguous() for name, value in strange.items()}, folder + '/strange.safetensors')
class Tied(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.b = torch.nn.Linear(3, 4)
        self.a = torch.nn.Linear(3, 4)
        self.c = torch.nn.Linear(3, 4, bias=False)
        self.a.weight = self.b.weight
        self.c.weight = self.b.weight
model = Tied()
torch.save(model.state_dict(), folder + '/tied.pth')
save_model(model, folder + '/tied.safetensors')
generator = torch.Generator().manual_seed(0)
bits = torch.randint(-2**31, 2**31, (200000,), generator=generator).to(torch.int32)
special = torch.tensor([0x0, 0x80000000 - 2**32, 0x7f800000, 0xff800000 - 2**32, 0x33000000, 0x33000001, 0x33800000, 0x38800000, 0x387fe000, 0x387ff000, 0x387fffff, 0x477fe000, 0x477fefff, 0x3f801000, 0x3f803000, 0x3f808000, 0x3f818000, 1, 0x7f7f0000], dtype=torch.int32)
floats = torch.cat([special, bits]).view(torch.float32)
floats = floats[~floats.isnan()]
fits = floats[(floats.abs() < 65520) | floats.isinf()]
wide = floats[(floats.abs() < 3.38e38) | floats.isinf()]
rounds = {'bfloat16': wide, 'float16': fits}
for name, value in rounds.items():
    dtype = getattr(torch, name)
    state = {'float32': value, 'float64': value.double() * 1.0000001, 'half': value[:1000].half() if name == 'bfloat16' else value[value.abs() < 60000][:1000].bfloat16(), 'int64': torch.arange(5)}
    state['float64'] = state['float64'][(state['float64'].abs() < 65519) | (name == 'bfloat16')]
    state['view'] = state['float32'][1:7:2]
    torch.save(state, f'{folder}/wide_{name}.pth')
    save_file({key: (t.to(dtype) if t.is_floating_point() else t).contiguous().clone() for key, t in state.items()}, f'{folder}/wide_{name}.safetensors')
      `,
      [folder],
    )
  })

  after(() => rmSync(folder, { recursive: true, force: true }))

  for (const name of ['every', 'strange'])
    it(`safetensors of tensors of ${name === 'every' ? 'every dtype and odd names' : 'every stride'} have the library's bytes`, async () => {
      const plan = planSafetensors(await stateDict(`${name}.pth`), name === 'every' ? { format: 'pt' } : {})
      await writePlan(at('ours.safetensors'), plan)
      assert.deepEqual(readFileSync(at('ours.safetensors')), readFileSync(at(`${name}.safetensors`)))
      rmSync(at('ours.safetensors'))
    })

  it('safetensors of tied weights are those of save_model, which load_model takes', async () => {
    const plan = planSafetensors(await stateDict('tied.pth'))
    assert.deepEqual(
      [...plan.aliases],
      [
        ['b.weight', 'a.weight'],
        ['c.weight', 'a.weight'],
      ],
    )
    await writePlan(at('ours.safetensors'), plan)
    // The library writes its metadata in no order.
    const header = (name: string): unknown => {
      const bytes = readFileSync(at(name))
      return JSON.parse(bytes.toString('utf8', 8, 8 + Number(bytes.readBigUInt64LE(0))))
    }
    assert.deepEqual(header('ours.safetensors'), header('tied.safetensors'))
    const data = (name: string): Buffer =>
      readFileSync(at(name)).subarray(8 + Number(readFileSync(at(name)).readBigUInt64LE(0)))
    assert.deepEqual(data('ours.safetensors'), data('tied.safetensors'))
    rmSync(at('ours.safetensors'))
  })

  for (const dtype of ['bfloat16', 'float16'] as const)
    it(`rounding to ${dtype} gives the bits of .to(torch.${dtype})`, async () => {
      const plan = planSafetensors(castTensors(await stateDict(`wide_${dtype}.pth`), dtype))
      await writePlan(at('ours.safetensors'), plan)
      assert.deepEqual(readFileSync(at('ours.safetensors')), readFileSync(at(`wide_${dtype}.safetensors`)))
      rmSync(at('ours.safetensors'))
    })

  it('a .pt2 is opened and run by torch.export.load for batches of any size, with the same bits', async () => {
    manualSeed(0)
    const model = new Tied()
    model.eval()
    const x = randn([4, 3])
    const graph = trace(model, [x])
    const program = exportedProgram(graph, versions().libtorchRuntime)
    const { weights, constants } = recordsOf(model, constantsOf(graph))
    const sampleInputs = [recordOf(x)]
    await writePlan(
      at('net.pt2'),
      planPt2({
        topFolder: 'net',
        models: { model: program },
        weights,
        constants,
        sampleInputs,
        extra: { 'torchkeep.json': '{"a": 1}' },
      }),
    )
    const rounded = castTensors(weights, 'bfloat16')
    const stored = new Map([...rounded].map(([name, record]) => [name, (record as TensorRecord<ByteOrigin>).dtype]))
    const upcast = upcastProgram(program, stored)
    await writePlan(
      at('half.pt2'),
      planPt2({ topFolder: 'half', models: { model: upcast, again: upcast }, weights: rounded, constants }),
    )
    const batches = [x, randn([1, 3]), randn([7, 3])]
    const outputs = noGrad(() => batches.map((batch) => model.call(batch)))
    const half = new Tied()
    half.loadStateDict(new Map([...model.stateDict()].map(([name, value]) => [name, value.to('bfloat16').float()])))
    half.eval()
    const halfOutputs = noGrad(() => batches.map((batch) => half.call(batch)))
    await save(at('io.pth'), { batches, outputs, halfOutputs })
    await runPython(
      `
import sys
folder = sys.argv[1]
torch.set_num_threads(1)
io = torch.load(folder + '/io.pth')
extra = {'torchkeep.json': ''}
program = torch.export.load(folder + '/net.pt2', extra_files=extra)
assert extra == {'torchkeep.json': '{"a": 1}'}, extra
assert torch.equal(program.example_inputs[0][0], io['batches'][0])
state = program.state_dict
assert state['twin.weight'].data_ptr() == state['first.weight'].data_ptr()
assert sorted(state) == ['first.bias', 'first.weight', 'last.bias', 'last.weight', 'scale', 'twin.bias', 'twin.weight'], sorted(state)
for file, wanted in (('net', io['outputs']), ('half', io['halfOutputs'])):
    model = torch.export.load(f'{folder}/{file}.pt2').module()
    for batch, output in zip(io['batches'], wanted, strict=True):
        assert torch.equal(model(batch), output), (file, batch.shape)
half = torch.export.load(folder + '/half.pt2').state_dict
assert {str(value.dtype) for value in half.values()} == {'torch.bfloat16'}
assert all(torch.equal(half[name], state[name].bfloat16()) for name in state)
      `,
      [folder],
    )
  })
})

/** The tensors of a model as descriptions; aliases share. */
function recordsOf(
  model: nn.Module,
  constants: ReadonlyMap<string, Tensor>,
): { weights: Map<string, TensorRecord<Uint8Array>>; constants: Map<string, TensorRecord<Uint8Array>> } {
  const persistent = model.stateDict()
  const known = new Map<Tensor, TensorRecord<Uint8Array>>()
  const named = (tensors: Iterable<[string, Tensor]>, isParameter: boolean): [string, TensorRecord<Uint8Array>][] =>
    [...tensors].map(([name, value]) => {
      known.set(value, known.get(value) ?? recordOf(value, isParameter))
      return [name, known.get(value) as TensorRecord<Uint8Array>]
    })
  const buffers = named(model.namedBuffers({ removeDuplicate: false }), false)
  return {
    weights: new Map([
      ...named(model.namedParameters({ removeDuplicate: false }), true),
      ...buffers.filter(([name]) => persistent.has(name)),
    ]),
    constants: new Map([...named(constants, false), ...buffers.filter(([name]) => !persistent.has(name))]),
  }
}

function recordOf(value: Tensor, isParameter = false): TensorRecord<Uint8Array> {
  const { buffer, byteOffset, byteLength } = value.detach().contiguous().data()
  const bytes = new Uint8Array(buffer as ArrayBuffer, byteOffset, byteLength).slice()
  return tensorFromBytes({ dtype: value.dtype, sizes: value.shape, bytes, isParameter, requiresGrad: isParameter })
}
