import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises'
import { basename, join } from 'node:path'
import {
  assessRecovery,
  CheckpointRecovery,
  CheckpointValidator,
  recoveryRecordOf,
} from '../../src/checkpoint/index.js'
import { readTorchFile } from '../../src/format/index.js'
import { archive, withFolder } from '../format/fixtures.js'
import { checkpoint, fileOf, float32, stateDict } from './judged.js'
import { at, floats, recovered, type Dict } from './recovery-fixture.js'

describe('CheckpointRecovery', function () {
  this.timeout(60_000)

  describe('a cut file', () => {
    it('keeps the tensors that are there, drops what is lost from model and optimizer, and validates', () =>
      withFolder(async (folder) => {
        const whole = fileOf(checkpoint())
        const cut = whole.subarray(0, whole.indexOf('data/3FB') - 48)
        const { result, file, value } = await recovered(folder, cut)
        assert.equal(result.success, true)
        assert.deepEqual(
          [...(value.get('model_state_dict') as Dict).keys()],
          ['first.weight', 'first.bias', 'norm.weight'],
        )
        assert.deepEqual(await floats(file, 'model_state_dict', 'first.weight'), [1, 2, 3, 1, 2, 3])
        assert.deepEqual(at(value, 'optimizer_state_dict', 'param_groups', 0, 'params'), [0, 1, 2])
        assert.equal((at(value, 'optimizer_state_dict', 'state') as Dict).size, 0)
        assert.equal(at(value, 'epoch'), 2)
        assert.deepEqual(result.tensors, { total: 23, saved: 3, unnamed: 0 })
        assert.ok(result.lost.some((text) => text.startsWith('model_state_dict.norm.bias: float32 [3]')))
        assert.equal((await CheckpointValidator.validateCheckpointFile(result.recoveredPath ?? '')).valid, true)
      }))

    it('begins the state of a parameter anew that lost a moment, and keeps its place in the groups', () =>
      withFolder(async (folder) => {
        const whole = fileOf(checkpoint())
        const cut = whole.subarray(0, whole.indexOf('data/22FB') - 48)
        const { result, value } = await recovered(folder, cut)
        assert.deepEqual([...(at(value, 'optimizer_state_dict', 'state') as Dict).keys()], [0, 1, 2, 3])
        assert.deepEqual(at(value, 'optimizer_state_dict', 'param_groups', 0, 'params'), [0, 1, 2, 3, 4])
        assert.ok(result.lost.some((text) => text.startsWith('optimizer_state_dict.state.4:')))
        assert.equal(result.success, true)
      }))

    it('saves what it can and says so where nothing is left', () =>
      withFolder(async (folder) => {
        const path = join(folder, 'x.pth')
        for (const bytes of [
          Buffer.alloc(0),
          Buffer.from('no checkpoint at all'),
          fileOf(checkpoint()).subarray(0, 900),
        ]) {
          await writeFile(path, bytes)
          const result = await new CheckpointRecovery(folder).attemptRecovery(path)
          assert.equal(result.success, false)
          assert.equal(result.recoveredPath, null)
          assert.match(result.remainingIssues.at(-1) ?? '', /^Recovery failed: /)
        }
        assert.deepEqual(await readdir(folder), ['x.pth'])
      }))
  })

  describe('files', () => {
    it('are never written over, and the damaged one stays as it is', () =>
      withFolder(async (folder) => {
        const path = join(folder, 'x.pth')
        const bytes = fileOf(checkpoint()).subarray(0, 4000)
        await writeFile(path, bytes)
        const recovery = new CheckpointRecovery(folder)
        const isRefused = { code: 'ERR_INVALID_ARGUMENT' }
        await assert.rejects(recovery.attemptRecovery(path, path), isRefused)
        const first = await recovery.attemptRecovery(path)
        assert.equal(first.recoveredPath, join(folder, 'recovered_x.pth'))
        await assert.rejects(recovery.attemptRecovery(path), isRefused)
        await assert.rejects(recovery.attemptRecovery(path, join(folder, 'y.pth'), { nonfinite: 'donor' }), isRefused)
        await assert.rejects(
          recovery.attemptRecovery(path, join(folder, 'y.pth'), { damaged: 'mend' as 'keep' }),
          isRefused,
        )
        await assert.rejects(recovery.attemptRecovery(join(folder, 'none.pth')), { code: 'ERR_CHECKPOINT_MISSING' })
        assert.deepEqual(await readFile(path), Buffer.from(bytes))
        assert.deepEqual((await readdir(folder)).sort(), ['backups', 'recovered_x.pth', 'x.pth'])
        const record = recoveryRecordOf((await readTorchFile(first.recoveredPath ?? '')).value)
        assert.equal(record?.sourceSha256, createHash('sha256').update(bytes).digest('hex'))
        assert.equal(record?.source, 'x.pth')
      }))

    it('are backed up under names that never collide', () =>
      withFolder(async (folder) => {
        const path = join(folder, 'regular', 'x.pth')
        await mkdir(join(folder, 'regular'))
        await writeFile(path, 'bytes')
        const recovery = new CheckpointRecovery(folder)
        const copies = await Promise.all([1, 2, 3].map(() => recovery.createBackup(path)))
        assert.equal(new Set(copies).size, 3)
        for (const copy of copies) {
          assert.match(basename(copy), /^backup_\d{10}_x(-[23])?\.pth$/)
          assert.equal(await readFile(copy, 'utf8'), 'bytes')
          assert.equal(join(copy, '..'), join(folder, 'backups'))
        }
        const elsewhere = await recovery.createBackup(path, join(folder, 'other'))
        assert.equal(join(elsewhere, '..'), join(folder, 'other'))
        const outside = await new CheckpointRecovery(join(folder, 'none')).createBackup(path)
        assert.equal(join(outside, '..'), join(folder, 'backups'))
        await assert.rejects(recovery.createBackup(join(folder, 'none.pth')), { code: 'ERR_CHECKPOINT_MISSING' })
      }))

    it('that are valid are left alone', () =>
      withFolder(async (folder) => {
        const path = join(folder, 'x.pth')
        await writeFile(path, fileOf(checkpoint()))
        const result = await new CheckpointRecovery(folder).attemptRecovery(path)
        assert.deepEqual([result.success, result.recoveredPath, result.backupPath], [true, null, null])
        assert.deepEqual(await readdir(folder), ['x.pth'])
      }))

    it('that were recovered are named so by the validator', () =>
      withFolder(async (folder) => {
        const { result } = await recovered(folder, fileOf(checkpoint()).subarray(0, 4000))
        const report = await CheckpointValidator.validateCheckpointFile(result.recoveredPath ?? '')
        assert.ok(report.warnings.some(({ id }) => id === 'checkpoint.recovered'))
      }))
  })

  describe('a folder', () => {
    it('lists what is damaged with what a recovery would give', () =>
      withFolder(async (folder) => {
        const whole = fileOf(checkpoint())
        const write = (name: string, bytes: Uint8Array) => writeFile(join(folder, name), bytes)
        await mkdir(join(folder, 'backups'))
        await write('good.pth', whole)
        await write('tail.pth', whole.subarray(0, whole.length - 40))
        await write('half.pth', whole.subarray(0, whole.indexOf('data/14FB') - 48))
        await write('little.pth', whole.subarray(0, whole.indexOf('data/4FB') - 48))
        await write('head.pth', Buffer.concat([Buffer.alloc(900), whole.subarray(900)]))
        await write('empty.pth', Buffer.alloc(0))
        await write(
          'nan.pth',
          fileOf(checkpoint({ model_state_dict: stateDict({ 'last.weight': float32([1, 3], NaN) }) })),
        )
        await write('backups/backup_1_x.pth', whole.subarray(0, 500))
        const found = await new CheckpointRecovery(folder).findRecoverableCheckpoints()
        assert.deepEqual(
          found.map(({ name, potential, tensors }) => [name, potential, tensors.saved, tensors.total]),
          [
            ['empty.pth', 'none', 0, 0],
            ['half.pth', 'medium', 14, 23],
            ['head.pth', 'low', 0, 0],
            ['little.pth', 'low', 4, 23],
            ['nan.pth', 'high', 23, 23],
            ['tail.pth', 'high', 23, 23],
          ],
        )
        assert.ok(found.every(({ errors }) => errors.length > 0))
        assert.equal((await assessRecovery(join(folder, 'head.pth'))).tensors.unnamed, 23)
        await assert.rejects(assessRecovery(join(folder, 'none.pth')), { code: 'ERR_CHECKPOINT_MISSING' })
      }))
  })

  it('runs nothing of a hostile file', () =>
    withFolder(async (folder) => {
      // A call of os.system and a tensor-less dict.
      const pickle = Buffer.from(
        '\x80\x02}q\x00(X\x01\x00\x00\x00acos\nsystem\nX\x06\x00\x00\x00touch x\x85RX\x01\x00\x00\x00bK\x01u.',
        'latin1',
      )
      const path = join(folder, 'x.pth')
      await writeFile(
        path,
        archive([
          ['data.pkl', pickle],
          ['version', '3\n'],
        ]),
      )
      const result = await new CheckpointRecovery(folder).attemptRecovery(path)
      assert.equal(result.success, false)
      assert.deepEqual(await readdir(folder), ['x.pth'])
    }))
})
