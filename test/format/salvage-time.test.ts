/** Broken files that are built to be slow, or that are merely large: reading what is left of them takes time in proportion to their length. */
import assert from 'node:assert/strict'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { planTorchFile, tensorFromBytes } from '../../src/format/index.js'
import { salvageFile, type Salvage } from '../../src/format/salvage.js'
import { render, withFolder } from './fixtures.js'

const salvaged = (bytes: Uint8Array): Promise<Salvage> =>
  withFolder(async (folder) => {
    const path = join(folder, 'x')
    await writeFile(path, bytes)
    return salvageFile(path)
  })

/** A safetensors file with a header as it is, broken or not. */
function withHeader(header: string, data: Uint8Array): Buffer {
  const bytes = Buffer.from(header)
  const length = Buffer.alloc(8)
  length.writeBigUInt64LE(BigInt(bytes.length))
  return Buffer.concat([length, bytes, data])
}

describe('time and salvage', function () {
  this.timeout(60_000)

  it('takes no minutes for texts of nothing but escaped quotes', async () => {
    const before = performance.now()
    const { file } = await salvaged(withHeader(`{"data_offsets"${'\\"'.repeat(400_000)}`, Buffer.alloc(0)))
    assert.equal(file.value, undefined)
    assert.ok(performance.now() - before < 5000)
  })

  it('still knows the names in a safetensors header whatever characters they have', async () => {
    const entry = (name: string, begin: number) =>
      `${JSON.stringify(name)}: {"dtype":"I8","shape":[2],"data_offsets":[${begin},${begin + 2}]}`
    const names = ['a"b', 'c\\', '\\"', 'é', '']
    const header = `{${names.map((name, index) => entry(name, 2 * index)).join(' , ')}}`
    const { file, incomplete } = await salvaged(withHeader(header, Buffer.alloc(9)))
    assert.deepEqual([...(file.value as Map<string, unknown>).keys()], names)
    assert.deepEqual([...incomplete.values()], [1])
  })

  it('reads many records without looking at each of them for each', async () => {
    const tensor = () => tensorFromBytes({ dtype: 'float32', sizes: [2], bytes: new Uint8Array(8) })
    const value = new Map(Array.from({ length: 12_000 }, (_none, index) => [`p${index}`, tensor()]))
    const bytes = render(planTorchFile<Uint8Array>(value, { topFolder: 'x' }).parts)
    const before = performance.now()
    const { pickle, incomplete } = await salvaged(bytes.subarray(0, -10))
    assert.deepEqual([pickle, incomplete.size], ['whole', 0])
    assert.ok(performance.now() - before < 8000)
  })
})
