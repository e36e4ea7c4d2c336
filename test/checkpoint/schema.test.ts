/** The mapping between the API's checkpoint and the file's keys, and what it refuses. */
import assert from 'node:assert/strict'
import { differences, Place, plain } from '../../src/checkpoint/fields.js'
import { type Checkpoint, decodeCheckpoint, encodeCheckpoint } from '../../src/checkpoint/schema.js'
import { trainingConfigField } from '../../src/checkpoint/training-config.js'
import type { TorchkeepError } from '../../src/format/errors.js'
import { PyFloat, Tuple } from '../../src/format/values.js'

const tensor = { tensor: true }

function example(): Checkpoint {
  return {
    timestamp: 1_700_000_000,
    modelStateDict: new Map([['weight', tensor]]),
    trainingState: {
      currentEpoch: 2,
      currentPhase: 1,
      phaseEpochsDone: 1,
      globalStep: 30,
      bestValLoss: 1,
      best: { monitor: 'val_loss', mode: 'min', score: 1, epoch: 1, phase: 1 },
      totalTrainingTime: 2,
      metricsHistory: [
        {
          epoch: 1,
          phase: 1,
          trainLoss: 2,
          valLoss: 1,
          valMetrics: { accuracy: 0.5 },
          learningRate: 1,
          trainingTime: 2,
        },
      ],
    },
    config: { hidden: [64, 32], dropout: 0.5, name: 'mlp', nothing: null },
    validationLoss: NaN,
    isBest: false,
    epoch: 2,
    phase: 1,
    optimizerStateDict: new Map(),
    schedulerState: null,
    trainingConfig: {
      loss: 'mse',
      phases: [
        {
          name: 'all',
          epochs: 3,
          lr: 1,
          optimizer: { name: 'SGD', weightDecay: 0 },
          scheduler: { name: 'StepLR', stepSize: 1 },
        },
      ],
    },
    rngState: { cpu: tensor, loader: null, valLoader: null },
    earlyStopping: null,
    dataPosition: {
      batchesDone: 3,
      batchSize: 8,
      shuffle: true,
      dropLast: false,
      numSamples: 64,
      epochRngState: tensor,
      loaderRngState: null,
      lossSum: 12,
      samplesDone: 24,
      epochTime: 1,
    },
    phaseState: { name: 'all', frozen: [], groups: [['weight']], modulesInEval: [] },
    modelGraph: { train: '{}', eval: '{}' },
    metadata: { title: '', description: '', tags: ['a'], configHash: '', torchkeepVersion: '1', libtorchVersion: '2' },
  }
}

/** What a reader gives back: floats as numbers. */
function asRead(value: unknown): unknown {
  if (value instanceof PyFloat) return value.value
  if (value instanceof Map) return new Map([...value].map(([key, item]) => [key, asRead(item)]))
  if (Array.isArray(value)) return value.map(asRead)
  if (typeof value === 'object' && value !== null && value !== tensor)
    return new Map(Object.entries(value).map(([key, item]) => [key, asRead(item)]))
  return value
}

/** All paths of dict keys that the schema declares, below the encoded checkpoint. */
function* keyPaths(value: unknown, path: string[] = []): Generator<string[]> {
  if (!(value instanceof Map) || ['model_state_dict', 'optimizer_state_dict', 'config'].includes(path.at(-1) ?? ''))
    return
  for (const [key, item] of value as Map<string, unknown>) {
    yield [...path, key]
    yield* keyPaths(item, [...path, key])
  }
}

