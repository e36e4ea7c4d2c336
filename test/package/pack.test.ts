import assert from 'node:assert/strict'
import { execFileSync, spawnSync } from 'node:child_process'
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  realpathSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import type { Finding } from '../../src/doctor/index.js'
import { packageRoot } from '../../src/libtorch/index.js'

/** npm itself as a script: next to Node, or where npm that runs us is. */
function npmScript(): string {
  const own = process.env['npm_execpath']
  if (own?.endsWith('npm-cli.js')) return own
  return realpathSync(execFileSync('which', ['npm'], { encoding: 'utf8' }).trim())
}

describe('the package', function () {
  this.timeout(600_000)
  let folder: string
  let project: string
  let tarball: string
  /** Only Node, npm and a shell: no compiler, no CMake, no Python. */
  let bareEnv: NodeJS.ProcessEnv
  const npm = npmScript()

  before(() => {
    folder = mkdtempSync(join(tmpdir(), 'torchkeep-package-'))
    const tools = join(folder, 'tools')
    mkdirSync(tools)
    symlinkSync(process.execPath, join(tools, 'node'))
    symlinkSync('/bin/sh', join(tools, 'sh'))
    const kept = Object.entries(process.env).filter(
      ([name]) => !/^(LIBTORCH|VIRTUAL_ENV|CXX|CC|INIT_CWD)$|^TORCHKEEP_|^npm_(lifecycle|package)/.test(name),
    )
    bareEnv = { ...Object.fromEntries(kept), PATH: tools, TORCHKEEP_CACHE: join(folder, 'cache') }
    execFileSync(process.execPath, [npm, 'pack', '--silent', '--pack-destination', folder], {
      cwd: packageRoot,
      stdio: ['ignore', 'ignore', 'inherit'],
    })
    tarball = readdirSync(folder).find((name) => name.endsWith('.tgz')) ?? ''
    project = join(folder, 'project')
    mkdirSync(project)
    writeFileSync(join(project, 'package.json'), JSON.stringify({ name: 'empty', version: '1.0.0', private: true }))
    const install = spawnSync(
      process.execPath,
      [npm, 'install', '--prefer-offline', '--no-audit', '--no-fund', join(folder, tarball)],
      {
        cwd: project,
        env: bareEnv,
        encoding: 'utf8',
      },
    )
    assert.equal(install.status, 0, install.stdout + install.stderr)
  })
  after(() => rmSync(folder, { recursive: true }))

  const inProject = (args: string[]) =>
    spawnSync(process.execPath, args, { cwd: project, env: bareEnv, encoding: 'utf8' })
  const installed = () => join(project, 'node_modules', 'torchkeep')
  const script = (text: string) => inProject(['--input-type=module', '-e', text])

  it('holds what a user needs and nothing else', () => {
    const names = execFileSync('tar', ['-tzf', join(folder, tarball)], { encoding: 'utf8' })
      .trim()
      .split('\n')
      .map((name) => name.replace(/^package\//, ''))
    for (const needed of [
      'binding.gyp',
      'CMakeLists.txt',
      'native/addon.cpp',
      'scripts/build-addon.mjs',
      'bin/run.js',
      'oclif.manifest.json',
      'LICENSE',
      'README.md',
    ]) {
      assert.ok(names.includes(needed), `${needed} is missing`)
    }
    for (const needed of [
      'dist/src/index.js',
      'dist/src/index.d.ts',
      'dist/src/format/index.js',
      'dist/src/checkpoint/index.js',
      'dist/commands/setup.js',
    ]) {
      assert.ok(names.includes(needed), `${needed} is missing`)
    }
    const allowed =
      /^(package\.json|README\.md|LICENSE|CHANGELOG\.md|binding\.gyp|CMakeLists\.txt|oclif\.manifest\.json|bin\/run\.js|scripts\/build-addon\.mjs|docs\/[a-z-]+\.md|schemas\/[a-z-]+\.json|native\/.*\.(cpp|h)|dist\/(src|lib|commands)\/.*\.js|dist\/(src|lib)\/.*\.d\.ts)$/
    assert.deepEqual(
      names.filter((name) => !allowed.test(name)),
      [],
    )
  })

  it('left no manifest behind in the repository', () => {
    assert.ok(!existsSync(join(packageRoot, 'oclif.manifest.json')))
  })

  it('installs without LibTorch, a compiler or Python, and builds nothing then', () => {
    assert.ok(existsSync(join(installed(), 'package.json')))
    assert.ok(!existsSync(join(installed(), 'build')))
  })

  it('has commands that work there: --help and doctor, which says what is missing', () => {
    const bin = join(project, 'node_modules', '.bin', 'torchkeep')
    assert.match(inProject([bin, '--help']).stdout, /setup +Get LibTorch/)
    const { status, stdout, stderr } = inProject([bin, 'doctor', '--json'])
    assert.equal(status, 1, stderr)
    const bad = (JSON.parse(stdout) as { findings: Finding[] }).findings
      .filter((finding) => finding.status === 'bad')
      .map(({ check }) => check)
    assert.deepEqual(bad, ['libtorch', 'cmake', 'make or ninja', 'C++20 compiler', 'addon'])
  })

  it('loads torchkeep/checkpoint, torchkeep/export and torchkeep/format without the addon, by import and by require', () => {
    const text =
      "import * as c from 'torchkeep/checkpoint'; import * as f from 'torchkeep/format'; import * as e from 'torchkeep/export'; console.log(typeof c, typeof e.ModelExporter, Object.keys(f).length > 0)"
    const imported = script(text)
    assert.equal(imported.stdout, 'object function true\n', imported.stderr)
    const required = inProject(['-e', "console.log(Object.keys(require('torchkeep/format')).length > 0)"])
    assert.equal(required.stdout, 'true\n', required.stderr)
  })

  it('loads torchkeep itself without the addon; the first use says what is missing', () => {
    const loaded = inProject(['-e', "console.log(typeof require('torchkeep').ProgressiveTrainer)"])
    assert.equal(loaded.stdout, 'function\n', loaded.stderr)
    const used = script(
      "import { tensor } from 'torchkeep'; try { tensor([1]) } catch (error) { console.log(error.code, error.suggestions.join()) }",
    )
    assert.match(used.stdout, /^ERR_LIBTORCH_MISSING .*npx torchkeep setup/, used.stderr)
  })

  it('trains once the addon is there: doctor --self-test', function () {
    const addon = join(packageRoot, 'build', 'Release', 'torchkeep.node')
    if (!existsSync(addon)) {
      console.log(`      skipped: the addon is not built (${addon}); npm test builds it`)
      return this.skip()
    }
    mkdirSync(join(installed(), 'build', 'Release'), { recursive: true })
    copyFileSync(addon, join(installed(), 'build', 'Release', 'torchkeep.node')) // what setup builds there, without building twice
    const env = { ...process.env, TORCHKEEP_CACHE: join(folder, 'cache') }
    const result = spawnSync(
      process.execPath,
      [join(project, 'node_modules', '.bin', 'torchkeep'), 'doctor', '--self-test', '--json'],
      {
        cwd: project,
        env,
        encoding: 'utf8',
      },
    )
    const findings = (JSON.parse(result.stdout) as { findings: Finding[] }).findings
    assert.equal(result.status, 0, result.stdout)
    assert.match(
      findings.find(({ check }) => check === 'self-test')?.message ?? '',
      /trained 24 steps, saved, resumed: all \d+ tensors equal/,
    )
  })

  it('reaches the build through binding.gyp and node-gyp', function () {
    const gyp = join(dirname(dirname(npm)), 'node_modules', 'node-gyp', 'bin', 'node-gyp.js')
    const headers = join(dirname(dirname(process.execPath)), 'include', 'node', 'node.h')
    for (const [path, what] of [
      [gyp, "npm's own node-gyp"],
      [headers, "Node's headers, so that node-gyp downloads none,"],
    ] as const) {
      if (existsSync(path)) continue
      console.log(`      skipped: ${what} is not at ${path}`)
      return this.skip()
    }
    // Without LIBTORCH our script refuses: reaching that message is reaching the build.
    const env = { ...process.env, LIBTORCH: '' }
    const result = spawnSync(process.execPath, [gyp, 'rebuild', `--nodedir=${dirname(dirname(process.execPath))}`], {
      cwd: installed(),
      env,
      encoding: 'utf8',
    })
    assert.notEqual(result.status, 0)
    assert.match(result.stdout + result.stderr, /build-addon: LIBTORCH is not set/)
  })
})
