/** docs/export.md, run as printed: from a checkpoint to predictions in Python and in Node. */
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { existsSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { packageRoot } from '../../src/libtorch/index.js'
import { needPython, python } from '../python.js'
import { checkPrinted, DocumentFolder, stepsOf } from './console-document.js'

const run = promisify(execFile)

describe('docs/export.md', function () {
  this.timeout(120_000)
  let folder: DocumentFolder
  before(function () {
    needPython(this)
    if (!existsSync(join(packageRoot, 'build', 'Release', 'torchkeep.node'))) {
      console.log('      skipped: the addon is not built; npm test builds it')
      return this.skip()
    }
    folder = new DocumentFolder(python)
  })
  after(() => folder?.remove())

  it('takes a checkpoint to predictions from Python and from Node', async () => {
    const all = stepsOf('docs/export.md')
    assert.ok(all.length >= 12, `only ${all.length} steps`)
    const outputs = new Map<string, string>()
    const perform = async (command: string, printed: string): Promise<void> => {
      const { stdout, stderr } = await run('sh', ['-c', command], { cwd: folder.path, env: folder.env })
      checkPrinted(command, printed, printed.startsWith('...\n') ? stderr + stdout : stdout)
      outputs.set(command, stdout)
    }
    // What runs in Python changes nothing, and importing torch takes seconds: the next commands do not wait for it.
    const failures: Promise<unknown>[] = []
    for (const step of all) {
      if ('file' in step) {
        writeFileSync(join(folder.path, step.file), step.text)
        continue
      }
      const done = perform(step.command, step.printed)
      if (!step.command.startsWith('python ')) await done
      failures.push(
        done.then(
          () => null,
          (error: unknown) => error,
        ),
      )
    }
    for (const failure of await Promise.all(failures)) if (failure !== null) throw failure as Error
    const predictions = [...outputs].filter(([command]) => command.includes(' predict.'))
    assert.equal(predictions.length, 2)
    assert.equal(predictions[0]?.[1], predictions[1]?.[1], 'Python and Node print the same')
  })
})
