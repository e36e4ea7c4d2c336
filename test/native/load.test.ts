import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { cpSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { addon } from '../../lib/native.js'
import { withFolder } from './fixtures.js'

const root = fileURLToPath(new URL('../../../', import.meta.url))
const built = join(root, 'build', process.env['TORCHKEEP_BUILD'] || 'Release', 'torchkeep.node')

/** Loads the addon from a copy of the package, changed by `change`, in a process of its own; tells the failure. */
async function loadFrom(change: (copy: string) => void, env: Record<string, string> = {}) {
  let failure: { name: string; code: string; message: string; suggestions: string[] } | undefined
  await withFolder(async (copy) => {
    for (const folder of ['dist/lib', 'dist/src/format'])
      cpSync(join(root, folder), join(copy, folder), { recursive: true })
    cpSync(join(root, 'package.json'), join(copy, 'package.json'))
    symlinkSync(join(root, 'node_modules'), join(copy, 'node_modules'))
    mkdirSync(join(copy, 'build', 'Release'), { recursive: true })
    change(copy)
    const program = `import(process.argv[1]).then(({ addon }) => addon()).then(() => console.log('null'), (error) =>
      console.log(JSON.stringify({ name: error.name, code: error.code, message: error.message, suggestions: error.suggestions })))`
    const options = {
      encoding: 'utf8',
      env: { ...process.env, TORCHKEEP_BUILD: 'Release', LIBTORCH: '', ...env },
    } as const
    failure = JSON.parse(
      execFileSync(process.execPath, ['-e', program, join(copy, 'dist/lib/native.js')], options),
    ) as typeof failure
  })
  return failure
}

const addonOf = (copy: string) => join(copy, 'build', 'Release', 'torchkeep.node')
const place = (copy: string) => cpSync(built, addonOf(copy))

describe('loading the addon', () => {
  it('works from any folder', async () => {
    assert.equal(await loadFrom(place), null)
  })

  it('names every path that was tried where it is not built', async () => {
    const failure = await loadFrom(() => undefined)
    assert.equal(failure?.code, 'ERR_LIBTORCH_MISSING')
    assert.match(failure.message, /^the native addon is not built; tried \S+\/build\/Release\/torchkeep\.node$/)
    assert.deepEqual(failure.suggestions, ['npx torchkeep setup'])
    const both = await loadFrom(() => undefined, { TORCHKEEP_BUILD: '' })
    assert.match(both?.message ?? '', /tried \S+\/build\/Release\/torchkeep\.node, \S+\/build\/Debug\/torchkeep\.node$/)
  })

  it('names the library that is gone when LibTorch was moved', async () => {
    const failure = await loadFrom((copy) => {
      // The folder of LibTorch as the addon remembers it, changed to another of the same length.
      const libraries = `${addon().versions().libtorchPath}/lib`
      const text = readFileSync(built).toString('latin1').replaceAll(libraries, libraries.replaceAll(/[^/]/g, 'x'))
      writeFileSync(addonOf(copy), Buffer.from(text, 'latin1'))
    })
    assert.equal(failure?.code, 'ERR_LIBTORCH_MISSING')
    assert.match(
      failure.message,
      /torchkeep\.node does not load .*lib(torch_cpu|c10)\.so: cannot open shared object file/,
    )
    assert.deepEqual(failure.suggestions, ['npx torchkeep setup'])
  })

  it('refuses an addon of another release', async () => {
    const failure = await loadFrom((copy) => {
      place(copy)
      const file = join(copy, 'dist/lib/contract.js')
      writeFileSync(file, readFileSync(file, 'utf8').replace(/contractVersion = \d+/, 'contractVersion = 999'))
    })
    assert.equal(failure?.code, 'ERR_ADDON_MISMATCH')
    assert.match(failure.message, /another release of Torchkeep: expected contract 999, found \d+/)
    assert.deepEqual(failure.suggestions, ['npx torchkeep setup'])
  })

  it('refuses to use another LibTorch than the one that LIBTORCH names', () =>
    withFolder(async (other) => {
      const { libtorchBuild, libtorchPath } = addon().versions()
      mkdirSync(join(other, 'lib'))
      writeFileSync(join(other, 'version.py'), "__version__ = '9.9.0+cpu'\n")
      const failure = await loadFrom(place, { LIBTORCH: other })
      assert.equal(failure?.code, 'ERR_ADDON_MISMATCH')
      assert.equal(
        failure.message,
        `LIBTORCH names LibTorch 9.9.0+cpu in ${other}, but the native addon was built for LibTorch ${libtorchBuild} in ${libtorchPath}`,
      )
      assert.deepEqual(failure.suggestions, ['npx torchkeep setup'])
      assert.equal(await loadFrom(place, { LIBTORCH: libtorchPath }), null)
    }))

  it('does not pass over a LIBTORCH that names no LibTorch', () =>
    withFolder(async (empty) => {
      for (const wrong of [empty, join(empty, 'nowhere')]) {
        const failure = await loadFrom(place, { LIBTORCH: wrong })
        assert.equal(failure?.code, 'ERR_LIBTORCH_MISSING')
        assert.ok(failure.message.startsWith(`LIBTORCH names ${wrong}, expected a folder with`), failure.message)
      }
    }))

  it('translates a failure once, with the native error as its cause', () => {
    assert.throws(
      () => addon().memoryStats({ device: 'nowhere' }),
      (error: Error) =>
        error.name === 'TorchkeepError' && error.cause instanceof Error && error.cause.message === error.message,
    )
  })

  it('keeps the frames of who awaited a failing promise', async () => {
    async function whoAwaits(): Promise<void> {
      await addon().loadArchive({ path: '/nowhere/at/all' })
    }
    await assert.rejects(whoAwaits(), (error: Error) => error.stack?.includes('whoAwaits') === true)
  })
})
