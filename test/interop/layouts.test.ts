/** Every layout that real Python wrote: told apart, brought to the current form, judged, described; value by value. */
import assert from 'node:assert/strict'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { historyOf, type TopLevel } from '../../src/checkpoint/migrations.js'
import {
  CheckpointValidator,
  describeCheckpoint,
  normalizeCheckpoint,
  numberOf,
  TrainingState,
  type CheckpointDescription,
  type Layout,
  type NormalizedCheckpoint,
} from '../../src/checkpoint/index.js'
import { readElements, readTorchFile, type TorchFile } from '../../src/format/index.js'
import { parametersOf, uniqueTensors, stateTensors } from '../../src/checkpoint/tensor-roles.js'
import { needPython } from '../python.js'
import { writeLayouts, type WrittenLayouts } from './layouts.js'

interface Expected {
  layout: Layout
  kind?: string
  applied: string[]
  /** Keys of the current form, in order. */
  keys: string[]
  /** Distinct warning ids but for numpy's. */
  warnings?: string[]
  numpy?: boolean
  description: Partial<CheckpointDescription>
}

const numpy = ['numpy_numbers']
const oldTexts = ['key.recommended']
const values = { val_pearson: 0.8125, val_spearman: 0.61, val_rmse: Math.fround(0.7) }
const cases: Record<string, Expected> = {
  L1: {
    layout: 'L1',
    applied: numpy,
    keys: [
      ...[
        'version',
        'timestamp',
        'model_state_dict',
        'training_state',
        'config',
        'validation_loss',
        'is_best',
        'epoch',
      ],
      ...['phase', 'optimizer_state_dict', 'scheduler_state', 'metrics_history', 'recent_performance'],
      ...['additional_metrics', 'model_info'],
    ],
    numpy: true,
    description: {
      version: '1.0',
      epoch: 3,
      phase: 2,
      timestamp: 1755400000,
      validationLoss: 0.25,
      isBest: true,
      metrics: { train_loss: 0.35, val_loss: 0.25, ...values, val_mse: Math.fround(0.49) },
    },
  },
  L2: {
    layout: 'L2',
    applied: [...numpy, 'legacy_names'],
    keys: ['epoch', 'model_state_dict', 'optimizer_state_dict', 'validation_loss', 'training_state', 'config', 'phase'],
    warnings: oldTexts,
    numpy: true,
    description: {
      version: null,
      epoch: 3,
      phase: 2,
      validationLoss: 0.25,
      isBest: null,
      metrics: { train_loss: 0.35, val_loss: 0.25, ...values },
    },
  },
  L3: {
    layout: 'L3',
    applied: numpy,
    keys: ['epoch', 'model_state_dict', 'optimizer_state_dict', 'loss', 'metrics', 'model_info'],
    warnings: oldTexts,
    numpy: true,
    description: { epoch: 4, validationLoss: 0.75, metrics: { pearson: 0.8125, val_loss: 0.75, loss: 0.5 } },
  },
  L4: {
    layout: 'L4',
    applied: numpy,
    keys: ['epoch', 'model_state_dict', 'optimizer_state_dict', 'metrics', 'config'],
    warnings: oldTexts,
    numpy: true,
    description: { epoch: 4, validationLoss: null, metrics: { loss: 0.5, pearson: 0.8125 } },
  },
  L5: {
    layout: 'L5',
    applied: ['legacy_names', 'notebook_names'],
    keys: [
      ...['epoch', 'model_state_dict', 'optimizer_state_dict', 'scheduler_state', 'validation_loss', 'config'],
      'training_config',
    ],
    warnings: oldTexts,
    description: { epoch: 5, validationLoss: 0.375, metrics: { val_loss: 0.375 } },
  },
  'L5-final': {
    layout: 'L5',
    applied: ['legacy_names', 'notebook_names', 'phase_histories'],
    keys: [
      ...['epoch', 'model_state_dict', 'optimizer_state_dict', 'scheduler_state', 'validation_loss', 'config'],
      ...['training_config', 'phase1_history', 'phase2_history', 'training_state'],
    ],
    warnings: ['key.recommended', 'label.mismatch'],
    description: {
      epoch: 5,
      validationLoss: 0.375,
      metrics: { train_loss: 0.475, val_loss: 0.375, val_pearson: 0.8125 },
    },
  },
  L6: {
    layout: 'L6',
    applied: ['legacy_names'],
    keys: ['epoch', 'model_state_dict', 'optimizer_state_dict', 'train_loss', 'validation_loss'],
    warnings: oldTexts,
    description: { epoch: 7, validationLoss: 0.625, metrics: { train_loss: 0.5, val_loss: 0.625 } },
  },
  'L6-lists': {
    layout: 'L6',
    applied: ['loss_lists'],
    keys: ['epoch', 'model_state_dict', 'optimizer_state_dict', 'train_losses', 'val_losses', 'training_state'],
    warnings: oldTexts,
    description: { epoch: 3, validationLoss: 0.75, metrics: { train_loss: 0.6, val_loss: 0.75 } },
  },
  L7: {
    layout: 'L7',
    kind: 'state_dict',
    applied: ['wrap_state_dict'],
    keys: ['model_state_dict'],
    description: { epoch: null, role: 'foreign', metrics: {} },
  },
  'L7-under': {
    layout: 'L7',
    kind: 'state_dict',
    applied: ['wrap_state_dict'],
    keys: ['model_state_dict'],
    description: { epoch: null, role: 'foreign', metrics: {} },
  },
  L8: {
    layout: 'L8',
    kind: 'inference_export',
    applied: [],
    keys: ['model_state_dict', 'config', 'export_timestamp', 'export_type', 'model_class'],
    description: { epoch: null, role: 'export', timestamp: 1755400001, metrics: {} },
  },
  L9: {
    layout: 'L9',
    kind: 'shared_export',
    applied: numpy,
    keys: [
      ...['model_state_dict', 'config', 'validation_loss', 'epoch', 'phase', 'version', 'export_timestamp'],
      ...['export_type', 'training_state'],
    ],
    numpy: true,
    description: { epoch: 3, phase: 2, role: 'export', validationLoss: 0.25, metrics: { val_loss: 0.25 } },
  },
  L10: {
    layout: 'L10',
    applied: [],
    keys: [
      ...['version', 'enhanced_metadata', 'timestamp', 'model_state_dict', 'optimizer_state_dict', 'training_state'],
      ...['config', 'validation_loss', 'is_best', 'epoch', 'phase'],
    ],
    warnings: ['optimizer.unusual'],
    description: { version: '2.0', epoch: 2, isBest: false, metrics: { loss: 0.4, val_loss: 0.4 } },
  },
  'L10-partial': {
    layout: 'L10',
    applied: [],
    keys: [
      ...['version', 'timestamp', 'model_state_dict', 'optimizer_state_dict', 'training_state', 'config'],
      ...['validation_loss', 'epoch', 'phase'],
    ],
    warnings: ['optimizer.unusual'],
    description: { version: '1.0', epoch: 2, isBest: null, metrics: { val_loss: 0.4 } },
  },
}

