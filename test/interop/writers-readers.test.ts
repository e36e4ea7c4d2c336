/** Who reads whose files: the table in `docs/format.md` is what this test finds. A cell says `yes` only where the reader gives the very bytes that the writer was given. */
import assert from 'node:assert/strict'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import {
  isTensorRecord,
  listTensors,
  OrderedDict,
  planTorchFile,
  readTensorBytes,
  readTorchFile,
  tensorFromBytes,
  TensorRecord,
  TorchkeepError,
  Tuple,
  writePlan,
} from '../../src/format/index.js'
import { loadArchive, saveArchive, tensor } from '../../src/index.js'
import { withFolder } from '../format/fixtures.js'
import { needPython, runPython } from '../python.js'
import { safetensors, tar } from './container-programs.js'

const doc = new URL('../../../docs/format.md', import.meta.url)

/** The files by name, in the order of the table: who wrote what. */
const writers: readonly (readonly [file: string, writer: string, what: string])[] = [
  ['ours-state.pth', 'Torchkeep `save`', 'a state dict'],
  ['ours-checkpoint.pth', 'Torchkeep `save`', 'a training checkpoint'],
  ['state.pth', '`torch.save`', 'a state dict'],
  ['dict.pth', '`torch.save`', 'a plain dict of tensors'],
  ['checkpoint.pth', '`torch.save`', 'a training checkpoint'],
  ['numpy.pth', '`torch.save`', 'the same with numpy numbers'],
  ['module.pth', '`torch.save`', 'a whole module'],
  ['legacy-state.pth', '`torch.save` before 1.6', 'a state dict'],
  ['legacy-checkpoint.pth', '`torch.save` before 1.6', 'a training checkpoint'],
  ['tar.pth', '`torch.save` before 0.1.10', 'a dict of tensors'],
  ['jit.pt', '`torch.jit.save`', 'a module'],
  ['archive.pt', 'C++ `torch::save`', 'a module'],
  ['pickle-tensor.pt', 'C++ `torch::pickle_save`', 'a tuple of tensors'],
  ['pickle-dict.pt', 'C++ `torch::pickle_save`', 'a dict of tensors'],
  ['export.pt2', '`torch.export.save`', 'a program'],
  ['x.safetensors', 'safetensors', 'a dict of tensors'],
  ['distributed', '`torch.distributed.checkpoint`', 'a state dict'],
]

const readers = ['`torch.load`', '`weights_only=False`', '`mmap=True`', '`torch::load`', '`pickle_load`', 'Torchkeep']

const weight = new Uint8Array(new Float32Array([0, 1, 2, 3, 4, 5]).buffer)
const bias = new Uint8Array(new Float32Array([6, 7]).buffer)
const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex')

/** What Python writes; the tensors are those of {@link weight} and {@link bias}, the numbers those of {@link numbersOf}. */
const write = `
import collections, io, os, struct, warnings, zipfile
import numpy as np
warnings.simplefilter('ignore')
${safetensors}
${tar}
os.chdir(sys.argv[1])
net = torch.nn.Sequential(collections.OrderedDict(fc=torch.nn.Linear(3, 2)))
with torch.no_grad():
    net.fc.weight.copy_(torch.arange(6.).reshape(2, 3)); net.fc.bias.copy_(torch.tensor([6., 7.]))
state = net.state_dict()
tensors = {name: t.clone() for name, t in state.items()}
checkpoint = {'model_state_dict': state, 'epoch': 3, 'loss': 0.5, 'config': {'sizes': (1, None)}}
torch.save(state, 'state.pth')
torch.save(tensors, 'dict.pth')
torch.save(checkpoint, 'checkpoint.pth')
torch.save({**checkpoint, 'epoch': np.int64(3), 'loss': np.float64(0.5)}, 'numpy.pth')
torch.save(net, 'module.pth')
torch.save(state, 'legacy-state.pth', _use_new_zipfile_serialization=False)
torch.save(checkpoint, 'legacy-checkpoint.pth', _use_new_zipfile_serialization=False)
torch.jit.save(torch.jit.trace(net, torch.ones(1, 3)), 'jit.pt')
open('pickle-tensor.pt', 'wb').write(torch._C._pickle_save(tuple(tensors.values())))
open('pickle-dict.pt', 'wb').write(torch._C._pickle_save(tensors))
torch.export.save(torch.export.export(net, (torch.ones(1, 3),)), 'export.pt2')
write_safetensors(tensors, 'x.safetensors')
import torch.distributed.checkpoint as dcp
dcp.save({'model': state}, checkpoint_id='distributed', no_dist=True)
parts = list(tensors.values())
write_tar('tar.pth', {10: ('cpu', parts[0]), 11: ('cpu', parts[1])}, [],
          {1: (10, 'FloatTensor', (2, 3), (3, 1), 0), 2: (11, 'FloatTensor', (2,), (1,), 0)}, {'fc.weight': x, 'fc.bias': y}, {id(x): '1', id(y): '2'})
`

