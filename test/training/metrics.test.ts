/** Metrics and what counts as best. */
import assert from 'node:assert/strict'
import type { Best, TrainingMetrics } from '../../src/checkpoint/schema.js'
import type { TrainingConfig } from '../../src/checkpoint/training-config.js'
import type { TorchkeepError } from '../../src/format/errors.js'
import { atThreshold } from '../../src/training/metrics-classification.js'
import { checkMetrics, computeMetrics, refuseUnusedMetrics, resolveMetrics } from '../../src/training/metrics.js'
import { improvement, resolveMonitor } from '../../src/training/monitor.js'

const values = (shape: number[], ...data: number[]): { shape: number[]; data: Float64Array } => ({
  shape,
  data: Float64Array.from(data),
})
const epoch = (number: number, valLoss: number | null, valMetrics = {}): TrainingMetrics => ({
  epoch: number,
  phase: 1,
  trainLoss: 0.5,
  valLoss,
  valMetrics,
  learningRate: 1,
  trainingTime: 1,
})

const compute = (names: string[], ...sides: [ReturnType<typeof values>, ReturnType<typeof values>]) =>
  computeMetrics(resolveMetrics(names), ...sides)

describe('metrics', () => {
  it('computes accuracy with the first of equal scores, as torch.argmax does', async () => {
    const outputs = values([4, 3], 1, 5, 5, 0, 8, 9, 2, 1, 0, 0, 0, 1)
    assert.deepEqual(await compute(['accuracy'], outputs, values([4], 1, 2, 0, 0)), { accuracy: 0.75 })
  })

  it('computes mse and rmse, the root position by position', async () => {
    const found = await compute(['mse', 'rmse'], values([2, 2], 1, 2, 3, 4), values([2, 2], 1, 2, 3, 8))
    assert.deepEqual(found, { mse: 4, rmse: Math.sqrt(8) / 2 })
  })

  it('refuses shapes that a metric cannot have', () => {
    const check = (name: string, output: number[], target: number[]) =>
      checkMetrics(resolveMetrics([name]), output, target)
    check('accuracy', [8, 10], [8])
    check('mse', [8, 1], [8, 1])
    assert.throws(() => check('rmse', [8, 1], [8]), {
      code: 'ERR_DATA',
      message: /'rmse' needs .*; here outputs are \[8, 1\] and targets \[8\]/,
    })
    assert.throws(() => check('accuracy', [8, 3], [8, 3]), { code: 'ERR_DATA' })
    assert.throws(() => check('mse', [], []), { code: 'ERR_DATA' })
  })

  it('refuses targets that are no class numbers, before a run', () => {
    const check = (name: string, output: number[], targets: ArrayLike<number | bigint>) =>
      checkMetrics(resolveMetrics([name]), output, [targets.length], () => targets)
    check('accuracy', [3, 4], BigInt64Array.of(0n, -100n, 3n))
    check('auroc', [3], Float32Array.of(0, 1, 1))
    check('mse', [2], Float32Array.of(7.5, NaN))
    assert.throws(() => check('aupr', [3, 1], Float32Array.of(0, 1, 7.5)), {
      code: 'ERR_DATA',
      message: "metric 'aupr' needs class numbers from 0 to 1 as targets; the one at position 2 is 7.5",
    })
    assert.throws(() => check('macro_f1', [2, 4], BigInt64Array.of(0n, 4n)), { message: /from 0 to 3 .* is 4$/ })
    assert.throws(() => check('auroc', [1], Float32Array.of(-100)), { code: 'ERR_DATA' })
  })
})

/** Pseudo-random values from 0 to 1; rounded to `steps` where ties are wanted. */
function randomValues(count: number, seed: number, steps = Infinity): Float64Array {
  let state = seed
  return Float64Array.from({ length: count }, () => {
    state = (state * 48271) % 2147483647
    const value = state / 2147483647
    return steps === Infinity ? value : Math.floor(value * steps) / steps
  })
}

function allPairs(outputs: Float64Array, targets: Float64Array): number {
  let [right, pairs] = [0, 0]
  outputs.forEach((left, i) =>
    outputs.forEach((other, j) => {
      if (!((targets[i] as number) > (targets[j] as number))) return
      pairs++
      right += left > other ? 1 : left === other ? 0.5 : 0
    }),
  )
  return right / pairs
}