describe('layouts', () => {
  let folder: string
  let written: WrittenLayouts
  before(async function () {
    needPython(this)
    folder = await mkdtemp(join(tmpdir(), 'torchkeep-layouts-'))
    written = await writeLayouts(folder)
  })
  after(() => folder && rm(folder, { recursive: true }))

  const read = async (name: string): Promise<{ file: TorchFile; checkpoint: NormalizedCheckpoint }> => {
    const file = await readTorchFile(join(folder, `${name}.pth`))
    return { file, checkpoint: normalizeCheckpoint(file) }
  }

  for (const [name, expected] of Object.entries(cases)) {
    it(`${name} is told, brought to the current form, judged and described`, async () => {
      const path = join(folder, `${name}.pth`)
      const { checkpoint } = await read(name)
      assert.equal(checkpoint.kind, expected.kind ?? 'training_checkpoint')
      assert.equal(checkpoint.layout, expected.layout)
      assert.deepEqual(checkpoint.applied, expected.applied)
      assert.deepEqual([...checkpoint.value.keys()], expected.keys)
      const report = await CheckpointValidator.validateCheckpointFile(path)
      assert.deepEqual(report.errors, [])
      const numpyIds = expected.numpy === true ? ['pickle.numpy'] : []
      const ids = new Set([...numpyIds, ...(expected.warnings ?? []), 'tensor.infinite_buffer'])
      assert.deepEqual(new Set(report.warnings.map(({ id }) => id)), ids)
      assert.equal(report.metadata.numParameters, written.numParameters)
      const description = await describeCheckpoint(path)
      assert.equal(description.structure, 'ok')
      assert.equal(description.numParameters, written.numParameters)
      const { metrics, ...others } = expected.description
      assert.deepEqual(
        Object.fromEntries(Object.keys(others).map((key) => [key, description[key as keyof typeof others]])),
        others,
      )
      assertClose(description.metrics, metrics ?? {})
    })
  }

  it('have the weights that Python wrote, aliases once', async () => {
    for (const name of Object.keys(cases)) {
      const { file, checkpoint } = await read(name)
      const tensors = stateTensors(checkpoint.value)
      assert.equal(tensors.size, written.entries, name)
      const names = new Set(parametersOf(checkpoint.value).sure.map((parameter) => parameter.names[0]))
      let sum = 0
      for (const {
        names: [first],
        record,
      } of uniqueTensors(tensors)) {
        if (!names.has(first) || record.kind !== 'strided') continue
        for await (const chunk of readElements(file, record)) for (const value of chunk) sum += value
      }
      assert.ok(Math.abs(sum - written.parameterSum) < 1e-9, `${name}: ${sum} instead of ${written.parameterSum}`)
    }
  })

  it('have a history of plain numbers in rows', async () => {
    const history = async (name: string) => (historyOf((await read(name)).checkpoint.value) ?? []).map(plainRow)
    const [, , third] = await history('L1')
    assert.deepEqual(third, {
      ...{ epoch: 3, phase: 2, train_loss: 0.35, val_loss: 0.25, val_pearson: written.numpy.pearson },
      ...{ val_spearman: written.numpy.spearman, val_rmse: written.numpy.rmse },
      ...{ learning_rate: 1e-3, memory_usage: 512.5, training_time: 1.5 },
    })
    assert.deepEqual(
      (await history('L5-final')).map(({ epoch, phase, val_loss }) => [epoch, phase, val_loss]),
      [
        [1, 1, 0.9],
        [2, 1, 0.6],
        [1, 2, 0.5],
        [2, 2, 0.4],
        [3, 2, 0.375],
      ],
    )
    assert.deepEqual(await history('L6-lists'), [
      { epoch: 1, train_loss: 0.9, val_loss: 1 },
      { epoch: 2, train_loss: 0.7, val_loss: 0.8 },
      { epoch: 3, train_loss: 0.6, val_loss: 0.75 },
    ])
  })

  it('have a training state that becomes ours with all that it holds, and comes back from JSON', async () => {
    let rows = 0
    for (const name of Object.keys(cases)) {
      const { file, checkpoint } = await read(name)
      // The file's own, numpy numbers and all, where it has one; else what the migrations make of its lists.
      for (const state of [
        file.value instanceof Map ? (file.value as TopLevel).get('training_state') : undefined,
        checkpoint.value.get('training_state'),
      ]) {
        if (!(state instanceof Map)) continue
        const ours = TrainingState.fromDict(state)
        const again = TrainingState.toDict(ours)
        assertHeld(state as TopLevel, again, name)
        assert.deepEqual(TrainingState.fromJson(TrainingState.toJson(ours)), ours, name)
        rows += ours.metricsHistory.length
      }
    }
    assert.ok(rows > 20, `${rows} rows`)
  })

  it('leave what was read as it was', async () => {
    const { file, checkpoint } = await read('L2')
    assert.ok((file.value as TopLevel).has('model_state') && !(file.value as TopLevel).has('model_state_dict'))
    assert.equal(checkpoint.value.get('model_state_dict'), (file.value as TopLevel).get('model_state'))
  })
})

/** Each key of a dict of a file stands in what became of it, with its value: numbers as numbers, dicts and lists likewise. */
function assertHeld(given: TopLevel, found: unknown, place: string): void {
  for (const [key, value] of given) {
    const item = (found as Record<string, unknown>)[key as string]
    const where = `${place}.${String(key)}`
    if (value instanceof Map) assertHeld(value as TopLevel, item, where)
    else if (Array.isArray(value))
      value.forEach((entry, index) => assertHeld(entry as TopLevel, (item as unknown[])[index], `${where}[${index}]`))
    else assert.deepEqual(item, numberOf(value) ?? value, where)
  }
}

const plainRow = (row: TopLevel): Record<string, unknown> =>
  Object.fromEntries([...row].map(([key, value]) => [key, value]))

function assertClose(found: Readonly<Record<string, number>>, expected: Readonly<Record<string, number>>): void {
  assert.deepEqual(Object.keys(found).sort(), Object.keys(expected).sort())
  for (const [name, value] of Object.entries(expected)) {
    assert.ok(Math.abs((numberOf(found[name]) ?? NaN) - value) < 1e-12, `${name}: ${found[name]} instead of ${value}`)
  }
}
