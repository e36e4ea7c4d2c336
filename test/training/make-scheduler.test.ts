/** Schedulers from a configuration: what is refused, and what they take from the phase. */
import assert from 'node:assert/strict'
import { lrScheduler, nn, ones, optim } from '../../lib/index.js'
import { Place } from '../../src/checkpoint/fields.js'
import { schedulerField, type SchedulerConfig } from '../../src/checkpoint/scheduler-config.js'
import { PyFloat } from '../../src/format/values.js'
import { intervalOf, makeScheduler, type PhaseLength } from '../../src/training/make-scheduler.js'

const sgd = (): optim.SGD => new optim.SGD([new nn.Parameter(ones([1]))], { lr: 0.1, momentum: 0.9 })
const encode = (config: unknown): unknown =>
  schedulerField.encode(config as SchedulerConfig, new Place('ERR_INVALID_ARGUMENT', '', 'scheduler'))
const invalid = (message: RegExp) => ({ name: 'TorchkeepError', code: 'ERR_INVALID_ARGUMENT', message })

/** As a checkpoint's reader gives it: floats are plain numbers. */
function asRead(value: unknown): unknown {
  if (value instanceof PyFloat) return value.value
  if (value instanceof Map) return new Map([...value].map(([key, item]) => [key, asRead(item)]))
  return Array.isArray(value) ? value.map(asRead) : value
}

describe('the configuration of a scheduler', () => {
  it('is in a file under PyTorch’s names, and comes back', () => {
    const config: SchedulerConfig = {
      name: 'SequentialLR',
      schedulers: [
        { name: 'LinearLR', startFactor: 0.1 },
        { name: 'CosineAnnealingLR', tMax: 9, etaMin: 1 },
        { name: 'CosineAnnealingWarmRestarts', t0: 4, tMult: 2 },
        { name: 'OneCycleLR', maxLr: [1, 2] },
      ],
      milestones: [2, 3, 4],
      interval: 'step',
    }
    const dict = encode(config) as Map<string, unknown>
    assert.deepEqual([...dict.keys()], ['name', 'schedulers', 'milestones', 'interval'])
    const parts = (dict.get('schedulers') as Map<string, unknown>[]).map((part) => [...part.keys()])
    assert.deepEqual(parts, [
      ['name', 'start_factor'],
      ['name', 'T_max', 'eta_min'],
      ['name', 'T_0', 'T_mult'],
      ['name', 'max_lr'],
    ])
    assert.deepEqual(
      schedulerField.decode(asRead(dict), new Place('ERR_CHECKPOINT_CORRUPT', 'x.pth', 'scheduler')),
      config,
    )
  })

  const mistakes: [config: unknown, message: RegExp][] = [
    [
      { name: 'StepLr', stepSize: 1 },
      /scheduler\.name is "StepLr", expected one of StepLR, MultiStepLR,.*; did you mean 'StepLR'\?/,
    ],
    [{ stepSize: 1 }, /scheduler\.name is missing, expected one of StepLR/],
    [{ name: 'StepLR', step_size: 1 }, /scheduler\.step_size is not known here \(known: stepSize, gamma, interval\)/],
    [{ name: 'StepLR' }, /scheduler\.stepSize should be an integer of at least 1, but is missing/],
    [{ name: 'CosineAnnealingLR', tMax: 0 }, /scheduler\.tMax/],
    [{ name: 'OneCycleLR', maxLr: [0.1, 'x'] }, /scheduler\.maxLr\[1\]/],
    [{ name: 'ReduceLROnPlateau', interval: 'step' }, /scheduler\.interval should be one of 'epoch'/],
    [
      { name: 'ChainedScheduler', schedulers: [{ name: 'WarmupDecay' }] },
      /scheduler\.schedulers\[0\]\.name is "WarmupDecay"/,
    ],
    [
      {
        name: 'SequentialLR',
        milestones: [1],
        schedulers: [{ name: 'LinearLR' }, { name: 'StepLR', interval: 'step' }],
      },
      /scheduler\.schedulers\[1\]\./,
    ],
    ['StepLR', /scheduler should be an object/],
  ]
  for (const [config, message] of mistakes) {
    it(`is refused: ${JSON.stringify(config)}`, () => assert.throws(() => encode(config), invalid(message)))
  }
})

