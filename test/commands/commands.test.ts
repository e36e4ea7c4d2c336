import assert from 'node:assert/strict'
import { existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Finding } from '../../src/doctor/index.js'
import { packageRoot } from '../../src/libtorch/index.js'
import { torchFiles, writeFiles, writeWheel } from '../libtorch/fakes.js'
import { runCommand } from './run-command.js'

interface Report {
  ok: boolean
  findings: Finding[]
}

describe('commands', () => {
  let folder: string
  let cache: string
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'torchkeep-commands-'))
    cache = join(folder, 'cache')
  })
  afterEach(() => rmSync(folder, { recursive: true }))

  it('are found by the pattern of their files, and each has a summary, examples and --json', async () => {
    const files = readdirSync(join(packageRoot, 'commands')).filter((name) => name.endsWith('.ts'))
    const { stdout, status } = await runCommand(['--help'])
    assert.equal(status, 0)
    for (const command of files.map((name) => name.replace(/\.ts$/, ''))) {
      assert.match(stdout, new RegExp(`^  ${command} +\\S`, 'm'))
      const help = await runCommand([command, '--help'])
      assert.match(help.stdout, /EXAMPLES\n/)
      assert.match(help.stdout, /--json/)
    }
  })

  const misuse: [string, string[]][] = [
    ['an unknown command', ['frobnicate']],
    ['an unknown flag', ['doctor', '--frobnicate']],
    ['a value that a flag does not take', ['setup', '--variant', 'rocm']],
    ['flags that exclude each other', ['setup', '--from', 'x.whl', '--index-url', 'y']],
    ['a stray argument', ['setup', 'now']],
  ]
  for (const [name, args] of misuse) {
    it(`end with 2 for ${name}`, async () => {
      const { status, stdout, stderr } = await runCommand(args, { TORCHKEEP_CACHE: cache })
      assert.equal(status, 2, stderr)
      assert.equal(stdout, '')
    })
  }

  describe('setup', () => {
    it('ends with 3 and says code, culprit and advice', async () => {
      const { status, stdout } = await runCommand(['setup', '--no-build', '--json', '--from', join(folder, 'none')], {
        TORCHKEEP_CACHE: cache,
      })
      assert.equal(status, 3)
      const { error } = JSON.parse(stdout) as { error: { code: string; message: string } }
      assert.equal(error.code, 'ERR_LIBTORCH_MISSING')
      assert.match(error.message, /--from: .*none does not exist; expected a wheel or a folder/)
    })

    it('prints the same failure for people', async () => {
      const { status, stderr } = await runCommand(['setup', '--no-build'], { TORCHKEEP_CACHE: cache, LIBTORCH: folder })
      assert.equal(status, 3)
      assert.match(
        stderr.replaceAll(/\s+/g, ' '),
        /LIBTORCH is wrong: .* is not a LibTorch folder.*Code: ERR_LIBTORCH_MISSING/,
      )
    })

    it('takes the LibTorch that LIBTORCH names and fetches nothing', async () => {
      writeFiles(folder, torchFiles('2.13.0+cpu'))
      const { status, stdout } = await runCommand(['setup', '--no-build', '--json'], {
        TORCHKEEP_CACHE: cache,
        LIBTORCH: join(folder, 'torch'),
      })
      assert.equal(status, 0)
      const result = JSON.parse(stdout) as { installed: boolean; libtorch: { version: string; by: string } }
      assert.deepEqual(
        [result.installed, result.libtorch.version, result.libtorch.by],
        [false, '2.13.0+cpu', 'LIBTORCH'],
      )
    })

    it('puts a wheel into the folder of --cache, says what it takes first, and warns of an untested version', async () => {
      const wheel = writeWheel(folder, 'torch', '2.99.0', torchFiles('2.99.0+cpu'))
      const { status, stdout, stderr } = await runCommand([
        'setup',
        '--no-build',
        '--variant',
        'cpu',
        '--from',
        wheel,
        '--cache',
        cache,
      ])
      assert.equal(status, 0, stderr)
      assert.match(stderr, /^LibTorch 2\.99\.0, cpu: .*\n {2}download .*\n {2}unpacked .*\n {2}cache /)
      assert.match(
        stderr,
        /warning: LibTorch 2\.99\.0\+cpu is untested with this release of Torchkeep \(tested: 2\.11, 2\.13\)/,
      )
      assert.match(stdout, /^LibTorch 2\.99\.0\+cpu set up: /)
    })

    it('checks the tools of the build before it fetches, and names the Debian packages', async () => {
      const { status, stdout } = await runCommand(['setup', '--json'], {
        TORCHKEEP_CACHE: cache,
        PATH: folder,
        CXX: '',
      })
      assert.equal(status, 3)
      const { error } = JSON.parse(stdout) as { error: { message: string; suggestions: string[] } }
      assert.match(error.message, /cmake: not found .*make or ninja: not found .*C\+\+20 compiler: not found/)
      assert.match(error.suggestions.join('\n'), /apt-get install cmake\n.*apt-get install build-essential/)
    })
  })

  describe('doctor', () => {
    const examine = async (
      env: NodeJS.ProcessEnv,
    ): Promise<{ status: number | null; report: Report; of: (check: string) => Finding | undefined }> => {
      const { status, stdout } = await runCommand(['doctor', '--json'], { TORCHKEEP_CACHE: cache, ...env })
      const report = JSON.parse(stdout) as Report
      return { status, report, of: (check) => report.findings.find((finding) => finding.check === check) }
    }

    it('says that LibTorch is missing, where it looked, and how to mend it; exit code 1', async () => {
      const { status, report, of } = await examine({})
      assert.equal(status, 1)
      assert.equal(report.ok, false)
      assert.equal(of('libtorch')?.status, 'bad')
      assert.match(of('libtorch')?.message ?? '', /Tried in order: LIBTORCH \(not set\).*cache holds none/)
      assert.deepEqual(of('libtorch')?.mend, ['npx torchkeep setup'])
      assert.equal(of('node')?.status, 'ok')
    })

    it('changes nothing: the cache is not even made', async () => {
      await examine({})
      assert.deepEqual(readdirSync(folder), [])
    })

    it('names what is wrong with LIBTORCH, missing NVIDIA libraries, and a named Python that does not run', async () => {
      assert.match(
        (await examine({ LIBTORCH: folder })).of('libtorch')?.message ?? '',
        /LIBTORCH is wrong: .* expected lib\/libtorch_cpu\.so/,
      )
      writeFiles(folder, torchFiles('2.13.0+cu130', '13.0'))
      const { of } = await examine({ LIBTORCH: join(folder, 'torch'), LD_LIBRARY_PATH: '' })
      assert.equal(of('libtorch')?.status, 'bad')
      assert.match(
        of('libtorch')?.message ?? '',
        /libtorch_cpu\.so needs libcudart\.so\.13, which its search path does not hold/,
      )
      const named = await examine({ TORCHKEEP_PYTHON: join(folder, 'python') })
      assert.match(named.of('libtorch')?.message ?? '', /TORCHKEEP_PYTHON names the Python .*, which does not run/)
      assert.equal(named.of('python')?.status, 'warn')
    })

    it('says why CUDA is off, or that it is on, and what the tools of the build lack', async () => {
      const { of } = await examine({ PATH: folder })
      assert.match(of('cuda')?.message ?? '', /^CUDA is (on: .*cuda:0|off.*: .+)/)
      assert.equal(of('cmake')?.message, 'not found (tried cmake)')
    })

    it('names an addon that was built for another LibTorch', async function () {
      if (!existsSync(join(packageRoot, 'build', 'Release', 'torchkeep.node'))) {
        console.log('      skipped: the addon is not built; npm test builds it')
        return this.skip()
      }
      writeFiles(folder, torchFiles('2.99.0+cpu'))
      const { of } = await examine({ LIBTORCH: join(folder, 'torch') })
      assert.equal(of('addon')?.status, 'bad')
      assert.match(of('addon')?.message ?? '', /ERR_ADDON_MISMATCH.*2\.99\.0\+cpu/)
      assert.deepEqual(of('addon')?.mend, ['npx torchkeep setup'])
    })
  })
})
