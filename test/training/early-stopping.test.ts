/** EarlyStopping alone: its rules one by one, its state, and the weights that it keeps for loops of one's own. */
import assert from 'node:assert/strict'
import { liveTensors, manualSeed, nn, noGrad, scope, type Tensor } from '../../lib/index.js'
import { EarlyStopping, type EarlyStoppingOptions } from '../../src/training/early-stopping.js'
import type { Plain } from '../../src/checkpoint/fields.js'

/** Checks scores, one an epoch of 10 steps and 2.5 seconds, and tells where and why it stopped. */
function stopOf(
  options: EarlyStoppingOptions,
  scores: number[],
  firstEpoch = 1,
): [epoch: number, reason: string | null] {
  const stopping = new EarlyStopping(options)
  for (const [index, score] of scores.entries()) {
    const epoch = firstEpoch + index
    if (stopping.check(score, at(epoch))) return [epoch, stopping.reason]
    assert.equal(stopping.reason, null)
  }
  return [0, stopping.reason]
}
const at = (epoch: number) => ({ epoch, step: 10 * epoch, seconds: 2.5 * epoch })

describe('EarlyStopping', () => {
  it('stops after so many checks without improvement, a tie being none', () => {
    assert.deepEqual(stopOf({ patience: 2 }, [3, 2, 2, 2.5, 1]), [4, 'patience'])
    assert.deepEqual(stopOf({ patience: 2, mode: 'max' }, [1, 2, 2, 1, 3]), [4, 'patience'])
    assert.deepEqual(stopOf({ patience: 2 }, [3, 4, 2, 4, 1, 4]), [0, null])
    assert.deepEqual(stopOf({}, [1, ...Array<number>(12).fill(1)]), [11, 'patience'])
  })

  it('asks for a smallest change, absolute or relative to the size of the best', () => {
    assert.deepEqual(stopOf({ patience: 2, minDelta: 0.1 }, [1, 0.95, 0.91, 0.5]), [3, 'patience'])
    // Small steps add up: they are compared with the last improvement.
    assert.deepEqual(stopOf({ patience: 2, minDelta: 0.1 }, [1, 0.95, 0.89, 0.85, 0.75]), [0, null])
    assert.deepEqual(stopOf({ patience: 2, minDelta: 0.1, minDeltaMode: 'rel' }, [100, 95, 91, 50]), [3, 'patience'])
    assert.deepEqual(stopOf({ patience: 1, minDelta: 0.1, minDeltaMode: 'rel' }, [100, 89, 79]), [0, null])
    assert.deepEqual(stopOf({ patience: 1, minDelta: 0.1, minDeltaMode: 'rel' }, [-100, -105]), [2, 'patience'])
    assert.deepEqual(stopOf({ patience: 1, minDelta: 0.1, minDeltaMode: 'rel', mode: 'max' }, [-100, -89]), [0, null])
  })

  it('counts patience in steps or seconds, alone or beside checks', () => {
    assert.deepEqual(stopOf({ patienceSteps: 25 }, [1, 1, 1, 1, 1]), [4, 'patience_steps'])
    assert.deepEqual(stopOf({ patienceSeconds: 5 }, [1, 1, 1, 1]), [3, 'patience_seconds'])
    assert.deepEqual(stopOf({ patience: 3, patienceSteps: 1000 }, [1, 1, 1, 1]), [4, 'patience'])
    assert.equal(new EarlyStopping({ patienceSteps: 25 }).getPatienceInfo().patience, null)
    assert.throws(() => new EarlyStopping({ patienceSteps: 5 }).check(1, { epoch: 1 }), {
      code: 'ERR_INVALID_ARGUMENT',
      message: /^step should be an integer, since patienceSteps is set/,
    })
    assert.throws(() => new EarlyStopping({ patienceSeconds: 5 }).check(1, { epoch: 1 }), {
      message: /^seconds should be a number/,
    })
  })

  it('counts nothing in the epochs of the warm-up, wherever the phase began, but knows their best', () => {
    assert.deepEqual(stopOf({ patience: 2, warmupEpochs: 3 }, [1, 2, 3, 4, 5]), [5, 'patience'])
    assert.deepEqual(stopOf({ patience: 2, warmupEpochs: 3 }, [1, 2, 3, 4, 5], 21), [25, 'patience'])
    assert.deepEqual(stopOf({ patience: 1, warmupEpochs: 2 }, [NaN, Infinity, 1]), [0, null])
    assert.deepEqual(stopOf({ patienceSteps: 20, warmupEpochs: 3 }, [1, 2, 3, 4, 5]), [5, 'patience_steps'])
    const stopping = new EarlyStopping({ patience: 2, warmupEpochs: 3 })
    for (const [index, score] of [1, 2, 3, 4, 5].entries()) stopping.check(score, at(index + 1))
    assert.deepEqual([stopping.bestScore, stopping.bestEpoch], [1, 1])
  })

  it('stops where the baseline is not beaten in time', () => {
    assert.deepEqual(stopOf({ patience: 2, baseline: 1 }, [3, 2, 1.5]), [2, 'patience'])
    assert.deepEqual(stopOf({ patience: 2, baseline: 1 }, [3, 0.9, 0.95, 0.8]), [0, null])
    const stopping = new EarlyStopping({ patience: 2, baseline: 1 })
    stopping.check(3, at(1))
    stopping.check(2, at(2))
    assert.equal(
      stopping.message,
      'val_loss has not been better than the baseline 1 for 2 checks (patience 2); best 2 in epoch 2, now 2 in epoch 2',
    )
  })

  it('stops at a score that is good enough, or too bad', () => {
    assert.deepEqual(stopOf({ stoppingThreshold: 0.5 }, [1, 0.5]), [2, 'stopping_threshold'])
    assert.deepEqual(stopOf({ stoppingThreshold: 0.5, mode: 'max' }, [0.4, 0.6]), [2, 'stopping_threshold'])
    assert.deepEqual(stopOf({ divergenceThreshold: 5 }, [1, 5]), [2, 'divergence_threshold'])
    assert.deepEqual(stopOf({ divergenceThreshold: -5, mode: 'max' }, [1, -6]), [2, 'divergence_threshold'])
    assert.deepEqual(stopOf({ divergenceThreshold: 5, checkFinite: false }, [1, Infinity]), [2, 'divergence_threshold'])
  })

  it('stops at NaN and infinities, or takes them for no improvement; they never become the best (trap E21)', () => {
    for (const score of [NaN, Infinity, -Infinity]) assert.deepEqual(stopOf({}, [1, score]), [2, 'non_finite'])
    const stopping = new EarlyStopping({ patience: 3, checkFinite: false })
    const best = [NaN, 0.5, -Infinity, 0.4, 0.3].map((score, index) => {
      stopping.check(score, at(index + 1))
      return stopping.bestScore
    })
    assert.deepEqual(best, [null, 0.5, 0.5, 0.4, 0.3])
    assert.equal(stopping.bestEpoch, 5)
    assert.deepEqual(stopOf({ patience: 2, checkFinite: false }, [NaN, NaN]), [2, 'patience'])
    const stopped = new EarlyStopping()
    stopped.check(NaN, at(1))
    assert.deepEqual([stopped.bestScore, stopped.message], [null, 'val_loss is NaN in epoch 1'])
  })

  it('says why it stops, with the figures, and how far patience has gone', () => {
    const stopping = new EarlyStopping({ patience: 2, minDelta: 0.001, monitor: 'val_rmse' })
    for (const [index, score] of [0.5, 0.123456789, 0.13, 0.1299].entries()) stopping.check(score, at(index + 1))
    assert.equal(
      stopping.message,
      'val_rmse has not improved by more than 0.001 for 2 checks (patience 2); best 0.123457 in epoch 2, now 0.1299 in epoch 4',
    )
    assert.deepEqual(stopping.getPatienceInfo(), {
      counter: 2,
      patience: 2,
      remainingPatience: 0,
      bestScore: 0.123456789,
      bestEpoch: 2,
      earlyStop: true,
      recentScores: [0.5, 0.123456789, 0.13, 0.1299],
    })
    assert.deepEqual([stopping.getBestScore(), stopping.getBestEpoch()], [0.123456789, 2])
    for (let epoch = 5; epoch < 20; epoch++) stopping.check(epoch, at(epoch))
    assert.deepEqual(stopping.getPatienceInfo().recentScores, [10, 11, 12, 13, 14, 15, 16, 17, 18, 19])
    stopping.reset()
    assert.deepEqual(stopping.getPatienceInfo(), {
      counter: 0,
      patience: 2,
      remainingPatience: 2,
      bestScore: null,
      bestEpoch: null,
      earlyStop: false,
      recentScores: [],
    })
    assert.deepEqual([stopping.reason, stopping.message], [null, ''])
  })

  it('takes the direction of a metric that it knows, and of no other', () => {
    assert.equal(new EarlyStopping().mode, 'min')
    assert.equal(new EarlyStopping({ monitor: 'val_pearson' }).mode, 'max')
    assert.equal(new EarlyStopping({ monitor: 'val_rmse' }).mode, 'min')
    assert.throws(() => new EarlyStopping({ monitor: 'val_my_accuracy' }), {
      code: 'ERR_INVALID_ARGUMENT',
      message: /mode is missing: nothing says whether a smaller or a larger 'val_my_accuracy' is better/,
    })
    assert.equal(new EarlyStopping({ monitor: 'val_my_accuracy', mode: 'max' }).mode, 'max')
  })

  it('names options and values that are wrong', () => {
    const cases: [object, RegExp][] = [
      [{ patience: 0 }, /^earlyStopping\.patience should be an integer of at least 1, but is number 0/],
      [{ minDelta: -1 }, /^earlyStopping\.minDelta should be a finite number of at least 0/],
      [{ mode: 'auto' }, /^earlyStopping\.mode should be one of 'min', 'max'/],
      [{ patiance: 3 }, /^earlyStopping\.patiance is not known here/],
      [{ restoreBestWeights: 1 }, /^earlyStopping\.restoreBestWeights should be true or false/],
    ]
    for (const [options, message] of cases)
      assert.throws(() => new EarlyStopping(options), { code: 'ERR_INVALID_ARGUMENT', message })
    assert.throws(() => new EarlyStopping().check('1' as never, at(1)), { message: /^score should be a number/ })
    assert.throws(() => new EarlyStopping().check(1, {} as never), { message: /^epoch should be an integer/ })
  })
})

