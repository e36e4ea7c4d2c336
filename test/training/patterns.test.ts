/** Which parameters a phase trains. */
import assert from 'node:assert/strict'
import type { Phase } from '../../src/checkpoint/training-config.js'
import { type ModelNames, namesOfPhase } from '../../src/training/patterns.js'

const names: ModelNames = {
  parameters: [
    'features.0.weight',
    'features.1.weight',
    'features.1.bias',
    'features2.weight',
    'head.weight',
    'head.bias',
  ],
  buffers: [
    'features.1.running_mean',
    'features.1.num_batches_tracked',
    'features.2.running_mean',
    'norm.running_mean',
  ],
  frozen: new Set(['features2.weight']),
}
const phase = (rest: Partial<Phase>): Phase => ({ name: 'p', epochs: 1, lr: 1, ...rest })

describe('phase patterns', () => {
  it('freezes what the model froze and what the pattern names, whole names only', () => {
    const { trained, frozen } = namesOfPhase(phase({ freeze: ['features.*'] }), names)
    assert.deepEqual(trained, ['head.weight', 'head.bias'])
    assert.deepEqual(frozen, ['features.0.weight', 'features.1.weight', 'features.1.bias', 'features2.weight'])
  })

  it('lets unfreeze take out of freeze and out of what the model froze', () => {
    const { trained } = namesOfPhase(phase({ freeze: ['*'], unfreeze: ['head.????', 'features2.*'] }), names)
    assert.deepEqual(trained, ['features2.weight', 'head.bias'])
  })

  it('keeps the running statistics of norms still whose parameters, or whose surroundings, are frozen', () => {
    assert.deepEqual(namesOfPhase(phase({}), names).modulesInEval, [])
    assert.deepEqual(namesOfPhase(phase({ freeze: ['features.*'] }), names).modulesInEval, ['features.1', 'features.2'])
    assert.deepEqual(namesOfPhase(phase({ freeze: ['features.1.*'] }), names).modulesInEval, ['features.1'])
    assert.deepEqual(namesOfPhase(phase({ freeze: ['features.1.weight'] }), names).modulesInEval, [])
  })

  it('takes special characters of patterns as they are', () => {
    assert.throws(() => namesOfPhase(phase({ freeze: ['head.(weight|bias)'] }), names), {
      code: 'ERR_INVALID_ARGUMENT',
    })
    assert.throws(() => namesOfPhase(phase({ freeze: ['head_weight'] }), names), { code: 'ERR_INVALID_ARGUMENT' })
  })

  it('refuses a pattern that matches nothing, with the names that exist, and a phase with nothing to train', () => {
    assert.throws(() => namesOfPhase(phase({ freeze: ['feature'] }), names), {
      code: 'ERR_INVALID_ARGUMENT',
      message:
        /^freeze pattern 'feature' of phase 'p' matches no parameter; there are features\.0\.weight, .*head\.bias$/,
    })
    assert.throws(() => namesOfPhase(phase({ freeze: ['*'] }), names), /phase 'p' freezes all 6 parameters/)
  })
})
