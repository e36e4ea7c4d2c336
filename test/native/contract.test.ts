import assert from 'node:assert/strict'
import { createRequire } from 'node:module'
import { fileURLToPath } from 'node:url'
import { contractVersion, exportNames } from '../../lib/contract.js'
import { addon } from '../../lib/native.js'

describe('the native boundary', () => {
  const file = fileURLToPath(
    new URL(`../../../build/${process.env['TORCHKEEP_BUILD'] || 'Release'}/torchkeep.node`, import.meta.url),
  )
  const exported = createRequire(import.meta.url)(file) as Record<string, unknown>

  it('exports exactly the names of the contract', () => {
    assert.deepEqual(Object.getOwnPropertyNames(exported).sort(), [...exportNames].sort())
    assert.equal(exported['contractVersion'], contractVersion)
    for (const name of exportNames.filter((name) => name !== 'contractVersion')) {
      assert.equal(typeof exported[name], 'function', name)
    }
  })

  it('is offered whole by lib/native', () => {
    assert.deepEqual(Object.keys(addon()).sort(), [...exportNames].sort())
    assert.equal(addon(), addon())
  })

  it('names its LibTorch', () => {
    const versions = addon().versions()
    assert.match(versions.libtorchRuntime, /^\d+\.\d+\.\d+/)
    assert.equal(versions.libtorchBuild.split('+')[0], versions.libtorchRuntime)
    assert.equal(versions.napi, 8)
    assert.match(versions.config, /PyTorch built with/)
  })
})
