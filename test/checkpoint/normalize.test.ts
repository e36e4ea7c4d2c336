/** Each migration by itself, layouts told from keys, versions, kinds. */
import assert from 'node:assert/strict'
import {
  isStateDict,
  kindOf,
  layoutOf,
  migrations,
  normalizeCheckpoint,
  type Layout,
} from '../../src/checkpoint/index.js'
import { unwrapNumpy } from '../../src/checkpoint/migrations.js'
import { isNewer } from '../../src/checkpoint/normalize.js'
import { NumpyScalar, OrderedDict, PyFloat, Tuple } from '../../src/format/index.js'
import { dict, float32 } from './judged.js'

const weights = new OrderedDict([['w', float32([2], 1)]])
const apply = (name: string, value: Record<string, unknown>): unknown => {
  const migration = migrations.find((candidate) => candidate.name === name)
  assert.ok(migration !== undefined, `there is no migration ${name}`)
  return migration.apply(dict(value))
}
const same = (name: string, value: Record<string, unknown>): void => {
  const before = dict(value)
  assert.equal(migrations.find((candidate) => candidate.name === name)?.apply(before), before)
}

describe('migrations', () => {
  it('wrap_state_dict: a bare state dict, or one under state_dict, stands under model_state_dict', () => {
    assert.deepEqual(apply('wrap_state_dict', { w: weights.get('w') }), dict({ model_state_dict: new Map(weights) }))
    assert.deepEqual(
      apply('wrap_state_dict', { epoch: 1, state_dict: weights }),
      dict({ epoch: 1, model_state_dict: weights }),
    )
    same('wrap_state_dict', { model_state_dict: weights, state_dict: weights })
    same('wrap_state_dict', { state_dict: 3 })
  })

  it('legacy_names: L2 renames, in place, never over a key that is there', () => {
    assert.deepEqual(
      [
        ...(apply('legacy_names', { model_state: 1, epoch: 2, optimizer_state: 3, val_loss: 4 }) as Map<
          string,
          unknown
        >),
      ],
      [...dict({ model_state_dict: 1, epoch: 2, optimizer_state_dict: 3, validation_loss: 4 })],
    )
    same('legacy_names', { val_loss: 1, validation_loss: 2 })
  })

  it('notebook_names: L5 renames', () => {
    assert.deepEqual(
      apply('notebook_names', { model_config: 1, scheduler_state_dict: 2 }),
      dict({ config: 1, scheduler_state: 2 }),
    )
    same('notebook_names', { config: 1, model_config: 2 })
  })

  it('phase_histories: dicts of lists become rows, phase after phase; shorter lists leave keys out', () => {
    const migrated = apply('phase_histories', {
      phase1_history: dict({ train_loss: [3, 2], val_loss: [1] }),
      phase2_history: dict({ train_loss: [1] }),
    }) as Map<string, Map<string, unknown>>
    assert.deepEqual(migrated.get('training_state')?.get('metrics_history'), [
      dict({ epoch: 1, train_loss: 3, val_loss: 1, phase: 1 }),
      dict({ epoch: 2, train_loss: 2, phase: 1 }),
      dict({ epoch: 1, train_loss: 1, phase: 2 }),
    ])
    same('phase_histories', { phase1_history: dict({}), training_state: dict({ metrics_history: [] }) })
  })

  it('loss_lists: L6 lists become rows', () => {
    const migrated = apply('loss_lists', { train_losses: [3, 2], val_losses: [2] }) as Map<string, Map<string, unknown>>
    assert.deepEqual(migrated.get('training_state')?.get('metrics_history'), [
      dict({ epoch: 1, train_loss: 3, val_loss: 2 }),
      dict({ epoch: 2, train_loss: 2 }),
    ])
    same('loss_lists', { train_losses: 3 })
  })

  it('history_place: a history beside a training state without one moves into it', () => {
    const rows = [dict({ epoch: 1 })]
    const migrated = apply('history_place', { metrics_history: rows, training_state: dict({ current_epoch: 1 }) })
    assert.deepEqual(
      (migrated as Map<string, unknown>).get('training_state'),
      dict({ current_epoch: 1, metrics_history: rows }),
    )
    same('history_place', { metrics_history: rows, training_state: dict({ metrics_history: [] }) })
  })

  it('have a test each', () => {
    assert.deepEqual(
      migrations.map(({ name }) => name),
      ['wrap_state_dict', 'legacy_names', 'notebook_names', 'phase_histories', 'loss_lists', 'history_place'],
    )
  })

  it('numpy numbers become plain ones in copies that keep classes, sharing and cycles', () => {
    const scalar = (dtype: string, value: number | boolean | string | null) =>
      new NumpyScalar(dtype, new Uint8Array(), value)
    const shared = [scalar('<f4', 0.5)]
    const original = new OrderedDict<unknown, unknown>([
      ['a', Tuple.of(scalar('<i8', 3), scalar('|b1', true))],
      ['b', shared],
      ['c', shared],
      ['record', scalar('|V8', null)],
    ])
    original.metadata = 'kept'
    original.set('self', original)
    const copy = unwrapNumpy(original) as OrderedDict<unknown, unknown>
    assert.ok(copy instanceof OrderedDict && copy !== original && copy.metadata === 'kept')
    assert.deepEqual(copy.get('a'), Tuple.of(3, true))
    assert.deepEqual(copy.get('b'), [0.5])
    assert.equal(copy.get('b'), copy.get('c'))
    assert.equal(copy.get('self'), copy)
    assert.ok(copy.get('record') instanceof NumpyScalar)
    assert.ok(shared[0] instanceof NumpyScalar)
    assert.deepEqual(unwrapNumpy([scalar('<f8', 2), scalar('<i8', 2)], true), [new PyFloat(2), 2])
  })
})