describe('metrics of order', () => {
  it('count all pairs for the concordance index, exactly', async () => {
    for (const [seed, count, steps] of [
      [1, 2, 2],
      [2, 7, 3],
      [3, 100, 5],
      [4, 300, Infinity],
      [5, 300, 40],
    ] as const) {
      const [outputs, targets] = [randomValues(count, seed, steps), randomValues(count, seed + 100, steps)]
      const side = (data: Float64Array) => ({ data, shape: [count] })
      const found = await compute(['concordance_index'], side(outputs), side(targets))
      assert.equal(found['concordance_index'], allPairs(outputs, targets), `${count} samples`)
    }
  })

  it('give infinite values their place', async () => {
    const found = await compute(
      ['spearman', 'concordance_index'],
      values([3], -Infinity, 0, Infinity),
      values([3], 1, 2, 3),
    )
    assert.equal(found['concordance_index'], 1)
    assert.ok(Math.abs((found['spearman'] as number) - 1) < 1e-15)
  })

  it('take well under a second for 100,000 samples', async function () {
    this.timeout(5000)
    const side = (seed: number) => ({ data: randomValues(100_000, seed), shape: [100_000] })
    const start = process.cpuUsage()
    await compute(['concordance_index', 'spearman'], side(1), side(2))
    const { user, system } = process.cpuUsage(start)
    assert.ok(user + system < 1e6, `${user + system} us of processor time`)
  })
})

