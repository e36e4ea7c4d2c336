/** Which parameters a phase trains, decided by names alone. */
import type { GroupConfig } from '../checkpoint/training-config.js'
import { TorchkeepError } from '../format/errors.js'
import type { PhaseConfig } from './phase-config.js'

/** The names of a model, as `namedParameters()` and `namedBuffers()` give them. */
export interface ModelNames {
  parameters: readonly string[]
  buffers: readonly string[]
  /** Parameters that the model itself froze (`requiresGrad` was false when the trainer was made). */
  frozen: ReadonlySet<string>
}

/** What a phase makes of the model's parameters and modules. */
export interface PhaseNames {
  trained: readonly string[]
  frozen: readonly string[]
  /** The trained ones by optimizer group: the phase's `groups` in their order, then those in none of them, if there are any. */
  groups: readonly (readonly string[])[]
  /** Modules that keep running statistics and stand still. */
  modulesInEval: readonly string[]
}

/** What of a phase decides the names. */
export type PhasePatterns = Pick<PhaseConfig, 'name'> &
  Partial<Pick<PhaseConfig, 'groups' | 'freeze' | 'unfreeze' | 'frozenBatchNorm'>>

/**
 * Splits the parameters of a model for a phase: first what the model itself froze, then `freeze`, then `unfreeze`; what trains then goes into its groups.
 *
 * @throws TorchkeepError `ERR_INVALID_ARGUMENT` where a pattern matches nothing, a parameter is in two groups, a group has nothing to train, or nothing at all is left to train.
 */
export function namesOfPhase(phase: PhasePatterns, names: ModelNames): PhaseNames {
  const frozen = new Set(names.frozen)
  for (const name of matches(phase, 'freeze', names.parameters)) frozen.add(name)
  for (const name of matches(phase, 'unfreeze', names.parameters)) frozen.delete(name)
  const trained = names.parameters.filter((name) => !frozen.has(name))
  if (trained.length === 0) {
    throw new TorchkeepError(
      'ERR_INVALID_ARGUMENT',
      names.parameters.length === 0
        ? 'the model has no parameters: there is nothing to train'
        : `phase '${phase.name}' freezes all ${names.parameters.length} parameters: nothing is left to train`,
    )
  }
  return {
    trained,
    frozen: names.parameters.filter((name) => frozen.has(name)),
    groups: groupsOf(phase, names.parameters, new Set(trained)),
    modulesInEval:
      phase.frozenBatchNorm === 'train'
        ? []
        : owners(names.buffers).filter((owner) => standsStill(owner, names.parameters, frozen)),
  }
}

function matches(phase: PhasePatterns, field: 'freeze' | 'unfreeze', parameters: readonly string[]): string[] {
  return (phase[field] ?? []).flatMap((pattern) =>
    matching(pattern, `${field} pattern '${pattern}' of phase '${phase.name}'`, parameters),
  )
}

/** The names that a pattern means; `what` it is, for the message where it means none. */
function matching(pattern: string, what: string, parameters: readonly string[]): string[] {
  const expression = patternExpression(pattern)
  const found = parameters.filter((name) => expression.test(name))
  if (found.length > 0) return found
  throw new TorchkeepError('ERR_INVALID_ARGUMENT', `${what} matches no parameter; there are ${parameters.join(', ')}`, {
    suggestions: [`a pattern matches whole names: '${pattern}.*' means all below '${pattern}'`],
  })
}

/** The optimizer groups: what no group names comes last. */
function groupsOf(phase: PhasePatterns, parameters: readonly string[], trained: ReadonlySet<string>): string[][] {
  const groupOf = new Map<string, number>()
  for (const [index, group] of (phase.groups ?? []).entries())
    for (const name of namesOfGroup(phase, group, index, parameters, trained)) {
      const other = groupOf.get(name)
      if (other !== undefined && other !== index) {
        throw new TorchkeepError(
          'ERR_INVALID_ARGUMENT',
          `parameter '${name}' is in groups[${other}] and groups[${index}] of phase '${phase.name}': a parameter has one rate`,
        )
      }
      groupOf.set(name, index)
    }
  const last = phase.groups?.length ?? 0
  const groups = Array.from({ length: last + 1 }, (_, index) =>
    parameters.filter((name) => trained.has(name) && (groupOf.get(name) ?? last) === index),
  )
  return groups.at(-1)?.length === 0 ? groups.slice(0, -1) : groups
}

function namesOfGroup(
  phase: PhasePatterns,
  { params }: GroupConfig,
  index: number,
  parameters: readonly string[],
  trained: ReadonlySet<string>,
): string[] {
  const what = `groups[${index}] of phase '${phase.name}'`
  const found = params.flatMap((pattern) => matching(pattern, `pattern '${pattern}' of ${what}`, parameters))
  const own = found.filter((name) => trained.has(name))
  if (own.length > 0) return own
  throw new TorchkeepError(
    'ERR_INVALID_ARGUMENT',
    found.length === 0
      ? `${what} has no patterns: it should name the parameters that have its rate`
      : `${what} has nothing to train: the phase freezes ${found.join(', ')}`,
  )
}

/** `*` is any run of characters, dots included, and `?` any one character, as in Python's `fnmatch`. */
function patternExpression(pattern: string): RegExp {
  const source = pattern.replace(/[\\^$.*+?()[\]{}|]/g, (character) =>
    character === '*' ? '.*' : character === '?' ? '.' : `\\${character}`,
  )
  return new RegExp(`^${source}$`, 's')
}

/** The modules that own buffers: `features.1` for `features.1.running_mean`. */
function owners(buffers: readonly string[]): string[] {
  return [...new Set(buffers.map((name) => name.slice(0, Math.max(0, name.lastIndexOf('.')))))]
}

/** Whether all parameters of a module, or of the nearest module around it that has any, are frozen. */
function standsStill(module: string, parameters: readonly string[], frozen: ReadonlySet<string>): boolean {
  const own = parameters.filter((name) => module === '' || name.startsWith(`${module}.`))
  if (own.length > 0 || module === '') return own.length > 0 && own.every((name) => frozen.has(name))
  return standsStill(module.slice(0, Math.max(0, module.lastIndexOf('.'))), parameters, frozen)
}
