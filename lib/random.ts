/** Random state: the environment's default generator and generators of one's own. Seeds and states are Python's. */
import type { Tensor } from './tensor.js'
import { tensor } from './creation.js'
import { TorchkeepError } from '../src/format/errors.js'
import type { GeneratorHandle } from './contract.js'
import { addon } from './native.js'

/** `torch.Generator().initial_seed()` before any seed is set. */
const defaultSeed = 67280421310721n

/** A CPU generator, as `torch.Generator()`. */
export class Generator {
  /** The native generator. */
  readonly generatorHandle: GeneratorHandle

  constructor(seed: number | bigint = defaultSeed) {
    this.generatorHandle = addon().createGenerator({ seed: toSeed(seed) })
  }

  manualSeed(seed: number | bigint): this {
    addon().manualSeed({ generator: this.generatorHandle, seed: toSeed(seed) })
    return this
  }

  /** The seed that the present state began with: its first eight bytes. */
  initialSeed(): bigint {
    const { buffer, byteOffset } = this.#stateBytes()
    return new DataView(buffer, byteOffset).getBigUint64(0, true)
  }

  /** uint8 tensor of 5,056 bytes, the form of `generator.get_state()`. */
  getState(): Tensor {
    return tensor(this.#stateBytes())
  }

  setState(state: Tensor): this {
    addon().setGeneratorState({ generator: this.generatorHandle, state: stateBytes(state) })
    return this
  }

  #stateBytes(): Uint8Array {
    return addon().getGeneratorState({ generator: this.generatorHandle })
  }
}

/** Seeds the default generator of this environment, as `torch.manual_seed`. */
export function manualSeed(seed: number | bigint): void {
  addon().manualSeed({ generator: addon().defaultGenerator(), seed: toSeed(seed) })
}

/** `torch.get_rng_state()`: uint8 tensor of 5,056 bytes. */
export function getRngState(): Tensor {
  return tensor(addon().getGeneratorState({ generator: addon().defaultGenerator() }))
}

/** `torch.set_rng_state(state)`. */
export function setRngState(state: Tensor): void {
  addon().setGeneratorState({ generator: addon().defaultGenerator(), state: stateBytes(state) })
}

/** Runs `fn` and puts the default generator back as it was. */
export function preserveRngState<T>(fn: () => T): T {
  const generator = addon().defaultGenerator()
  const state = addon().getGeneratorState({ generator })
  try {
    return fn()
  } finally {
    addon().setGeneratorState({ generator, state })
  }
}

function stateBytes(state: Tensor): Uint8Array {
  const { dtype, sizes } = state.info()
  if (dtype !== 'uint8' || sizes.length !== 1) {
    throw new TorchkeepError(
      'ERR_INVALID_ARGUMENT',
      `A random state is ${dtype} of shape [${sizes.join(', ')}], expected uint8 of one dimension`,
    )
  }
  return state.data() as Uint8Array
}

/** Python takes seeds in [-2^63, 2^64) and wraps negative ones. */
function toSeed(seed: number | bigint): bigint {
  const isExact = typeof seed === 'bigint' || Number.isSafeInteger(seed)
  if (!isExact || BigInt(seed) < -(1n << 63n) || BigInt(seed) >= 1n << 64n) {
    throw new TorchkeepError('ERR_INVALID_ARGUMENT', `Seed ${seed} is no integer in [-2^63, 2^64)`)
  }
  return BigInt.asUintN(64, BigInt(seed))
}
