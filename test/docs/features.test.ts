/** docs/features.md has every row of the checklist, in order, each with a test that exists or with the word later. */
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { packageRoot } from '../../src/libtorch/index.js'
import { requireTests } from './named-tests.js'

const document = readFileSync(join(packageRoot, 'docs', 'features.md'), 'utf8')
const rowCount = 46
/** The rows of the issue that opens, judges, compares and salvages: none of them may be left for later. */
const done = [6, 7, 8, 11, 12, 24, 25, 26, 27, 28, 29, 30, 31, 32, 33, 34, 35, 36, 37, 38, 39, 40, 41, 42, 43]

interface Row {
  number: number
  feature: string
  proof: string
}

const rows: Row[] = [...document.matchAll(/^\| (\d+) \| ([^|]+) \|[^|]*\| ([^|]+) \|$/gm)].map(
  ([, number, feature = '', proof = '']) => ({ number: Number(number), feature, proof }),
)

describe('docs/features.md', () => {
  it('has every row once, in order', () => {
    assert.deepEqual(
      rows.map(({ number }) => number),
      Array.from({ length: rowCount }, (_, index) => index + 1),
    )
  })

  it('leaves nothing for later that is to be done', () => {
    for (const { number, feature, proof } of rows)
      if (done.includes(number)) assert.notEqual(proof, 'later', `row ${number}, ${feature}`)
  })

  for (const { number, feature, proof } of rows.filter((row) => row.proof !== 'later')) {
    it(`names tests that exist for row ${number}, ${feature}`, () => {
      requireTests(proof)
    })
  }
})