/** What Python's readers give of each file: whether the bytes of both tensors and the numbers are right, or that it raises. */
const read = `
import warnings; warnings.simplefilter('ignore')
folder, weight, bias, *files = sys.argv[1:]
def flat(value):
    if isinstance(value, (torch.nn.Module, torch.jit.ScriptModule)): value = value.state_dict()
    if isinstance(value, dict): return [x for item in value.values() for x in flat(item)]
    if isinstance(value, (list, tuple)): return [x for item in value for x in flat(item)]
    return [value]
def verdict(load, name):
    try: parts = flat(load(folder + '/' + name))
    except Exception: return 'no'
    found = {bytes(t.detach().contiguous().reshape(-1).view(torch.uint8).tolist()).hex() for t in parts if isinstance(t, torch.Tensor)}
    right = {weight, bias} <= found and (not 'checkpoint' in name and not 'numpy' in name or (3 in [x for x in parts if not isinstance(x, torch.Tensor)] and 0.5 in [x for x in parts if not isinstance(x, torch.Tensor)]))
    return 'yes' if right else 'wrong'
readers = [torch.load, lambda p: torch.load(p, weights_only=False), lambda p: torch.load(p, mmap=True)]
def pickle_load(path):
    with open(path, 'rb') as file: return torch._C._pickle_load_obj(file.read())
print(json.dumps({name: [verdict(load, name) for load in readers] + [verdict(pickle_load, name)] for name in files}))
`

/** The same numbers and tensors by our own writer. */
async function writeOurs(folder: string): Promise<void> {
  const state = new OrderedDict([
    ['fc.weight', tensorFromBytes({ dtype: 'float32', sizes: [2, 3], bytes: weight })],
    ['fc.bias', tensorFromBytes({ dtype: 'float32', sizes: [2], bytes: bias })],
  ])
  state.metadata = new OrderedDict([['', new Map([['version', 1]])]])
  const checkpoint = { model_state_dict: state, epoch: 3, loss: 0.5, config: { sizes: new Tuple([1, null]) } }
  await writePlan(join(folder, 'ours-state.pth'), planTorchFile(state, { topFolder: 'ours-state' }))
  await writePlan(join(folder, 'ours-checkpoint.pth'), planTorchFile(checkpoint, { topFolder: 'ours-checkpoint' }))
  const net = { 'fc.weight': tensor([[0, 1, 2], [3, 4, 5]]), 'fc.bias': tensor([6, 7]) } // prettier-ignore
  await saveArchive(join(folder, 'archive.pt'), net)
}

/** Whether LibTorch's `torch::load` gives the tensors. */
async function readArchive(path: string): Promise<string> {
  const loaded = await loadArchive(path, { trust: true }).catch((error: unknown) => {
    assert(error instanceof TorchkeepError, String(error))
    return null
  })
  if (loaded === null) return 'no'
  const found = [...loaded.values()].map((value) => {
    const { buffer, byteOffset, byteLength } = value.data() as Float32Array
    return hex(new Uint8Array(buffer, byteOffset, byteLength))
  })
  return found.includes(hex(weight)) && found.includes(hex(bias)) ? 'yes' : 'wrong'
}

/** Whether we give the tensors and numbers. */
async function readOurs(path: string): Promise<string> {
  const file = await readTorchFile(path)
  const found = new Set<string>()
  for (const { record } of listTensors(file.value)) {
    if (record instanceof TensorRecord) found.add(hex(await readTensorBytes(file, record as TensorRecord)))
  }
  assert(!isTensorRecord(file.value))
  const number = (key: string) => Number((file.value as Map<string, unknown>).get(key))
  const hasNumbers = /checkpoint|numpy/.test(path)
  const right = !hasNumbers || (number('epoch') === 3 && number('loss') === 0.5)
  return right && found.has(hex(weight)) && found.has(hex(bias)) ? 'yes' : 'wrong'
}

/** The table of `docs/format.md`, between its two marks. */
async function tableOfDoc(): Promise<string> {
  const text = await readFile(doc, 'utf8')
  return /<!-- writers and readers -->\n([\s\S]*?)\n<!-- end -->/.exec(text)?.[1] ?? ''
}

describe('interop: writers and readers', function () {
  before(function () {
    needPython(this)
  })

  it('who reads whose files is what docs/format.md says', () =>
    withFolder(async (folder) => {
      await runPython(write, [folder])
      await writeOurs(folder)
      const files = writers.map(([file]) => file)
      const byPython = JSON.parse(await runPython(read, [folder, hex(weight), hex(bias), ...files])) as Record<
        string,
        string[]
      >
      const rows: string[] = []
      for (const [file, writer, what] of writers) {
        const [safe = '', unsafe = '', mapped = '', pickleLoad = ''] = byPython[file] ?? []
        // torch.load hands safetensors to a package of that name, which an environment has or has not.
        const python = file.endsWith('.safetensors') ? ['[1]', '[1]', '[1]'] : [safe, unsafe, mapped]
        const path = join(folder, file)
        const cells = [writer, what, ...python, await readArchive(path), pickleLoad, await readOurs(path)]
        rows.push(`| ${cells.join(' | ')} |`)
      }
      const head = ['writer', 'what', ...readers]
      const lines = [`| ${head.join(' | ')} |`, `| ${head.map(() => '---').join(' | ')} |`, ...rows]
      assert.equal(await tableOfDoc(), lines.join('\n'), `the table is now\n\n${lines.join('\n')}\n`)
    }))
})