describe('state dicts', () => {
  it('are told by _metadata, or by names of tensors and extra states only', () => {
    const packed = new OrderedDict<string, unknown>([['fc._packed_params', Tuple.of(1)]])
    packed.metadata = new Map()
    const empty = new OrderedDict()
    empty.metadata = new Map()
    for (const value of [weights, packed, empty, dict({ w: weights.get('w'), _extra_state: 3 })])
      assert.ok(isStateDict(value))
    for (const value of [3, new Map(), dict({ _extra_state: 3 }), dict({ w: 3 }), new Map([[1, weights.get('w')]])]) {
      assert.ok(!isStateDict(value))
    }
  })
})

describe('layouts and versions', () => {
  it('are told from the keys', () => {
    const state = (...missing: string[]) => {
      const keys = ['current_epoch', 'current_phase', 'best_val_loss', 'best_val_pearson', 'patience_counter']
      return dict(
        Object.fromEntries(
          [...keys, 'total_training_time', 'metrics_history']
            .filter((key) => !missing.includes(key))
            .map((key) => [key, 0]),
        ),
      )
    }
    const cases: [Record<string, unknown>, Layout | null][] = [
      [{ format: 'torchkeep', version: '3.0' }, 'torchkeep'],
      [{ version: '1.0', training_state: state() }, 'L1'],
      [{ version: '1.0', training_state: state('patience_counter') }, 'L10'],
      [{ version: '2.0', training_state: state() }, 'L10'],
      [{ training_state: state() }, 'L2'],
      [{ config: dict({}), epoch: 1 }, 'L2'],
      [{ model_config: dict({}) }, 'L5'],
      [{ loss: 1 }, 'L3'],
      [{ metrics: dict({}), model_info: dict({}) }, 'L3'],
      [{ metrics: dict({}) }, 'L4'],
      [{ train_loss: 1 }, 'L6'],
      [{ optimizer_state_dict: dict({}) }, 'L3'],
      [{}, null],
    ]
    for (const [value, layout] of cases) {
      const top = dict({ ...value, model_state_dict: weights })
      assert.equal(layoutOf(kindOf({ container: 'torch_zip', value: top }), top), layout, Object.keys(value).join())
    }
  })

  it('later than ours are told by number, not by text', () => {
    const newer = ['3.1', '4.0', '10.0', '3.0.0', '3', '2.9', '1.0', 'none', ''].filter(isNewer)
    assert.deepEqual(newer, ['3.1', '4.0', '10.0'])
  })

  it('a version that is a number is read too', () => {
    const versionOf = (version: unknown) =>
      normalizeCheckpoint({ container: 'torch_zip', value: dict({ model_state_dict: weights, version }) }).version
    assert.deepEqual(
      [versionOf('1.0'), versionOf(2), versionOf(new PyFloat(1)), versionOf(null)],
      ['1.0', '2', '1.0', null],
    )
  })
})
