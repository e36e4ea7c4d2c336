/** Loading a state dict into a module: everything is checked, then everything is copied. */
import { OrderedDict } from '../../src/format/values.js'
import { TorchkeepError } from '../../src/format/errors.js'
import { noGrad } from '../grad-mode.js'
import { Tensor } from '../tensor.js'
import type { Module } from './module.js'

/** Tensors by dotted name. */
export type StateDictLike = ReadonlyMap<string, Tensor> | Readonly<Record<string, Tensor>>

/** Dotted name below a prefix. */
export const join = (prefix: string, name: string): string => (prefix === '' ? name : `${prefix}.${name}`)

/** What did not fit. */
export interface LoadReport {
  /** Names that the module has and the dict has not. */
  missingKeys: string[]
  /** Names that the dict has and the module has not. */
  unexpectedKeys: string[]
  /** Tensors of another shape or dtype than the module's, described: `fc.weight: shape [10, 4], expected [10, 8]`. */
  mismatched: string[]
}

/** `Module.loadStateDict`. */
export function loadStateDict(module: Module, dict: StateDictLike, strict: boolean): LoadReport {
  const given = new Map<string, unknown>(dict instanceof Map ? dict : Object.entries(dict))
  const expected = new Map<string, Tensor>()
  const optional = new Set<string>()
  const versions = dict instanceof OrderedDict ? dict.metadata : undefined
  for (const [prefix, part] of module.namedModules({ removeDuplicate: false })) {
    for (const [name, tensor] of part.ownState()) expected.set(join(prefix, name), tensor)
    for (const name of part.mayLack(versionOf(versions, prefix))) optional.add(join(prefix, name))
  }
  const shapes: string[] = []
  const dtypes: string[] = []
  for (const [name, tensor] of expected) {
    if (given.has(name)) compare(name, given.get(name), tensor, shapes, dtypes)
  }
  const report: LoadReport = {
    missingKeys: [...expected.keys()].filter((name) => !given.has(name) && !optional.has(name)),
    unexpectedKeys: [...given.keys()].filter((name) => !expected.has(name)),
    mismatched: [...shapes, ...dtypes],
  }
  const isFatal = strict ? Object.values(report).some((list) => list.length > 0) : shapes.length > 0
  if (isFatal) throw incompatible(module, report)
  noGrad(() => {
    for (const [name, tensor] of expected) if (given.has(name)) tensor.copy_(given.get(name) as Tensor)
  })
  return report
}

function compare(name: string, found: unknown, expected: Tensor, shapes: string[], dtypes: string[]): void {
  if (!(found instanceof Tensor)) {
    shapes.push(`${name}: ${typeof found}, expected a tensor`)
    return
  }
  const [actual, wanted] = [found.info(), expected.info()]
  const text = (sizes: readonly number[]): string => `[${sizes.join(', ')}]`
  if (text(actual.sizes) !== text(wanted.sizes))
    shapes.push(`${name}: shape ${text(actual.sizes)}, expected ${text(wanted.sizes)}`)
  else if (actual.dtype !== wanted.dtype) dtypes.push(`${name}: ${actual.dtype}, expected ${wanted.dtype}`)
}

function versionOf(versions: unknown, prefix: string): number | undefined {
  const own: unknown = versions instanceof Map ? versions.get(prefix) : undefined
  const version: unknown = own instanceof Map ? own.get('version') : undefined
  return typeof version === 'number' ? version : undefined
}

function incompatible(module: Module, { missingKeys, unexpectedKeys, mismatched }: LoadReport): TorchkeepError {
  const part = (title: string, items: readonly string[]): string[] =>
    items.length === 0 ? [] : [`${title}: ${items.join(', ')}`]
  const facts = [
    ...part('missing', missingKeys),
    ...part('unexpected', unexpectedKeys),
    ...part('mismatched', mismatched),
  ]
  return new TorchkeepError(
    'ERR_CHECKPOINT_INCOMPATIBLE',
    `The state dict does not fit ${module.constructor.name}; ${facts.join('; ')}`,
  )
}
