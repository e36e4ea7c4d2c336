/**
 * What torch 2.13 loads without a word although the file is damaged or lies: for each such thing a file that real Python accepts (where that is safe to try), and the error that the validator reports. None of them may
 * ever be called valid.
 */
import assert from 'node:assert/strict'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { CheckpointValidator, type FindingId } from '../../src/checkpoint/index.js'
import { ints, op, pickle, storage, tensor } from '../format/fixtures.js'
import { forgeZip, type ForgedRecord } from '../format/zip-forge.js'
import { needPython, runPython } from '../python.js'

const floats = new Uint8Array(new Float32Array([1, 2, 3, 4]).buffer)
const text = (content: string): Uint8Array => new Uint8Array(Buffer.from(content))
const named = (name: string, value: string): string => op.str(name) + value + op.setitem
const weight = tensor(storage('0', 4), 0, ints(4), ints(1))
const bytesOf = (...opcodes: string[]): Uint8Array => new Uint8Array(pickle(...opcodes))

const honest: readonly ForgedRecord[] = [
  { name: 'x/data.pkl', data: bytesOf(op.dict, named('weight', weight)) },
  { name: 'x/byteorder', data: text('little') },
  { name: 'x/data/0', data: floats },
  { name: 'x/version', data: text('3\n') },
]
const change = (name: string, lies: Partial<ForgedRecord>): Buffer =>
  forgeZip(honest.map((record) => (record.name === `x/${name}` ? { ...record, ...lies } : record)))
const withPickle = (data: Uint8Array): Buffer => change('data.pkl', { data })
const withMore = (...records: ForgedRecord[]): Buffer => forgeZip([...honest, ...records])
const flipped = (at: (file: Buffer) => number): Buffer => {
  const file = forgeZip(honest)
  const place = at(file)
  file[place] = (file[place] ?? 0) ^ 0x10
  return file
}

/** `silent`: torch.load takes it. `mapped`: only with `mmap=True`. `refused`: neither does, we too. `untried`: trying would allocate gigabytes, or read memory that is not the file's. */
type Python = 'silent' | 'mapped' | 'refused' | 'untried'
type Row = readonly [title: string, file: Buffer, python: Python, ...ids: FindingId[]]

const mismatch = 'zip.header_mismatch'
const claims = (opcodes: string): Buffer =>
  withPickle(bytesOf(op.dict, named('weight', weight), named('size', opcodes)))
const large = op.long(2n ** 60n)

