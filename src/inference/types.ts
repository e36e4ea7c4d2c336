/** What a model for inference is. */
import type { Tensor } from '../../lib/index.js'
import type { ModelTensor } from '../export/types.js'

/** How {@link loadForInference} loads. */
export interface InferenceOptions {
  /** `cpu` unless told. */
  device?: string
  /** Threads of an operator, the same for all calls, as the bits of some operators depend on it. Default 1: a service runs many requests. */
  threads?: number
}

/** Numbers nested as deep as a tensor has dimensions, as JSON has them. */
export type NestedNumbers = number | boolean | readonly NestedNumbers[]

/** A model in evaluation mode that runs off the JavaScript thread. Calls may overlap: they run in their order. */
export interface InferenceModel {
  /** What {@link predict} takes, in order. */
  readonly inputs: readonly ModelTensor[]
  /** What it gives. */
  readonly outputs: readonly ModelTensor[]
  /**
   * Runs the model on one batch. Nested arrays become tensors of the input's dtype. The outputs belong to the caller.
   *
   * @throws TorchkeepError `ERR_DATA` naming the input that has another shape or dtype than the model takes; `ERR_DISPOSED`; `ERR_ABORTED`.
   */
  predict(inputs: readonly (Tensor | NestedNumbers)[], options?: { signal?: AbortSignal }): Promise<Tensor[]>
  /** Frees the weights once the calls under way are done. Idempotent. */
  dispose(): void
  [Symbol.dispose](): void
}
