import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, truncateSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { cacheFolder } from '../../src/libtorch/cache.js'
import { installLibTorch } from '../../src/libtorch/install.js'
import { findLibTorch, locateLibTorch } from '../../src/libtorch/locate.js'
import { torchFiles, writeFiles } from './fakes.js'

describe('libtorch/locate', () => {
  let folder: string
  let env: NodeJS.ProcessEnv
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'torchkeep-locate-'))
    env = { PATH: process.env['PATH'], TORCHKEEP_CACHE: join(folder, 'cache') }
    writeFiles(folder, torchFiles('2.13.0+cpu'))
  })
  afterEach(() => rmSync(folder, { recursive: true }))

  it('says every place that it tried', async () => {
    await assert.rejects(locateLibTorch(env), (error: Error & { code: string; suggestions: string[] }) => {
      assert.equal(error.code, 'ERR_LIBTORCH_MISSING')
      assert.match(
        error.message,
        /LIBTORCH \(not set\); TORCHKEEP_PYTHON, VIRTUAL_ENV \(not set\); the cache \(.*cache holds none\)/,
      )
      assert.equal(error.suggestions[0], 'npx torchkeep setup')
      return true
    })
  })

  it('takes LIBTORCH before all else and reads version, CUDA and ABI', async () => {
    const { libtorch } = await findLibTorch({ ...env, LIBTORCH: join(folder, 'torch'), TORCHKEEP_PYTHON: '/none' })
    assert.deepEqual(libtorch, {
      path: join(folder, 'torch'),
      version: '2.13.0+cpu',
      cuda: null,
      cxx11Abi: true,
      by: 'LIBTORCH',
    })
  })

  it('never passes over a LIBTORCH that is wrong', async () => {
    await assert.rejects(findLibTorch({ ...env, LIBTORCH: folder }), (error: Error & { suggestions: string[] }) => {
      assert.match(
        error.message,
        /LIBTORCH is wrong: .* is not a LibTorch folder: expected lib\/libtorch_cpu\.so, .* found torch/,
      )
      assert.deepEqual(error.suggestions, [`LibTorch is one folder further down: ${join(folder, 'torch')}`])
      return true
    })
  })

  it('never passes over a Python that does not run', async () => {
    await assert.rejects(
      findLibTorch({ ...env, TORCHKEEP_PYTHON: join(folder, 'no-python') }),
      /TORCHKEEP_PYTHON names the Python .*no-python, which does not run/,
    )
  })

  it("takes the torch of TORCHKEEP_PYTHON's interpreter, and passes over one without torch", async function () {
    const python = process.env['TORCHKEEP_TEST_PYTHON']
    if (python === undefined) {
      console.log('      skipped: TORCHKEEP_TEST_PYTHON is not set')
      return this.skip()
    }
    const { libtorch } = await findLibTorch({ ...env, TORCHKEEP_PYTHON: python })
    assert.equal(libtorch?.by, 'TORCHKEEP_PYTHON')
    assert.match(libtorch?.version ?? '', /^2\.13\.0/)
    const without = await findLibTorch({ ...env, TORCHKEEP_PYTHON: 'python3', PYTHONPATH: '' })
    if (without.libtorch === undefined)
      assert.match(without.tried[1] ?? '', /TORCHKEEP_PYTHON \(python3 has no torch\)/)
  })

  it('reads the cache, and names a library that was cut', async () => {
    const { entry } = await installLibTorch({ from: join(folder, 'torch'), variant: 'cpu', env })
    assert.equal((await locateLibTorch(env)).path, entry.path)
    truncateSync(join(entry.path, 'lib', 'libc10.so'), 10)
    await assert.rejects(locateLibTorch(env), /libc10\.so is damaged: expected \d+ bytes, found 10/)
  })

  it('puts the cache where each system keeps such files', () => {
    assert.equal(cacheFolder({ HOME: '/h' }, 'linux'), '/h/.cache/torchkeep')
    assert.equal(cacheFolder({ HOME: '/h', XDG_CACHE_HOME: '/x' }, 'linux'), '/x/torchkeep')
    assert.equal(cacheFolder({ HOME: '/h' }, 'darwin'), '/h/Library/Caches/torchkeep')
    assert.equal(cacheFolder({ HOME: '/h', TORCHKEEP_CACHE: '/c' }, 'darwin'), '/c')
  })
})