describe('checkpoint schema', () => {
  it('survives the round trip', () => {
    assert.deepEqual(decodeCheckpoint(asRead(encodeCheckpoint(example())), 'x.pth'), example())
  })

  it("continues the older layout's keys and writes floats as floats", () => {
    const file = encodeCheckpoint(example())
    for (const key of [
      'version',
      'timestamp',
      'model_state_dict',
      'training_state',
      'config',
      'validation_loss',
      'is_best',
      'epoch',
      'phase',
      'optimizer_state_dict',
      'scheduler_state',
    ]) {
      assert.ok(file.has(key), key)
    }
    assert.equal(file.get('format'), 'torchkeep')
    assert.equal(file.get('version'), '3.0')
    const state = file.get('training_state') as Map<string, unknown>
    assert.deepEqual(state.get('best_val_loss'), new PyFloat(1))
    const [row] = state.get('metrics_history') as Map<string, unknown>[]
    assert.deepEqual(row?.get('val_accuracy'), new PyFloat(0.5))
  })

  it('names every field that is missing or of a wrong kind', () => {
    const optional = ['optimizer', 'scheduler', 'weight_decay']
    let checked = 0
    for (const path of keyPaths(asRead(encodeCheckpoint(example())))) {
      const last = path.at(-1) as string
      if (path.length === 1 && (last === 'format' || last === 'version')) continue
      for (const change of ['missing', 'wrong'] as const) {
        if (change === 'missing' && optional.includes(last)) continue
        if (change === 'wrong' && (last === 'config' || last === 'early_stopping')) continue
        const file = asRead(encodeCheckpoint(example())) as Map<string, unknown>
        const parent = path.slice(0, -1).reduce((map, key) => map.get(key) as Map<string, unknown>, file)
        if (change === 'missing') parent.delete(last)
        else parent.set(last, new Set())
        if (change === 'wrong' && ['cpu', 'epoch_rng_state'].includes(last)) parent.set(last, 'text')
        if (change === 'wrong' && ['loader', 'val_loader', 'loader_rng_state'].includes(last)) parent.set(last, 'text')
        assert.throws(
          () => decodeCheckpoint(file, 'x.pth'),
          (error: TorchkeepError) => {
            assert.equal(error.code, 'ERR_CHECKPOINT_INCOMPATIBLE')
            assert.ok(
              error.message.startsWith(`x.pth: ${path.join('.')} `),
              `${change} ${path.join('.')}: ${error.message}`,
            )
            return true
          },
        )
        checked++
      }
    }
    assert.ok(checked > 90, `only ${checked} fields were checked`)
  })

  it('tells other files and later versions from damage', () => {
    assert.throws(() => decodeCheckpoint(new Map([['weight', tensor]]), 'x.pth'), {
      code: 'ERR_CHECKPOINT_UNSUPPORTED',
    })
    assert.throws(() => decodeCheckpoint([1], 'x.pth'), { code: 'ERR_CHECKPOINT_UNSUPPORTED' })
    const file = asRead(encodeCheckpoint(example())) as Map<string, unknown>
    assert.throws(() => decodeCheckpoint(new Map([...file, ['version', '4.0']]), 'x.pth'), {
      code: 'ERR_CHECKPOINT_NEWER',
    })
    assert.throws(() => decodeCheckpoint(new Map([...file, ['version', '2.9']]), 'x.pth'), {
      code: 'ERR_CHECKPOINT_UNSUPPORTED',
    })
    assert.equal(decodeCheckpoint(new Map([...file, ['version', '3.7'], ['added', 1]]), 'x.pth').epoch, 2)
  })

  it('refuses by path what is not plain in a config', () => {
    const at = new Place('ERR_INVALID_ARGUMENT', '').field('config')
    const loop: Record<string, unknown> = {}
    loop['self'] = [loop]
    const cases: [unknown, RegExp][] = [
      [
        { layers: [1, { activation: Math.tanh }] },
        /^config\.layers\[1\]\.activation should be a plain value .* is the function tanh$/,
      ],
      [{ when: new Date(0) }, /^config\.when .* an object of class Date$/],
      [{ rate: undefined }, /^config\.rate .* is missing$/],
      [loop, /^config\.self\[0\] /],
    ]
    for (const [value, message] of cases)
      assert.throws(() => plain.encode(value as null, at), { code: 'ERR_INVALID_ARGUMENT', message })
    const twice = { a: 1 }
    assert.deepEqual(plain.encode([twice, twice], at), [twice, twice])
    assert.deepEqual(plain.decode(new Map<unknown, unknown>([['a', Tuple.of(1, null)]]), at), { a: [1, null] })
  })

  it('refuses wrong and unknown fields of a training configuration by path', () => {
    const at = new Place('ERR_INVALID_ARGUMENT', '').field('trainingConfig')
    const phase = { name: 'a', epochs: 1, lr: 0.1 }
    const cases: [unknown, RegExp][] = [
      [{ loss: 'mse' }, /^trainingConfig\.phases should be an array, but is missing/],
      [
        { loss: 'l3', phases: [phase] },
        /^trainingConfig\.loss should be one of 'mse', 'l1', 'cross_entropy', 'bce_with_logits', 'custom', but is "l3"/,
      ],
      [
        { loss: 'mse', phases: [phase, { ...phase, epochs: 0 }] },
        /^trainingConfig\.phases\[1\]\.epochs should be an integer of at least 1, but is number 0/,
      ],
      [
        { loss: 'mse', phases: [phase, { ...phase, steps: 5 }] },
        /^trainingConfig\.phases\[1\] should have either epochs or steps, but has both/,
      ],
      [
        { loss: 'mse', phases: [{ ...phase, lr: NaN }] },
        /^trainingConfig\.phases\[0\]\.lr should be a finite positive number/,
      ],
      [
        { loss: 'mse', phases: [{ ...phase, learningRate: 1 }] },
        /^trainingConfig\.phases\[0\]\.learningRate is not known here \(known: name, epochs, steps, lr/,
      ],
    ]
    for (const [value, message] of cases)
      assert.throws(() => trainingConfigField.encode(value as never, at), { code: 'ERR_INVALID_ARGUMENT', message })
  })

  it('lists where two plain values differ', () => {
    assert.deepEqual(differences({ a: [1, { b: 2 }], c: NaN }, { a: [1, { b: 3 }], c: NaN, d: null }), ['a[1].b', 'd'])
    assert.deepEqual(differences([1], { 0: 1 }), [''])
  })
})
