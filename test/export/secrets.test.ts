import { strict as assert } from 'node:assert'
import fc from 'fast-check'
import { findSecrets, scrubText, secretPatterns } from '../../src/export/secrets.js'
import { harmlessTexts, plantedSecrets } from './planted-secrets.js'

describe('secrets in texts', () => {
  it('knows at least forty kinds', () => {
    assert.ok(new Set(secretPatterns.map(({ kind }) => kind)).size >= 40)
    assert.ok(plantedSecrets.length >= 80)
  })

  for (const { name, secret, text } of plantedSecrets)
    it(`takes out: ${name}`, () => {
      const scrubbed = scrubText(text)
      assert.ok(scrubbed.kinds.length > 0, text)
      assert.ok(!scrubbed.text.includes(secret), scrubbed.text)
      // Not a part of it either: no more than four letters in a row.
      for (let at = 0; at + 8 <= secret.length; at++)
        assert.ok(
          !scrubbed.text.includes(secret.slice(at, at + 8)),
          `${scrubbed.text} still has '${secret.slice(at, at + 8)}'`,
        )
    })

  for (const text of harmlessTexts) it(`leaves: ${text.slice(0, 60)}`, () => assert.deepEqual(findSecrets(text), []))
})

describe('a scrubbed text', () => {
  const piece = fc.oneof(
    fc.constantFrom(...plantedSecrets.map(({ text }) => text)),
    fc.constantFrom(...plantedSecrets.map(({ secret }) => secret)),
    fc.constantFrom(...harmlessTexts),
    fc.constantFrom(' ', '\n', '"', "'", ':', '=', '/', '@', '.', '-', '[removed: email]', 'password', 'Author: '),
    fc.string({ maxLength: 12 }),
  )

  it('has no secret, however texts are put together, and is scrubbed once and for all', () => {
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 6 }), (pieces) => {
        const { text } = scrubText(pieces.join(''))
        assert.deepEqual(findSecrets(text), [])
        assert.deepEqual(scrubText(text), { text, kinds: [] })
      }),
      { numRuns: 150 },
    )
  })
})

describe('the search', () => {
  it('takes no longer than the text is long, whatever is in it', function () {
    this.timeout(60_000)
    const units = [
      'a',
      '/a',
      'a.',
      '1 ',
      '1',
      'a@',
      '+1',
      'A=b\n',
      'a:',
      '_a',
      'ab:',
      '\\a',
      'Aa ',
      '"/a',
      'password=',
      'host=a;',
      '-1',
      ' ',
      '(1)',
      'author: ',
      'A1',
      '-----BEGIN A KEY-----',
    ]
    const began = performance.now()
    for (const unit of units) findSecrets(unit.repeat(100_000 / unit.length))
    // A second or so; one quadratic form alone would take ten.
    assert.ok(performance.now() - began < 30_000)
  })
})
