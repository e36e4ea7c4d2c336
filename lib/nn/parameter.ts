import { callTensor } from '../call.js'
import { noGrad } from '../grad-mode.js'
import { knownOptions } from '../options.js'
import { keep } from '../scope.js'
import { Tensor } from '../tensor.js'

/** A tensor that a module learns. Over the same storage as `data`, as in Python; never disposed by a scope. */
export class Parameter extends Tensor {
  constructor(data: Tensor, options: { requiresGrad?: boolean } = {}) {
    const { requiresGrad = true } = knownOptions('Parameter', options, ['requiresGrad'])
    super(keep(noGrad(() => callTensor('detach', [data]))).handle)
    keep(this)
    if (requiresGrad) this.requiresGrad = true
  }
}
