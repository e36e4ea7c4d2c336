import assert from 'node:assert/strict'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { TensorRecord } from '../../src/format/index.js'
import { salvageFile, type Salvage } from '../../src/format/salvage.js'
import { coveredBytes } from '../../src/format/tensor-record.js'
import { withFolder } from './fixtures.js'

const tensors = { 'a.weight': [2, 3], 'b "quoted"': [4], 'c.\u00e9': [], d: [5, 2] }

/** A safetensors file as its writers make it: the header padded to a multiple of 8. */
function safetensors(): { bytes: Buffer; header: string; dataBegin: number } {
  const entries: Record<string, unknown> = { __metadata__: { format: 'pt' } }
  let end = 0
  for (const [name, shape] of Object.entries(tensors)) {
    const begin = end
    end += 4 * shape.reduce((product, size) => product * size, 1)
    entries[name] = { dtype: 'F32', shape, data_offsets: [begin, end] }
  }
  const plain = JSON.stringify(entries)
  const header = plain.padEnd(Math.ceil(Buffer.byteLength(plain) / 8) * 8 - (Buffer.byteLength(plain) - plain.length))
  const length = Buffer.alloc(8)
  length.writeBigUInt64LE(BigInt(Buffer.byteLength(header)))
  const data = Buffer.from(new Float32Array(end / 4).map((_zero, index) => index + 1).buffer)
  return { bytes: Buffer.concat([length, Buffer.from(header), data]), header, dataBegin: 8 + Buffer.byteLength(header) }
}

/** First value of each tensor that is all there, by name. */
function firstValues({ file, incomplete }: Salvage, bytes: Buffer): Record<string, number> {
  const found: Record<string, number> = {}
  for (const [name, tensor] of (file.value ?? new Map()) as Map<string, unknown>) {
    if (!(tensor instanceof TensorRecord)) continue
    if (coveredBytes(tensor)[1] > (incomplete.get(tensor.storage.id) ?? Infinity)) continue
    found[name] = bytes.readFloatLE(tensor.storage.source.offsetBytes)
  }
  return found
}

describe('salvage of safetensors', () => {
  const { bytes, header, dataBegin } = safetensors()
  const all = { 'a.weight': 1, 'b "quoted"': 7, 'c.\u00e9': 11, d: 12 }
  const salvaged = async (folder: string, changed: Buffer): Promise<Salvage> => {
    await writeFile(join(folder, 'x.safetensors'), changed)
    return salvageFile(join(folder, 'x.safetensors'))
  }

  it('gives back the tensors whose bytes are there', () =>
    withFolder(async (folder) => {
      assert.deepEqual(firstValues(await salvaged(folder, bytes), bytes), all)
      for (let cut = dataBegin; cut < bytes.length; cut++) {
        const result = await salvaged(folder, bytes.subarray(0, cut))
        const there = (cut - dataBegin) / 4
        const expected = Object.entries(all).filter(([, first], index) => {
          const last = Object.values(all)[index + 1] ?? 22
          return first < last && last - 1 <= there
        })
        assert.deepEqual(firstValues(result, bytes), Object.fromEntries(expected), `cut to ${cut}`)
        assert.equal(result.isSound, false)
      }
    }))

  it('reads on where the length of the header is broken', () =>
    withFolder(async (folder) => {
      for (const [at, change] of [
        [3, 1],
        [3, 0xff],
        [0, 8],
        [0, 16],
        [0, 0x80],
        [1, 1],
      ] as const) {
        const copy = Buffer.from(bytes)
        copy[at] = (copy[at] as number) ^ change
        assert.deepEqual(firstValues(await salvaged(folder, copy), copy), all)
      }
    }))

  it('loses no more than the entry that is broken, and keeps its bytes', () =>
    withFolder(async (folder) => {
      const copy = Buffer.from(bytes)
      const at = 8 + Buffer.from(header).indexOf('"shape":[4]')
      copy.write('X', at + 1)
      const result = await salvaged(folder, copy)
      const { ['b "quoted"']: _lost, ...others } = all
      assert.deepEqual(firstValues(result, copy), others)
      assert.deepEqual(
        result.unclaimed.map(({ source }) => [source.offsetBytes - dataBegin, source.sizeBytes]),
        [[24, 16]],
      )
      assert.equal(result.pickle, 'partial')
    }))

  it('never gives a tensor other bytes than its own, whatever byte of the header is flipped', () =>
    withFolder(async (folder) => {
      for (let at = 0; at < dataBegin; at++) {
        const copy = Buffer.from(bytes)
        copy[at] = (copy[at] as number) ^ 0x80
        for (const [name, value] of Object.entries(firstValues(await salvaged(folder, copy), copy))) {
          const known = (all as Record<string, number>)[name]
          if (known !== undefined) assert.equal(value, known, `${name}, byte ${at}`)
        }
      }
    }))
})
