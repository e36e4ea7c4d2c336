/** docs/inference.md: its example runs as printed. */
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'

const run = promisify(execFile)

describe('docs/inference.md', function () {
  this.timeout(60_000)
  const text = readFileSync(new URL('../../../docs/inference.md', import.meta.url), 'utf8')
  const block = (language: string): string =>
    new RegExp('^```' + language + '\\n([\\s\\S]*?)^```', 'm').exec(text)?.[1] ?? ''

  it('prints what it says', async () => {
    // Beside the compiled tests, so that `torchkeep` resolves to this package.
    const program = new URL(`inference-example-${process.pid}.mjs`, import.meta.url).pathname
    const folder = mkdtempSync(join(tmpdir(), 'torchkeep-docs-'))
    writeFileSync(program, block('js'))
    try {
      const { stdout, stderr } = await run(process.execPath, [program], { cwd: folder })
      assert.equal(stdout, block('text'))
      assert.equal(stderr, '')
    } finally {
      rmSync(program)
      rmSync(folder, { recursive: true })
    }
  })
})
