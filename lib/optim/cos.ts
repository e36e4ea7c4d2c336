import { callTensor } from '../call.js'
import { tensor } from '../creation.js'
import { noGrad } from '../grad-mode.js'
import { scope } from '../scope.js'

/**
 * The cosine as Python computes it: C's `cos`. JavaScript's own differs in the last bit for some arguments, and so
 * would rates. The real part of `polar(1, angle)` is C's `cos(angle)` in double.
 */
export function cos(angle: number): number {
  return noGrad(() =>
    scope(() => {
      const [radius, phase] = [1, angle].map((value) => tensor(value, { dtype: 'float64' }))
      return callTensor('view_as_real', [callTensor('polar', [radius, phase])]).data()[0] as number
    }),
  )
}
