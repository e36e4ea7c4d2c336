/** Which sizes the inputs of a recorded graph may have: fixed ones, symbols with a range, and the guards that a recording was made under. */
import type { ExportedProgram, SymInt } from '../format/export-schema.js'
import { TorchkeepError } from '../format/errors.js'
import { compileGuard, type Guard } from './guards.js'

/** Sizes of all inputs. */
export type Shapes = readonly (readonly number[])[]

/** Checks the sizes of one call. */
export interface SizeRules {
  /** By input: a number, or the text of what is free (`batch`, `s1`, `2*s0`). */
  readonly shapes: readonly (readonly (number | string)[])[]
  /** What is wrong with the sizes and with which input; null where they fit. The number of dimensions must be right. */
  problem(found: Shapes): { input: number; reason: string } | null
}

type Size = { fixed: number } | { terms: Terms; text: string }

/** A sum of products: a number and the factor of each symbol. All that sizes of inputs are in practice. */
interface Terms {
  constant: number
  factors: ReadonlyMap<string, number>
}

/**
 * @param argumentNames of the inputs, by which the guards call them.
 * @throws TorchkeepError `ERR_CHECKPOINT_UNSUPPORTED` for sizes or guards that are not understood, naming them: a graph must not run on sizes that it was not recorded for.
 */
export function sizeRules(
  program: ExportedProgram,
  inputs: readonly (readonly SymInt[])[],
  argumentNames: readonly string[],
): SizeRules {
  const batch = inputs.flatMap((sizes) => sizes.slice(0, 1)).find((size) => 'as_expr' in size)
  const batchName = batch === undefined ? null : ([...termsOf(batch).factors.keys()][0] ?? null)
  const nameOf = (symbol: string): string => (symbol === batchName ? 'batch' : symbol)
  const sizes = inputs.map((own) => own.map((size) => readSize(size, nameOf)))
  const guards = (program.guards_code ?? []).map((text) => compileGuard(text, argumentNames))
  return {
    shapes: sizes.map((own) => own.map((size) => ('fixed' in size ? size.fixed : size.text))),
    problem: (found) => sizeProblem(sizes, program.range_constraints, found) ?? guardProblem(guards, found),
  }
}

function readSize(size: SymInt, nameOf: (symbol: string) => string): Size {
  if ('as_int' in size) return { fixed: size.as_int }
  const terms = termsOf(size)
  const parts = [...terms.factors].map(([symbol, factor]) => (factor === 1 ? '' : `${factor}*`) + nameOf(symbol))
  return { terms, text: [...parts, ...(terms.constant === 0 ? [] : [String(terms.constant)])].join(' + ') }
}

/** As `_check_symint` of `torch/_export/utils.py` does: the first size of a symbol says what it is, the others follow. A smallest size of up to 2 is none. */
function sizeProblem(
  sizes: readonly (readonly Size[])[],
  ranges: ExportedProgram['range_constraints'],
  found: Shapes,
): { input: number; reason: string } | null {
  const values = new Map<string, number>()
  for (const [input, own] of sizes.entries()) {
    for (const [dimension, size] of own.entries()) {
      const given = found[input]?.[dimension] as number
      const expected = 'fixed' in size ? size.fixed : evaluate(size.terms, given, values)
      if (expected !== given) {
        const reason =
          expected === null
            ? `is ${given}, which is no ${(size as { text: string }).text}`
            : `is ${given}, not ${expected}`
        return { input, reason: `size ${dimension} ${reason}` }
      }
    }
  }
  for (const [symbol, value] of values) {
    const { min_val: min, max_val: max } = ranges[symbol] ?? { min_val: null, max_val: null }
    const input = sizes.findIndex((own) => own.some((size) => 'terms' in size && size.terms.factors.has(symbol)))
    if (min !== null && min > 2 && value < min)
      return { input, reason: `${value} is less than ${min}, the least it takes` }
    if (max !== null && value > max) return { input, reason: `${value} is more than ${max}, the most it takes` }
  }
  return null
}

/** The value of an expression; a symbol that is not known yet gets the one that makes it `given`. Null where there is none. */
function evaluate({ constant, factors }: Terms, given: number, values: Map<string, number>): number | null {
  let sum = constant
  let open: [string, number] | null = null
  for (const [symbol, factor] of factors) {
    const value = values.get(symbol)
    if (value !== undefined) sum += factor * value
    else if (open === null) open = [symbol, factor]
    else return null
  }
  if (open === null) return sum
  const value = (given - sum) / open[1]
  if (!Number.isInteger(value) || value < 0) return null
  values.set(open[0], value)
  return given
}

function guardProblem(guards: readonly Guard[], found: Shapes): { input: number; reason: string } | null {
  const broken = guards.find((guard) => !guard.holds(found))
  return broken === undefined ? null : { input: broken.input, reason: `it was recorded for ${broken.text}` }
}

/** `sympy.srepr` of a sum of products: `Mul(Integer(2), Symbol('s0', positive=True, integer=True))`. */
function termsOf(size: SymInt): Terms {
  if ('as_int' in size) return { constant: size.as_int, factors: new Map() }
  const { expr_str: text } = size.as_expr
  const terms = readTerms(text)
  if (terms !== null && terms.factors.size > 0) return terms
  throw new TorchkeepError(
    'ERR_CHECKPOINT_UNSUPPORTED',
    `an input of the graph has the size ${text}, which is not understood`,
  )
}

function readTerms(text: string): Terms | null {
  const symbol = /^Symbol\('(\w+)'[^()]*\)$/.exec(text)?.[1]
  if (symbol !== undefined) return { constant: 0, factors: new Map([[symbol, 1]]) }
  const integer = /^Integer\((-?\d+)\)$/.exec(text)?.[1]
  if (integer !== undefined) return { constant: Number(integer), factors: new Map() }
  const [, operator, inner = ''] = /^(Add|Mul)\((.*)\)$/.exec(text) ?? []
  if (operator === undefined) return null
  const parts = splitArguments(inner).map(readTerms)
  return parts.reduce((left, right) => (left === null || right === null ? null : combine(operator, left, right)))
}

function combine(operator: string, left: Terms, right: Terms): Terms | null {
  if (operator === 'Add') {
    const factors = new Map(left.factors)
    for (const [symbol, factor] of right.factors) factors.set(symbol, (factors.get(symbol) ?? 0) + factor)
    return { constant: left.constant + right.constant, factors }
  }
  if (left.factors.size > 0 && right.factors.size > 0) return null
  const [number, other] = left.factors.size === 0 ? [left.constant, right] : [right.constant, left]
  const factors = new Map([...other.factors].map(([symbol, factor]) => [symbol, factor * number]))
  return { constant: other.constant * number, factors }
}

/** Parts between the commas that stand in no brackets. */
function splitArguments(text: string): string[] {
  const parts: string[] = []
  let [depth, start] = [0, 0]
  for (let at = 0; at < text.length; at++) {
    if (text[at] === '(') depth++
    if (text[at] === ')') depth--
    if (text[at] === ',' && depth === 0) {
      parts.push(text.slice(start, at).trim())
      start = at + 1
    }
  }
  return [...parts, text.slice(start).trim()]
}
