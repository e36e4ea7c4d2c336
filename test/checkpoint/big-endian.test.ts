/** Checkpoints of big-endian machines: judged, mended and filled from donors by their values, not by their bytes turned around. */
import assert from 'node:assert/strict'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { CheckpointRecovery } from '../../src/checkpoint/index.js'
import { swapBytes } from '../../src/format/byte-order.js'
import { StorageRecord, TensorRecord } from '../../src/format/index.js'
import { replaceTensors } from '../../src/format/walk.js'
import { withFolder } from '../format/fixtures.js'
import { checkpoint, fileOf, float32, judge, stateDict } from './judged.js'
import { floats, recovered } from './recovery-fixture.js'

/** The file of a checkpoint as a big-endian machine writes it. */
function bigEndianFile(value: Map<string, unknown>): Buffer {
  replaceTensors(value, (record) => {
    const tensor = record as unknown as TensorRecord<Uint8Array>
    const { storage, dtype } = tensor
    const source = swapBytes(new Uint8Array(storage.source), dtype === 'int64' ? 8 : 4)
    return new TensorRecord({ ...tensor, storage: new StorageRecord({ ...storage, source, byteOrder: 'big' }) })
  })
  return fileOf(value)
}

/** A float32 whose bytes are a NaN when they are turned around. */
const nanTurned = new Float32Array(new Uint32Array([0x3f80c07f]).buffer)[0] as number

const withWeight = (...values: number[]) =>
  checkpoint({ model_state_dict: stateDict({ 'first.weight': float32([3, 2], ...values) }) })

const weight = ['model_state_dict', 'first.weight']

describe('big-endian checkpoints', () => {
  it('are valid where their values are finite, whatever the bytes would be turned around', async () => {
    assert.deepEqual((await judge(bigEndianFile(withWeight(nanTurned)))).errors, [])
  })

  it('are invalid with NaN and infinite values', async () => {
    const { errors } = await judge(bigEndianFile(withWeight(1, NaN, -Infinity)))
    assert.deepEqual(
      errors.map(({ id, subject }) => [id, subject]),
      [['tensor.nonfinite', 'first.weight']],
    )
    assert.match(errors[0]?.message ?? '', /2 NaN and 2 infinite of 6 values, first at \[0, 1\]/)
  })

  it('get zeros in place of what is not finite, and keep the rest', () =>
    withFolder(async (folder) => {
      const { file } = await recovered(folder, bigEndianFile(withWeight(nanTurned, NaN)))
      assert.deepEqual(await floats(file, ...weight), [nanTurned, 0, nanTurned, 0, nanTurned, 0])
    }))

  for (const [name, write] of [
    ['big-endian', bigEndianFile],
    ['little-endian', fileOf],
  ] as const)
    it(`get the values of a ${name} donor`, () =>
      withFolder(async (folder) => {
        const like = join(folder, 'donor.pth')
        await writeFile(like, write(withWeight(7, 8, 9)))
        const damaged = bigEndianFile(withWeight(1, 2, 3))
        const place = damaged.indexOf(swapBytes(new Uint8Array(new Float32Array([1, 2, 3]).buffer), 4))
        damaged[place + 1] = (damaged[place + 1] as number) ^ 1
        const { file } = await recovered(folder, damaged, { damaged: 'donor', like })
        assert.deepEqual(await floats(file, ...weight), [7, 8, 9, 7, 8, 9])
      }))

  it('are recovered where they end inside an element', () =>
    withFolder(async (folder) => {
      const path = join(folder, 'x.pth')
      const bytes = bigEndianFile(withWeight(1, 2, 3))
      const place = bytes.indexOf(swapBytes(new Uint8Array(new Float32Array([1, -1]).buffer), 4))
      await writeFile(path, bytes.subarray(0, place + 6))
      const { success, tensors } = await new CheckpointRecovery(folder).attemptRecovery(path)
      assert.equal(success, true)
      assert.ok(tensors.saved < tensors.total)
    }))
})
