import assert from 'node:assert/strict'
import { existsSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { addon } from '../../lib/native.js'
import { callTensor, floats, valuesOf, withFolder } from './fixtures.js'

describe('archives of C++ LibTorch', () => {
  it('keep named tensors, nested by their dots', () =>
    withFolder(async (folder) => {
      const path = join(folder, 'model.pt')
      const weight = callTensor('requires_grad_', [floats([1, 2, 3, 4], [2, 2])])
      const value = { 'block.0.weight': weight, 'block.0.running_mean': floats([5, 6]), scale: floats([7], []) }
      await addon().saveArchive({ path, value, buffers: ['block.0.running_mean'] })
      const loaded = await addon().loadArchive({ path })
      assert.deepEqual(Object.keys(loaded).sort(), Object.keys(value).sort())
      for (const [name, tensor] of Object.entries(loaded)) {
        const original = addon().tensorInfo({ tensor: value[name as keyof typeof value] })
        const info = addon().tensorInfo({ tensor })
        assert.deepEqual(
          [info.dtype, info.sizes, info.requiresGrad],
          [original.dtype, original.sizes, original.requiresGrad],
        )
        assert.deepEqual(valuesOf(tensor), valuesOf(value[name as keyof typeof value]))
      }
    }))

  it('keep one tensor and a list', () =>
    withFolder(async (folder) => {
      const [one, list] = [join(folder, 'one.pt'), join(folder, 'list.pt')]
      await addon().saveArchive({ path: one, value: floats([1]) })
      await addon().saveArchive({ path: list, value: [floats([1]), floats([2, 3])] })
      const values = async (path: string) =>
        Object.entries(await addon().loadArchive({ path })).map(([name, tensor]) => [name, valuesOf(tensor)])
      assert.deepEqual(await values(one), [['0', [1]]])
      assert.deepEqual(await values(list), [
        ['0', [1]],
        ['1', [2, 3]],
      ])
    }))

  it('refuse what is not one', () =>
    withFolder(async (folder) => {
      const path = join(folder, 'file')
      await assert.rejects(addon().loadArchive({ path }), {
        code: 'ERR_CHECKPOINT_MISSING',
        message: /cannot open the file/,
      })
      writeFileSync(path, 'not a zip')
      await assert.rejects(addon().loadArchive({ path }), {
        code: 'ERR_CHECKPOINT_CORRUPT',
        message: /file: not an archive/,
      })
      await assert.rejects(addon().saveArchive({ path, value: floats([1]) }), {
        code: 'ERR_CHECKPOINT_WRITE',
        message: /File exists/,
      })
      const buffers = ['nope']
      assert.throws(() => addon().saveArchive({ path: join(folder, 'x'), value: { a: floats([1]) }, buffers }), {
        code: 'ERR_INVALID_ARGUMENT',
        message: /found 'nope'/,
      })
      assert.equal(existsSync(join(folder, 'x')), false)
    }))
})
