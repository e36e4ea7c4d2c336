/** What holds for every command: help, examples that run, schema, no LibTorch, lean loading. */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { delimiter, dirname, join, resolve } from 'node:path'
import { Config, type Command } from '@oclif/core'
import { packageRoot } from '../../src/libtorch/index.js'
import { initConfig } from '../../src/train-config/init.js'
import { began, checkpointValue, writeCheckpointFolder, writeValue } from './checkpoints.js'
import { copyPackage } from './package-copy.js'
import { runCommand } from './run-command.js'
import { checkedJson } from './schema.js'

const ids = readdirSync(join(packageRoot, 'commands'))
  .filter((name) => name.endsWith('.ts'))
  .map((name) => name.replace(/\.ts$/, ''))

/** Commands that train or run a model. Their examples are run where LibTorch is by test/training; here they must say what is missing. */
const needLibTorch = new Set(['train', 'evaluate', 'predict'])

/** What the examples name besides `checkpoints`. */
async function writeExampleFolder(folder: string): Promise<void> {
  await writeCheckpointFolder(join(folder, 'checkpoints'))
  const value = checkpointValue({ epoch: 4, phase: 1, valLoss: 0.6, timestamp: began + 240 })
  await writeValue(join(folder, 'other.pth'), value)
  for (const run of ['a', 'b']) await writeCheckpointFolder(join(folder, 'runs', run))
  const [time, seconds] = ['2026-01-31T13:05:09.000Z', 0]
  const events = [
    { event: 'run', time, seconds, phases: [] },
    { event: 'stop', time, seconds, of: 'run', reason: 'finished' },
  ]
  const lines = events.map((event) => `${JSON.stringify(event)}\n`)
  writeFileSync(join(folder, 'checkpoints', 'events.jsonl'), lines.join(''))
  writeFileSync(join(folder, 'config.json'), JSON.stringify({ hidden: 3, dropout: 0.1, layers: ['first', 'second'] }))
}