describe("EarlyStopping's state", () => {
  const scores = [NaN, 3, 2.5, 2.6, 2.4, 2.45, 2.45, 2.5, 2.6, 2.7]
  const options = { patience: 4, checkFinite: false, warmupEpochs: 2, patienceSteps: 1000 }
  const throughFile = (state: Plain): Plain => JSON.parse(JSON.stringify(state)) as Plain

  it('goes on as if there had been no break, at every check (trap E14)', () => {
    const whole = new EarlyStopping(options)
    const expected = scores.map((score, index) => [whole.check(score, at(index + 1)), whole.message])
    assert.ok(expected.at(-1)?.[0], 'the example stops')
    for (let cut = 1; cut < scores.length; cut++) {
      const before = new EarlyStopping(options)
      for (let index = 0; index < cut; index++) before.check(scores[index] as number, at(index + 1))
      const after = new EarlyStopping(options)
      assert.equal(after.loadStateDict(before.stateDict()), true)
      assert.deepEqual(after.stateDict(), before.stateDict())
      const found = scores.slice(cut).map((score, index) => [after.check(score, at(cut + index + 1)), after.message])
      assert.deepEqual(found, expected.slice(cut), `cut after ${cut}`)
      assert.deepEqual(after.getPatienceInfo(), whole.getPatienceInfo())
    }
  })

  it('never brings the old settings back, and judges anew under the new ones (trap E6)', () => {
    const old = new EarlyStopping({ patience: 2 })
    for (const [index, score] of [1, 2, 3].entries()) old.check(score, at(index + 1))
    assert.equal(old.reason, 'patience')
    const patient = new EarlyStopping({ patience: 50 })
    patient.loadStateDict(old.stateDict())
    assert.equal(patient.reason, null)
    assert.deepEqual([patient.getPatienceInfo().patience, patient.getPatienceInfo().counter], [50, 2])
    assert.equal(patient.check(4, at(4)), false)
    const same = new EarlyStopping({ patience: 2 })
    same.loadStateDict(old.stateDict())
    assert.deepEqual([same.reason, same.message], [old.reason, old.message])
    const tolerant = new EarlyStopping({ patience: 50, stoppingThreshold: 3.5 })
    tolerant.loadStateDict(old.stateDict())
    assert.equal(tolerant.reason, 'stopping_threshold')
  })

  it('begins anew for another monitor or direction, and says so', () => {
    const old = new EarlyStopping({ patience: 2 })
    old.check(1, at(1))
    for (const other of [{ monitor: 'val_rmse' }, { mode: 'max' }] as const) {
      const stopping = new EarlyStopping(other)
      stopping.check(5, at(1))
      assert.equal(stopping.loadStateDict(old.stateDict()), false)
      assert.equal(stopping.bestScore, null)
    }
  })

  it('is plain, and names what is wrong in it', () => {
    const stopping = new EarlyStopping(options)
    stopping.check(1, { epoch: 3, step: 9 })
    const state = stopping.stateDict()
    assert.deepEqual(throughFile(state), state)
    const broken = (change: object) => () =>
      new EarlyStopping().loadStateDict({ ...(state as object), ...change } as Plain)
    assert.throws(broken({ counter: -1 }), {
      code: 'ERR_INVALID_ARGUMENT',
      message: /^earlyStopping\.counter should be/,
    })
    assert.throws(broken({ last: 5 }), { message: /^earlyStopping\.last should be a dict/ })
    assert.throws(broken({ best_score: null }), { message: /both best_score and best_epoch or neither/ })
    assert.throws(() => new EarlyStopping().loadStateDict(null), { message: /^earlyStopping should be a dict/ })
  })
})

