import { TorchkeepError } from '../../src/format/errors.js'
import type { ParamGroup } from './optimizer.js'

/** Refuses a negative or absent number. */
export function checkNonNegative(optimizer: string, group: ParamGroup, name: string): void {
  const value = group[name]
  if (typeof value === 'number' && value >= 0) return
  throw new TorchkeepError(
    'ERR_INVALID_ARGUMENT',
    `${optimizer}: ${name} is ${String(value)}, expected a number of at least 0`,
  )
}
