/** docs/traps.md has every trap and every fault, in order, each with tests that exist. */
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { packageRoot } from '../../src/libtorch/index.js'
import { requireTests } from './named-tests.js'

const document = readFileSync(join(packageRoot, 'docs', 'traps.md'), 'utf8')
const traps = ['E1', 'E2', 'E3', 'E4', 'E5', 'E6', 'E7', 'E13', 'E14', 'E15', 'E16', 'E21']
const faultCount = 21
const rows = [...document.matchAll(/^\| (E?\d+) \| ([^|]+) \|([^|]*)\| ([^|]+) \|$/gm)].map(
  ([, id = '', wrong = '', ours = '', proof = '']) => ({ id, wrong, ours: ours.trim(), proof }),
)

describe('docs/traps.md', () => {
  it('has every trap and every fault once, in order', () => {
    assert.deepEqual(
      rows.map(({ id }) => id),
      [...traps, ...Array.from({ length: faultCount }, (_, index) => String(index + 1))],
    )
  })

  for (const { id, wrong, ours, proof } of rows) {
    it(`names tests that exist for ${id}, ${wrong}`, () => {
      assert.ok(ours.length > 10, 'what ours does')
      requireTests(proof)
    })
  }
})
