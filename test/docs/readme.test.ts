/** The README's example is what examples/readme.mjs holds, and both its halves run as printed. */
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { needPython, python } from '../python.js'

const run = promisify(execFile)
const root = new URL('../../../', import.meta.url)
const readme = readFileSync(new URL('README.md', root), 'utf8')

/** The n-th fenced block of a language, as printed. */
function block(language: string, n = 0): string {
  const found = [...readme.matchAll(new RegExp('^```' + language + '\\n([\\s\\S]*?)^```', 'gm'))][n]?.[1]
  assert.ok(found !== undefined, `README.md has no ${language} block number ${n}`)
  return found
}

describe('README', () => {
  let folder: string
  before(() => (folder = mkdtempSync(join(tmpdir(), 'torchkeep-readme-'))))
  after(() => rmSync(folder, { recursive: true }))

  it('prints examples/readme.mjs, in at most 30 lines', () => {
    const example = readFileSync(new URL('examples/readme.mjs', root), 'utf8')
    assert.equal(block('js'), example)
    assert.ok(example.trimEnd().split('\n').length <= 30)
  })

  it('runs as printed: defines, trains, checkpoints and resumes; Python opens the best checkpoint', async function () {
    needPython(this)
    // Inside the package, so that `torchkeep` resolves to it; the working folder is a fresh one.
    const { stdout } = await run(process.execPath, [new URL('examples/readme.mjs', root).pathname], { cwd: folder })
    const printed = /prints: (.*)/.exec(block('js'))?.[1]
    if (printed !== undefined) assert.ok(stdout.includes(printed), stdout)
    const opened = await run(python as string, ['-c', block('python')], { cwd: folder })
    assert.notEqual(opened.stdout.trim(), '')
  })
})
