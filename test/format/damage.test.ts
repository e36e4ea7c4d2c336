/** Damage: every cut and every flipped bit of a sound file is detected, or proven harmless by equal values. */
import assert from 'node:assert/strict'
import { open, truncate } from 'node:fs/promises'
import { readTensorBytes, readTorchFile, TensorRecord, verifyStorages } from '../../src/format/index.js'
import { soundFile, withFile } from './fixtures.js'

const corrupt = 'ERR_CHECKPOINT_CORRUPT'
const sound = soundFile()

describe('format: damaged files', () => {
  it('refuses a changed byte in a storage when its bytes are read', async () => {
    const file = Buffer.from(sound)
    const at = file.indexOf(Buffer.from(new Float32Array([1, 2, 3, 4]).buffer))
    file.writeUInt8(file.readUInt8(at) ^ 1, at)
    await withFile(file, async (path) => {
      const read = await readTorchFile(path)
      await assert.rejects(verifyStorages(read), {
        code: corrupt,
        message: /record data\/0: CRC-32 is 0x[0-9a-f]{8}, expected/,
      })
    })
  })

  it('refuses a sound file cut at any length', () =>
    withFile(sound, async (path) => {
      for (let length = sound.length - 1; length >= 0; length--) {
        await truncate(path, length)
        await assert.rejects(readTorchFile(path), { name: 'TorchkeepError', code: corrupt }, `${length} bytes`)
      }
    }))

  it('detects every flipped bit or gives the same value', () =>
    withFile(sound, async (path) => {
      const described = await contents(path)
      const file = await open(path, 'r+')
      for (let at = 0; at < sound.length; at++) {
        await file.write(Buffer.of((sound[at] ?? 0) ^ (1 << (at % 8))), 0, 1, at)
        const found = await contents(path).catch((error: { name: string }) => error.name)
        if (found !== 'TorchkeepError') assert.deepEqual(found, described, `byte ${at}`)
        await file.write(sound, at, 1, at)
      }
      await file.close()
    }))
})

/** The value and the bytes of its storages. */
async function contents(path: string): Promise<unknown> {
  const file = await readTorchFile(path)
  await verifyStorages(file)
  const values = file.value as Map<string, unknown>
  const described: unknown[] = []
  for (const [key, value] of values) {
    described.push([
      key,
      value instanceof TensorRecord
        ? [value.dtype, value.sizes, await readTensorBytes(file, value as TensorRecord)]
        : value,
    ])
  }
  return described
}
