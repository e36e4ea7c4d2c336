/** A copy of a model's weights in memory, for early stopping in a loop of one's own. */
import { keep, type Module, noGrad, type Tensor } from '../../lib/index.js'
import { TorchkeepError } from '../format/errors.js'

/** Clones of all parameters and persistent buffers, each tied one once, until it is disposed. */
export class KeptWeights {
  readonly #clones = new Map<string, Tensor>()

  constructor(model: Module) {
    for (const [name, tensor] of liveState(model)) this.#clones.set(name, keep(noGrad(() => tensor.clone())))
  }

  /**
   * Copies the values back into the model.
   * @throws TorchkeepError `ERR_INVALID_ARGUMENT` before anything is copied if this is not a model with the same tensors.
   */
  restore(model: Module): void {
    const live = liveState(model)
    const foreign = [...this.#clones].find(([name, clone]) => String(live.get(name)?.shape) !== String(clone.shape))
    if (foreign !== undefined) {
      const [name, { shape }] = foreign
      const found = live.has(name) ? `has it with shape [${live.get(name)?.shape.join(', ')}]` : 'has no such tensor'
      throw new TorchkeepError(
        'ERR_INVALID_ARGUMENT',
        `cannot restore the best weights: '${name}' was kept with shape [${shape.join(', ')}], but the model ${found}`,
      )
    }
    noGrad(() => this.#clones.forEach((clone, name) => live.get(name)?.copy_(clone)))
  }

  /** Frees the copies. */
  dispose(): void {
    for (const clone of this.#clones.values()) clone.dispose()
    this.#clones.clear()
  }
}

/** The tensors of the state dict, live, each under its first name. */
function liveState(model: Module): Map<string, Tensor> {
  const state = new Map<string, Tensor>()
  const seen = new Set<Tensor>()
  for (const [prefix, module] of model.namedModules()) {
    for (const [name, tensor] of module.ownState()) {
      if (seen.has(tensor)) continue
      seen.add(tensor)
      state.set(prefix === '' ? name : `${prefix}.${name}`, tensor)
    }
  }
  return state
}
