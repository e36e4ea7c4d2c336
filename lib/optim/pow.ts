import { callTensor } from '../call.js'

/**
 * `base ** exponent` as Python computes it: C's `pow`. JavaScript's own differs in the last bit for some arguments, and
 * so would trained weights. `logspace` with one step is C's `pow(base, start)` in double.
 */
export function pow(base: number, exponent: number): number {
  using power = callTensor('logspace', [exponent, exponent, 1, base], { dtype: 'float64' })
  return power.data()[0] as number
}
