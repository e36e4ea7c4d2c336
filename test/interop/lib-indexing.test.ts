/** Indexing gives what Python's gives: each case is one index in both languages. */
import assert from 'node:assert/strict'
import { arange, type Index, tensor, type Tensor, zeros } from '../../lib/index.js'
import { needPython, runPython } from '../python.js'
import { digest, pythonDigest } from '../lib/digest.js'

const base = (): Tensor => arange(2 * 3 * 4).reshape(2, 3, 4)
const long = (values: number[]): Tensor => tensor(values, { dtype: 'int64' })

const reads: Record<string, () => Index[]> = {
  '0': () => [0],
  '-1, 2': () => [-1, 2],
  ':, 1': () => [{}, 1],
  '..., -2': () => ['...', -2],
  '0, ..., 1': () => [0, '...', 1],
  'None, 0': () => [null, 0],
  ':, None, 1:3': () => [{}, null, { start: 1, end: 3 }],
  '..., ::2': () => ['...', { step: 2 }],
  ':, -2:': () => [{}, { start: -2 }],
  ':, :-1, 1:100:2': () => [{}, { end: -1 }, { start: 1, end: 100, step: 2 }],
  ':, 3:1': () => [{}, { start: 3, end: 1 }],
  ':, [0, 2]': () => [{}, [0, 2]],
  '[1, 0], [2, -1]': () => [
    [1, 0],
    [2, -1],
  ],
  '0, torch.tensor([2, 0])': () => [0, long([2, 0])],
  'torch.tensor([[0, 1], [1, 1]])': () => [
    tensor(
      [
        [0, 1],
        [1, 1],
      ],
      { dtype: 'int64' },
    ),
  ],
  '[0, 1], :, [3, 1]': () => [[0, 1], {}, [3, 1]],
  'torch.arange(24).reshape(2, 3, 4) % 5 == 0': () => [base().remainder(5).eq(0)],
  ':, torch.tensor([True, False, True])': () => [{}, tensor([true, false, true])],
  'torch.tensor([[True, False, True], [False, True, False]]), 1:': () => [
    tensor([
      [true, false, true],
      [false, true, false],
    ]),
    { start: 1 },
  ],
  'torch.tensor(1), :, [0, 2]': () => [tensor(1, { dtype: 'int64' }), {}, [0, 2]],
  'torch.tensor(True), [1, 0], :, torch.tensor(0)': () => [tensor(true), [1, 0], {}, tensor(0, { dtype: 'int64' })],
  'torch.tensor(False)': () => [tensor(false)],
  'torch.arange(6).reshape(2, 3) % 2 == 0, [0, 3, 1]': () => [arange(6).reshape(2, 3).remainder(2).eq(0), [0, 3, 1]],
  '[True, False], :, [3, 1]': () => [[true, false], {}, [3, 1]],
  True: () => [true],
  False: () => [false],
  '1, True, 2': () => [1, true, 2],
  '...': () => ['...'],
}

const writes: Record<string, (x: Tensor) => void> = {
  'x[0] = 7': (x) => x.indexPut_([0], 7),
  'x[:, 1:3] = torch.tensor([1, 2, 3, 4])': (x) => x.indexPut_([{}, { start: 1, end: 3 }], long([1, 2, 3, 4])),
  'x[x > 10] = 0': (x) => x.indexPut_([x.gt(10)], 0),
  'x[:, [0, 2]] = torch.zeros(2, 2, 4, dtype=torch.int64)': (x) =>
    x.indexPut_([{}, [0, 2]], zeros([2, 2, 4], { dtype: 'int64' })),
  'x.index_put_((torch.tensor([0, 0]),), torch.tensor(5), accumulate=True)': (x) =>
    x.indexPut_([long([0, 0])], tensor(5, { dtype: 'int64' }), { accumulate: true }),
  'x[1, ..., -1] += 3': (x) => x.indexPut_([1, '...', -1], 3, { accumulate: true }),
}

const program = `${pythonDigest}
results = {}
for case in json.loads(sys.argv[1]):
    x = torch.arange(24).reshape(2, 3, 4)
    if '=' in case.replace('==', '').replace('accumulate=', '').replace('dtype=', '') or case.startswith('x.'): exec(case)
    else: x = eval(f'x[{case}]')
    results[case] = digest(x)
print(json.dumps(results))`

describe('indexing against Python', () => {
  let expected: Record<string, string>

  before(async function () {
    needPython(this)
    const names = [...Object.keys(reads), ...Object.keys(writes)]
    expected = JSON.parse(await runPython(program, [JSON.stringify(names)])) as Record<string, string>
  })

  for (const [expression, indices] of Object.entries(reads)) {
    it(`x[${expression}]`, () => {
      assert.equal(digest(base().at(...indices())), expected[expression])
    })
  }

  for (const [statement, write] of Object.entries(writes)) {
    it(statement, () => {
      const x = base()
      write(x)
      assert.equal(digest(x), expected[statement])
    })
  }
})
