/** Reading CSV: RFC 4180, and every mistake by line. */
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { type CsvOptions, readCsv } from '../../src/data/csv-file.js'
import { needPython, runPython } from '../python.js'

describe('CSV files', () => {
  let folder: string
  before(() => (folder = mkdtempSync(join(tmpdir(), 'torchkeep-csv-'))))
  after(() => rmSync(folder, { recursive: true }))

  async function read(text: string | Buffer, options: CsvOptions = {}, name = 'table.csv') {
    const path = join(folder, name)
    writeFileSync(path, text)
    let columns: readonly string[] = []
    const [rows, lines]: [string[][], number[]] = [[], []]
    const { emptyLines, ...counts } = await readCsv(path, options, {
      columns: (names) => void (columns = names),
      row: (fields, line, row) => {
        assert.equal(row, rows.length)
        rows.push([...fields])
        lines.push(line)
      },
    })
    assert.equal(counts.rows, rows.length)
    return { columns, rows, lines, emptyLines }
  }
  const refused = (text: string | Buffer, message: RegExp, options: CsvOptions = {}): Promise<void> =>
    assert.rejects(read(text, options), { name: 'TorchkeepError', code: 'ERR_DATA', message })

  it('reads a byte order mark, line ends of all kinds, quotes and empty lines, and knows the line of each row', async () => {
    const text = '\uFEFFname,note\r\nann,"one, ""two""\r\nthree"\r\n\r\n bob ,\rcid,"x\ny"\ndan,4'
    const { columns, rows, lines, emptyLines } = await read(text)
    assert.deepEqual(columns, ['name', 'note'])
    assert.deepEqual(rows, [
      ['ann', 'one, "two"\r\nthree'],
      [' bob ', ''],
      ['cid', 'x\ny'],
      ['dan', '4'],
    ])
    assert.deepEqual(lines, [2, 5, 6, 8])
    assert.equal(emptyLines, 1)
  })

  it('takes the delimiter from the name or the option, and a file without a header', async () => {
    assert.deepEqual((await read('a\tb,c\n1\t2\n', {}, 'table.tsv')).columns, ['a', 'b,c'])
    assert.deepEqual((await read('a;b\n1;2\n', { delimiter: ';' })).rows, [['1', '2']])
    const bare = await read('1,2\n3,4\n', { header: false })
    assert.deepEqual(
      [bare.columns, bare.rows, bare.lines],
      [
        ['0', '1'],
        [
          ['1', '2'],
          ['3', '4'],
        ],
        [1, 2],
      ],
    )
    assert.deepEqual(
      (await read('only\n\n7\n')).rows,
      [[''], ['7']],
      'in a file of one column an empty line is an empty field',
    )
  })

  it('refuses what is not CSV by line', async () => {
    await refused('a,b\n1,2\n1,2,3\n', /table\.csv: line 3: should have 2 fields \(a, b\), but has 3/)
    await refused('a,b\n"1\n1",2\n1\n', /line 4: should have 2 fields \(a, b\), but has 1/)
    await refused('a,b\n1,x"y\n', /line 2: a double quote stands inside a field that did not begin with one/)
    await refused('a,b\n1,"x"y\n', /line 2: after the closing quote/)
    await refused('a,b\n1,2\n3,"x\ny\n', /line 3: a quoted field is not closed before the file ends/)
    await refused('a,b,a\n', /line 1: two columns are called 'a'/)
    await refused('a,,c\n', /line 1: column 2 has no name/)
    await refused('', /table\.csv is empty/)
    await refused(Buffer.from('a,b\nm\xfcller,1\n', 'latin1'), /line 2: should be UTF-8, but is not/)
    const long = `a,b\r\n${'é,€\r\n'.repeat(20_000)}`
    await refused(Buffer.concat([Buffer.from(long), Buffer.from([0x31, 0x2c, 0xff])]), /line 20002: should be UTF-8/)
    await refused(Buffer.concat([Buffer.from(long), Buffer.from([0xe2, 0x82])]), /line 20002: should be UTF-8/)
    await refused(Buffer.from('a,b\n1,2\n', 'utf16le'), /two columns|should be UTF-8|should have|has no name|no column/)
    await assert.rejects(readCsv(join(folder, 'none.csv'), {}, { columns: () => undefined, row: () => undefined }), {
      code: 'ERR_DATA',
      message: /none\.csv cannot be read: there is no such file/,
    })
  })

  it('gives back any fields that were quoted as RFC 4180 says, as Python reads them', async function () {
    needPython(this)
    const field = fc.string({ unit: fc.constantFrom('a', ',', '"', '\n', ' ', 'é', '😀', '1') })
    const table = fc
      .integer({ min: 2, max: 4 })
      .chain((width) =>
        fc.array(fc.array(field, { minLength: width, maxLength: width }), { minLength: 1, maxLength: 5 }),
      )
    const quoted = (rows: string[][]): string =>
      rows.map((row) => row.map((one) => `"${one.replaceAll('"', '""')}"`).join(',') + '\r\n').join('')
    await fc.assert(
      fc.asyncProperty(table, async (rows) => {
        assert.deepEqual((await read(quoted(rows), { header: false })).rows, rows)
      }),
      { numRuns: 40, seed: 1 },
    )
    const samples = fc.sample(table, { numRuns: 20, seed: 2 })
    const program =
      'import csv, io\nprint(json.dumps([list(csv.reader(io.StringIO(text, newline=""))) for text in json.loads(sys.argv[1])]))'
    const python = JSON.parse(await runPython(program, [JSON.stringify(samples.map(quoted))])) as string[][][]
    for (const [index, rows] of samples.entries())
      assert.deepEqual((await read(quoted(rows), { header: false })).rows, python[index])
  })
})
