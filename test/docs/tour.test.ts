/**
 * The README's tour of the commands, run as printed on checkpoints that Python writes: every command line of its console blocks, in order, in a fresh folder. `TORCHKEEP_UPDATE_SNAPSHOTS=1` prints
 * what came out into the README; look at the difference before you commit it.
 */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { delimiter, join } from 'node:path'
import { copyPackage } from '../commands/package-copy.js'
import { normalized } from '../commands/snapshot.js'
import { packageRoot } from '../../src/libtorch/index.js'
import { needPython, python } from '../python.js'

const readme = join(packageRoot, 'README.md')
const heading = '## A tour of the commands\n'
/** CRC-32s depend on the last bits of trained weights, which processors do not share. */
const replacements = [[/0x[0-9a-f]{8}/g, '<crc>']] as const

/** How many of the three harmed files `torch.load` refuses; the README says one. */
const harmed = `
import glob
refused = 0
for epoch in (2, 3, 6):
    (path,) = glob.glob(f'checkpoints/regular/checkpoint_epoch_{epoch}_*.pth')
    try: torch.load(path, weights_only=False)
    except Exception: refused += 1
print(refused)`

interface Step {
  command: string
  printed: string
}

/** The section of the tour, and its steps: a line that begins with `$ ` and what follows it. */
function tour(): { section: string; steps: Step[] } {
  const text = readFileSync(readme, 'utf8')
  const begin = text.indexOf(heading)
  assert.ok(begin >= 0, `README.md has no ${heading.trim()}`)
  const end = text.indexOf('\n## ', begin + heading.length)
  const section = text.slice(begin, end)
  const blocks = [...section.matchAll(/^```console\n([^]*?)^```/gm)].map(([, block = '']) => block)
  const steps = blocks
    .flatMap((block) => block.split(/^\$ /m).slice(1))
    .map((step) => {
      const newline = step.indexOf('\n')
      return { command: step.slice(0, newline), printed: step.slice(newline + 1) }
    })
  return { section, steps }
}

describe("the README's tour of the commands", function () {
  this.timeout(300_000)
  let folder: string
  let env: NodeJS.ProcessEnv
  before(function () {
    needPython(this)
    folder = mkdtempSync(join(tmpdir(), 'torchkeep-tour-'))
    const { shellFolder } = copyPackage(join(folder, 'package'))
    const script = (name: string, text: string): void => {
      writeFileSync(join(shellFolder, name), `#!/bin/sh\n${text}\n`)
      chmodSync(join(shellFolder, name), 0o755)
    }
    script('npx', 'exec "$@"')
    script('python', `exec '${python}' "$@"`)
    mkdirSync(join(folder, 'work'))
    symlinkSync(join(packageRoot, 'examples'), join(folder, 'work', 'examples'))
    const kept = Object.entries(process.env).filter(
      ([name]) => !/^(LIBTORCH|VIRTUAL_ENV|LD_PRELOAD)$|^TORCHKEEP_/.test(name),
    )
    env = { ...Object.fromEntries(kept), PATH: [shellFolder, process.env['PATH']].join(delimiter), COLUMNS: '120' }
  })
  after(() => folder !== undefined && rmSync(folder, { recursive: true }))

  it('prints what a run prints', () => {
    const { section, steps } = tour()
    assert.ok(steps.length >= 8, `only ${steps.length} steps`)
    let updated = section
    for (const { command, printed } of steps) {
      const { status, stdout, stderr } = spawnSync('sh', ['-c', command], {
        cwd: join(folder, 'work'),
        env,
        encoding: 'utf8',
      })
      assert.ok(status === 0 || status === 1, `${command}: ${status}\n${stderr}`)
      const actual = `${stdout}${stderr}`.replaceAll(/[ \t]+$/gm, '')
      if (process.env['TORCHKEEP_UPDATE_SNAPSHOTS'] === '1')
        updated = updated.replace(`$ ${command}\n${printed}`, () => `$ ${command}\n${actual}`)
      else assert.equal(normalized(actual, replacements), normalized(printed, replacements), command)
    }
    const torch = spawnSync(python as string, ['-c', `import torch${harmed}`], {
      cwd: join(folder, 'work'),
      encoding: 'utf8',
    })
    assert.equal(torch.stdout, '1\n', torch.stderr)
    if (updated !== section)
      writeFileSync(
        readme,
        readFileSync(readme, 'utf8').replace(section, () => updated),
      )
  })

  it('sets up the completion of bash: commands, flags and file names', function () {
    if (spawnSync('bash', ['--version']).error !== undefined) {
      console.log('      skipped: bash is absent')
      return this.skip()
    }
    const lines = /### Shell completion\n[^]*?```sh\n([^]*?)```/.exec(readFileSync(readme, 'utf8'))?.[1] ?? ''
    assert.match(lines, /bashrc/)
    const home = join(folder, 'home')
    mkdirSync(home)
    const bash = (program: string): string => {
      const { status, stdout, stderr } = spawnSync('bash', ['--norc', '-c', program], {
        cwd: home,
        env: { ...env, HOME: home, XDG_CACHE_HOME: join(home, 'cache'), XDG_DATA_HOME: join(home, 'data') },
        encoding: 'utf8',
      })
      assert.equal(status, 0, stderr)
      return stdout
    }
    bash(lines)
    const complete = (...words: string[]): string[] => {
      const list = words.map((word) => `'${word}'`).join(' ')
      const reply = `COMP_WORDS=(${list}); COMP_CWORD=${words.length - 1}; _torchkeep_autocomplete; printf '%s\\n' "\${COMPREPLY[@]}"`
      return bash(`source ~/.bashrc; ${reply}`).trim().split('\n')
    }
    assert.deepEqual(complete('torchkeep', 'val'), ['validate'])
    assert.deepEqual(complete('torchkeep', 'list', '--re'), ['--reverse', '--recursive'])
    assert.match(bash('source ~/.bashrc; complete -p torchkeep'), /-o default .*-F _torchkeep_autocomplete torchkeep/)
  })
})
