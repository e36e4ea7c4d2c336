/** docs/metrics.md and docs/early-stopping.md say what the code has: every metric with its direction and counterpart, every option and reason. */
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { earlyStoppingField } from '../../src/checkpoint/training-config.js'
import { Place } from '../../src/checkpoint/fields.js'
import { packageRoot } from '../../src/libtorch/index.js'
import { metricNames, resolveMetrics } from '../../src/training/metrics.js'

/** Cells of the rows whose first is a name in code, by name. */
function tableRows(path: string): Map<string, string[]> {
  const rows = new Map<string, string[]>()
  for (const line of readFileSync(join(packageRoot, path), 'utf8').split('\n')) {
    const cells = line.split('|').map((cell) => cell.trim())
    const name = /^`(\w+)`$/.exec(cells[1] ?? '')?.[1]
    if (name === undefined) continue
    assert.ok(!rows.has(name), `${path} has two rows of ${name}`)
    rows.set(name, cells.slice(2, -1))
  }
  return rows
}

describe('docs/metrics.md', () => {
  const rows = tableRows('docs/metrics.md')

  it('has a row for each metric, and for no other', () => {
    assert.deepEqual([...rows.keys()].sort(), [...metricNames].sort())
  })

  for (const { name, mode } of resolveMetrics(metricNames)) {
    it(`says of ${name} which direction is better, what it is, and what it is in Python`, () => {
      const [better, definition, python] = rows.get(name) as string[]
      assert.equal(better, mode === 'min' ? 'smaller' : 'larger')
      assert.ok((definition as string).length > 5)
      assert.match(python as string, /^`(sklearn\.metrics|scipy\.stats|lifelines\.utils)\.\w+/)
    })
  }
})

describe('docs/early-stopping.md', () => {
  const page = readFileSync(join(packageRoot, 'docs/early-stopping.md'), 'utf8')

  it('has a row for each option, and for no other', () => {
    const at = new Place('ERR_INVALID_ARGUMENT', '', 'x')
    const known = (): unknown => earlyStoppingField.encode({ none: 1 } as object, at)
    const names = [...tableRows('docs/early-stopping.md').keys()]
    assert.throws(known, (error: Error) => {
      const listed = /known: (.*)\)/.exec(error.message)?.[1]?.split(', ')
      assert.deepEqual(names.sort(), listed?.sort())
      return true
    })
  })

  it('names every reason', () => {
    const reasons = readFileSync(join(packageRoot, 'src/training/early-stopping-rules.ts'), 'utf8')
    const type = /export type StopReason =([^/]*)/.exec(reasons)?.[1] ?? ''
    const names = [...type.matchAll(/'(\w+)'/g)].map(([, name]) => name as string)
    assert.equal(names.length, 6)
    for (const name of names) assert.ok(page.includes(`\`${name}\``), name)
  })
})
