import assert from 'node:assert/strict'
import { mkdir, utimes, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { CheckpointRecovery, CheckpointValidator, recoveryRecordOf } from '../../src/checkpoint/index.js'
import { factsOfName } from '../../src/checkpoint/recovery-name.js'
import { parseExactJson } from '../../src/checkpoint/recovery-sidecar.js'
import {
  NumpyArray,
  NumpyScalar,
  OpaqueObject,
  OrderedDict,
  PyFloat,
  readTorchFile,
  type TensorRecord,
  Tuple,
} from '../../src/format/index.js'
import { withFolder } from '../format/fixtures.js'
import { checkpoint, dict, fileOf, float32, row, stateDict } from './judged.js'
import { at, mendTree, recovered, type Dict } from './recovery-fixture.js'

describe('recovery of labels', function () {
  this.timeout(60_000)

  describe('labels', () => {
    const bare = (changes: Record<string, unknown> = {}) =>
      fileOf(
        checkpoint({
          version: undefined,
          timestamp: undefined,
          training_state: undefined,
          config: undefined,
          validation_loss: undefined,
          is_best: undefined,
          epoch: undefined,
          phase: undefined,
          ...changes,
        }),
      )

    it('come from the rest of the file first', () =>
      withFolder(async (folder) => {
        const state = dict({ current_epoch: 4, current_phase: 2, metrics_history: [row(4, 0.5, 2)] })
        const { value, result } = await recovered(
          folder,
          bare({ training_state: state }),
          {},
          'checkpoint_epoch_9_phase_9_1760000009.pth',
        )
        assert.deepEqual(
          [at(value, 'epoch'), at(value, 'phase'), at(value, 'timestamp'), at(value, 'version')],
          [4, 2, 1760000009, '1.0'],
        )
        assert.ok(result.issuesFixed.includes('Added missing version'))
        assert.ok(result.issuesFixed.includes('Added missing timestamp'))
        assert.ok(result.filled.includes("timestamp: from the file's name"))
      }))

    it('come from the sidecar: bare NaN and numbers as texts', () =>
      withFolder(async (folder) => {
        await mkdir(join(folder, 'best'))
        await mkdir(join(folder, 'metrics'))
        const json = `{"timestamp": 1755400000, "epoch": 5, "phase": 2, "validation_loss": "0.25", "is_best": true, "training_state": {"current_epoch": 5, "best_val_loss": NaN, "best_val_pearson": "0.5"},
          "config": {"width": 4, "rate": 1.0, "seed": 12345678901234567890, "limit": -Infinity, "name": "NaN, \\"1.0\\" and Infinity"}}`
        await writeFile(join(folder, 'metrics', 'metrics_epoch_5_phase_2_1755400000.json'), json)
        const { value, result } = await recovered(folder, bare(), {}, 'best/best_model_epoch_5_phase_2.pth')
        assert.equal(result.success, true, result.remainingIssues.join())
        assert.equal(at(value, 'timestamp'), 1755400000)
        assert.deepEqual(at(value, 'validation_loss'), 0.25)
        assert.equal(at(value, 'is_best'), true)
        assert.deepEqual(
          [...(value.get('config') as Dict)],
          [
            ['width', 4],
            ['rate', new PyFloat(1)],
            ['seed', 12345678901234567890n],
            ['limit', -Infinity],
            ['name', 'NaN, "1.0" and Infinity'],
          ],
        )
        assert.equal(at(value, 'training_state', 'best_val_loss'), NaN)
        assert.ok(result.filled.includes('config: from the sidecar metrics_epoch_5_phase_2_1755400000.json'))
      }))

    it('come from checkpoints of the same model in the run, where they agree', () =>
      withFolder(async (folder) => {
        await mkdir(join(folder, 'regular'))
        const write = (epoch: number, changes: Record<string, unknown> = {}) =>
          writeFile(
            join(folder, 'regular', `checkpoint_epoch_${epoch}_phase_2_176000000${epoch}.pth`),
            fileOf(checkpoint({ epoch, phase: 2, ...changes })),
          )
        await write(1)
        await write(5)
        await write(6, {
          config: dict({ hidden: 99 }),
          model_state_dict: stateDict({ 'first.weight': float32([5, 2], 1) }),
          optimizer_state_dict: undefined,
        })
        const first = await recovered(folder, bare(), {}, 'checkpoint_epoch_3.pt')
        assert.deepEqual(
          [at(first.value, 'epoch'), at(first.value, 'phase'), at(first.value, 'config', 'hidden')],
          [3, 2, 3],
        )
        await write(7, { config: dict({ hidden: 4 }) })
        const second = await recovered(folder, bare(), {}, 'checkpoint_epoch_4.pt')
        assert.deepEqual([...(at(second.value, 'config') as Dict)], [])
        assert.ok(second.result.unknown.includes('config: written as {}'))
      }))

    it('are written as unknown where nothing tells', () =>
      withFolder(async (folder) => {
        const path = join(folder, 'weights.pth')
        await writeFile(path, bare())
        await utimes(path, 1_700_000_000, 1_700_000_000)
        const result = await new CheckpointRecovery(folder).attemptRecovery(path, undefined, { backup: false })
        const { value } = await readTorchFile(result.recoveredPath ?? '')
        assert.deepEqual([at(value, 'epoch'), at(value, 'phase'), at(value, 'timestamp')], [0, 1, 1_700_000_000])
        assert.deepEqual(result.unknown, ['epoch: written as 0', 'phase: written as 1', 'config: written as {}'])
        assert.equal(result.success, true)
      }))

    it('are left alone in state dicts and exports', () =>
      withFolder(async (folder) => {
        const nan = float32([2], NaN, 1)
        const state = await recovered(folder, fileOf(stateDict({ 'last.weight': nan })), {}, 'a.pth')
        assert.deepEqual([...state.value.keys()], [...stateDict().keys()])
        assert.ok(state.value instanceof OrderedDict)
        assert.equal(recoveryRecordOf(state.value)?.source, 'a.pth')
        const report = await CheckpointValidator.validateCheckpointFile(state.result.recoveredPath ?? '')
        assert.deepEqual(
          report.warnings.map(({ id }) => id),
          ['checkpoint.recovered'],
        )
        const inference = dict({
          model_state_dict: stateDict({ 'last.weight': nan }),
          config: dict({}),
          export_type: 'inference',
          export_timestamp: 1,
        })
        const exported = await recovered(folder, fileOf(inference), {}, 'b.pth')
        assert.deepEqual([...exported.value.keys()], [...inference.keys(), 'metadata'])
      }))

    it('read the names of files', () => {
      assert.deepEqual(factsOfName('a/checkpoint_epoch_3_phase_2_1700000000.pth'), {
        epoch: 3,
        phase: 2,
        timestamp: 1700000000,
      })
      assert.deepEqual(factsOfName('checkpoint_epoch_3_phase_2_1700000000_step_7-2.pth'), {
        epoch: 3,
        phase: 2,
        timestamp: 1700000000,
      })
      assert.deepEqual(factsOfName('backup_1700000001_best_model_epoch_12_phase_1.pth'), {
        epoch: 12,
        phase: 1,
        timestamp: null,
      })
      assert.deepEqual(factsOfName('checkpoint_epoch_8.pt'), { epoch: 8, phase: null, timestamp: null })
      assert.deepEqual(factsOfName('my_epoch_8.pt'), { epoch: null, phase: null, timestamp: null })
    })

    it('read JSON leniently but exactly', () => {
      assert.deepEqual(
        parseExactJson('[1, 1.0, -0.5e1, NaN, -Infinity, "NaN", "s1", null, true, 9007199254740993, -0]'),
        [1, new PyFloat(1), new PyFloat(-5), NaN, -Infinity, 'NaN', 's1', null, true, 9007199254740993n, 0n],
      )
      for (const wrong of ['{', '[01]', '[1,]', 'nan', '{"a": Infinite}'])
        assert.throws(() => parseExactJson(wrong), SyntaxError)
    })
  })

  describe('what Python refuses', () => {
    it('becomes plain or is lost, and both are told', () =>
      withFolder(async (folder) => {
        const { value, result } = await mendTree(folder, {
          ...Object.fromEntries(checkpoint()),
          pearson: new NumpyScalar('<f4', new Uint8Array(4), 1),
          noise: new NumpyArray('>i2', [2, 2], true, new Uint8Array([0, 1, 0, 2, 0, 3, 0, 4])),
          args: new OpaqueObject('argparse.Namespace', [], null, 'new'),
          list: [
            new OpaqueObject('a.B', [], null, 'new'),
            2,
            Tuple.of(3, new NumpyScalar('<f8', new Uint8Array(8), 0.5)),
          ],
        })
        assert.deepEqual(value.get('pearson'), new PyFloat(1))
        assert.equal(value.has('args'), false)
        assert.deepEqual(value.get('list'), [null, 2, Tuple.of(3, 0.5)])
        const noise = value.get('noise') as TensorRecord
        assert.deepEqual([noise.dtype, noise.sizes, noise.strides], ['int16', [2, 2], [1, 2]])
        assert.ok(result.repaired.includes('2 numpy numbers became plain ones'))
        assert.ok(
          result.lost.includes(
            'args: an object of argparse.Namespace, which torch.load(weights_only=True) does not open',
          ),
        )
        assert.ok(result.lost.includes('list.0: an object of a.B, which torch.load(weights_only=True) does not open'))
      }))
  })
})