const rows: readonly Row[] = [
  ['a flipped byte in a storage', flipped((file) => file.indexOf(floats) + 5), 'silent', 'record.crc'],
  ['a flipped byte in the pickle', flipped((file) => file.indexOf('weight') + 2), 'silent', 'record.crc'],
  ['a wrong CRC-32', change('data/0', { central: { crc: 7 }, descriptor: { crc: 7 } }), 'silent', 'record.crc'],
  [
    'stored data that the directory calls deflated',
    change('data/0', { central: { method: 8 } }),
    'untried',
    mismatch,
    'zip.compressed',
  ],
  ['a record that was deflated', change('data/0', { deflate: true }), 'silent', 'zip.compressed'],
  [
    'a record shorter than the pickle says',
    change('data/0', { data: floats.subarray(0, 12) }),
    'mapped',
    'record.size',
  ],
  ['a record longer than the pickle says', change('data/0', { data: new Uint8Array(24) }), 'mapped', 'record.size'],
  [
    'sizes in the directory that are too large',
    change('data/0', { central: { size: 20, stored: 20 } }),
    'mapped',
    mismatch,
    'zip.overlap',
    'record.size',
  ],
  [
    'another name in the local header',
    change('data/0', { local: { name: Buffer.from('x/data/1') } }),
    'silent',
    mismatch,
  ],
  ['another CRC-32 in the local header', change('data/0', { local: { crc: 7 } }), 'silent', mismatch],
  ['another size in the local header', change('data/0', { local: { size: 12, stored: 12 } }), 'silent', mismatch],
  ['another method in the local header', change('data/0', { local: { method: 8 } }), 'silent', mismatch],
  [
    'an encryption flag in the local header',
    change('data/0', { local: { flags: 0x0809 } }),
    'silent',
    mismatch,
    'zip.encrypted',
  ],
  [
    'a local header without its signature',
    change('data/0', { local: { signature: 0x04034b51 } }),
    'mapped',
    'zip.structure',
    mismatch,
  ],
  ['the same record twice', withMore({ name: 'x/data/0', data: new Uint8Array(16) }), 'silent', 'zip.duplicate_record'],
  [
    'names that differ in case only',
    withMore({ name: 'x/DATA.PKL', data: bytesOf(op.dict) }),
    'silent',
    'zip.duplicate_record',
  ],
  ['../ inside a record name', withMore({ name: 'x/../../y', data: text('y') }), 'silent', 'zip.record_name'],
  [
    '../ inside a storage key',
    forgeZip([
      { name: 'x/data.pkl', data: bytesOf(op.dict, named('weight', tensor(storage('../0', 4), 0, ints(4), ints(1)))) },
      { name: 'x/data/../0', data: floats },
      { name: 'x/version', data: text('3\n') },
    ]),
    'silent',
    'zip.record_name',
  ],
  [
    'ten bytes after the end',
    Buffer.concat([forgeZip(honest), Buffer.alloc(10)]),
    'silent',
    'file.trailing_bytes',
    'zip.structure',
  ],
  [
    '70,000 bytes after the end',
    Buffer.concat([forgeZip(honest), Buffer.alloc(70_000)]),
    'refused',
    'file.trailing_bytes',
    'zip.structure',
    'file.truncated',
  ],
  [
    'bytes after STOP',
    withPickle(new Uint8Array(Buffer.concat([honest[0]?.data ?? text(''), Buffer.from('more')]))),
    'silent',
    'pickle.malformed',
  ],
  [
    'a MARK that nothing takes',
    withPickle(bytesOf(op.mark, op.dict, named('weight', weight))),
    'silent',
    'pickle.malformed',
  ],
  [
    'a bytearray of two billion bytes',
    claims(op.global('__builtin__', 'bytearray') + op.int(2e9) + op.tuple1 + op.reduce),
    'untried',
    'pickle.limit',
    'pickle.malformed',
  ],
  [
    'a FloatTensor of five hundred million numbers',
    claims(op.global('torch', 'FloatTensor') + op.int(5e8) + op.tuple1 + op.reduce),
    'untried',
    'pickle.limit',
    'pickle.unsupported',
  ],
  [
    'an UntypedStorage of two billion bytes',
    claims(op.global('torch.storage', 'UntypedStorage') + op.int(2e9) + op.tuple1 + op.reduce),
    'untried',
    'pickle.limit',
    'pickle.unsupported',
  ],
  [
    '2^60 elements by stride 0',
    withPickle(bytesOf(op.dict, named('weight', tensor(storage('0', 4), 0, op.mark + large + op.tuple, ints(0))))),
    'silent',
    'pickle.malformed',
  ],
  [
    'one key used with two dtypes',
    withPickle(
      bytesOf(
        op.dict,
        named('weight', weight),
        named('twin', tensor(storage('0', 4, 'IntStorage'), 0, ints(4), ints(1))),
      ),
    ),
    'silent',
    'storage.type',
    'pickle.malformed',
  ],
  ['a stack that runs empty', withPickle(bytesOf(op.dict, op.setitem)), 'refused', 'pickle.malformed'],
  ['a memo that is not there', withPickle(bytesOf(op.get(9))), 'refused', 'pickle.malformed'],
  ['a tuple where a storage should be', withPickle(bytesOf(op.tuple0, op.persid)), 'refused', 'pickle.malformed'],
]

