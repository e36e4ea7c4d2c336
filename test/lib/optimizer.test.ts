import assert from 'node:assert/strict'
import { nn, ones, optim, tensor, zeros } from '../../lib/index.js'
import { PyFloat, Tuple } from '../../src/format/values.js'

const parameters = (): nn.Parameter[] => [new nn.Parameter(ones([2])), new nn.Parameter(zeros([3]))]
const incompatible = (message: RegExp) => ({ name: 'TorchkeepError', code: 'ERR_CHECKPOINT_INCOMPATIBLE', message })

/** An optimizer after one step of its first parameter. */
function stepped(): optim.AdamW {
  const [first, second] = parameters() as [nn.Parameter, nn.Parameter]
  const optimizer = new optim.AdamW([first, second], { lr: 1 })
  first.mul(2).sum().backward()
  optimizer.step()
  return optimizer
}

describe('optimizers', () => {
  it('write floats as floats, in Python’s order, state only for what was updated', () => {
    const dict = stepped().stateDict()
    assert.deepEqual([...(dict.get('state') as Map<number, unknown>).keys()], [0])
    const [group] = dict.get('param_groups') as [Map<string, unknown>]
    assert.deepEqual(
      [...group],
      [
        ['lr', new PyFloat(1)],
        ['betas', new Tuple([new PyFloat(0.9), new PyFloat(0.999)])],
        ['eps', new PyFloat(1e-8)],
        ['weight_decay', 0.01],
        ['amsgrad', false],
        ['maximize', false],
        ['foreach', null],
        ['capturable', false],
        ['differentiable', false],
        ['fused', null],
        ['decoupled_weight_decay', true],
        ['params', [0, 1]],
      ],
    )
  })

  it('load what they wrote, as copies', () => {
    const source = stepped()
    const [first, second] = parameters() as [nn.Parameter, nn.Parameter]
    const target = new optim.AdamW([first, second])
    target.loadStateDict(source.stateDict())
    assert.equal(target.paramGroups[0]?.lr, 1)
    assert.deepEqual(target.paramGroups[0]?.['betas'], [0.9, 0.999])
    const [moment] = [...source.state.values()].map((state) => state.get('exp_avg'))
    moment?.zero_()
    assert.notDeepEqual(target.state.get(first)?.get('exp_avg')?.tolist(), [0, 0])
    assert.deepEqual(target.state.get(first)?.get('step')?.item(), 1)
  })

  it('fill in what an older Python did not write, and keep AdamW’s own decay', () => {
    const optimizer = stepped()
    const dict = optimizer.stateDict()
    const [group] = dict.get('param_groups') as [Map<string, unknown>]
    for (const key of ['fused', 'amsgrad', 'differentiable']) group.delete(key)
    group.set('decoupled_weight_decay', false).set('lr', new PyFloat(0.5))
    optimizer.loadStateDict(dict)
    const { lr, fused, amsgrad, decoupledWeightDecay } = optimizer.paramGroups[0] as optim.ParamGroup
    assert.deepEqual([lr, fused, amsgrad, decoupledWeightDecay], [0.5, null, false, true])
  })

  it('refuse a state dict that does not fit, and stay as they were', () => {
    const optimizer = stepped()
    const load = (change: (dict: Map<string, unknown>) => void): void => {
      const dict = stepped().stateDict()
      change(dict)
      optimizer.loadStateDict(dict)
    }
    const state = (dict: Map<string, unknown>): Map<number, Map<string, unknown>> =>
      dict.get('state') as Map<number, Map<string, unknown>>
    const group = (dict: Map<string, unknown>): Map<string, unknown> =>
      (dict.get('param_groups') as Map<string, unknown>[])[0] as Map<string, unknown>
    assert.throws(() => load((dict) => dict.set('param_groups', [])), incompatible(/0 parameter groups, expected 1/))
    assert.throws(
      () => load((dict) => group(dict).set('params', [0])),
      incompatible(/group 0 has 1 parameters, expected 2/),
    )
    assert.throws(() => load((dict) => state(dict).set(9, new Map())), incompatible(/parameter 9/))
    assert.throws(
      () =>
        load((dict) =>
          state(dict)
            .get(0)
            ?.set('exp_avg', zeros([5])),
        ),
      incompatible(/'exp_avg' of parameter 0 has shape \[5\], expected \[2\]/),
    )
    assert.throws(
      () => load((dict) => state(dict).get(0)?.delete('exp_avg_sq')),
      incompatible(/parameter 0 has no 'exp_avg_sq'/),
    )
    assert.throws(
      () =>
        load((dict) =>
          state(dict)
            .get(0)
            ?.set('momentum_buffer', zeros([2])),
        ),
      incompatible(/parameter 0 has 'momentum_buffer', expected step, exp_avg, exp_avg_sq, max_exp_avg_sq/),
    )
    assert.throws(() => load((dict) => group(dict).delete('lr')), incompatible(/group 0 has no lr/))
    assert.throws(() => load((dict) => group(dict).set('lr', 'fast')), incompatible(/group 0, lr is fast/))
    assert.throws(() => load((dict) => group(dict).set('lr', -1)), { code: 'ERR_INVALID_ARGUMENT' })
    assert.equal(optimizer.paramGroups[0]?.lr, 1)
    assert.equal(optimizer.state.size, 1)
  })

  const refusals: Record<string, () => unknown> = {
    'no parameters': () => new optim.SGD([]),
    'a negative rate': () => new optim.SGD(parameters(), { lr: -1 }),
    'nesterov without momentum': () => new optim.SGD(parameters(), { nesterov: true }),
    'betas outside [0, 1)': () => new optim.Adam(parameters(), { betas: [1, 0.9] }),
    'a parameter twice': () => {
      const [first] = parameters() as [nn.Parameter]
      return new optim.AdamW([{ params: [first] }, { params: [first] }])
    },
    'a scheduler step of 0': () => new optim.lrScheduler.StepLR(stepped(), { stepSize: 0 }),
    'a fused eager step': () => new optim.SGD(parameters(), { fused: true }).step(),
  }
  for (const [name, make] of Object.entries(refusals)) {
    it(`refuse ${name}`, () => {
      assert.throws(make, { name: 'TorchkeepError', code: 'ERR_INVALID_ARGUMENT' })
    })
  }

  it('schedulers restore their state', () => {
    const optimizer = stepped()
    const scheduler = new optim.lrScheduler.StepLR(optimizer, { stepSize: 2, gamma: 0.5 })
    for (let epoch = 0; epoch < 3; epoch++) scheduler.step()
    const other = new optim.lrScheduler.StepLR(stepped(), { stepSize: 7 })
    other.loadStateDict(scheduler.stateDict())
    assert.deepEqual(other.stateDict(), scheduler.stateDict())
    assert.deepEqual(other.getLastLr(), [0.5])
    const broken = scheduler.stateDict().set('base_lrs', [tensor(1)])
    assert.throws(() => other.loadStateDict(broken), incompatible(/base_lrs/))
    assert.deepEqual(other.stateDict(), scheduler.stateDict())
  })
})
