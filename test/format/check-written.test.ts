/** `checkWritten`: any byte that is not as it was written is found, as far as one looks. */
import assert from 'node:assert/strict'
import { open, rm, truncate, appendFile } from 'node:fs/promises'
import { join } from 'node:path'
import { checkWritten, planTorchFile, tensorFromBytes, writePlan, type Verify } from '../../src/format/index.js'
import { withFolder } from './fixtures.js'

const tensor = (sizeBytes: number) =>
  tensorFromBytes({ dtype: 'uint8', sizes: [sizeBytes], bytes: new Uint8Array(sizeBytes).fill(sizeBytes % 251) })
const plan = planTorchFile<Uint8Array>(
  { small: tensor(40), big: tensor(70_000), huge: tensor((1 << 20) + 5), none: tensor(0), last: tensor(3) },
  { topFolder: 'x' },
)
const refusal = { code: 'ERR_CHECKPOINT_WRITE', message: /x\.pth is not as it was written: / }

describe('check of a written file', () => {
  it('passes what was written, and finds a changed byte of its structure, or anywhere where it reads all', () =>
    withFolder(async (folder) => {
      const path = join(folder, 'x.pth')
      const { crc32 } = await writePlan(path, plan)
      const check = (verify: Verify): Promise<void> => checkWritten(path, plan, crc32, verify)
      for (const verify of ['none', 'structure', 'full'] as const) await check(verify)
      const inStorage = (at: number): boolean =>
        plan.storages.some(({ offsetBytes, sizeBytes }) => at >= offsetBytes && at < offsetBytes + sizeBytes)
      const file = await open(path, 'r+')
      const places = new Set(
        plan.storages.flatMap(({ offsetBytes: at, sizeBytes }) => [at - 1, at, at + sizeBytes - 1, at + sizeBytes]),
      )
      for (let at = 0; at < plan.sizeBytes; at += inStorage(at) ? 9973 : 7) places.add(at)
      const passed = new Set<number>()
      for (const at of places) {
        const { buffer } = await file.read(Buffer.alloc(1), 0, 1, at)
        const before = buffer[0] as number
        await file.write(Buffer.of(before ^ 1), 0, 1, at)
        await assert.rejects(check('full'), refusal, `byte ${at}`)
        await check('none')
        await check('structure').then(
          () => passed.add(at),
          (error: unknown) => assert.match(String(error), refusal.message),
        )
        await file.write(Buffer.of(before), 0, 1, at)
      }
      await file.close()
      await check('full')
      assert.ok(places.size > 200 && passed.size > 50, `${places.size} ${passed.size}`)
      for (const at of passed) assert.ok(inStorage(at), `byte ${at}`)
    }))

  it('finds a file that is longer, shorter or gone', () =>
    withFolder(async (folder) => {
      const path = join(folder, 'x.pth')
      const { crc32 } = await writePlan(path, plan)
      await appendFile(path, 'x')
      for (const verify of ['structure', 'full'] as const)
        await assert.rejects(checkWritten(path, plan, crc32, verify), refusal)
      await truncate(path, plan.sizeBytes - 1)
      for (const verify of ['structure', 'full'] as const)
        await assert.rejects(checkWritten(path, plan, crc32, verify), refusal)
      await rm(path)
      await assert.rejects(checkWritten(path, plan, crc32, 'structure'), { code: 'ENOENT' })
    }))
})
