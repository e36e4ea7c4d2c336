import assert from 'node:assert/strict'
import { nestState } from '../../src/format/nested-state.js'

describe('nested state', () => {
  const nested = (entries: Record<string, readonly (string | number)[]>) =>
    nestState('x', new Map(Object.keys(entries).map((name) => [name, name])), new Map(Object.entries(entries)))

  it('puts values at their paths, lists in any order', () => {
    assert.deepEqual(
      nested({ b: ['list', 1, 'x'], a: ['list', 0], c: ['y'] }),
      new Map<string, unknown>([
        ['list', ['a', new Map([['x', 'b']])]],
        ['y', 'c'],
      ]),
    )
  })

  it('makes no lists that have more places together than there are values', () => {
    const paths = Array.from({ length: 3000 }, (_none, index) => [`${index}`, [`list ${index}`, 2999]] as const)
    assert.throws(() => nested(Object.fromEntries(paths)), { finding: 'distributed.metadata' })
  })
})