/** Files that Python itself writes: COO and CSR tensors whose indices were changed after the fact, and a legacy file whose list of storages lacks one. */
const program = `
import os, pickle, struct, io
folder = sys.argv[1]
def save(name, t):
    path = os.path.join(folder, name)
    torch.save({'weight': t}, path)
coo = torch.sparse_coo_tensor(torch.tensor([[0, 1], [2, 0]]), torch.tensor([1., 2.]), (2, 3))
coo._indices()[1, 0] = 7
save('coo.pth', coo)
csr = torch.sparse_csr_tensor(torch.tensor([0, 1, 2]), torch.tensor([0, 2]), torch.tensor([1., 2.]), (2, 3))
csr.col_indices()[1] = 9
save('csr.pth', csr)
rows = torch.sparse_csr_tensor(torch.tensor([0, 1, 2]), torch.tensor([0, 2]), torch.tensor([1., 2.]), (2, 3))
rows.crow_indices()[1] = 5
save('crow.pth', rows)
path = os.path.join(folder, 'legacy.pth')
torch.save({'weight': torch.ones(4), 'bias': torch.ones(2)}, path, _use_new_zipfile_serialization=False)
data = open(path, 'rb').read()
stream = io.BytesIO(data)
class Any(pickle.Unpickler):
    def persistent_load(self, pid): return pid
    def find_class(self, module, name): return lambda *a: None
for _ in range(4): Any(stream).load()
begin = stream.tell()
keys = pickle.load(stream)
tail = data[stream.tell():]
open(path, 'wb').write(data[:begin] + pickle.dumps(keys[:1], protocol=2) + tail[:8 + 4 * struct.unpack('<q', tail[:8])[0]])
`

const loads = `
import warnings, os
warnings.simplefilter('ignore')
found = {}
for name in sorted(os.listdir(sys.argv[1])):
    if name in sys.argv[2:]: continue
    for how, mapped in (('silent', False), ('mapped', True)):
        try:
            torch.load(os.path.join(sys.argv[1], name), weights_only=True, mmap=mapped); found[name] = how; break
        except Exception as e:
            found[name] = 'refused'
print(json.dumps(found))
`

describe('what torch.load accepts silently', () => {
  let folder: string
  const fileOf = (index: number): string => `row-${String(index).padStart(2, '0')}.pth`
  let byPython: Record<string, Python>

  before(async function () {
    needPython(this)
    folder = await mkdtemp(join(tmpdir(), 'torchkeep-silent-'))
    for (const [index, [, file]] of rows.entries()) await writeFile(join(folder, fileOf(index)), file)
    await runPython(program, [folder])
    const untried = rows.flatMap(([, , python], index) => (python === 'untried' ? [fileOf(index)] : []))
    byPython = JSON.parse(await runPython(loads, [folder, ...untried])) as Record<string, Python>
  })
  after(() => folder && rm(folder, { recursive: true }))

  const errorsOf = async (name: string): Promise<string[]> => {
    const report = await CheckpointValidator.validateCheckpointFile(join(folder, name))
    assert.equal(report.valid, false, `${name} is called valid`)
    return report.errors.map(({ id }) => id)
  }

  for (const [index, [title, , python, ...ids]] of rows.entries()) {
    it(`${title}: an error`, async () => {
      if (python !== 'untried') assert.equal(byPython[fileOf(index)], python)
      const found = await errorsOf(fileOf(index))
      assert.ok(found.length > 0 && found.every((id) => (ids as string[]).includes(id)), `found ${found.join(', ')}`)
    })
  }

  const sparse: [string, string][] = [
    ['a COO index beyond its dimension', 'coo.pth'],
    ['a CSR column beyond its dimension', 'csr.pth'],
    ['CSR rows that do not rise', 'crow.pth'],
  ]
  for (const [title, name] of sparse) {
    it(`${title}: an error`, async () => {
      assert.equal(byPython[name], 'silent')
      assert.deepEqual(await errorsOf(name), ['tensor.sparse_indices'])
    })
  }

  it('a legacy file whose list of storages lacks one: an error', async () => {
    assert.equal(byPython['legacy.pth'], 'silent')
    assert.deepEqual(await errorsOf('legacy.pth'), ['record.missing'])
  })

  it('the honest file is valid', async () => {
    const path = join(folder, 'honest.pth')
    await writeFile(path, forgeZip(honest))
    const report = await CheckpointValidator.validateCheckpointFile(path)
    assert.deepEqual([...report.errors, ...report.warnings], [])
    assert.ok((await readFile(path)).length > 0)
  })
})
