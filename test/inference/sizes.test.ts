/** Sizes that recorded graphs take, as torch.export writes them. */
import assert from 'node:assert/strict'
import type { ExportedProgram, SymInt } from '../../src/format/export-schema.js'
import { sizeRules, type SizeRules } from '../../src/inference/sizes.js'

const fixed = (size: number): SymInt => ({ as_int: size })
const symbolic = (text: string): SymInt => ({ as_expr: { expr_str: text, hint: { as_int: 4 } } })
const symbol = (name: string): string => `Symbol('${name}', positive=True, integer=True)`

/** Inputs x and y. */
function rules(
  x: readonly SymInt[],
  y: readonly SymInt[],
  { ranges = {}, guards = [] }: { ranges?: ExportedProgram['range_constraints']; guards?: string[] } = {},
): SizeRules {
  return sizeRules({ range_constraints: ranges, guards_code: guards } as unknown as ExportedProgram, [x, y], ['x', 'y'])
}
const s0 = symbolic(symbol('s0'))

describe('sizes of inputs', () => {
  it('are fixed, or free and then the same wherever the symbol stands', () => {
    const own = rules([s0, fixed(3)], [s0, symbolic(symbol('s1'))])
    assert.deepEqual(own.shapes, [['batch', 3], ['batch', 's1']]) // prettier-ignore
    assert.equal(own.problem([[7, 3], [7, 1]]), null) // prettier-ignore
    assert.equal(own.problem([[0, 3], [0, 0]]), null) // prettier-ignore
    assert.deepEqual(own.problem([[7, 4], [7, 1]]), { input: 0, reason: 'size 1 is 4, not 3' }) // prettier-ignore
    assert.deepEqual(own.problem([[7, 3], [6, 1]]), { input: 1, reason: 'size 0 is 6, not 7' }) // prettier-ignore
  })

  it('are sums and multiples of symbols', () => {
    const double = symbolic(`Mul(Integer(2), ${symbol('s0')})`)
    const more = symbolic(`Add(${symbol('s0')}, Integer(1))`)
    const own = rules([double], [more])
    assert.deepEqual(own.shapes, [['2*batch'], ['batch + 1']])
    assert.equal(own.problem([[6], [4]]), null)
    assert.deepEqual(own.problem([[6], [5]]), { input: 1, reason: 'size 0 is 5, not 4' })
    assert.deepEqual(own.problem([[5], [4]]), { input: 0, reason: 'size 0 is 5, which is no 2*batch' })
    assert.deepEqual(rules([more], []).problem([[0], []]), { input: 0, reason: 'size 0 is 0, which is no batch + 1' })
    const both = rules([symbolic(`Add(Mul(Integer(3), ${symbol('s0')}), ${symbol('s1')})`)], [s0])
    assert.deepEqual(both.problem([[7], [2]])?.input, 0)
  })

  it('lie in the range of the recording; a least size of up to 2 is none, as in Python', () => {
    const range = (min: number, max: number | null): SizeRules =>
      rules([s0], [], { ranges: { s0: { min_val: min, max_val: max } } })
    assert.equal(range(2, 8).problem([[1], []]), null)
    assert.equal(range(2, 8).problem([[8], []]), null)
    assert.match(range(2, 8).problem([[9], []])?.reason ?? '', /9 is more than 8/)
    assert.match(range(3, null).problem([[2], []])?.reason ?? '', /2 is less than 3/)
  })

  it('that are not understood are refused before anything runs', () => {
    for (const text of [
      `Pow(${symbol('s0')}, Integer(2))`,
      `Mul(${symbol('s0')}, ${symbol('s1')})`,
      'Integer(3)',
      'x(',
    ])
      assert.throws(() => rules([symbolic(text)], []), {
        code: 'ERR_CHECKPOINT_UNSUPPORTED',
        message: /size .* not understood/,
      })
  })
})

describe('conditions of recordings', () => {
  const holds = (guard: string, x: number[], y: number[] = []): boolean =>
    rules([], [], { guards: [guard] }).problem([x, y]) === null

  it('are computed as Python computes them', () => {
    assert.ok(holds("(L['x'].size()[0] % 2) == 0", [6]))
    assert.ok(!holds("(L['x'].size()[0] % 2) == 0", [7]))
    assert.ok(holds("(3*L['x'].size()[0]) == (6*(L['x'].size()[0] // 2))", [6]))
    assert.ok(!holds("(3*L['x'].size()[0]) == (6*(L['x'].size()[0] // 2))", [5]))
    assert.ok(holds("-7 // 2 == -4 and -7 % 2 == 1 and -L['x'].size()[0] == -3", [3]))
    assert.ok(holds("L['x'].size()[0] != 4 or L['y'].size()[1] > 2", [4], [0, 3]))
    assert.ok(!holds("not L['x'].size()[0] >= 4", [4]))
    assert.ok(holds("2 + L['x'].size()[0] * 3 - 1 == 10", [3]))
    assert.ok(!holds("L['x'].size()[0] % L['y'].size()[0] != 0", [3], [0]), 'Python raises')
  })

  it('name the input and say themselves what does not hold', () => {
    const own = rules([], [], { guards: ["L['y'].size()[0] <= 4"] })
    assert.deepEqual(own.problem([[9], [5]]), { input: 1, reason: "it was recorded for L['y'].size()[0] <= 4" })
  })

  it('that are not understood are refused before anything runs, and never run as code', () => {
    for (const guard of [
      "L['z'].size()[0] == 1",
      "L['x'].stride()[0] == 1",
      "___check_tensors(L['x'])",
      '1 < 2 < 3',
      '1 ==',
      '(1 == 1',
      '1 == 1)',
      '1 2',
      '',
      "__import__('os').system('true')",
    ])
      assert.throws(() => rules([], [], { guards: [guard] }), {
        code: 'ERR_CHECKPOINT_UNSUPPORTED',
        message: /condition that is not understood/,
      })
  })
})