describe('every command', function () {
  this.timeout(300_000)
  let folder: string
  let config: Config
  let program: string
  let env: NodeJS.ProcessEnv
  before(async () => {
    folder = mkdtempSync(join(tmpdir(), 'torchkeep-every-'))
    const copy = copyPackage(join(folder, 'package'))
    program = copy.program
    const kept = Object.entries(process.env).filter(
      ([name]) => !/^(LIBTORCH|VIRTUAL_ENV|LD_PRELOAD)$|^TORCHKEEP_/.test(name),
    )
    env = {
      ...Object.fromEntries(kept),
      PATH: [copy.shellFolder, process.env['PATH']].join(delimiter),
      TORCHKEEP_CACHE: join(folder, 'cache'),
    }
    await writeExampleFolder(join(folder, 'example'))
    config = await Config.load({ root: packageRoot })
  })
  after(() => rmSync(folder, { recursive: true }))

  const command = (id: string): Command.Loadable => {
    const found = config.findCommand(id)
    assert.ok(found !== undefined, `oclif does not find ${id}`)
    return found
  }
  const examplesOf = (id: string): string[] =>
    (command(id).examples ?? []).map((example) =>
      (typeof example === 'string' ? example : example.command).replace('<%= config.bin %>', 'torchkeep'),
    )

  for (const id of ids) {
    describe(id, () => {
      it('has a summary, a description, examples, --json and a schema', () => {
        const { summary, description, enableJsonFlag } = command(id)
        assert.match(summary ?? '', /^[A-Z].*\.$/)
        assert.ok((description ?? '').length > 40, 'no description')
        assert.ok(examplesOf(id).length >= 2, 'fewer than two examples')
        assert.equal(enableJsonFlag, true)
        const schema = JSON.parse(readFileSync(join(packageRoot, 'schemas', `${id}.json`), 'utf8')) as {
          title: string
          oneOf: unknown
        }
        assert.equal(schema.title, `torchkeep ${id} --json`)
        assert.deepEqual(schema.oneOf, [{ $ref: 'error.json' }, { $ref: '#/$defs/result' }])
      })

      it('fails under its schema for wrong usage, with 2', async () => {
        const { stdout, status } = await runCommand([id, '--no-such-flag', '--json'], env, program)
        assert.equal(status, 2)
        assert.equal((checkedJson(id, stdout) as { error: { code: string } }).error.code, 'ERR_USAGE')
      })

      it('loads nothing heavy before it runs, so that --help is quick', () => {
        assert.deepEqual(
          [...staticImports(join(packageRoot, 'dist', 'commands', `${id}.js`))].filter((path) => !isLean(path)),
          [],
        )
      })

      // Set-up would fetch LibTorch: its examples are checked with their flags only, by its own tests.
      if (id === 'setup') return
      if (needLibTorch.has(id)) {
        it('says what is missing where there is no LibTorch', async () => {
          const { shellFolder } = copyPackage(join(folder, `package-${id}`), true)
          const cwd = join(folder, `${id}-training`)
          await initConfig(cwd, { example: true })
          const PATH = [shellFolder, process.env['PATH']].join(delimiter)
          for (const example of examplesOf(id)) {
            const result = spawnSync('sh', ['-c', example], { cwd, env: { ...env, PATH }, encoding: 'utf8' })
            assert.equal(result.status, 3, `${example}: ${result.stderr}${result.stdout}`)
            if (/ --json( |$)/.test(example)) checkedJson(id, result.stdout)
            assert.match(result.stderr + result.stdout, /ERR_LIBTORCH_MISSING[^]*torchkeep setup/, example)
          }
        })
        return
      }
      it('runs its examples, where there is no LibTorch and no lib/', function () {
        for (const [index, example] of examplesOf(id).entries()) {
          const cwd = join(folder, `${id}-${index}`)
          cpSync(join(folder, 'example'), cwd, { recursive: true, preserveTimestamps: true })
          const result = spawnSync('sh', ['-c', example], { cwd, env, encoding: 'utf8' })
          assert.ok(
            result.status === 0 || result.status === 1,
            `${example}: ${result.status}\n${result.stderr}${result.stdout}`,
          )
          // A "bad" answer is an answer; a failure would say Error.
          assert.doesNotMatch(result.stderr, /Error/, example)
          if (/ --json( |$)/.test(example)) checkedJson(id, result.stdout)
        }
      })
    })
  }

  it('has no schema without a command, but those that all share', () => {
    const schemas = readdirSync(join(packageRoot, 'schemas')).map((name) => name.replace(/\.json$/, ''))
    assert.deepEqual(schemas.filter((name) => !ids.includes(name)).sort(), [
      'error',
      'finding',
      'number',
      'train-config',
    ])
  })

  it('is suggested where it was mistyped', async () => {
    const { stderr, status } = await runCommand(['lst'], env, program)
    assert.equal(status, 2)
    assert.match(stderr, /there is no command 'lst'\n.*Try this: torchkeep list/)
    const { stdout } = await runCommand(['inspekt', '--json'], env, program)
    assert.deepEqual(JSON.parse(stdout), {
      error: { code: 'ERR_USAGE', message: "there is no command 'inspekt'", suggestions: ['torchkeep inspect'] },
    })
    const flag = await runCommand(['list', '--recursve'], env, program)
    assert.match(flag.stderr, /Nonexistent flag: --recursve\n[^]*Try this: --recursive/)
  })

  it('writes nothing more, and no failure, when the reader of its output goes away', () => {
    const cwd = join(folder, 'pipe')
    mkdirSync(cwd)
    cpSync(join(folder, 'example'), cwd, { recursive: true })
    const result = spawnSync('sh', ['-c', 'torchkeep inspect latest --depth 9 | head -n 1'], {
      cwd,
      env,
      encoding: 'utf8',
    })
    assert.deepEqual([result.status, result.stderr, result.stdout.split('\n').length], [0, '', 2])
  })
})

/** Files that are loaded with a compiled module, through its static imports. */
function staticImports(path: string, seen = new Set<string>()): Set<string> {
  for (const [, name = ''] of readFileSync(path, 'utf8').matchAll(/^(?:import|export)\s[^;]*?from\s+'(\.[^']+)'/gms)) {
    const imported = resolve(dirname(path), name)
    if (seen.has(imported)) continue
    seen.add(imported)
    staticImports(imported, seen)
  }
  return seen
}

/** What a command may load before it knows what it is asked for. */
function isLean(path: string): boolean {
  return path.includes('/dist/src/command-line/') || path.endsWith('/dist/src/format/errors.js')
}
