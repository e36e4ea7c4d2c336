import assert from 'node:assert/strict'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { compareCheckpoints } from '../../src/checkpoint/index.js'
import { OrderedDict, planTorchFile, tensorFromBytes } from '../../src/format/index.js'
import { render, withFolder } from '../format/fixtures.js'
import { float32 } from './judged.js'

describe('figures of layers', () => {
  it('count a complex number once, in tensors that are equal too', () =>
    withFolder(async (folder) => {
      const write = async (name: string, value: number) => {
        const complex = tensorFromBytes({ dtype: 'complex64', sizes: [2], bytes: new Uint8Array(16) })
        const model = new OrderedDict<string, unknown>([
          ['layer.complex', complex],
          ['layer.real', float32([1], value)],
        ])
        await writeFile(join(folder, name), render(planTorchFile<Uint8Array>(model, { topFolder: 'x' }).parts))
        return join(folder, name)
      }
      const { model } = await compareCheckpoints(await write('a.pth', 1), await write('b.pth', 4))
      assert.equal(model.layers[0]?.figures?.meanAbs, 1)
    }))
})
