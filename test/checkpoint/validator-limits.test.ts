import assert from 'node:assert/strict'
import { checkpoint, dict, judge } from './judged.js'

describe('validator of very many', function () {
  this.timeout(20_000)

  it('unknown keys names them all', async () => {
    const keys = Array.from({ length: 150_000 }, (_none, index): [string, number] => [`key ${index}`, 0])
    const { warnings } = await judge(new Map<string, unknown>([...checkpoint(), ...keys]))
    assert.equal(warnings.filter(({ id }) => id === 'key.unknown').length, keys.length)
  })

  it('parameters takes time in proportion to them', async () => {
    const indices = Array.from({ length: 60_000 }, (_none, index) => index)
    const state = new Map(indices.map((index) => [index, dict({ step: 1 })]))
    const group = dict({ lr: 0.1, params: [...indices, 59_999] })
    const before = performance.now()
    const { errors } = await judge(checkpoint({ optimizer_state_dict: dict({ state, param_groups: [group] }) }))
    assert.match(errors[0]?.message ?? '', /param_groups list the parameter 59999 twice/)
    assert.ok(performance.now() - before < 6000)
  })
})
