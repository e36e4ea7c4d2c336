import { TorchkeepError } from '../src/format/errors.js'

/**
 * The options, once they are an object with no other keys than `names`. A misspelt option, one of PyTorch's that is not
 * offered, or a bare value in the place of the options would otherwise be ignored, silently.
 */
export function knownOptions<T extends object>(owner: string, options: T, names: readonly (keyof T & string)[]): T {
  // Plain JavaScript passes what the types forbid.
  const given: unknown = options
  if (typeof given !== 'object' || given === null || Array.isArray(given)) {
    throw new TorchkeepError('ERR_INVALID_ARGUMENT', `${owner}: options are ${describe(given)}, expected an object`, {
      suggestions: [`Pass options by name: { ${names.join(', ')} }.`],
    })
  }
  const unknown = Object.keys(given).find((name) => !(names as readonly string[]).includes(name))
  if (unknown === undefined) return options
  throw new TorchkeepError(
    'ERR_INVALID_ARGUMENT',
    `${owner}: unknown option '${unknown}', expected ${names.join(', ')}`,
  )
}

function describe(value: unknown): string {
  if (value === null) return 'null'
  return Array.isArray(value) ? 'an array' : `the ${typeof value} ${String(value)}`
}
