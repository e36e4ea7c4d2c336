/** Changes of single bytes in files that PyTorch wrote: noticed where there are checksums, and everywhere else without a crash and with the file called unprotected. */
import assert from 'node:assert/strict'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { readTorchFile } from '../../src/format/index.js'
import { withFolder } from '../format/fixtures.js'
import { cutEverywhere, flipEveryByte } from '../format/flip-proof.js'
import { needPython, runPython } from '../python.js'

const program = `
import io, os, pickle, struct, warnings
warnings.simplefilter('ignore')
os.chdir(sys.argv[1])
base = torch.arange(6.0)
value = {'weight': base.view(2, 3).bfloat16(), 'view': base[1:3], 'base': base, 'mask': torch.tensor([True, False]), 'epoch': 3, 'config': {'lr': 0.1, 'sizes': (1, None)}}
state = torch.nn.Linear(2, 1).state_dict()
torch.save(value, 'zip.pth')
torch.save(state, 'state_dict.pth')
torch.save(value, 'legacy.pth', _use_new_zipfile_serialization=False)
torch.jit.save(torch.jit.script(torch.nn.Identity()), 'empty.pt')
torch.jit.save(torch.jit.trace(torch.nn.Linear(2, 1), torch.ones(1, 2)), 'traced.pt')
open('pickle_save.pt', 'wb').write(torch._C._pickle_save({'a': torch.ones(3), 'b': torch.arange(2)}))
torch.serialization.set_crc32_options(False)
torch.save(state, 'no_crc.pth')
header = json.dumps({'a': {'dtype': 'F32', 'shape': [2], 'data_offsets': [0, 8]}, 'b': {'dtype': 'I64', 'shape': [1], 'data_offsets': [8, 16]}}).encode()
open('x.safetensors', 'wb').write(struct.pack('<Q', len(header)) + header + bytes(range(16)))
`

/** Files with CRC-32s everywhere; `step` is above 1 where a file is large. */
const withSums: readonly (readonly [name: string, step: number])[] = [
  ['zip.pth', 1],
  ['state_dict.pth', 3],
  ['pickle_save.pt', 3],
  ['empty.pt', 3],
  ['traced.pt', 7],
]
const withoutSums: readonly (readonly [name: string, step: number])[] = [
  ['legacy.pth', 2],
  ['no_crc.pth', 3],
  ['x.safetensors', 1],
]

describe('interop: changes of single bytes in files that PyTorch wrote', function () {
  let make: (use: (folder: string) => Promise<void>) => Promise<void>

  before(function () {
    needPython(this)
    make = (use) =>
      withFolder(async (folder) => {
        await runPython(program, [folder])
        await use(folder)
      })
  })

  it('are noticed or harmless where there are checksums, as every cut is', () =>
    make(async (folder) => {
      for (const [name, step] of withSums) {
        const bytes = await readFile(join(folder, name))
        assert.equal((await readTorchFile(join(folder, name))).protection, 'crc32', name)
        const flips = await flipEveryByte(bytes, name, step)
        assert.deepEqual(flips.silent, [], name)
        assert(flips.refused > flips.harmless / 2, `${name}: ${JSON.stringify(flips)}`)
        const { silent, harmless, reported } = await cutEverywhere(bytes, name, step)
        assert.deepEqual([silent, harmless, reported], [[], 0, 0], name)
      }
    }))

  it('crash nothing where there are none, and the file says that it is unprotected', () =>
    make(async (folder) => {
      for (const [name, step] of withoutSums) {
        const path = join(folder, name)
        const bytes = await readFile(path)
        const { findings, protection } = await readTorchFile(path)
        assert.notEqual(protection, 'crc32', name)
        assert(
          findings.some(({ id }) => id === 'file.unprotected' || id === 'record.crc_not_stored'),
          name,
        )
        const { refused, silent } = await flipEveryByte(bytes, name, step)
        assert(refused > 0 && silent.length > 0, `${name}: a change of values without checksums cannot be noticed`)
        const cuts = await cutEverywhere(bytes, name, step)
        assert.deepEqual([cuts.silent, cuts.harmless], [[], 0], name)
      }
    }))
})
