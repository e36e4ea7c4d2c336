/** Conditions on sizes that a recording was made under (`guards_code` of a `.pt2`), as Python writes them: `(L['x'].size()[0] % 2) == 0`. They are parsed, never run. */
import { TorchkeepError } from '../format/errors.js'
import type { Shapes } from './sizes.js'

/** One condition. */
export interface Guard {
  /** As Python wrote it. */
  readonly text: string
  /** The first input that it speaks of. */
  readonly input: number
  holds(shapes: Shapes): boolean
}

type Value = (shapes: Shapes) => number
type Binary = (left: number, right: number) => number

const truth = (condition: boolean): number => (condition ? 1 : 0)

/** From the loosest to the tightest; all are left-associative. Python's `//` and `%` round towards minus infinity. */
const operators: readonly Readonly<Record<string, Binary>>[] = [
  { or: (a, b) => truth(a !== 0 || b !== 0) },
  { and: (a, b) => truth(a !== 0 && b !== 0) },
  {
    '==': (a, b) => truth(a === b),
    // A size divided by 0 is no number: whatever is said of it does not hold.
    '!=': (a, b) => truth(a < b || a > b),
    '<=': (a, b) => truth(a <= b),
    '>=': (a, b) => truth(a >= b),
    '<': (a, b) => truth(a < b),
    '>': (a, b) => truth(a > b),
  },
  { '+': (a, b) => a + b, '-': (a, b) => a - b },
  { '*': (a, b) => a * b, '//': (a, b) => Math.floor(a / b), '%': (a, b) => a - b * Math.floor(a / b) },
]

/** Place of the comparisons in {@link operators}. */
const comparisons = 2

const token = /\s*(\d+|\/\/|[=!<>]=|[-+*%<>()]|and\b|or\b|not\b|L(?:\['\w+'\]|\[\d+\])+\.size\(\)\[\d+\])/y

/** @throws TorchkeepError `ERR_CHECKPOINT_UNSUPPORTED` naming a condition that is not understood. */
export function compileGuard(text: string, argumentNames: readonly string[]): Guard {
  return new GuardParser(text, argumentNames).parse()
}

class GuardParser {
  readonly #tokens: string[] = []
  #next = 0
  #input: number | null = null

  constructor(
    private readonly text: string,
    private readonly names: readonly string[],
  ) {
    token.lastIndex = 0
    while (token.lastIndex < text.trimEnd().length) {
      const match = token.exec(text)
      if (match === null) throw this.#notUnderstood()
      this.#tokens.push(match[1] as string)
    }
  }

  parse(): Guard {
    const value = this.#binary(0)
    if (this.#next < this.#tokens.length) throw this.#notUnderstood()
    return { text: this.text, input: this.#input ?? 0, holds: (shapes) => value(shapes) !== 0 }
  }

  #binary(level: number): Value {
    const own = operators[level]
    if (own === undefined) return this.#unary()
    const first = this.#binary(level + 1)
    let left = first
    for (;;) {
      const apply = own[this.#tokens[this.#next] ?? '']
      if (apply === undefined) return left
      // Python's a < b < c means something else.
      if (level === comparisons && left !== first) throw this.#notUnderstood()
      this.#next++
      const [before, right] = [left, this.#binary(level + 1)]
      left = (shapes) => apply(before(shapes), right(shapes))
    }
  }

  #unary(): Value {
    const found = this.#tokens[this.#next++]
    if (found === undefined) throw this.#notUnderstood()
    if (found === '-') {
      const value = this.#unary()
      return (shapes) => -value(shapes)
    }
    if (found === 'not') {
      const value = this.#binary(comparisons)
      return (shapes) => truth(value(shapes) === 0)
    }
    if (found === '(') {
      const value = this.#binary(0)
      if (this.#tokens[this.#next++] !== ')') throw this.#notUnderstood()
      return value
    }
    if (/^\d+$/.test(found)) return () => Number(found)
    return this.#size(found)
  }

  /** `L['x'].size()[0]`; of `*args` the first is `L['args'][0]`, the graph's `args_0`. */
  #size(found: string): Value {
    const [, name = '', place, dimension] = /^L\['(\w+)'\](?:\[(\d+)\])?\.size\(\)\[(\d+)\]$/.exec(found) ?? []
    const input =
      name === 'flat_args' && place !== undefined
        ? Number(place)
        : this.names.indexOf(place === undefined ? name : `${name}_${place}`)
    if (dimension === undefined || input < 0 || input >= this.names.length) throw this.#notUnderstood()
    this.#input ??= input
    return (shapes) => shapes[input]?.[Number(dimension)] ?? NaN
  }

  #notUnderstood(): TorchkeepError {
    return new TorchkeepError(
      'ERR_CHECKPOINT_UNSUPPORTED',
      `the graph holds only where ${this.text}, a condition that is not understood (inputs: ${this.names.join(', ')})`,
    )
  }
}
