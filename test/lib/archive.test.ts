import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { loadArchive, nn, ones, saveArchive, tensor } from '../../lib/index.js'
import { digests } from './digest.js'

describe('archives', () => {
  let folder: string

  before(() => {
    folder = mkdtempSync(join(tmpdir(), 'torchkeep-archive-'))
  })

  after(() => rmSync(folder, { recursive: true }))

  it('give a module’s tensors, a list and a tensor back', async () => {
    const path = join(folder, 'module.pt')
    const model = new nn.Sequential(new nn.Linear(3, 2), new nn.BatchNorm2d(2))
    await saveArchive(path, model.stateDict(), { buffers: [...model.namedBuffers().keys()] })
    assert.deepEqual(digests(await loadArchive(path, { trust: true })), digests(model.stateDict()))
    const list = join(folder, 'list.pt')
    await saveArchive(list, [ones([2]), tensor([1n])])
    assert.deepEqual(
      [...(await loadArchive(list, { trust: true }))].map(([name, t]) => [name, t.tolist()]),
      [
        ['0', [1, 1]],
        ['1', [1]],
      ],
    )
    const single = join(folder, 'single.pt')
    await saveArchive(single, ones([]))
    assert.deepEqual(
      [...(await loadArchive(single, { trust: true }))].map(([name, t]) => [name, t.tolist()]),
      [['0', 1]],
    )
  })

  it('are read only when trusted', async () => {
    const path = join(folder, 'untrusted.pt')
    await saveArchive(path, ones([1]))
    for (const options of [{}, { trust: false }, { trust: 1 as unknown as boolean }]) {
      await assert.rejects(loadArchive(path, options), { code: 'ERR_CHECKPOINT_UNSAFE', message: /untrusted\.pt/ })
    }
  })
})
