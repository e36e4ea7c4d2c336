/** Every scheduler has Python's rates to the last bit, goes on from Python's state dict at any step, and Python from ours. */
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type lrScheduler, nn, ones, optim } from '../../lib/index.js'
import { cos } from '../../lib/optim/cos.js'
import type { SchedulerConfig } from '../../src/checkpoint/scheduler-config.js'
import { load, save } from '../../src/serialization.js'
import { makeScheduler } from '../../src/training/make-scheduler.js'
import { needPython, runPython } from '../python.js'

const steps = 200
/** Steps at which state dicts are exchanged. */
const exchanged = [0, 1, 6, 50, 143]

/** What Python's constructor is called with (the optimizer is `o`), and the same as a configuration. */
const cases: Record<string, SchedulerConfig> = {
  'StepLR(o, 7)': { name: 'StepLR', stepSize: 7 },
  'StepLR(o, 1, gamma=0.97)': { name: 'StepLR', stepSize: 1, gamma: 0.97 },
  'MultiStepLR(o, [3, 90, 17, 17], gamma=0.3)': { name: 'MultiStepLR', milestones: [3, 90, 17, 17], gamma: 0.3 },
  'ExponentialLR(o, 0.98)': { name: 'ExponentialLR', gamma: 0.98 },
  'LinearLR(o)': { name: 'LinearLR' },
  'LinearLR(o, 0.01, 0.7, 60)': { name: 'LinearLR', startFactor: 0.01, endFactor: 0.7, totalIters: 60 },
  'ConstantLR(o)': { name: 'ConstantLR' },
  'ConstantLR(o, 0.17, 50)': { name: 'ConstantLR', factor: 0.17, totalIters: 50 },
  'PolynomialLR(o)': { name: 'PolynomialLR' },
  'PolynomialLR(o, 150, 2.3)': { name: 'PolynomialLR', totalIters: 150, power: 2.3 },
  'CosineAnnealingLR(o, 31, 1e-5)': { name: 'CosineAnnealingLR', tMax: 31, etaMin: 1e-5 },
  'CosineAnnealingLR(o, 1)': { name: 'CosineAnnealingLR', tMax: 1 },
  'CosineAnnealingLR(o, 200)': { name: 'CosineAnnealingLR', tMax: 200 },
  'CosineAnnealingWarmRestarts(o, 9, 2, 1e-4)': { name: 'CosineAnnealingWarmRestarts', t0: 9, tMult: 2, etaMin: 1e-4 },
  'CosineAnnealingWarmRestarts(o, 13)': { name: 'CosineAnnealingWarmRestarts', t0: 13 },
  'OneCycleLR(o, 0.5, total_steps=200)': { name: 'OneCycleLR', maxLr: 0.5 },
  "OneCycleLR(o, 0.3, total_steps=211, pct_start=0.21, anneal_strategy='linear', three_phase=True, div_factor=10., final_div_factor=100.)":
    {
      name: 'OneCycleLR',
      maxLr: 0.3,
      totalSteps: 211,
      pctStart: 0.21,
      annealStrategy: 'linear',
      threePhase: true,
      divFactor: 10,
      finalDivFactor: 100,
    },
  'OneCycleLR(o, 0.3, epochs=20, steps_per_epoch=10, cycle_momentum=False, three_phase=True)': {
    name: 'OneCycleLR',
    maxLr: 0.3,
    cycleMomentum: false,
    threePhase: true,
  },
  'OneCycleLR(o, 0.3, total_steps=200, base_momentum=0.6, max_momentum=0.7)': {
    name: 'OneCycleLR',
    maxLr: 0.3,
    baseMomentum: 0.6,
    maxMomentum: 0.7,
  },
  'ReduceLROnPlateau(o)': { name: 'ReduceLROnPlateau' },
  "ReduceLROnPlateau(o, 'max', 0.7, 3, 0.02, 'rel', 4, 1e-4, 1e-6)": {
    name: 'ReduceLROnPlateau',
    mode: 'max',
    factor: 0.7,
    patience: 3,
    threshold: 0.02,
    thresholdMode: 'rel',
    cooldown: 4,
    minLr: 1e-4,
    eps: 1e-6,
  },
  "ReduceLROnPlateau(o, 'max', 0.9, 0, 0.3, 'abs')": {
    name: 'ReduceLROnPlateau',
    mode: 'max',
    factor: 0.9,
    patience: 0,
    threshold: 0.3,
    thresholdMode: 'abs',
  },
  "ReduceLROnPlateau(o, factor=0.5, patience=2, threshold_mode='abs', min_lr=[0.01] * len(o.param_groups))": {
    name: 'ReduceLROnPlateau',
    factor: 0.5,
    patience: 2,
    thresholdMode: 'abs',
    minLr: [0.01],
  },
  'SequentialLR(o, [LinearLR(o, 0.1, 1., 10), CosineAnnealingLR(o, 90, 1e-5), ExponentialLR(o, 0.9)], [10, 100])': {
    name: 'SequentialLR',
    schedulers: [
      { name: 'LinearLR', startFactor: 0.1, endFactor: 1, totalIters: 10 },
      { name: 'CosineAnnealingLR', tMax: 90, etaMin: 1e-5 },
      { name: 'ExponentialLR', gamma: 0.9 },
    ],
    milestones: [10, 100],
  },
  'SequentialLR(o, [ConstantLR(o), PolynomialLR(o, 20), StepLR(o, 3), MultiStepLR(o, [2, 5]), LinearLR(o), CosineAnnealingWarmRestarts(o, 5, 2)], [4, 20, 50, 60, 70])':
    {
      name: 'SequentialLR',
      schedulers: [
        { name: 'ConstantLR' },
        { name: 'PolynomialLR', totalIters: 20 },
        { name: 'StepLR', stepSize: 3 },
        { name: 'MultiStepLR', milestones: [2, 5] },
        { name: 'LinearLR' },
        { name: 'CosineAnnealingWarmRestarts', t0: 5, tMult: 2 },
      ],
      milestones: [4, 20, 50, 60, 70],
    },
  'ChainedScheduler([ConstantLR(o, 0.1, 20), ExponentialLR(o, 0.99), CosineAnnealingLR(o, 50)])': {
    name: 'ChainedScheduler',
    schedulers: [
      { name: 'ConstantLR', factor: 0.1, totalIters: 20 },
      { name: 'ExponentialLR', gamma: 0.99 },
      { name: 'CosineAnnealingLR', tMax: 50 },
    ],
  },
  'SequentialLR(o, [ChainedScheduler([ConstantLR(o), ExponentialLR(o, 0.9), PolynomialLR(o, 50)]), OneCycleLR(o, 0.2, total_steps=200)], [12])':
    {
      name: 'SequentialLR',
      schedulers: [
        {
          name: 'ChainedScheduler',
          schedulers: [
            { name: 'ConstantLR' },
            { name: 'ExponentialLR', gamma: 0.9 },
            { name: 'PolynomialLR', totalIters: 50 },
          ],
        },
        { name: 'OneCycleLR', maxLr: 0.2, totalSteps: 200 },
      ],
      milestones: [12],
    },
  'ChainedScheduler([SequentialLR(o, [SequentialLR(o, [LinearLR(o), ExponentialLR(o, 0.9)], [3]), StepLR(o, 4)], [20]), ExponentialLR(o, 0.99)])':
    {
      name: 'ChainedScheduler',
      schedulers: [
        {
          name: 'SequentialLR',
          schedulers: [
            {
              name: 'SequentialLR',
              schedulers: [{ name: 'LinearLR' }, { name: 'ExponentialLR', gamma: 0.9 }],
              milestones: [3],
            },
            { name: 'StepLR', stepSize: 4 },
          ],
          milestones: [20],
        },
        { name: 'ExponentialLR', gamma: 0.99 },
      ],
    },
}

