/** TrainingState and TrainingMetrics: round trips through plain values, JSON and files, and what older files hold. */
import assert from 'node:assert/strict'
import fc from 'fast-check'
import { numberOf, TrainingMetrics, TrainingState } from '../../src/checkpoint/index.js'
import { Place } from '../../src/checkpoint/fields.js'
import { bestPearson, trainingStateField } from '../../src/checkpoint/training-state.js'
import { NumpyScalar, PyFloat } from '../../src/format/values.js'

const number = fc.double()
const count = fc.integer({ min: 0, max: 1e9 })
const fromOne = fc.integer({ min: 1, max: 1e6 })
const name = fc.stringMatching(/^[a-z]\w{0,8}$/).filter((text) => text !== 'loss')
const best = fc.record(
  {
    monitor: fc.string(),
    mode: fc.constantFrom('min', 'max'),
    score: number,
    epoch: fromOne,
    phase: fromOne,
  },
  { noNullPrototype: true },
)
const metrics: fc.Arbitrary<TrainingMetrics> = fc.record(
  {
    epoch: fromOne,
    phase: fromOne,
    trainLoss: number,
    valLoss: fc.option(number),
    valMetrics: fc.dictionary(name, number, { noNullPrototype: true }),
    learningRate: number,
    trainingTime: number,
    step: count,
    samplesPerSecond: number,
    memoryUsageMb: number,
    skippedBatches: count,
    learningRates: fc.array(number),
    stopReason: fc.string(),
    extra: fc.dictionary(
      name.map((text) => `x_${text}`),
      fc.oneof(
        fc.string().map((text) => `${text} `),
        fc.boolean(),
        fc.constant(NaN),
      ),
      {
        minKeys: 1,
        noNullPrototype: true,
      },
    ),
  },
  {
    requiredKeys: ['epoch', 'phase', 'trainLoss', 'valLoss', 'valMetrics', 'learningRate', 'trainingTime'],
    noNullPrototype: true,
  },
)
const state: fc.Arbitrary<TrainingState> = fc.record(
  {
    currentEpoch: count,
    currentPhase: fromOne,
    phaseEpochsDone: count,
    globalStep: count,
    bestValLoss: number,
    best: fc.option(best as fc.Arbitrary<NonNullable<TrainingState['best']>>),
    totalTrainingTime: number,
    metricsHistory: fc.array(metrics, { maxLength: 3 }),
    phaseStepsDone: count,
    phaseBest: fc.option(best as fc.Arbitrary<NonNullable<TrainingState['best']>>),
    phaseStopReason: fc.option(fc.string()),
    patienceCounter: count,
    bestValPearson: number,
  },
  {
    requiredKeys: [
      'currentEpoch',
      'currentPhase',
      'phaseEpochsDone',
      'globalStep',
      'bestValLoss',
      'best',
      'totalTrainingTime',
      'metricsHistory',
    ],
    noNullPrototype: true,
  },
)

/** A row of the older system as it comes out of a file. */
const olderRow = (epoch: number): Map<string, unknown> =>
  new Map<string, unknown>([
    ['epoch', epoch],
    ['phase', 1],
    ['train_loss', new NumpyScalar('float32', new Uint8Array(4), 0.5)],
    ['val_loss', new PyFloat(1)],
    ['val_pearson', new NumpyScalar('float64', new Uint8Array(8), 0.25 * epoch)],
    ['val_spearman', 0.5],
    ['val_rmse', NaN],
    ['learning_rate', 0.001],
    [
      'memory_usage',
      new Map<string, unknown>([
        ['cpu_memory_mb', 512.5],
        ['gpu_memory_mb', null],
      ]),
    ],
    ['training_time', 2.5],
  ])