describe('makeScheduler', () => {
  it('steps after epochs unless told; OneCycleLR after steps', () => {
    assert.equal(intervalOf({ name: 'ExponentialLR', gamma: 0.9 }), 'epoch')
    assert.equal(intervalOf({ name: 'ExponentialLR', gamma: 0.9, interval: 'step' }), 'step')
    assert.equal(intervalOf({ name: 'OneCycleLR', maxLr: 1 }), 'step')
  })

  it('gives OneCycleLR the length of the phase, in what it counts', () => {
    const total = (config: SchedulerConfig, phase: PhaseLength): unknown =>
      makeScheduler(sgd(), config, phase).stateDict().get('total_steps')
    const config: SchedulerConfig = { name: 'OneCycleLR', maxLr: 1 }
    assert.equal(total(config, { epochs: 3, stepsPerEpoch: 7 }), 21)
    assert.equal(total(config, { epochs: Infinity, totalSteps: 40 }), 40)
    assert.equal(total({ ...config, interval: 'epoch' }, { epochs: 30, stepsPerEpoch: 7 }), 30)
    assert.equal(total({ ...config, totalSteps: 50 }, { totalSteps: 40 }), 50)
    assert.throws(() => total(config, { epochs: 3 }), invalid(/OneCycleLR: totalSteps is missing, and how many steps/))
    assert.throws(
      () => total({ ...config, totalSteps: 9 }, { totalSteps: 40 }),
      invalid(/totalSteps is 9, but the phase has 40/),
    )
  })

  it('takes the direction of the monitored metric where mode is not told', () => {
    const mode = (config: SchedulerConfig, phase: PhaseLength): unknown =>
      makeScheduler(sgd(), config, phase).stateDict().get('mode')
    assert.equal(mode({ name: 'ReduceLROnPlateau' }, {}), 'min')
    assert.equal(mode({ name: 'ReduceLROnPlateau', monitor: 'val_r2' }, { mode: 'max' }), 'max')
    assert.equal(mode({ name: 'ReduceLROnPlateau', mode: 'min' }, { mode: 'max' }), 'min')
  })

  const refused: [config: SchedulerConfig, message: RegExp][] = [
    [{ name: 'OneCycleLR', maxLr: [0.1, 0.2] }, /OneCycleLR: maxLr is 0\.1,0\.2, expected a number or 1 numbers/],
    [
      { name: 'OneCycleLR', maxLr: 1, totalSteps: 10, pctStart: 0.1 },
      /pctStart 0\.1 of 10 steps makes a part of the cycle 0 steps/,
    ],
    [{ name: 'OneCycleLR', maxLr: 1, totalSteps: 10, pctStart: 1 }, /pctStart 1 of 10 steps/],
    [{ name: 'SequentialLR', schedulers: [], milestones: [] }, /SequentialLR: schedulers/],
    [
      { name: 'SequentialLR', schedulers: [{ name: 'LinearLR' }], milestones: [3] },
      /milestones is \[3\], expected 0 rising/,
    ],
    [
      { name: 'SequentialLR', schedulers: Array(3).fill({ name: 'LinearLR' }) as never, milestones: [3, 3] },
      /milestones is \[3, 3\], expected 2 rising integers for 3 schedulers/,
    ],
    [
      {
        name: 'SequentialLR',
        schedulers: [{ name: 'LinearLR' }, { name: 'ChainedScheduler', schedulers: [{ name: 'LinearLR' }] }],
        milestones: [3],
      },
      /scheduler 1 is ChainedScheduler, expected one that is not made of others, except as the first/,
    ],
  ]
  for (const [config, message] of refused) {
    it(`refuses ${JSON.stringify(config)}`, () =>
      assert.throws(() => makeScheduler(sgd(), config, { totalSteps: 10 }), invalid(message)))
  }

  it('is refused what the schedulers themselves refuse', () => {
    const plateau = makeScheduler(sgd(), { name: 'ReduceLROnPlateau' })
    assert.throws(() => plateau.step(), invalid(/ReduceLROnPlateau: step\(\) needs the metric/))
    const cycle = makeScheduler(sgd(), { name: 'OneCycleLR', maxLr: 1 }, { totalSteps: 2 })
    cycle.step()
    cycle.step()
    assert.throws(() => cycle.step(), invalid(/step 3 is past totalSteps, which is 2/))
    const [one, other] = [sgd(), sgd()]
    const step = new lrScheduler.StepLR(one, { stepSize: 1 })
    assert.throws(
      () => new lrScheduler.ChainedScheduler(other, { schedulers: [step] }),
      invalid(/for another optimizer/),
    )
    assert.throws(
      () => new lrScheduler.ChainedScheduler(one, { schedulers: [new lrScheduler.ReduceLROnPlateau(one)] }),
      invalid(/scheduler 0 is ReduceLROnPlateau/),
    )
    assert.throws(() => new lrScheduler.ConstantLR(one, { factor: 0 }), invalid(/factor is 0/))
    assert.throws(
      () => new lrScheduler.CosineAnnealingLR(one, { T_max: 3 } as never),
      invalid(/unknown option 'T_max', expected tMax, etaMin/),
    )
  })
})

