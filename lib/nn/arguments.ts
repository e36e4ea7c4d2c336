/** Checks of module arguments, made before any weight is drawn. */
import { TorchkeepError } from '../../src/format/errors.js'
import type { DType } from '../dtype.js'

/** Where a module's weights live. */
export interface FactoryOptions {
  /** `'cpu'` unless told. */
  device?: string
  /** float32 unless told. */
  dtype?: DType
}

/** The names of {@link FactoryOptions}. */
export const factoryNames = ['device', 'dtype'] as const

/** Refuses what is no count. */
export function checkCount(name: string, value: number, smallest = 0): void {
  if (Number.isSafeInteger(value) && value >= smallest) return
  throw new TorchkeepError('ERR_INVALID_ARGUMENT', `${name} is ${value}, expected an integer of at least ${smallest}`)
}
