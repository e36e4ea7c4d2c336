/**
 * docs/training.md, run as printed: every command of its console blocks, in order, in a fresh folder, with the files that it shows. Of what it prints, each line must come out in this order with other
 * numbers at most (`...` stands for lines that are left out, `^C` for Ctrl-C). Its reference of keys is made from the schema: TORCHKEEP_UPDATE_SNAPSHOTS=1 writes it anew.
 */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmodSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { delimiter, join } from 'node:path'
import { packageRoot } from '../../src/libtorch/index.js'
import { checkPrinted, stepsOf } from './console-document.js'
import { reference } from './train-reference.js'

const path = join(packageRoot, 'docs', 'training.md')
const begin = '<!-- reference: made from the schema by test/docs/training.test.ts -->\n'

describe('docs/training.md', function () {
  this.timeout(120_000)
  let folder: string
  let env: NodeJS.ProcessEnv
  before(function () {
    if (!existsSync(join(packageRoot, 'build', 'Release', 'torchkeep.node'))) {
      console.log('      skipped: the addon is not built; npm test builds it')
      return this.skip()
    }
    folder = mkdtempSync(join(tmpdir(), 'torchkeep-training-'))
    const npx = join(folder, 'npx')
    writeFileSync(npx, `#!/bin/sh\nshift\nexec '${process.execPath}' '${join(packageRoot, 'bin', 'run.js')}' "$@"\n`)
    chmodSync(npx, 0o755)
    env = { ...process.env, PATH: [folder, process.env['PATH']].join(delimiter), COLUMNS: '200' }
  })
  after(() => folder !== undefined && rmSync(folder, { recursive: true }))

  /** Runs a command of the document; `interrupt`: with Ctrl-C at its first epoch. */
  async function run(command: string, interrupt: boolean): Promise<{ status: number; output: string }> {
    const child = spawn('sh', ['-c', `exec ${command}`], { cwd: folder, env, stdio: ['ignore', 'pipe', 'pipe'] })
    let output = ''
    for (const stream of [child.stdout, child.stderr])
      stream.on('data', (chunk: Buffer) => {
        output += chunk.toString()
        if (interrupt && !child.killed && output.includes('epoch 2/')) child.kill('SIGINT')
      })
    const [status] = (await once(child, 'close')) as [number]
    return { status, output }
  }

  it('takes a newcomer from a table to a resumed, evaluated model', async () => {
    const all = stepsOf('docs/training.md')
    assert.ok(all.length >= 10, `only ${all.length} steps`)
    for (const step of all) {
      if ('file' in step) {
        writeFileSync(join(folder, step.file), step.text)
        continue
      }
      const { command, printed } = step
      const isInterrupted = printed.includes('^C\n')
      const { status, output } = await run(command, isInterrupted)
      const expected = isInterrupted ? 130 : /^ +Error: /m.test(printed) ? 2 : 0
      assert.equal(status, expected, `${command}: ${status}\n${output}`)
      checkPrinted(command, printed, output)
    }
  })

  it('explains every key of the schema', () => {
    const text = readFileSync(path, 'utf8')
    const start = text.indexOf(begin) + begin.length
    assert.ok(start >= begin.length, 'no reference')
    const whole = `${text.slice(0, start)}\n${reference()}`
    if (process.env['TORCHKEEP_UPDATE_SNAPSHOTS'] === '1') writeFileSync(path, whole)
    assert.equal(readFileSync(path, 'utf8'), whole)
  })
})
