/** Files far larger than the memory that their recovery takes. They are sparse: their zeros take no place on the disk. */
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { closeSync, ftruncateSync, mkdtempSync, openSync, rmSync, statSync, truncateSync, writeSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { fileURLToPath } from 'node:url'
import type { RecoveryAssessment, RecoveryResult } from '../../src/checkpoint/index.js'
import { planTorchFile, readTensorBytes, readTorchFile, StorageRecord, TensorRecord } from '../../src/format/index.js'
import { checkpoint, dict, float32 } from './judged.js'

const program = fileURLToPath(new URL('recovery-big.js', import.meta.url))
const mostMib = 150

describe('memory of recoveries', function () {
  this.timeout(300_000)
  let folder: string
  before(() => (folder = mkdtempSync(join(tmpdir(), 'torchkeep-big-'))))
  after(() => rmSync(folder, { recursive: true }))

  /** Writes a checkpoint with a tensor of zeros of so many bytes, but for a NaN and an infinity, before a small one. Its CRC-32s are not computed. */
  function write(name: string, sizeBytes: number): string {
    const source = new Uint8Array(0)
    const storage = new StorageRecord({ id: 'big', dtype: 'float32', sizeBytes, source })
    const big = new TensorRecord({ storage, dtype: 'float32', sizes: [sizeBytes / 4], strides: [1] })
    const state = dict({ 'big.weight': big, 'small.weight': float32([2], 1, 2) })
    const value = checkpoint({ model_state_dict: state, optimizer_state_dict: undefined })
    const path = join(folder, name)
    const file = openSync(path, 'w')
    let at = 0
    for (const part of planTorchFile<Uint8Array>(value, { topFolder: 'x' }).parts) {
      if (part.kind === 'bytes') at += writeSync(file, part.bytes, 0, part.bytes.length, at)
      else {
        if (part.tensor === source) {
          for (const [place, odd] of [
            [sizeBytes - 8, NaN],
            [sizeBytes / 2, Infinity],
          ] as const)
            writeSync(file, new Float32Array([odd]), 0, 4, at + place)
        } else writeSync(file, part.tensor, part.offsetBytes, part.sizeBytes, at)
        at += part.sizeBytes
      }
    }
    ftruncateSync(file, at)
    closeSync(file)
    return path
  }

  async function run<Result>(...paths: string[]): Promise<{ result: Result; maxMib: number }> {
    const { stdout } = await promisify(execFile)(process.execPath, [program, ...paths])
    return JSON.parse(stdout) as { result: Result; maxMib: number }
  }

  it('stays below 150 MiB when it assesses a cut file of more than 4 GiB', async () => {
    const path = write('huge.pth', 4.25 * 2 ** 30)
    truncateSync(path, statSync(path).size - 100)
    const { result, maxMib } = await run<RecoveryAssessment>(path)
    assert.deepEqual([result.potential, result.tensors.saved], ['high', 2])
    assert.ok(maxMib < mostMib, `${maxMib} MiB`)
    truncateSync(path, 4.125 * 2 ** 30)
    const shorter = await run<RecoveryAssessment>(path)
    assert.deepEqual([shorter.result.potential, shorter.result.tensors.saved], ['none', 0])
    assert.ok(shorter.maxMib < mostMib, `${shorter.maxMib} MiB`)
    rmSync(path)
  })

  it('stays below 150 MiB when it mends 384 MiB', async () => {
    const sizeBytes = 384 << 20
    const path = write('large.pth', sizeBytes)
    truncateSync(path, statSync(path).size - 100)
    const { result, maxMib } = await run<RecoveryResult>(path, join(folder, 'mended.pth'))
    assert.equal(result.success, true, result.remainingIssues.join())
    const count = sizeBytes / 4
    assert.ok(result.repaired.includes(`big.weight: 1 NaN and 1 infinite of ${count} values replaced with zeros`))
    assert.ok(maxMib < mostMib, `${maxMib} MiB`)
    const file = await readTorchFile(result.recoveredPath ?? '')
    const state = (file.value as Map<string, Map<string, TensorRecord>>).get('model_state_dict')
    const big = await readTensorBytes(file, state?.get('big.weight') ?? assert.fail())
    assert.ok(Buffer.from(big.buffer, big.byteOffset, big.length).equals(Buffer.alloc(sizeBytes)))
    const small = await readTensorBytes(file, state?.get('small.weight') ?? assert.fail())
    assert.deepEqual([...new Float32Array(small.buffer)], [1, 2])
  })
})
