import assert from 'node:assert/strict'
import { type Chart, chartLines } from '../../src/command-line/chart.js'
import { csvText } from '../../src/format/csv.js'

describe('charts', () => {
  const curve = (label: string, ...values: number[]) => ({
    label,
    points: values.map((value, index) => [index + 1, value] as const),
  })
  const drawn = (chart: Partial<Chart>, width = 60): string[] =>
    chartLines({ title: 'loss', xLabel: 'epoch', curves: [], ...chart }, width).map((line) => line.trimEnd())

  it('draw curves with marks of their own, ticks, borders and a legend', () => {
    const curves = [curve('a', 4, 3, 2, 1, 0.5, 0.25), curve('b', 3, 2.5, 2.25, 2, 1.75, 1.5)]
    assert.deepEqual(drawn({ curves, borders: [3.5] }), [
      'loss',
      '     ▲                        ┃',
      '    4┤●                       ┃',
      '     │                        ┃',
      '     │                        ┃',
      '3.063┤○         ●             ┃',
      '     │                        ┃',
      '     │          ○             ┃',
      '2.125┤                   ○    ┃',
      '     │                   ●    ┃    ○',
      '     │                        ┃             ○',
      '     │                        ┃                       ○',
      '1.188┤                        ┃    ●',
      '     │                        ┃',
      '     │                        ┃             ●',
      ' 0.25┤                        ┃                       ●',
      '     └┬─────────┬────────┬─────────┬────────┬─────────┬▶',
      '      1         2        3         4        5         6',
      '                          epoch',
      '  ● a',
      '  ○ b',
    ])
  })

  it('leave gaps for values that are not finite', () => {
    const text = drawn({ curves: [curve('a', 1, NaN, Infinity, 2)] }).join('\n')
    assert.equal(text.split('●').length - 1, 3, 'two points and the legend')
    assert.deepEqual(drawn({ curves: [curve('a', NaN)] }), ['loss', 'no finite values', '  ● a'])
  })

  it('keep the marks of the others when a curve has no finite value', () => {
    const text = drawn({ curves: [curve('a', NaN, NaN), curve('b', 1, 2)] }).join('\n')
    assert.equal(text.split('○').length - 1, 3)
    assert.equal(text.split('●').length - 1, 1, 'the legend')
  })

  it('draw one point, equal values, and values far from zero', () => {
    assert.ok(drawn({ curves: [curve('a', 5)] }).some((line) => /5┤ ?●/.test(line)))
    assert.ok(drawn({ curves: [curve('a', 5, 5, 5)] }).some((line) => line.includes('5┤')))
    const labels = drawn({ curves: [curve('a', 1000.001, 1000.002)] }).filter((line) => line.includes('┤'))
    assert.equal(new Set(labels.map((line) => line.split('┤')[0])).size, labels.length, 'labels differ')
  })

  it('fit the terminal', () => {
    const curves = [curve('a', ...Array.from({ length: 500 }, (_none, index) => index))]
    for (const width of [40, 80, 300]) {
      const longest = Math.max(...drawn({ curves }, width).map((line) => line.length))
      assert.ok(longest <= Math.min(width, 100), `${longest} in ${width}`)
    }
  })

  it('show no control characters of names', () => {
    assert.ok(!drawn({ title: '\x1b[2Jx', curves: [curve('\x1b[31mred', 1)] }).some((line) => line.includes('\x1b')))
  })
})

describe('csvText', () => {
  it('quotes what needs it and ends each line with CRLF', () => {
    assert.equal(
      csvText([['a', 'b,c', 'd"e', 'f\ng', 1.5, null, NaN, ''], [' x ']]),
      'a,"b,c","d""e","f\ng",1.5,,NaN,\r\n x \r\n',
    )
  })
})
