/** docs/checkpointing.md: its example runs as printed, and its defaults are those of the code. */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { defaultBestCount, defaultKeepLast } from '../../src/training/checkpoint-options.js'

describe('docs/checkpointing.md', function () {
  this.timeout(60_000)
  const text = readFileSync(new URL('../../../docs/checkpointing.md', import.meta.url), 'utf8')
  const block = (language: string): string =>
    new RegExp('^```' + language + '\\n([\\s\\S]*?)^```', 'm').exec(text)?.[1] ?? ''

  it('prints what it says', () => {
    // Beside the compiled tests, so that `torchkeep` resolves to this package.
    const program = new URL(`checkpointing-example-${process.pid}.mjs`, import.meta.url).pathname
    const folder = mkdtempSync(join(tmpdir(), 'torchkeep-docs-'))
    writeFileSync(program, block('js'))
    try {
      const { stdout, stderr } = spawnSync(process.execPath, [program], { cwd: folder, encoding: 'utf8' })
      assert.equal(stdout, block('text'), stderr)
      assert.equal(stderr, '')
    } finally {
      rmSync(program)
      rmSync(folder, { recursive: true })
    }
  })

  it('names the defaults', () => {
    assert.ok(text.includes(`the newest ${defaultKeepLast} of the run`))
    assert.ok(text.includes(`among the best ${defaultBestCount} by the run's monitor`))
  })
})
