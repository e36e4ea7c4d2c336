/** Which tensors of the files of other programs must be finite. */
import assert from 'node:assert/strict'
import { dict, float32, judge, stateDict, texts } from './judged.js'

const found = async (value: unknown): Promise<string[]> => texts(await judge(value))
const optimizer = (first: number) =>
  dict({
    state: new Map([[0, dict({ exp_avg: float32([2], first, 1) })]]),
    param_groups: [dict({ lr: 0.1, params: [0] })],
  })
const broken = (name: string) => [
  `tensor.nonfinite: optimizer moment ${name}, float32 [2]: 1 NaN of 2 values, first at [0]`,
]

describe('validator: optimizers of other programs', () => {
  it('are looked into under any key', async () => {
    const value = dict({ state_dict: stateDict(), optimizer: optimizer(NaN) })
    assert.deepEqual(await found(value), broken('optimizer.state[0].exp_avg'))
  })

  it('are looked into in a list, as Lightning has them; other lists may hold anything', async () => {
    const data = [dict({ x: float32([2], NaN, 1) })]
    const value = dict({ state_dict: stateDict(), optimizer_states: [optimizer(0), optimizer(NaN)], data })
    assert.deepEqual(await found(value), broken('optimizer_states.1.state[0].exp_avg'))
  })

  it('are looked into in a file of their own', async () => {
    assert.deepEqual(await found(optimizer(NaN)), broken('state[0].exp_avg'))
    assert.deepEqual(await found(optimizer(0)), [])
  })
})
