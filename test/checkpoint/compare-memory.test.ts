/** Files far larger than the memory that comparing and tagging them takes. They are sparse: their zeros take no place on the disk. */
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { mkdtempSync, openSync, closeSync, ftruncateSync, rmSync, writeSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { fileURLToPath } from 'node:url'
import type { ModelComparison } from '../../src/checkpoint/index.js'

const program = fileURLToPath(new URL('compare-big.js', import.meta.url))
const mostMib = 150

describe('memory of comparisons', function () {
  this.timeout(300_000)
  let folder: string
  before(() => (folder = mkdtempSync(join(tmpdir(), 'torchkeep-big-'))))
  after(() => rmSync(folder, { recursive: true }))

  /** Writes a safetensors file of one float32 tensor of zeros but for `values`, by their places. */
  function write(name: string, shape: readonly number[], values: Readonly<Record<number, number>> = {}): string {
    const sizeBytes = 4 * shape.reduce((product, size) => product * size, 1)
    const text = JSON.stringify({ weight: { dtype: 'F32', shape, data_offsets: [0, sizeBytes] } })
    const header = Buffer.alloc(8 + Math.ceil(text.length / 8) * 8, ' ')
    header.writeBigUInt64LE(BigInt(header.length - 8))
    header.write(text, 8)
    const path = join(folder, name)
    const file = openSync(path, 'w')
    writeSync(file, header)
    ftruncateSync(file, header.length + sizeBytes)
    for (const [place, value] of Object.entries(values))
      writeSync(file, new Float32Array([value]), 0, 4, header.length + 4 * Number(place))
    closeSync(file)
    return path
  }

  async function run(...paths: string[]): Promise<{ model: ModelComparison; maxMib: number }> {
    const { stdout } = await promisify(execFile)(process.execPath, [program, ...paths])
    return JSON.parse(stdout) as { model: ModelComparison; maxMib: number }
  }

  it('stays below 150 MiB for 512 MiB on each side, equal or not', async () => {
    const elements = 1 << 27
    const a = write('a.safetensors', [elements])
    const b = write('b.safetensors', [elements], { [elements - 1]: 3, [elements >> 1]: -4 })
    const equal = await run(a, write('same.safetensors', [elements]))
    assert.equal(equal.model.numIdenticalTensors, 1)
    assert.ok(equal.maxMib < mostMib, `${equal.maxMib} MiB`)
    const { model, maxMib } = await run(a, b)
    const { differing, maxAbs, meanAbs, relativeNorm } = model.tensors[0]?.figures ?? assert.fail()
    assert.deepEqual([differing, maxAbs, meanAbs, relativeNorm], [2, 4, 7 / elements, null]) // JSON has no Infinity
    assert.ok(maxMib < mostMib, `${maxMib} MiB`)
  })

  it('stays below 150 MiB when it writes a title into 256 MiB', async () => {
    const { maxMib } = await run(write('tagged.safetensors', [1 << 26], { 5: 1 }))
    assert.ok(maxMib < mostMib, `${maxMib} MiB`)
  })
})