/** The same arithmetic on both sides; now and then NaN. */
const metric = (step: number): number => (step % 17 === 5 ? NaN : ((step * 7919) % 101) / 50 + 1 / (step + 1))

const program = `
import copy, math, warnings
from torch.optim.lr_scheduler import *
warnings.simplefilter('ignore')
steps, exchanged = 200, ${JSON.stringify(exchanged)}
metric = lambda step: float('nan') if step % 17 == 5 else ((step * 7919) % 101) / 50 + 1 / (step + 1)
parameter = lambda: torch.nn.Parameter(torch.ones(1))
optimizers = [
    lambda: torch.optim.SGD([parameter()], lr=0.1, momentum=0.9),
    lambda: torch.optim.AdamW([{'params': [parameter()], 'lr': lr} for lr in (0.1, 0.003, 7e-4)]),
]
momentum = lambda group: group['betas'][0] if 'betas' in group else group['momentum']
look = lambda o, s: ([g['lr'] for g in o.param_groups], [momentum(g) for g in o.param_groups], s.get_last_lr())
def go(o, s, first):
    seen = []
    for step in range(first, steps):
        s.step(metric(step)) if isinstance(s, ReduceLROnPlateau) else s.step()
        seen.append(look(o, s))
    return seen
def equal(a, b):
    if type(a) is not type(b): return False
    if isinstance(a, dict): return list(a) == list(b) and all(equal(a[k], b[k]) for k in a)
    if isinstance(a, (list, tuple)): return len(a) == len(b) and all(map(equal, a, b))
    return a == b
states = lambda o, s: {'scheduler': s.state_dict(), 'groups': o.state_dict()['param_groups']}
theirs = torch.load(sys.argv[1], weights_only=True)
ours, wrong = {}, []
for text, both in theirs.items():
    ours[text] = []
    for which, make in enumerate(optimizers):
        o = make(); s = eval(text)
        seen, dicts = [look(o, s)], {}
        for step in range(steps):
            if step in exchanged: dicts[step] = copy.deepcopy(states(o, s))
            s.step(metric(step)) if isinstance(s, ReduceLROnPlateau) else s.step()
            seen.append(look(o, s))
        ours[text].append({'seen': seen, 'dicts': dicts})
        for step, state in both[which].items():
            if not equal(state, dicts[step]): wrong.append(f'{text}, optimizer {which}, step {step}: {state} is not {dicts[step]}')
            o = make(); s = eval(text)
            s.load_state_dict(state['scheduler'])
            o.load_state_dict({'state': {}, 'param_groups': state['groups']})
            if go(o, s, step) != seen[step + 1:]: wrong.append(f'{text}, optimizer {which}: Python goes on otherwise from step {step}')
torch.save(ours, sys.argv[2])
print(json.dumps({'wrong': wrong, 'cos': [math.cos(i * 0.37) for i in range(2000)]}))`

