/** docs/validate.md explains every finding id, with its severity, and no other. */
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { findings, layouts } from '../../src/checkpoint/index.js'

const document = readFileSync(new URL('../../../docs/validate.md', import.meta.url), 'utf8')

describe('docs/validate.md', () => {
  it('explains every finding with its severity, and no other', () => {
    const explained = [...document.matchAll(/^### `([\w.]+)` \((\w+)\)\n\n(\S.+)/gm)].map(
      ([, id, severity]) => `${id} ${severity}`,
    )
    const known = Object.entries(findings).map(([id, { severity }]) => `${id} ${severity}`)
    assert.deepEqual(explained.sort(), known.sort())
  })

  it('names every layout with what it must have', () => {
    for (const [layout, { required }] of Object.entries(layouts)) {
      if (['L7', 'L8', 'L9'].includes(layout)) continue
      assert.match(document, new RegExp(`^ {3}\\| ${layout} \\|`, 'm'))
      for (const key of required) assert.ok(document.includes(`\`${key}\``), key)
    }
  })
})
