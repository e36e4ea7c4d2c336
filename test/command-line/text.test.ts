import assert from 'node:assert/strict'
import { differenceLines } from '../../src/command-line/differences.js'
import { nearNames } from '../../src/format/near-names.js'
import { strictJson } from '../../src/command-line/strict-json.js'
import { factLines, tableLines } from '../../src/command-line/table.js'
import { formatAge, formatBytes, formatNumber, plural, printable, printableLines } from '../../src/command-line/text.js'

describe('what commands print', () => {
  it('sizes are in binary units with three digits, and no unit shows 1024', () => {
    const sizes = [0, 1, 1023, 1024, 1536, 1024 ** 2 - 1, 20 * 1024 ** 2, 123.4 * 1024 ** 2, 1024 ** 3 - 1, 2 ** 60 * 3]
    const expected = [
      '0 B',
      '1 B',
      '1023 B',
      '1.00 KiB',
      '1.50 KiB',
      '1.00 MiB',
      '20.0 MiB',
      '123 MiB',
      '1.00 GiB',
      '3072 PiB',
    ]
    assert.deepEqual(sizes.map(formatBytes), expected)
  })

  it('ages have one unit, and a moment in the future is now', () => {
    const now = 1_800_000_000_000
    const ago = (seconds: number) => formatAge(now - seconds * 1000, now)
    assert.deepEqual([-5, 0, 59.9, 60, 3599, 3600, 47 * 3600, 48 * 3600, 59 * 86400].map(ago), [
      '0 s',
      '0 s',
      '59 s',
      '1 min',
      '59 min',
      '1 h',
      '47 h',
      '2 d',
      '59 d',
    ])
    assert.deepEqual([61 * 86400, 23 * 30.44 * 86400, 750 * 86400, 10 * 366 * 86400].map(ago), [
      '2 months',
      '23 months',
      '2 years',
      '10 years',
    ])
  })

  it('numbers keep integers whole and others at five digits', () => {
    const numbers = [0, -3, 12345678, 2n ** 70n, 0.1 + 0.2, 1 / 3, 1.23456789e-12, -1e-5, NaN, -Infinity, null]
    assert.deepEqual(numbers.map(formatNumber), [
      '0',
      '-3',
      '12345678',
      '1180591620717411303424',
      '0.3',
      '0.33333',
      '1.2346e-12',
      '-1e-5',
      'NaN',
      '-Infinity',
      '-',
    ])
    assert.deepEqual(
      [plural(1, 'file'), plural(1200, 'file'), plural(2, 'entry', 'entries')],
      ['1 file', '1,200 files', '2 entries'],
    )
  })

  it('control characters of a file reach no terminal', () => {
    assert.equal(printable('a\x1b[2Jb\x07\r\n\tc\u202ed\x9b1m'), 'a\\x1b[2Jb\\x07\\x0d\\n\\tc\\x202ed\\x9b1m')
    assert.equal(
      printableLines('\x1b[1mbold\x1b[22m\n\ttab\x1b]0;title\x07'),
      '\x1b[1mbold\x1b[22m\n\ttab\\x1b]0;title\\x07',
    )
  })

  it('tables align by what characters take on the screen and leave out what no row has', () => {
    const rows = [
      { name: 'weight', shape: '3x4', note: null },
      { name: '重み', shape: '12', note: null },
      { name: 'e\u0301', shape: null, note: null },
    ]
    const lines = tableLines(rows, [
      { title: 'name', text: ({ name }) => name },
      { title: 'note', text: ({ note }) => note },
      { title: 'shape', align: 'right', text: ({ shape }) => shape },
    ])
    assert.deepEqual(lines, ['name    shape', 'weight    3x4', '重み       12', 'e\u0301           -'])
    assert.deepEqual(tableLines([], []), [])
    assert.deepEqual(
      factLines([
        ['kind', 'x'],
        ['none', null],
        ['container', 'y'],
      ]),
      ['kind       x', 'container  y'],
    )
  })

  it('differences say both sides and tell a string from a number', () => {
    const lines = differenceLines([
      { path: 'lr', before: 1, after: '1' },
      { path: 'new', before: undefined, after: NaN },
    ])
    assert.deepEqual(lines, ['lr', '  - 1', '  + "1"', 'new', '  + NaN'])
  })

  it('JSON is strict: no bare NaN, no numbers that lose digits, nothing dropped without a word', () => {
    const value = { nan: NaN, most: Infinity, least: -Infinity, big: 2n ** 64n, none: undefined, list: [NaN] }
    assert.deepEqual(JSON.parse(strictJson(value)), {
      nan: 'NaN',
      most: 'Infinity',
      least: '-Infinity',
      big: '18446744073709551616',
      list: ['NaN'],
    })
    for (const lossy of [new Map(), new Set(), new Uint8Array(2), () => 1, Symbol('x')])
      assert.throws(() => strictJson({ lossy }), /the value of 'lossy' has no counterpart in JSON/)
  })

  it('near names are the ones that somebody may have meant, closest first', () => {
    const names = ['list', 'inspect', 'validate', 'compare', 'best', 'tag', 'history', 'cleanup']
    assert.deepEqual(nearNames('lits', names), ['list'])
    assert.deepEqual(nearNames('Validte', names), ['validate'])
    assert.deepEqual(nearNames('insp', names), ['inspect'])
    assert.deepEqual(nearNames('train', names), [])
    assert.deepEqual(nearNames('besst', [...names, 'beset']), ['beset', 'best'])
  })
})