describe('metrics in a run', () => {
  it('leave the event loop free over many samples', async function () {
    this.timeout(30_000)
    const count = 400_000
    const side = (seed: number) => ({ data: randomValues(count, seed), shape: [count] })
    const labels = { data: randomValues(count / 5, 9, 5).map((value) => Math.round(value * 5)), shape: [count / 5] }
    const sides = [side(1), side(2)] as const
    const classes = { data: sides[0].data, shape: [count / 5, 5] }
    // Processor time between two turns, since other processes have theirs on a busy machine.
    const delays: number[] = []
    let last = process.cpuUsage()
    const timer = setInterval(() => {
      const { user, system } = process.cpuUsage(last)
      delays.push((user + system) / 1000)
      last = process.cpuUsage()
    })
    const found = await compute(['mse', 'rmse', 'mae', 'r2', 'pearson', 'spearman', 'concordance_index'], ...sides)
    Object.assign(found, await compute(['accuracy', 'macro_f1', 'auroc', 'aupr'], classes, labels))
    clearInterval(timer)
    assert.ok(Object.values(found).every(Number.isFinite), JSON.stringify(found))
    delays.sort((a, b) => b - a)
    assert.ok(delays.length > 20, `only ${delays.length} turns`)
    // The longest ones may hold garbage collections and compilations, whose threads count too.
    const percentile = delays[Math.floor(delays.length / 10)] as number
    assert.ok(percentile < 25, `the longest: ${delays.slice(0, 10).join(', ')} ms`)
  })

  it('are NaN where they cannot be computed, and never an exception', async () => {
    const numbers = ['mse', 'rmse', 'mae', 'r2', 'pearson', 'spearman', 'concordance_index']
    const labels = ['accuracy', 'macro_f1', 'auroc', 'aupr']
    const allNan = async (
      names: string[],
      ...sides: Parameters<typeof compute> extends [unknown, ...infer S] ? S : never
    ) => assert.deepEqual(await compute(names, ...sides), Object.fromEntries(names.map((name) => [name, NaN])))
    await allNan([...numbers, ...labels], values([0]), values([0]))
    await allNan([...numbers, ...labels], values([3], 1, NaN, 0), values([3], 1, 0, 1))
    await allNan(labels, values([3, 2], 1, 2, 3, NaN, 1, 1), values([3], 1, 0, 1))
    await allNan(labels, values([2], 1, 2), values([2], 0.5, 1))
    await allNan(['auroc', 'aupr'], values([2], 1, 2), values([2], 2, 1))
    await allNan(['pearson', 'spearman'], values([3], 0.1, 0.1, 0.1), values([3], 1, 2, 3))
    await allNan(['r2', 'pearson', 'spearman', 'concordance_index'], values([3], 1, 2, 3), values([3], 0.1, 0.1, 0.1))
    await allNan(['auroc'], values([2], 1, 2), values([2], 1, 1))
    await allNan(['r2', 'pearson', 'spearman', 'concordance_index', 'auroc'], values([1], 1), values([1], 1))
  })

  it('pass over the label that cross-entropy ignores', async () => {
    const outputs = values([3, 2], 1, 0, 0, 1, 5, 0)
    assert.deepEqual(await compute(['accuracy', 'macro_f1'], outputs, values([3], 0, 1, -100)), {
      accuracy: 1,
      macro_f1: 1,
    })
  })

  it('take one output a sample as a logit, or with a threshold of one’s own', async () => {
    const outputs = values([4, 1], 0.2, 0.8, -0.1, 0.4)
    const targets = values([4, 1], 0, 1, 0, 0)
    const own = { accuracy_at_half: atThreshold('accuracy', 0.5) }
    assert.deepEqual(await computeMetrics(resolveMetrics(['accuracy', 'accuracy_at_half'], own), outputs, targets), {
      accuracy: 0.5,
      accuracy_at_half: 1,
    })
  })

  it('may be the user’s own, which get copies', async () => {
    const spoil = ({ data }: { data: Float64Array }) => data.fill(9)[0] as number
    const own = { spoil, later: { mode: 'max', compute: () => Promise.resolve(2) } } as const
    const metrics = resolveMetrics(['spoil', 'later', 'mse'], own)
    assert.deepEqual(
      metrics.map(({ mode }) => mode),
      [null, 'max', 'min'],
    )
    const outputs = values([2], 1, 2)
    assert.deepEqual(await computeMetrics(metrics, outputs, values([2], 1, 3)), { spoil: 9, later: 2, mse: 0.5 })
    const failing = (compute: unknown) =>
      computeMetrics(resolveMetrics(['bad'], { bad: compute as () => number }), outputs, outputs)
    await assert.rejects(
      failing(() => '5'),
      { code: 'ERR_INVALID_ARGUMENT', message: /'bad' should return a number, but returned string/ },
    )
    await assert.rejects(
      failing(() => {
        throw new Error('no rows')
      }),
      { code: 'ERR_INVALID_ARGUMENT', message: /own metric 'bad' failed: no rows/ },
    )
  })

  it('are named before the first step, with what exists', () => {
    const refused = (names: string[], own: Record<string, never>, message: RegExp, suggestion = /^/) =>
      assert.throws(
        () => resolveMetrics(names, own),
        (error: TorchkeepError) => {
          assert.equal(error.code, 'ERR_INVALID_ARGUMENT')
          assert.match(error.message, message)
          assert.match(error.suggestions.join(), suggestion)
          return true
        },
      )
    refused(['spearmann'], {}, /no metric 'spearmann'; there are mse, .*aupr/, /spearman/)
    refused(['val_rmse'], {}, /no metric 'val_rmse'/, /rmse/)
    refused(['loss'], {}, /val_loss is always computed/)
    refused(['mse', 'mse'], {}, /'mse' is named twice/)
    refused(['mse'], { mse: (() => 1) as never }, /has the name of one that exists/)
    refused(['a b'], { 'a b': (() => 1) as never }, /letters, digits and _/)
    refused(['mine'], { mine: { mode: 'up', compute: () => 1 } as never }, /mode "up"; 'min' or 'max' was expected/)
    refused(['mine'], { mine: 5 as never }, /should be a function/)
    assert.throws(() => resolveMetrics(['constructor']), { code: 'ERR_INVALID_ARGUMENT' })
    assert.throws(
      () => refuseUnusedMetrics(['mse'], { mine: () => 1 }),
      (error: TorchkeepError) => {
        assert.match(error.message, /'mine' is not used/)
        assert.deepEqual(error.suggestions, ["metrics: ['mse', 'mine'] in the training configuration"])
        return true
      },
    )
  })
})

