import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, truncateSync, unlinkSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { listCheckpoints, summarizeCheckpoints } from '../../src/checkpoint/index.js'
import { resolvePath } from '../../src/command-line/resolve-path.js'
import { began, checkpointValue, writeValue } from '../commands/checkpoints.js'

describe('listCheckpoints', () => {
  let folder: string
  beforeEach(() => (folder = mkdtempSync(join(tmpdir(), 'torchkeep-listing-'))))
  afterEach(() => rmSync(folder, { recursive: true }))

  const write = (name: string, epoch: number, valLoss: number): Promise<string> =>
    writeValue(join(folder, name), checkpointValue({ epoch, phase: 1, valLoss, timestamp: began + epoch }))

  it('leaves out what is removed while it looks, as a rotation does', async () => {
    const paths = await Promise.all(
      Array.from({ length: 30 }, (_, index) => write(`regular/checkpoint_epoch_${100 + index}.pth`, index, 1)),
    )
    const last = paths.at(-1) as string
    const listed = await listCheckpoints(folder, { onProgress: (done) => done === 1 && unlinkSync(last) })
    assert.equal(listed.length, 29)
  })

  it('says how well damaged checkpoints can be recovered, and counts each in one category', async () => {
    await write('checkpoint_epoch_1.pth', 1, 1)
    for (const [name, keep] of [
      ['checkpoint_epoch_2.pth', 0.9],
      ['checkpoint_epoch_3.pth', 0],
    ] as const) {
      const path = await write(name, 2, 1)
      truncateSync(path, Math.floor(3000 * keep))
    }
    const listed = await listCheckpoints(folder)
    assert.deepEqual(
      listed.map(({ structure }) => structure),
      ['ok', 'bad', 'bad'],
    )
    assert.equal(listed[0]?.recovery, null)
    assert.notEqual(listed[1]?.recovery, 'none')
    assert.equal(listed[2]?.recovery, listed[2]?.role === 'checkpoint' ? 'none' : null)
    const summary = summarizeCheckpoints(listed)
    const { validCheckpoints, recoverableCheckpoints, invalidCheckpoints, unreadableCheckpoints, totalCheckpoints } =
      summary
    assert.deepEqual([validCheckpoints, recoverableCheckpoints], [1, 1])
    assert.equal(
      validCheckpoints + recoverableCheckpoints + invalidCheckpoints + unreadableCheckpoints,
      totalCheckpoints,
    )
  })

  it('marks no best where no loss is finite', async () => {
    await write('checkpoint_epoch_1.pth', 1, NaN)
    await write('checkpoint_epoch_2.pth', 2, Infinity)
    const listed = await listCheckpoints(folder)
    assert.deepEqual(
      listed.map(({ best }) => best),
      [false, false],
    )
    assert.equal(summarizeCheckpoints(listed).bestCheckpoint, null)
  })

  it('latest and best are found in a folder that has no latest.pth and no latest_best.pth', async () => {
    const middle = await write('regular/checkpoint_epoch_2.pth', 2, 0.1)
    const newest = await write('regular/checkpoint_epoch_3.pth', 3, 0.2)
    await write('regular/checkpoint_epoch_1.pth', 1, 0.3)
    const cut = await write('regular/checkpoint_epoch_9.pth', 9, 0.01)
    truncateSync(cut, 100)
    assert.deepEqual([await resolvePath('latest', folder), await resolvePath('best', folder)], [newest, middle])
    const missing = { code: 'ERR_CHECKPOINT_MISSING' }
    await assert.rejects(resolvePath('latest', join(folder, 'none')), missing)
    await assert.rejects(resolvePath(join(newest, 'inside'), folder), missing)
    const named = await write('latest.pth', 7, 5)
    assert.equal(await resolvePath('latest', folder), named)
  })
})
