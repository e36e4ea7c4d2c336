/** Values that `torch.load(weights_only=True)` refuses, read from files that Python wrote and written again: Python's plain unpickler gets the same. */
import assert from 'node:assert/strict'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { planTorchFile, readTorchFile, writePlan } from '../../src/format/index.js'
import { needPython, runPython } from '../python.js'
import { describeFile, pythonDescribe } from './format-describe.js'

/** Classes of a module that only Python knows. */
const mine = `
import collections, dataclasses
class Plain:
    def __init__(self, **given): self.__dict__.update(given)
class Settings(dict): pass
class History(list): pass
class Slots:
    __slots__ = ('a', 'b')
Point = collections.namedtuple('Point', 'x y')
@dataclasses.dataclass
class Config:
    lr: float
    layers: list
def function(): pass
`

const cases: Record<string, string> = {
  'numpy values': `{'best': np.float64(0.125), 'losses': [np.float32(1.5), np.int64(7)], 'array': np.arange(6., dtype='f4').reshape(2, 3), 'fortran': np.asfortranarray(np.eye(2)), 
    'text': np.array(['a', 'bcd']), 'records': np.array([(1, 2.5)], dtype=[('a', '<i4'), ('b', '<f8', (2,))]), 'dates': np.array(['2024-01-01'], dtype='M8[D]'), 'objects': np.array([None, 'x', 3], dtype=object),
    'dtype': np.dtype('U5'), 'state': np.random.RandomState(1).get_state(), 'generator': np.random.default_rng(3)}`,
  'big-endian arrays, which Python turns around when it reads protocol 2': `np.array([1, 258], dtype='>i2')`,
  'numpy values that are shared': `(lambda a: [a, a, np.float32(2)])(np.arange(3))`,
  'objects of unknown classes': `[mine.Plain(a=1, b=[1.0, 'x']), mine.Settings(lr=0.1), mine.History([1, 2, 3]), slots, mine.Point(1, 2), mine.Config(0.5, [3, 4]), mine.Plain, mine.function]`,
  'an object that holds itself': `knot`,
  'containers and the standard library': `[collections.defaultdict(list, {'loss': [0.5]}), collections.defaultdict(None), frozenset([1, 'a']), frozenset(), datetime.datetime(2024, 1, 2, 3, 4, 5),
    pathlib.PurePosixPath('a/b'), argparse.Namespace(lr=0.1, tags=['x']), slice(1, 2), range(3), collections.deque([1, 2], 5), decimal.Decimal('1.5'), 2**3000, -2**2040]`,
  'a whole module with its tensors': `torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.BatchNorm1d(3))`,
  'an optimizer state beside numpy': `{'optimizer': optimizer.state_dict(), 'best': np.float64(1.0)}`,
}

describe('format: foreign values written again', function () {
  this.timeout(120_000)
  let folder = ''

  before(async function () {
    needPython(this)
    folder = await mkdtemp(join(tmpdir(), 'torchkeep-foreign-'))
    await writeFile(join(folder, 'mine.py'), mine)
    const names = Object.values(cases).map((expression) => `(${expression})`)
    await runPython(`${prelude(folder)}
slots = mine.Slots(); slots.a = 1; slots.b = torch.ones(2)
knot = mine.Plain(); knot.me = [knot]; knot.table = {'me': knot}
p = [torch.nn.Parameter(torch.ones(2))]; optimizer = torch.optim.Adam(p, lr=1.0); p[0].sum().backward(); optimizer.step()
for i, v in enumerate([${names.join(',\n')}]):
    for protocol in (2, 5): torch.save(v, f'${folder}/{i}-{protocol}.pth', pickle_protocol=protocol)`)
  })

  after(async () => {
    if (folder !== '') await rm(folder, { recursive: true })
  })

  it('gives Python what it had, from protocols 2 and 5', async () => {
    const pairs: [name: string, from: string, to: string][] = []
    for (const [index, name] of Object.keys(cases).entries()) {
      for (const protocol of [2, 5]) {
        const [from, to] = ['', '-again'].map((suffix) => join(folder, `${index}-${protocol}${suffix}.pth`)) as [
          string,
          string,
        ]
        pairs.push([`${name}, protocol ${protocol}`, from, to])
        const file = await readTorchFile(from, { keepFloats: true })
        assert(file.findings.every(({ severity }) => severity === 'warning'))
        assert.throws(() => planTorchFile(file.value, { topFolder: 'x' }), {
          code: 'ERR_INVALID_ARGUMENT',
          message: /torch\.load\(weights_only=True\)/,
        })
        await writePlan(to, planTorchFile(file.value, { topFolder: 'x', foreign: 'keep' }))
        const again = await readTorchFile(to, { keepFloats: true })
        if (!name.includes('itself')) assert.deepEqual(await describeFile(again), await describeFile(file), name)
      }
    }
    await runPython(
      `${prelude(folder)}
for name, *paths in json.loads(sys.argv[1]):
    a, b = (torch.load(path, weights_only=False) for path in paths)
    assert type(a) is type(b), name
    if 'big-endian' in name: assert a.tolist() == b.tolist() == [1, 258]; continue
    if 'shared' in name: assert b[0] is b[1]
    if 'itself' in name: assert b.me[0] is b and b.table['me'] is b
    else: assert describe(a) == describe(b), (name, *first_difference(describe(a), describe(b)))`,
      [JSON.stringify(pairs)],
    )
  })
})

function prelude(folder: string): string {
  return `${pythonDescribe}
sys.path.insert(0, '${folder}'); sys.dont_write_bytecode = True
import mine, collections, datetime, pathlib, decimal, argparse
import numpy as np
def first_difference(a, b):
    while isinstance(a, list) and isinstance(b, list) and len(a) == len(b): a, b = next((x, y) for x, y in zip(a, b) if x != y)
    return a, b`
}