describe('the best epoch', () => {
  it('is monitored as configured, with a direction that suits the metric', () => {
    const config: TrainingConfig = { loss: 'mse', phases: [{ name: 'a', epochs: 1, lr: 1 }] }
    const computed = (...names: string[]) => ({ validates: true, metrics: resolveMetrics(names) })
    const nothing = { validates: false, metrics: [] }
    assert.deepEqual(resolveMonitor(config, computed()), { name: 'val_loss', mode: 'min' })
    assert.deepEqual(resolveMonitor(config, nothing), { name: 'train_loss', mode: 'min' })
    assert.deepEqual(resolveMonitor({ ...config, monitor: 'val_accuracy' }, computed('accuracy')), {
      name: 'val_accuracy',
      mode: 'max',
    })
    assert.throws(() => resolveMonitor({ ...config, monitor: 'val_acc' }, computed('rmse')), {
      code: 'ERR_MONITOR_MISSING',
      message: "monitor 'val_acc' is not computed in this run; there are train_loss, val_loss, val_rmse",
    })
    assert.throws(() => resolveMonitor({ ...config, monitor: 'val_loss' }, nothing), { code: 'ERR_MONITOR_MISSING' })
  })

  it('suggests the name that was meant', () => {
    const suggestions = (monitor: string, validates = true) => {
      try {
        const metrics = resolveMetrics(['rmse', 'pearson'])
        return resolveMonitor({ loss: 'mse', phases: [], monitor }, { validates, metrics })
      } catch (error) {
        return (error as TorchkeepError).suggestions
      }
    }
    assert.deepEqual(suggestions('val_peason'), ["'val_pearson'"])
    assert.deepEqual(suggestions('pearson'), ["'val_pearson'"])
    assert.deepEqual(suggestions('val_rmse', false), ['validation data, as the second argument of train()'])
  })

  it('never guesses a direction', () => {
    const config: TrainingConfig = { loss: 'mse', phases: [], monitor: 'val_my_accuracy' }
    const metrics = resolveMetrics(['my_accuracy'], { my_accuracy: () => 1 })
    assert.throws(() => resolveMonitor(config, { validates: true, metrics }), {
      code: 'ERR_INVALID_ARGUMENT',
      message: /'val_my_accuracy' has no direction/,
    })
    assert.equal(resolveMonitor({ ...config, mode: 'max' }, { validates: true, metrics }).mode, 'max')
    const told = resolveMetrics(['my_accuracy'], { my_accuracy: { mode: 'max', compute: () => 1 } })
    assert.equal(resolveMonitor(config, { validates: true, metrics: told }).mode, 'max')
    // Of another monitor than the run's, the run's mode says nothing.
    const run = { ...config, monitor: 'val_r2', mode: 'min' } as const
    const computed = { validates: true, metrics: resolveMetrics(['r2', 'rmse']) }
    assert.deepEqual(resolveMonitor(run, computed, { monitor: 'val_r2' }), { name: 'val_r2', mode: 'min' })
    assert.deepEqual(resolveMonitor(run, computed, { monitor: 'val_rmse' }), { name: 'val_rmse', mode: 'min' })
    assert.deepEqual(resolveMonitor(run, computed, { monitor: 'val_rmse', mode: 'max' }).mode, 'max')
    assert.throws(() => resolveMonitor(run, computed, { monitor: 'val_mse' }), { code: 'ERR_MONITOR_MISSING' })
  })

  it('is never one of NaN or infinity, and a tie keeps the earlier', () => {
    const monitor = { name: 'val_loss', mode: 'min' } as const
    let best: Best | null = null
    const seen = [NaN, 3, 3, NaN, -Infinity, 2, null, 2].map((loss, index) => {
      const found = improvement(monitor, best, epoch(index + 1, loss))
      best = found ?? best
      return best?.epoch
    })
    assert.deepEqual(seen, [undefined, 2, 2, 2, 2, 6, 6, 6])
  })

  it('follows a metric upwards', () => {
    const monitor = { name: 'val_accuracy', mode: 'max' } as const
    const first = improvement(monitor, null, epoch(1, 1, { accuracy: 0.5 }))
    assert.equal(first?.score, 0.5)
    assert.equal(improvement(monitor, first, epoch(2, 1, { accuracy: 0.5 })), null)
    assert.equal(improvement(monitor, first, epoch(3, 1, { accuracy: 0.6 }))?.epoch, 3)
  })
})