describe('a scheduler’s state dict', () => {
  const configs: SchedulerConfig[] = [
    { name: 'MultiStepLR', milestones: [1] },
    { name: 'OneCycleLR', maxLr: 1 },
    { name: 'ReduceLROnPlateau' },
    { name: 'WarmupDecay' },
    { name: 'ChainedScheduler', schedulers: [{ name: 'LinearLR' }, { name: 'StepLR', stepSize: 2 }] },
  ]
  const fresh = (config: SchedulerConfig): lrScheduler.LRScheduler => makeScheduler(sgd(), config, { totalSteps: 10 })
  for (const config of configs) {
    it(`of ${config.name} is refused where a key is absent or of another kind, and nothing changes`, () => {
      const scheduler = fresh(config)
      scheduler.step(1)
      const before = scheduler.stateDict()
      // What Python's older versions did not write, and what the older system's scheduler has not.
      const mayLack = [
        '_is_initial',
        '_get_lr_called_within_step',
        '_anneal_func_type',
        'use_beta1',
        '_step_count',
        'base_lrs',
        'compatible',
        '_last_lr',
      ]
      for (const key of before.keys()) {
        const broken = fresh(config).stateDict()
        broken.set(key, 'x')
        assert.throws(() => scheduler.loadStateDict(broken), {
          code: 'ERR_CHECKPOINT_INCOMPATIBLE',
          message: new RegExp(config.name),
        })
        if (mayLack.includes(key)) continue
        broken.delete(key)
        assert.throws(() => scheduler.loadStateDict(broken), {
          code: 'ERR_CHECKPOINT_INCOMPATIBLE',
          message: new RegExp(config.name),
        })
      }
      assert.deepEqual(scheduler.stateDict(), before)
    })
  }

  it('of members is put back where a later one does not fit', () => {
    const scheduler = fresh(configs[4] as SchedulerConfig)
    scheduler.step()
    const before = scheduler.stateDict()
    const broken = fresh(configs[4] as SchedulerConfig).stateDict()
    ;(broken.get('_schedulers') as Map<string, unknown>[])[1]?.set('step_size', null)
    assert.throws(() => scheduler.loadStateDict(broken), {
      code: 'ERR_CHECKPOINT_INCOMPATIBLE',
      message: /StepLR: step_size/,
    })
    assert.deepEqual(scheduler.stateDict(), before)
  })
})