describe('TrainingState and TrainingMetrics', () => {
  it('come back from plain values and from strict JSON as they were', () => {
    fc.assert(
      fc.property(state, (value) => {
        assert.deepStrictEqual(TrainingState.fromDict(TrainingState.toDict(value)), value)
        const json = TrainingState.toJson(value)
        assert.doesNotMatch(json.replace(/"(?:[^"\\]|\\.)*"/g, ''), /NaN|Infinity/)
        assert.deepStrictEqual(TrainingState.fromJson(json), value)
      }),
      { numRuns: 200 },
    )
    fc.assert(
      fc.property(metrics, (value) => {
        assert.deepStrictEqual(TrainingMetrics.fromDict(TrainingMetrics.toDict(value)), value)
        assert.deepStrictEqual(TrainingMetrics.fromJson(TrainingMetrics.toJson(value)), value)
      }),
      { numRuns: 200 },
    )
  })

  it('come back from a file as they were', () => {
    const at = new Place('ERR_INVALID_ARGUMENT', '', 'state')
    const read = (value: unknown): unknown =>
      value instanceof PyFloat
        ? value.value
        : value instanceof Map
          ? new Map([...value].map(([key, item]) => [key, read(item)]))
          : Array.isArray(value)
            ? value.map(read)
            : value
    fc.assert(
      fc.property(state, (value) => {
        assert.deepStrictEqual(trainingStateField.decode(read(trainingStateField.encode(value, at)), at), value)
      }),
      { numRuns: 100 },
    )
  })

  it('writes numbers that JSON has not as strings', () => {
    const row = TrainingMetrics.fromDict({ epoch: 1, val_loss: -Infinity, val_r2: NaN })
    const json = JSON.parse(TrainingMetrics.toJson(row)) as Record<string, unknown>
    assert.equal(json['train_loss'], 'NaN')
    assert.equal(json['val_loss'], '-Infinity')
    assert.equal(json['val_r2'], 'NaN')
  })

  it("reads the older system's states whole: numpy numbers, memory as a dict, the Pearson correlation", () => {
    const older = new Map<string, unknown>([
      ['current_epoch', 2],
      ['current_phase', 1],
      ['best_val_loss', new NumpyScalar('float64', new Uint8Array(8), 1)],
      ['best_val_pearson', new NumpyScalar('float32', new Uint8Array(4), 0.5)],
      ['patience_counter', 3],
      ['total_training_time', 0],
      ['metrics_history', [olderRow(1), olderRow(2)]],
    ])
    const value = TrainingState.fromDict(older)
    assert.equal(value.bestValLoss, 1)
    assert.equal(value.bestValPearson, 0.5)
    assert.equal(value.patienceCounter, 3)
    assert.equal(value.phaseEpochsDone, 2)
    assert.equal(bestPearson(value.metricsHistory), 0.5)
    assert.deepEqual(value.metricsHistory[1], {
      epoch: 2,
      phase: 1,
      trainLoss: 0.5,
      valLoss: 1,
      valMetrics: { pearson: 0.5, spearman: 0.5, rmse: NaN },
      learningRate: 0.001,
      trainingTime: 2.5,
      extra: { memory_usage: { cpu_memory_mb: 512.5, gpu_memory_mb: null } },
    })
    const again = TrainingState.toDict(value)
    const rows = again['metrics_history'] as Record<string, unknown>[]
    for (const [key, item] of olderRow(2)) {
      const expected = item instanceof Map ? Object.fromEntries(item) : numberOf(item)
      assert.deepEqual(rows[1]?.[key], expected, key)
    }
    assert.deepEqual(
      [...older.keys()].filter((key) => !(key in again)),
      [],
    )
    assert.deepEqual(TrainingState.fromDict(again), value)
  })

  it('keeps the keys of rows that it does not know', () => {
    const value = TrainingState.fromDict({
      current_epoch: 2,
      metrics_history: [
        { epoch: 1, loss: 0.5 },
        { loss: 0.4, note: 'x' },
      ],
      version: '2.0',
    })
    assert.deepEqual(
      value.metricsHistory.map(({ epoch, phase, trainLoss, valLoss, extra }) => [
        epoch,
        phase,
        trainLoss,
        valLoss,
        extra,
      ]),
      [
        [1, 1, NaN, null, { loss: 0.5 }],
        [2, 1, NaN, null, { loss: 0.4, note: 'x' }],
      ],
    )
    assert.deepEqual(value.extra, { version: '2.0' })
    assert.equal(TrainingState.toDict(value)['version'], '2.0')
  })

  it("reads the older system's sidecars: bare NaN, numbers as strings", () => {
    const row = TrainingMetrics.fromJson(
      '{"epoch": 3, "phase": 2, "train_loss": NaN, "val_loss": Infinity, "val_pearson": "0.25", "val_rmse": "nan", "learning_rate": 0.001, "training_time": 1}',
    )
    assert.deepEqual(row.valMetrics, { pearson: 0.25, rmse: NaN })
    assert.deepEqual([row.trainLoss, row.valLoss], [NaN, Infinity])
  })

  it('names what is wrong', () => {
    const throwsAt = (run: () => unknown, message: RegExp) =>
      assert.throws(run, { code: 'ERR_INVALID_ARGUMENT', message })
    throwsAt(() => TrainingMetrics.fromDict({ phase: 1 }), /^metrics\.epoch is missing/)
    throwsAt(() => TrainingMetrics.fromDict({ epoch: 1, val_loss: 'low' }), /^metrics\.val_loss should be a number/)
    throwsAt(() => TrainingMetrics.fromDict({ epoch: 1, val_r2: 'low' }), /^metrics\.val_r2 should be a number/)
    throwsAt(() => TrainingMetrics.fromDict([1]), /^metrics should be an object/)
    throwsAt(() => TrainingMetrics.fromJson('{'), /^metrics is no JSON/)
    throwsAt(
      () => TrainingState.fromDict({ metrics_history: [{ epoch: 1 }, 5] }),
      /^state\.metrics_history\[1\] should be an object/,
    )
    const row = TrainingMetrics.fromDict({ epoch: 1 })
    throwsAt(
      () => TrainingMetrics.toDict({ ...row, extra: { epoch: 2 } }),
      /^metrics\.extra\.epoch is a key of its own/,
    )
    throwsAt(() => TrainingMetrics.toDict({ ...row, extra: { f: (() => 1) as never } }), /^metrics\.extra\.f should be/)
  })
})