interface Pair {
  optimizer: optim.Optimizer
  scheduler: lrScheduler.LRScheduler
}
type Seen = [rates: number[], momenta: number[], last: number[]]
type States = Map<string, unknown>

const optimizers: readonly (() => optim.Optimizer)[] = [
  () => new optim.SGD([new nn.Parameter(ones([1]))], { lr: 0.1, momentum: 0.9 }),
  () => new optim.AdamW([0.1, 0.003, 7e-4].map((lr) => ({ params: [new nn.Parameter(ones([1]))], lr }))),
]

function make(which: number, config: SchedulerConfig): Pair {
  const optimizer = (optimizers[which] as () => optim.Optimizer)()
  const spread = config.name === 'ReduceLROnPlateau' && Array.isArray(config.minLr)
  const settled = spread ? { ...config, minLr: optimizer.paramGroups.map(() => 0.01) } : config
  return { optimizer, scheduler: makeScheduler(optimizer, settled, { epochs: 20, stepsPerEpoch: 10 }) }
}

function look({ optimizer, scheduler }: Pair): Seen {
  const momenta = optimizer.paramGroups.map(
    ({ betas, momentum }) => (Array.isArray(betas) ? betas[0] : momentum) as number,
  )
  return [optimizer.paramGroups.map(({ lr }) => lr), momenta, scheduler.getLastLr()]
}

const states = ({ optimizer, scheduler }: Pair): States =>
  new Map<string, unknown>([
    ['scheduler', scheduler.stateDict()],
    ['groups', optimizer.stateDict().get('param_groups')],
  ])

function restore(pair: Pair, state: States): void {
  pair.scheduler.loadStateDict(state.get('scheduler') as Map<string, unknown>)
  pair.optimizer.loadStateDict(
    new Map<string, unknown>([
      ['state', new Map()],
      ['param_groups', state.get('groups')],
    ]),
  )
}

