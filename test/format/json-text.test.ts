/** JSON of untrusted files: what JSON.parse takes is taken with the same values, but for equal keys, depth and lost digits. */
import assert from 'node:assert/strict'
import fc from 'fast-check'
import { parseJson, type JsonValue } from '../../src/format/json-text.js'

const parse = (text: string | Uint8Array) => parseJson('file', 'part', Buffer.from(text))

/** As JSON.parse gives it. */
function plain(value: JsonValue): unknown {
  if (value instanceof Map) {
    const object = Object.create(null) as Record<string, unknown>
    for (const [key, item] of value) object[key] = plain(item)
    return object
  }
  if (Array.isArray(value)) return value.map(plain)
  return typeof value === 'bigint' ? Number(value) : value
}

describe('format: JSON texts', () => {
  it('gives what JSON.parse gives', () => {
    fc.assert(
      fc.property(fc.jsonValue({ noUnicodeString: false }), fc.constantFrom(undefined, 1, '\t'), (value, indent) => {
        const text = JSON.stringify(value, null, indent)
        assert.equal(JSON.stringify(plain(parse(text))), JSON.stringify(JSON.parse(text)))
      }),
      { numRuns: 500 },
    )
  })

  it('takes and refuses what JSON.parse takes and refuses', () => {
    const pieces = [
      '{',
      '}',
      '[',
      ']',
      ':',
      ',',
      '"a"',
      '"\\u00e9"',
      '"\\x"',
      '1',
      '-0.5e3',
      '01',
      '.5',
      '1.',
      'true',
      'nul',
      ' ',
      '\u0001',
      '"',
      'NaN',
    ]
    const twice = (text: string) => /"a"[^]*"a"/.test(text)
    // '-0.5e3', '1', '1' together are a number that JSON.parse takes for -Infinity; tested by itself below.
    const beyond = (text: string) => /e\d{3}/.test(text)
    fc.assert(
      fc.property(fc.array(fc.constantFrom(...pieces), { maxLength: 9 }), (parts) => {
        const text = parts.join('')
        fc.pre(!twice(text) && !beyond(text))
        let expected: unknown
        try {
          expected = JSON.parse(text)
        } catch {
          assert.throws(() => parse(text), { finding: 'json.malformed' }, text)
          return
        }
        assert.equal(JSON.stringify(plain(parse(text))), JSON.stringify(expected))
      }),
      { numRuns: 2000 },
    )
  })

  const refused: readonly [string, string | Uint8Array, string][] = [
    ['a key that is there twice', '{"a": 1, "b": 2, "a": 3}', 'json.malformed'],
    ['a key that is there twice in other letters', '{"a": 1, "\\u0061": 2}', 'json.malformed'],
    ['nesting without end', '['.repeat(100_000), 'file.limit'],
    ['a number beyond any', '1e999', 'json.malformed'],
    ['bytes that are no UTF-8', Buffer.from([0x22, 0xff, 0x22]), 'json.malformed'],
    ['a byte order mark', '\ufeff{}', 'json.malformed'],
    ['nothing', '', 'json.malformed'],
    ['two texts', '{}{}', 'json.malformed'],
  ]
  for (const [name, text, finding] of refused)
    it(`refuses ${name}`, () => assert.throws(() => parse(text), { finding }))

  it('loses no digit of an integer', () => {
    assert.deepEqual(parse('[9007199254740993, -9007199254740993, 1e3, 0.1]'), [
      9007199254740993n,
      -9007199254740993n,
      1000,
      0.1,
    ])
  })

  it('reads long texts and many values in linear time', () => {
    const text = `["${'x'.repeat(2e7)}", ${Array.from({ length: 200_000 }, () => '{"a":[1]}').join(',')}]`
    assert.equal((parse(text) as unknown[]).length, 200_001)
  })
})
