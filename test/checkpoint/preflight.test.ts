/** What a folder is tried for before a run. */
import assert from 'node:assert/strict'
import { chmodSync, mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { probeFolder, requireSpace } from '../../src/checkpoint/preflight.js'
import { type FileOperations, nodeFiles } from '../../src/checkpoint/store.js'

const failing = (code: string) => (): Promise<never> => Promise.reject(Object.assign(new Error(code), { code }))

describe('probe of a folder', () => {
  let folder: string
  beforeEach(() => (folder = mkdtempSync(join(tmpdir(), 'torchkeep-preflight-'))))
  afterEach(() => {
    chmodSync(folder, 0o700)
    rmSync(folder, { recursive: true })
  })

  it('tells of links and free space, and leaves nothing', async () => {
    const { hasLinks, freeBytes } = await probeFolder(folder)
    assert.ok(hasLinks && freeBytes !== null && freeBytes > 0)
    const without = await probeFolder(folder, { ...nodeFiles, link: failing('ENOTSUP') })
    assert.equal(without.hasLinks, false)
    assert.deepEqual(readdirSync(folder), [])
  })

  it('refuses a folder that refuses a step of a save, naming it, and leaves nothing', async () => {
    for (const step of ['syncFile', 'link', 'rename', 'syncFolder'] as const) {
      const files: FileOperations = { ...nodeFiles, [step]: failing('EIO') }
      await assert.rejects(probeFolder(folder, files), (error: Error & { code: string }) => {
        assert.equal(error.code, 'ERR_CHECKPOINT_WRITE', step)
        assert.ok(error.message.includes(folder) && error.message.includes('EIO'), error.message)
        return true
      })
      assert.deepEqual(readdirSync(folder), [], step)
    }
    await assert.rejects(probeFolder(folder, { ...nodeFiles, syncFile: failing('ENOSPC') }), { code: 'ERR_DISK_FULL' })
    await assert.rejects(probeFolder(join(folder, 'none')), { code: 'ERR_CHECKPOINT_WRITE', message: /ENOENT/ })
  })

  it('asks for room for all that must fit', () => {
    const facts = { hasLinks: true, freeBytes: 1000 }
    requireSpace(folder, facts, 250, 4)
    requireSpace(folder, { ...facts, freeBytes: null }, 1e15, 4)
    assert.throws(() => requireSpace(folder, facts, 251, 4), {
      code: 'ERR_DISK_FULL',
      message: /1000 bytes.* 4 .*251 bytes need 1004/,
    })
  })
})