describe('schedulers against Python', function () {
  let folder: string
  before(function () {
    needPython(this)
    folder = mkdtempSync(join(tmpdir(), 'torchkeep-schedulers-'))
  })
  after(() => folder !== undefined && rmSync(folder, { recursive: true }))

  it('have the same rates for 200 steps, resumed at every step, and exchange state dicts', async () => {
    const seen = new Map<string, Seen[][]>()
    const dicts = new Map<string, Map<number, States>[]>()
    for (const [text, config] of Object.entries(cases)) {
      const runs = optimizers.map((_, which) => handedOn(which, config))
      seen.set(
        text,
        runs.map((run) => run.seen),
      )
      dicts.set(
        text,
        runs.map((run) => run.dicts),
      )
    }
    const [ours, theirs] = [join(folder, 'ours.pth'), join(folder, 'theirs.pth')]
    await save(ours, dicts)
    const answer = JSON.parse(await runPython(program, [ours, theirs])) as { wrong: string[]; cos: number[] }
    assert.deepEqual(answer.wrong, [])
    assert.deepEqual(
      answer.cos.map((_, i) => cos(i * 0.37)),
      answer.cos,
    )
    const python = (await load(theirs)) as Map<string, Map<string, unknown>[]>
    assert.deepEqual([...python.keys()], Object.keys(cases))
    for (const [text, config] of Object.entries(cases)) {
      python.get(text)?.forEach((run, which) => {
        const expected = plain(run.get('seen')) as Seen[]
        assert.deepEqual(seen.get(text)?.[which], expected, `${text}, optimizer ${which}`)
        for (const [step, state] of run.get('dicts') as Map<number, States>) {
          const pair = make(which, config)
          restore(pair, state)
          const found = Array.from({ length: 12 }, (_, i) => stepped(pair, step + i))
          assert.deepEqual(found, expected.slice(step + 1, step + 13), `${text}, optimizer ${which}, from step ${step}`)
        }
      })
    }
  })
})

describe('WarmupDecay', () => {
  const pair = (compatible: boolean, lrs: readonly number[] = [0.1, 0.003]): Pair => {
    const optimizer = new optim.AdamW(lrs.map((lr) => ({ params: [new nn.Parameter(ones([1]))], lr })))
    const options = { name: 'WarmupDecay', warmupEpochs: 7, decayFactor: 0.93, compatible } as const
    return { optimizer, scheduler: makeScheduler(optimizer, options) }
  }
  const rates = ({ optimizer }: Pair): number[] => optimizer.paramGroups.map(({ lr }) => lr)
  const run = (own: Pair): number[][] => [
    rates(own),
    ...Array.from({ length: 60 }, () => {
      own.scheduler.step()
      return rates(own)
    }),
  ]

  it('has the rates that Python computes, and the older system’s where that is wanted', async function () {
    needPython(this)
    const { epochs, older } = JSON.parse(
      await runPython(`
rate = lambda base, n: base * (n / 7) if n <= 7 else base * (0.93 ** (n - 7))
print(json.dumps({'epochs': [[rate(b, n) for b in (0.1, 0.003)] for n in range(1, 62)],
                  'older': [[b if n == 0 else rate(b, n) for b in (0.1, 0.003)] for n in range(61)]}))`),
    ) as { epochs: number[][]; older: number[][] }
    assert.deepEqual(run(pair(false)), epochs)
    assert.deepEqual(run(pair(true)), older)
  })

  it('goes on from its own state and from the older system’s', () => {
    const first = pair(false)
    for (let epoch = 0; epoch < 4; epoch++) first.scheduler.step()
    const dict = first.scheduler.stateDict()
    const second = pair(false)
    second.scheduler.loadStateDict(dict)
    assert.deepEqual([...dict.keys()].slice(0, 6), [...olderState.keys()])
    assert.deepEqual(second.scheduler.stateDict(), dict)
    for (const { scheduler } of [first, second]) scheduler.step()
    assert.deepEqual(rates(second), rates(first))

    const older = pair(true, [0.1])
    older.scheduler.loadStateDict(olderState)
    older.scheduler.step()
    assert.deepEqual(rates(older), [1e-4 * (4 / 5)])
  })
})

/** `scheduler_state` of a checkpoint of the older system, in its second phase. */
const olderState = new Map<string, unknown>([
  ['epoch', 3],
  ['current_phase', 2],
  ['phase1_lr', 1e-3],
  ['phase2_lr', 1e-4],
  ['warmup_epochs', 5],
  ['decay_factor', 0.95],
])

/** A run in which two pairs take turns after each step and hand each other nothing but the state dicts. */
function handedOn(which: number, config: SchedulerConfig): { seen: Seen[]; dicts: Map<number, States> } {
  let [pair, other] = [make(which, config), make(which, config)]
  const seen = [look(pair)]
  const dicts = new Map<number, States>()
  for (let step = 0; step < steps; step++) {
    const state = states(pair)
    if (exchanged.includes(step)) dicts.set(step, state)
    restore(other, state)
    ;[pair, other] = [other, pair]
    seen.push(stepped(pair, step))
  }
  return { seen, dicts }
}

function stepped(pair: Pair, step: number): Seen {
  pair.scheduler.step(metric(step))
  return look(pair)
}

/** Lists and numbers of Python as JavaScript's. */
function plain(value: unknown): unknown {
  if (Array.isArray(value)) return Array.from(value, plain)
  return typeof value === 'object' && value !== null ? Number(value) : value
}
