/** The README's example is what examples/readme.mjs holds, and the examples of the README and of docs/ run as printed. */
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { needPython, python } from '../python.js'

const run = promisify(execFile)
const root = new URL('../../../', import.meta.url)

/** The first (or another) fenced block of a language in a document, as printed. */
function block(language: string, document = 'README.md', index = 0): string {
  const text = readFileSync(new URL(document, root), 'utf8')
  const found = [...text.matchAll(new RegExp('^```' + language + '\\n([\\s\\S]*?)^```', 'gm'))][index]?.[1]
  assert.ok(found !== undefined, `${document} has no ${language} block`)
  return found
}

describe('examples in the documents', () => {
  let folder: string
  before(() => (folder = mkdtempSync(join(tmpdir(), 'torchkeep-readme-'))))
  after(() => rmSync(folder, { recursive: true }))

  it('prints examples/readme.mjs, in at most 30 lines', () => {
    const example = readFileSync(new URL('examples/readme.mjs', root), 'utf8')
    assert.equal(block('js'), example)
    assert.ok(example.trimEnd().split('\n').length <= 30)
    assert.equal(block('js', 'README.md', 1), readFileSync(new URL('examples/checkpoints.mjs', root), 'utf8'))
  })

  it('runs as printed: defines, trains, checkpoints and resumes; Python opens the best checkpoint', async function () {
    needPython(this)
    // Inside the package, so that `torchkeep` resolves to it; the working folder is a fresh one.
    const { stdout } = await run(process.execPath, [new URL('examples/readme.mjs', root).pathname], { cwd: folder })
    assert.match(stdout, /^training was interrupted .* it goes on from .*\nbest: epoch \d+ of 10, loss \d/)
    const opened = await run(python as string, ['-c', block('python')], { cwd: folder })
    assert.match(opened.stdout, /^\d+ \d+\.\d+$/m)
    const judged = await run(process.execPath, [new URL('examples/checkpoints.mjs', root).pathname], { cwd: folder })
    assert.match(
      judged.stdout,
      /^checkpoints\/best\/best_model_epoch_\d+_phase_2\.pth is valid\nepoch \d+: the best itself\n/,
    )
    assert.match(judged.stdout, /\nepoch \d+: \d of 4 tensors are those of the best\n/)
  })

  it('docs/errors.md catches what it says', async () => {
    // Beside the compiled tests, so that `torchkeep` resolves to this package.
    const program = new URL(`errors-example-${process.pid}.mjs`, import.meta.url).pathname
    writeFileSync(program, block('js', 'docs/errors.md'))
    mkdirSync(join(folder, 'checkpoints'), { recursive: true })
    writeFileSync(join(folder, 'checkpoints', 'latest.pth'), 'PK\x03\x04 cut short')
    try {
      const { stderr } = await run(process.execPath, [program], { cwd: folder })
      assert.match(stderr, /checkpoints\/latest\.pth/)
    } finally {
      rmSync(program)
    }
  })
})
