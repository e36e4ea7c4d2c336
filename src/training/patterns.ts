/** Which parameters a phase trains, decided by names alone. */
import { TorchkeepError } from '../format/errors.js'
import type { Phase } from '../checkpoint/training-config.js'

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
  /** Modules that keep running statistics and stand still. */
  modulesInEval: readonly string[]
}

/**
 * Splits the parameters of a model for a phase: first what the model itself froze, then `freeze`, then `unfreeze`.
 *
 * @throws TorchkeepError `ERR_INVALID_ARGUMENT` where a pattern matches nothing, or nothing is left to train.
 */
export function namesOfPhase(phase: Phase, names: ModelNames): PhaseNames {
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
    modulesInEval: owners(names.buffers).filter((owner) => standsStill(owner, names.parameters, frozen)),
  }
}

function matches(phase: Phase, field: 'freeze' | 'unfreeze', parameters: readonly string[]): string[] {
  return (phase[field] ?? []).flatMap((pattern) => {
    const expression = patternExpression(pattern)
    const found = parameters.filter((name) => expression.test(name))
    if (found.length > 0) return found
    throw new TorchkeepError(
      'ERR_INVALID_ARGUMENT',
      `${field} pattern '${pattern}' of phase '${phase.name}' matches no parameter; there are ${parameters.join(', ')}`,
      { suggestions: [`a pattern matches whole names: '${pattern}.*' means all below '${pattern}'`] },
    )
  })
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
