/** Tables as data: roles of columns, what is learned from the training rows, splits, lookups. */
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DataLoader, type Tensor } from '../../lib/index.js'
import { openData, type OpenedData } from '../../src/data/open-data.js'
import { openRows } from '../../src/data/rows-data.js'
import type { ColumnSpec, CsvSpec } from '../../src/data/spec.js'
import type { TorchkeepError } from '../../src/format/errors.js'
import { needPython, runPython } from '../python.js'

/** All samples of a loader in one batch, as plain numbers. */
function valuesOf(data: unknown): { dtypes: string[]; shapes: number[][]; values: number[][] } {
  const { dataset } = data as DataLoader
  const [batch] = new DataLoader(dataset, { batchSize: dataset.length })
  const tensors = batch as Tensor[]
  return {
    dtypes: tensors.map(({ dtype }) => dtype),
    shapes: tensors.map(({ shape }) => shape),
    values: tensors.map((tensor) => Array.from(tensor.data() as Float32Array, Number)),
  }
}

describe('tables as data', function () {
  this.timeout(20_000)
  let folder: string
  before(() => (folder = mkdtempSync(join(tmpdir(), 'torchkeep-table-'))))
  after(() => rmSync(folder, { recursive: true }))

  const write = (name: string, text: string): void => writeFileSync(join(folder, name), text)
  const open = (spec: Partial<CsvSpec>, fitted?: OpenedData['fitted']): Promise<OpenedData> =>
    openData({ format: 'csv', file: 'table.csv', columns: {}, target: 'y', shuffle: false, ...spec } as CsvSpec, {
      baseFolder: folder,
      ...(fitted === undefined ? {} : { fitted }),
    })
  const refused = (spec: Partial<CsvSpec>, code: string, message: RegExp): Promise<void> =>
    assert.rejects(open(spec), (error: TorchkeepError) => {
      assert.equal(error.code, code, error.stack)
      assert.match(error.message, message)
      return true
    })
  const number = { role: 'number' } as const
  const category = { role: 'category' } as const

  it('says when a fraction of the rows is none, and names a file without rows', async () => {
    const spec = { columns: { x: number, y: number }, split: { by: 'fraction', val: 0.2, test: 0.1 } } as const
    write('table.csv', 'x,y\n1,2\n3,4\n5,6\n')
    const { val, report } = await open(spec)
    assert.equal(val, null)
    assert.match(report.join('\n'), /seed 0; val 0\.2 of 3 rows is none; test 0\.1 of 3 rows is none\)/)
    write('table.csv', 'x,y\n')
    await refused(spec, 'ERR_DATA', /table\.csv has no rows for training/)
  })

  it('takes thousands of columns', async () => {
    const names = Array.from({ length: 3000 }, (_, index) => `c${index}`)
    write('table.csv', `${names.join(',')},y\n${'1,'.repeat(3000)}2\n`)
    const columns = Object.fromEntries([...names, 'y'].map((name) => [name, number]))
    assert.deepEqual((await open({ columns })).inputs[0]?.shape, [3000])
  })

  it('makes inputs of numbers, categories and texts, as declared and by default', async () => {
    write('table.csv', 'id,size,colour,word,y\nr0,1.5,red,ab,1\nr1,-2,blue,bad,2\nr2,1e3,red,c,3\n')
    const columns: Record<string, ColumnSpec> = {
      y: number,
      word: { role: 'text', alphabet: 'abcd', length: 2 },
      colour: category,
      size: number,
    }
    const data = await open({ columns })
    assert.deepEqual(data.inputs, [
      { name: 'size+colour', dtype: 'float32', shape: [3], indices: null },
      { name: 'word', dtype: 'int64', shape: [2], indices: 5 },
    ])
    assert.deepEqual(data.target, {
      name: 'y',
      dtype: 'float32',
      shape: [1],
      indices: null,
      classes: null,
      columns: ['y'],
    })
    assert.deepEqual(valuesOf(data.train), {
      dtypes: ['float32', 'int64', 'float32'],
      shapes: [
        [3, 3],
        [3, 2],
        [3, 1],
      ],
      values: [
        [1.5, 0, 1, -2, 1, 0, 1000, 0, 1],
        [1, 2, 2, 1, 3, 0],
        [1, 2, 3],
      ],
    })
    assert.deepEqual(data.report, [
      '3 rows for training, 0 for validation, 0 for test',
      `${join(folder, 'table.csv')}: columns that are not used: id`,
      "column 'word': 1 of 3 texts were cut to 2 letters (the longest has 3)",
    ])
    const alone = await open({ columns, inputs: ['colour', 'size', ['size', 'size']], target: ['y'] })
    assert.deepEqual(valuesOf(alone.train).values, [
      [1, 0, 1],
      [1.5, -2, 1000],
      [1.5, 1.5, -2, -2, 1000, 1000],
      [1, 2, 3],
    ])
    assert.deepEqual(valuesOf(alone.train).shapes, [[3], [3, 1], [3, 2], [3, 1]])
    const classes = await open({ columns: { size: number, colour: category }, target: 'colour' })
    assert.deepEqual(classes.target, {
      name: 'colour',
      dtype: 'int64',
      shape: [],
      indices: 2,
      classes: ['blue', 'red'],
      columns: ['colour'],
    })
    assert.deepEqual(valuesOf(classes.train).values[1], [1, 0, 1])
  })

  it('learns means, spreads and vocabularies from the training rows only, as Python computes them', async function () {
    needPython(this)
    const rows = Array.from({ length: 40 }, (_, index) => {
      const x = index % 7 === 3 ? '' : String(Math.sin(index) * 10 ** (index % 5))
      return `${x},${(index * 37) % 11},${'zyxwéA😀'.split('')[index % 6] ?? ''}${index % 3},${index / 3}`
    })
    write('table.csv', `x,z,c,y\n${rows.join('\n')}\n`)
    const data = await open({
      columns: {
        x: { role: 'number', normalize: 'mean_std', missing: 'mean' },
        z: { role: 'number', normalize: 'min_max' },
        c: { role: 'category', unknown: true },
        y: number,
      },
      inputs: ['x', 'z', 'c'],
      split: { by: 'fraction', val: 0.2, test: 0.1, seed: 7 },
    })
    const program = `
import csv, struct
rows = list(csv.reader(open(sys.argv[1], encoding="utf-8")))[1:]
n = len(rows)
lengths = [n - int(n * 0.2) - int(n * 0.1), int(n * 0.2), int(n * 0.1)]
parts = [list(part) for part in torch.utils.data.random_split(range(len(rows)), lengths, torch.Generator().manual_seed(7))]
train = parts[0]
known = [float(rows[i][0]) for i in train if rows[i][0] != ""]
fill = 0.0
for v in known: fill += v
fill = fill / len(known)
xs = [float(rows[i][0]) if rows[i][0] != "" else fill for i in train]
mean = 0.0
for v in xs: mean += v
mean = mean / len(xs)
squares = 0.0
for v in xs: squares += (v - mean) * (v - mean)
std = (squares / len(xs)) ** 0.5
zs = [float(rows[i][1]) for i in train]
vocabulary = sorted({rows[i][2] for i in train})
out = []
for part in parts:
    x = torch.tensor([((float(rows[i][0]) if rows[i][0] != "" else fill) - mean) / std for i in part], dtype=torch.float32)
    z = torch.tensor([(float(rows[i][1]) - min(zs)) / (max(zs) - min(zs)) for i in part], dtype=torch.float32)
    c = [vocabulary.index(rows[i][2]) if rows[i][2] in vocabulary else len(vocabulary) for i in part]
    y = torch.tensor([float(rows[i][3]) for i in part], dtype=torch.float32)
    out.append([x.tolist(), z.tolist(), c, y.tolist()])
print(json.dumps(out))`
    const expected = JSON.parse(await runPython(program, [join(folder, 'table.csv')])) as number[][][]
    const found = [data.train, data.val, data.test].map((part) => valuesOf(part).values)
    assert.deepEqual(
      found.map(([, , , y]) => y),
      expected.map(([, , , y]) => y),
      'the same rows in the same order',
    )
    assert.deepEqual(found, expected)
  })

  it('makes the same tensors of other files with what it learned', async () => {
    write('table.csv', 'x,c,w,y\n1,b,ab,lo\n3,a,b,hi\n5,b,a,hi\n')
    const columns: Record<string, ColumnSpec> = {
      x: { role: 'number', normalize: 'mean_std', missing: 'mean' },
      c: { role: 'category', unknown: true },
      w: { role: 'text', alphabet: { b: 1, a: 7 }, length: 3, padding: 9, pad: 'left', unknown: 9 },
      y: category,
    }
    const data = await open({ columns })
    // As a checkpoint keeps it.
    const fitted = JSON.parse(JSON.stringify(data.fitted)) as OpenedData['fitted']
    write('new.csv', 'y,w,x,c\nhi,ba,,z\nlo,xb,7,a\n')
    const rows = await openRows(fitted, { file: join(folder, 'new.csv') })
    assert.deepEqual([rows.hasTarget, [...rows.rows], rows.target.classes], [true, [0, 1], ['hi', 'lo']])
    const { values, shapes } = valuesOf(rows.data)
    const std = Math.sqrt(8 / 3)
    assert.deepEqual(shapes, [[2, 4], [2, 3], [2]])
    assert.deepEqual(values, [
      [0, 0, 0, 1, Math.fround(4 / std), 1, 0, 0],
      [9, 1, 7, 9, 9, 1],
      [0, 1],
    ])
    write('new.csv', 'w,x,c\nba,3,b\n')
    const bare = await openRows(fitted, { file: join(folder, 'new.csv') })
    assert.deepEqual(
      [bare.hasTarget, valuesOf(bare.data).values, bare.target.classes],
      [
        false,
        [
          [0, 0, 1, 0],
          [9, 1, 7],
        ],
        ['hi', 'lo'],
      ],
    )
    // A run that goes on takes over what was learned, and refuses another description.
    write('table.csv', 'x,c,w,y\n100,b,ab,lo\n')
    assert.deepEqual(valuesOf((await open({ columns }, fitted)).train).values[0], [Math.fround(97 / std), 0, 1, 0])
    await assert.rejects(open({ columns: { ...columns, x: number } }, fitted), {
      code: 'ERR_CHECKPOINT_INCOMPATIBLE',
      message: /another way than in the run that goes on: data\.columns\.x differ/,
    })
    await assert.rejects(openRows({ format: 'other' }, { file: 'x.csv' }), { code: 'ERR_CHECKPOINT_INCOMPATIBLE' })
  })

  it('looks columns up in other files, without a row there for each row here', async () => {
    write('table.csv', 'drug,protein,part,y\nd2,1,train,1\nd1,0,train,2\nd2,0,val,3\nd1,1,test,4\n')
    write('drugs.csv', 'id,smiles,mass\nd1,CC,10\nd2,C,20\nd3,CCC,\n')
    write('proteins.csv', 'sequence\nAB\nBA\n')
    const spec: Partial<CsvSpec> = {
      columns: { y: number },
      lookups: [
        {
          column: 'drug',
          file: 'drugs.csv',
          key: 'id',
          columns: {
            smiles: { role: 'text', alphabet: 'C', length: 2 },
            mass: { role: 'number', normalize: 'min_max', missing: 'zero' },
          },
        },
        {
          column: 'protein',
          file: 'proteins.csv',
          row_number: true,
          columns: { sequence: { role: 'text', alphabet: 'AB', length: 2 } },
        },
      ],
      split: { by: 'column', column: 'part' },
    }
    const data = await open(spec)
    assert.deepEqual(
      data.inputs.map(({ name }) => name),
      ['mass', 'smiles', 'sequence'],
    )
    assert.deepEqual(valuesOf(data.train).values, [
      [1, 0],
      [1, 0, 1, 1],
      [2, 1, 1, 2],
      [1, 2],
    ])
    assert.deepEqual(valuesOf(data.val).values, [[1], [1, 0], [1, 2], [3]])
    assert.deepEqual(valuesOf(data.test).values.at(-1), [4])
    const missing = { ...spec, lookups: [{ ...spec.lookups?.[0], column: 'drug' }] } as Partial<CsvSpec>
    write('drugs.csv', 'id,smiles,mass\nd1,CC,10\nd1,C,20\n')
    await refused(missing, 'ERR_DATA', /drugs\.csv: line 3: the key column 'id' has "d1" a second time/)
    write('drugs.csv', 'id,smiles,mass\nd1,CC,10\n')
    await refused(
      missing,
      'ERR_DATA',
      /table\.csv: line 2: column 'drug' should be one of the 1 values of 'id' in .*drugs\.csv, but is "d2"/,
    )
    write('proteins.csv', 'sequence\nAB\n')
    await refused(
      { ...spec, lookups: spec.lookups?.slice(1) ?? [] },
      'ERR_DATA',
      /line 2: column 'protein' should be the number of a row of .*, 0 to 0, but is "1"/,
    )
  })

  it('splits by fold files, and by files of their own', async () => {
    write('table.csv', `x,y\n${Array.from({ length: 8 }, (_, row) => `${row},${row === 6 ? '' : row}`).join('\n')}\n`)
    const columns = { x: number, y: { role: 'number', missing: 'drop' } } as const
    const split = { by: 'folds', file: 'folds.json', fold: 1 } as const
    const targets = async (spec: Partial<CsvSpec>): Promise<(number[] | null)[]> => {
      const { train, val, test, report } = await open({ columns, ...spec })
      reports = report
      return [train, val, test].map((part) => (part === null ? null : (valuesOf(part).values[1] ?? null)))
    }
    let reports: readonly string[] = []
    write('folds.json', '{"test": [7, 0], "train_folds": [[3, 1], [2], [6, 4]]}')
    assert.deepEqual(await targets({ split }), [[3, 1, 4], [2], [7, 0]])
    assert.match(
      reports.join('\n'),
      /3 rows for training, 1 for validation, 2 for test \(split by .*folds\.json, fold 1 of 3 for validation; 1 rows are in none/,
    )
    assert.match(reports.join('\n'), /1 of 8 rows were left out, since fields of theirs are empty/)
    write('folds.json', '{"train": [5, 4], "val": [1]}')
    assert.deepEqual(await targets({ split }), [[5, 4], [1], null])
    write('val.csv', 'y,x\n9,9\n')
    assert.deepEqual(await targets({ val_file: 'val.csv' }), [[0, 1, 2, 3, 4, 5, 7], [9], null])
    const folds = async (text: string, code: string, message: RegExp): Promise<void> => {
      write('folds.json', text)
      await refused({ columns, split }, code, message)
    }
    await folds('[[1, 2], [2]]', 'ERR_DATA', /row 2 is in \[1\] and in \[0\]/)
    await folds('[[1, 2], [8]]', 'ERR_DATA', /\[1\] should hold row numbers from 0 to 7, but has 8/)
    await folds('[[1]]', 'ERR_DATA', /at least two folds/)
    await folds('{"folds": []}', 'ERR_DATA', /but has folds/)
    await refused({ columns, split: { ...split, fold: 4 } }, 'ERR_DATA', /folds\.json/)
  })

  it('names file, line, column, expected and found of every mistake', async () => {
    write('table.csv', 'x,c,w,y\n1,a,ab,1\n2,b,b,2\n')
    const columns: Record<string, ColumnSpec> = {
      x: number,
      c: category,
      w: { role: 'text', alphabet: 'ab', length: 2 },
      y: number,
    }
    const bad = async (text: string, message: RegExp, spec: Partial<CsvSpec> = {}): Promise<void> => {
      write('bad.csv', text)
      await refused({ columns, file: 'bad.csv', ...spec }, 'ERR_DATA', message)
    }
    await bad('x,c,w,y\n1,a,ab,1\nabc,a,ab,1\n', /bad\.csv: line 3: column 'x' should be a number, but is "abc"/)
    await bad('x,c,w,y\n0x10,a,ab,1\n', /line 2: column 'x' should be a number, but is "0x10"/)
    await bad('x,c,w,y\n1e39,a,ab,1\n', /should be a number that float32 can hold, but is "1e39"/)
    await bad('x,c,w,y\nInfinity,a,ab,1\n', /should be a number, but is "Infinity"/)
    await bad('x,c,w,y\n,a,ab,1\n', /line 2: column 'x' should be a number, but is empty/)
    await bad('x,c,w,y\n1,,ab,1\n', /column 'c' should be a value, but is empty/)
    await bad('x,c,w,y\n1,a,abc,1\n', /column 'w' should be a text of at most 2 letters, but is "abc"/, {
      columns: { ...columns, w: { role: 'text', alphabet: 'abc', length: 2, too_long: 'refuse' } },
    })
    await bad(
      'x,c,w,y\n1,a,aé,1\n',
      /column 'w' should be letters of its alphabet \("é" at letter 2 is none\), but is "aé"/,
    )
    await bad('x;c;w;y\n1;a;ab;1\n', /bad\.csv has no column 'x'; it has x;c;w;y/)
    await bad('x,c,w,y\n', /bad\.csv has no rows for training/)
    write('val.csv', 'x,c,w,y\n1,a,a,1\n1,z,a,1\n')
    await bad(
      'x,c,w,y\n1,a,ab,1\n',
      /val\.csv: line 3: column 'c' has the value "z", which is not among the 1 known ones \(a\)/,
      { val_file: 'val.csv' },
    )
    const invalid = (spec: Partial<CsvSpec>, message: RegExp): Promise<void> =>
      refused({ columns, ...spec }, 'ERR_INVALID_ARGUMENT', message)
    await invalid({ target: 'yy' }, /data\.target has 'yy', but columns describes no column of that name/)
    await invalid({ target: ['y', 'c'] }, /has the category column 'c' among others/)
    await invalid({ target: 'w' }, /has the text column 'w'/)
    await invalid({ inputs: ['y'] }, /data\.inputs\[0\] has 'y', which is a target/)
    await invalid({ inputs: [['x', 'w']] }, /joins the text column 'w' with others/)
    await invalid(
      { columns: { x: number, y: { role: 'number', normalize: 'min_max' } } },
      /data\.columns\.y\.normalize is not for targets/,
    )
    await invalid(
      { columns: { x: number, y: { role: 'number', missing: 'mean' } } },
      /missing is mean, but 'y' is a target/,
    )
    await invalid(
      { columns: { ...columns, w: { role: 'text', alphabet: 'aba', length: 2 } } },
      /has the letter "a" twice/,
    )
    await invalid(
      { columns: { ...columns, w: { role: 'text', alphabet: { a: 0 }, length: 2 } } },
      /gives "a" the index 0, which is that of padding/,
    )
    await invalid({ split: { by: 'fraction', val: 0.6, test: 0.5 } }, /leaves nothing for training/)
    await invalid({ batch_size: 0 }, /data\.batch_size should be an integer of at least 1/)
    await invalid(
      { lookups: [{ column: 'c', file: 'x.csv', columns: {} }] },
      /should say either key .* but says neither/,
    )
    await refused(
      { columns: { ...columns, zz: number } },
      'ERR_DATA',
      /table\.csv has no column 'zz'; it has x, c, w, y/,
    )
  })
})
