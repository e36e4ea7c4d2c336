import assert from 'node:assert/strict'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { CheckpointRecovery, recoveryRecordOf } from '../../src/checkpoint/index.js'
import { OrderedDict, readTensorBytes, TensorRecord, tensorFromBytes } from '../../src/format/index.js'
import { withFolder } from '../format/fixtures.js'
import { adam, checkpoint, fileOf, float32, stateDict } from './judged.js'
import { at, flipped, floats, recovered } from './recovery-fixture.js'

describe('recovery of values', function () {
  this.timeout(60_000)

  describe('values that are not finite', () => {
    const odd = () =>
      fileOf(
        checkpoint({
          model_state_dict: stateDict({
            'first.weight': float32([3, 2], 1, NaN, 3, Infinity, -Infinity, 5),
            'norm.running_mean': float32([3], NaN, 2, 3),
            'norm.running_var': float32([3], Infinity, 1, 1),
            mask: float32([2, 2], 0, -Infinity, 0, 0),
          }),
          optimizer_state_dict: adam({ 1: { exp_avg: float32([3], NaN, 1, 2) } }),
          rng: float32([2], NaN, 1),
        }),
      )

    it('become zeros in parameters and moments, NaN in buffers, and nothing else', () =>
      withFolder(async (folder) => {
        const { result, file, value } = await recovered(folder, odd())
        assert.deepEqual(await floats(file, 'model_state_dict', 'first.weight'), [1, 0, 3, 0, 0, 5])
        assert.deepEqual((await floats(file, 'model_state_dict', 'norm.running_mean')).slice(0, 2), [0, 2])
        assert.deepEqual(await floats(file, 'model_state_dict', 'norm.running_var'), [Infinity, 1, 1])
        assert.deepEqual(await floats(file, 'model_state_dict', 'mask'), [0, -Infinity, 0, 0])
        assert.deepEqual(await floats(file, 'optimizer_state_dict', 'state', 1, 'exp_avg'), [0, 1, 2])
        assert.deepEqual(await floats(file, 'rng'), [NaN, 1])
        assert.equal(result.success, true)
        assert.ok(result.issuesFixed.includes('Fixed NaN values in first.weight'))
        assert.ok(result.issuesFixed.includes('Fixed infinite values in first.weight'))
        assert.ok(result.remainingIssues.includes('Parameter first.weight had NaN values replaced with zeros'))
        assert.ok(result.repaired.includes('first.weight: 1 NaN and 2 infinite of 6 values replaced with zeros'))
        assert.ok(result.repaired.includes('state[1].exp_avg: 1 NaN of 3 values replaced with zeros'))
        const record = recoveryRecordOf(value)
        assert.deepEqual(record?.repaired, result.repaired)
      }))

    it('become the mean of the tensor', () =>
      withFolder(async (folder) => {
        const { file } = await recovered(folder, odd(), { nonfinite: 'mean' })
        assert.deepEqual(await floats(file, 'model_state_dict', 'first.weight'), [1, 3, 3, 3, 3, 5])
        assert.deepEqual(await floats(file, 'optimizer_state_dict', 'state', 1, 'exp_avg'), [1.5, 1, 2])
      }))

    it("become the donor's values, zeros where it has none that is finite", () =>
      withFolder(async (folder) => {
        const like = join(folder, 'donor.pth')
        const model = stateDict({ 'first.weight': float32([3, 2], 10, 20, 30, NaN, 50, 60) })
        await writeFile(like, fileOf(checkpoint({ model_state_dict: model })))
        const { file, result } = await recovered(folder, odd(), { nonfinite: 'donor', like })
        assert.deepEqual(await floats(file, 'model_state_dict', 'first.weight'), [1, 20, 3, 0, 50, 5])
        assert.equal((await floats(file, 'model_state_dict', 'norm.running_mean'))[0], Math.fround(0.1))
        assert.ok(result.repaired.some((text) => text.endsWith("replaced with the donor's values")))
      }))

    it('are mended once in a storage that several tensors share, and stay shared', () =>
      withFolder(async (folder) => {
        const shared = float32([4, 2], 1, NaN, 3, 4, 5, 6, NaN, 8)
        const view = (sizes: number[], strides: number[], storageOffset: number) =>
          new TensorRecord({ ...shared, sizes, strides, storageOffset })
        const model = stateDict({
          'first.weight': shared,
          'tied.weight': view([4, 2], [2, 1], 0),
          'rows.weight': view([2, 2], [2, 1], 4),
          'transposed.weight': view([2, 4], [1, 2], 0),
        })
        const { file, result } = await recovered(
          folder,
          fileOf(checkpoint({ model_state_dict: model, optimizer_state_dict: undefined })),
        )
        const tensor = (name: string) => at(file.value, 'model_state_dict', name) as TensorRecord
        const names = ['first.weight', 'tied.weight', 'rows.weight', 'transposed.weight']
        assert.equal(new Set(names.map((name) => tensor(name).storage.id)).size, 1)
        assert.deepEqual(await floats(file, 'model_state_dict', 'first.weight'), [1, 0, 3, 4, 5, 6, 0, 8])
        assert.deepEqual(await floats(file, 'model_state_dict', 'rows.weight'), [5, 6, 0, 8])
        assert.deepEqual(await floats(file, 'model_state_dict', 'transposed.weight'), [1, 3, 5, 0, 0, 4, 6, 8])
        assert.equal(result.success, true)
      }))

    it('are mended in every dtype, and only where the tensor is', () =>
      withFolder(async (folder) => {
        const half = tensorFromBytes({
          dtype: 'bfloat16',
          sizes: [3],
          bytes: new Uint8Array([0x80, 0x3f, 0xc0, 0x7f, 0x40, 0x40]),
        })
        const complex = tensorFromBytes({
          dtype: 'complex64',
          sizes: [2],
          bytes: new Uint8Array(new Float32Array([NaN, 2, 4, 6]).buffer),
        })
        const strided = float32([6], 1, NaN, 3, NaN, 5, NaN)
        const odds = new TensorRecord({ ...strided, sizes: [3], strides: [2] })
        const model = new OrderedDict<string, unknown>(Object.entries({ half, complex, odds, rest: float32([1], 1) }))
        const { file } = await recovered(folder, fileOf(model), { nonfinite: 'mean' })
        const bytesOf = async (name: string) => readTensorBytes(file, at(file.value, name) as TensorRecord)
        assert.deepEqual([...(await bytesOf('half'))], [0x80, 0x3f, 0x00, 0x40, 0x40, 0x40])
        const numbers = await bytesOf('complex')
        assert.deepEqual([...new Float32Array(numbers.buffer)], [4, 2, 4, 6])
        assert.deepEqual(await floats(file, 'odds'), [1, 3, 5])
      }))
  })

  describe('tensors whose CRC-32 does not match', () => {
    const damagedFile = () => flipped(fileOf(checkpoint()), 1, 2, 3, 1, 2, 3)
    const weight = ['model_state_dict', 'first.weight'] as const

    it('are kept and told', () =>
      withFolder(async (folder) => {
        const { result, file } = await recovered(folder, damagedFile())
        assert.notDeepEqual(await floats(file, ...weight), [1, 2, 3, 1, 2, 3])
        assert.deepEqual((await floats(file, ...weight)).slice(1), [2, 3, 1, 2, 3])
        assert.deepEqual(result.damaged, ['model_state_dict.first.weight: its CRC-32 does not match; kept as it is'])
        assert.equal(result.success, true)
        assert.ok(result.remainingIssues.some((text) => text.includes('its values may be wrong')))
      }))

    it('are dropped, zeroed or taken from the donor as wanted', () =>
      withFolder(async (folder) => {
        const like = join(folder, 'donor.pth')
        await writeFile(
          like,
          fileOf(checkpoint({ model_state_dict: stateDict({ 'first.weight': float32([3, 2], 7, 8, 9) }) })),
        )
        for (const damaged of ['drop', 'zero', 'donor'] as const) {
          const { result, file, value } = await recovered(folder, damagedFile(), { damaged, like }, `x-${damaged}.pth`)
          assert.equal(result.success, true, damaged)
          assert.deepEqual(result.damaged, [])
          if (damaged === 'drop') {
            assert.equal(at(value, ...weight), undefined)
            assert.deepEqual(at(value, 'optimizer_state_dict', 'param_groups', 0, 'params'), [1, 2, 3, 4])
          } else
            assert.deepEqual(
              await floats(file, ...weight),
              damaged === 'zero' ? [0, 0, 0, 0, 0, 0] : [7, 8, 9, 7, 8, 9],
            )
        }
      }))

    it('are kept where the donor has no tensor of the same name, dtype and shape, or a damaged one', () =>
      withFolder(async (folder) => {
        const other = fileOf(checkpoint({ model_state_dict: stateDict({ 'first.weight': float32([2, 3], 7) }) }))
        const like = join(folder, 'donor.pth')
        for (const donor of [other, damagedFile()]) {
          await writeFile(like, donor)
          const path = join(folder, 'x.pth')
          await writeFile(path, damagedFile())
          const result = await new CheckpointRecovery(folder).attemptRecovery(
            path,
            join(folder, `${donor.length}-${donor === other ? 1 : 2}.pth`),
            { damaged: 'donor', like, backup: false },
          )
          assert.equal(result.damaged.length, 1)
        }
      }))
  })

  describe('names from a donor', () => {
    it('go by key and size where the pickle is unreadable; epoch and losses of the donor are not taken', () =>
      withFolder(async (folder) => {
        const like = join(folder, 'donor.pth')
        const others = stateDict({ 'first.weight': float32([3, 2], 9) })
        await writeFile(like, fileOf(checkpoint({ model_state_dict: others, epoch: 7, validation_loss: 99 })))
        const broken = fileOf(checkpoint())
        broken.fill(0, 0, 900)
        const { result, file, value } = await recovered(
          folder,
          broken,
          { like },
          'checkpoint_epoch_2_phase_1_1760000000.pth',
        )
        assert.equal(result.success, true, result.remainingIssues.join())
        assert.deepEqual(await floats(file, 'model_state_dict', 'first.weight'), [1, 2, 3, 1, 2, 3])
        assert.deepEqual(
          await floats(file, 'optimizer_state_dict', 'state', 0, 'exp_avg'),
          Array(6).fill(Math.fround(0.1)),
        )
        assert.deepEqual(at(value, 'optimizer_state_dict', 'param_groups', 0, 'params'), [0, 1, 2, 3, 4])
        assert.equal(at(value, 'epoch'), 2)
        assert.equal(at(value, 'validation_loss'), undefined)
        assert.equal(at(value, 'config', 'hidden'), 3)
        assert.ok(result.repaired.some((text) => /23 records got their names/.test(text)))
      }))

    it('are refused for other sizes: such records stay records', () =>
      withFolder(async (folder) => {
        const like = join(folder, 'donor.pth')
        await writeFile(
          like,
          fileOf(checkpoint({ model_state_dict: stateDict({ 'first.weight': float32([4, 2], 9) }) })),
        )
        const broken = fileOf(checkpoint())
        broken.fill(0, 0, 900)
        const { file, value } = await recovered(folder, broken, { like })
        assert.equal(at(value, 'model_state_dict', 'first.weight'), undefined)
        const record = at(value, 'unassigned_records', 'record_0') as TensorRecord
        assert.equal(record.dtype, 'uint8')
        assert.deepEqual([...new Float32Array((await readTensorBytes(file, record)).buffer)], [1, 2, 3, 1, 2, 3])
      }))

    it('without a donor all data stays as records of bytes', () =>
      withFolder(async (folder) => {
        const broken = fileOf(checkpoint())
        broken.fill(0, 0, 900)
        const { result, file, value } = await recovered(folder, broken)
        assert.deepEqual([...value.keys()].slice(0, 2), ['record_0', 'record_1'])
        assert.equal(value.size, 23)
        const bytes = await readTensorBytes(file, at(value, 'record_0') as TensorRecord)
        assert.deepEqual([...new Float32Array(bytes.buffer)], [1, 2, 3, 1, 2, 3])
        assert.equal(result.success, true)
        assert.equal(recoveryRecordOf(value)?.lost[0], 'data.pkl: names, shapes and everything that is no tensor')
      }))
  })
})