describe("EarlyStopping's weights", () => {
  /** Two layers that share one weight, and a batch norm with buffers. */
  class Tied extends nn.Module {
    first = new nn.Linear(3, 3)
    second = new nn.Linear(3, 3)
    norm = new nn.BatchNorm2d(3)
    constructor() {
      super()
      this.second.weight = this.first.weight
    }
    forward(x: Tensor): Tensor {
      return this.norm.call(this.second.call(this.first.call(x)))
    }
  }

  const valuesOf = (model: nn.Module) =>
    scope(() => [...model.stateDict()].map(([name, tensor]) => [name, Array.from(tensor.data() as ArrayLike<number>)]))
  const change = (model: nn.Module) =>
    scope(() => noGrad(() => [...model.parameters(), ...model.buffers()].forEach((tensor) => tensor.add_(1))))

  it('come back when it stops, tied ones and buffers too, and nothing is left over', () => {
    manualSeed(0)
    const model = new Tied()
    const before = liveTensors()
    const stopping = new EarlyStopping({ patience: 2 })
    let best: unknown
    for (const [index, score] of [3, 1, 2, 2].entries()) {
      change(model)
      if (score === 1) best = valuesOf(model)
      const stops = scope(() => stopping.check(score, { epoch: index }, model))
      // A tied weight is kept once: 5 parameters and 3 buffers.
      assert.equal(liveTensors() - before, 8)
      assert.equal(stops, index === 3)
    }
    assert.deepEqual(valuesOf(model), best)
    assert.equal(model.second.weight, model.first.weight)
    change(model)
    assert.equal(stopping.restoreBest(model), 1)
    assert.deepEqual(valuesOf(model), best)
    stopping.dispose()
    assert.equal(liveTensors(), before)
    assert.equal(stopping.restoreBest(model), null)
    assert.equal(stopping.bestEpoch, 1)
  })

  it('stay as they are where that was asked for, or where no score was finite', () => {
    const model = new nn.Linear(2, 2)
    const before = liveTensors()
    const last = valuesOf(model)
    const without = new EarlyStopping({ patience: 1, restoreBestWeights: false })
    without.check(1, { epoch: 1 }, model)
    without.check(2, { epoch: 2 }, model)
    const never = new EarlyStopping()
    assert.equal(never.check(NaN, { epoch: 1 }, model), true)
    assert.deepEqual(valuesOf(model), last)
    assert.equal(liveTensors(), before)
  })

  it('do not go into another model', () => {
    const stopping = new EarlyStopping()
    stopping.check(1, { epoch: 1 }, new nn.Linear(2, 2))
    assert.throws(() => stopping.restoreBest(new nn.Linear(3, 2)), {
      code: 'ERR_INVALID_ARGUMENT',
      message:
        "cannot restore the best weights: 'weight' was kept with shape [2, 2], but the model has it with shape [2, 3]",
    })
    stopping.reset()
  })
})
