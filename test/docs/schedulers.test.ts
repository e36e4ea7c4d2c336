/** docs/schedulers.md has every scheduler with every option under both names, and no other. */
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { lrScheduler } from '../../lib/index.js'
import { schedulerTables } from '../../src/checkpoint/scheduler-config.js'
import { packageRoot } from '../../src/libtorch/index.js'

const page = readFileSync(join(packageRoot, 'docs/schedulers.md'), 'utf8')
const sections = new Map(
  page
    .split('\n### ')
    .slice(1)
    .map((section) => [/^`(\w+)`/.exec(section)?.[1] as string, section.split('\n## ')[0] as string]),
)

describe('docs/schedulers.md', () => {
  it('has a section for each scheduler, and for no other', () => {
    assert.deepEqual([...sections.keys()].sort(), Object.keys(schedulerTables).sort())
  })

  for (const [name, table] of Object.entries(schedulerTables)) {
    it(`has the options of ${name}, their names in files and which are required`, () => {
      const section = sections.get(name) as string
      const rows = section
        .split('\n')
        .map((line) => line.split('|').map((cell) => cell.trim()))
        .filter((cells) => /^`\w+`$/.test(cells[1] ?? ''))
        .map((cells) => [cells[1], cells[2], cells[3] === 'required'])
      const options = Object.entries(table as Record<string, readonly [string, unknown, 'optional'?]>)
      assert.deepEqual(
        rows,
        options.map(([option, [inFile, , absent]]) => [`\`${option}\``, `\`${inFile}\``, absent === undefined]),
      )
      assert.ok(section.includes(name === 'WarmupDecay' ? 'Not in PyTorch' : `\`torch.optim.lr_scheduler.${name}\``))
      assert.equal(typeof lrScheduler[name as keyof typeof lrScheduler], 'function')
    })
  }
})
