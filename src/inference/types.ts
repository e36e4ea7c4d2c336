/** What a model for inference is. */
import type { Tensor } from '../../lib/index.js'
import type { ModelTensor } from '../export/types.js'

/** How `loadForInference` loads. */
export interface InferenceOptions {
  /** `cpu` unless told. */
  device?: string
  /** Threads of an operator, the same for all calls, as the bits of some operators depend on it. Default 1: a service runs many requests. */
  threads?: number
}

/** Numbers nested as deep as a tensor has dimensions, as JSON has them. */
export type NestedNumbers = number | boolean | readonly NestedNumbers[]

/** How one call runs. */
export interface PredictOptions {
  /** Takes the call out of the queue, or ends it between two operators of the model; it then rejects with `ERR_ABORTED`. */
  signal?: AbortSignal
}

/** A model in evaluation mode that runs off the JavaScript thread. Calls may overlap: they run in their order. */
export interface InferenceModel {
  /** What {@link predict} takes, in order. Sizes that are free, as the batch's, are null. */
  readonly inputs: readonly ModelTensor[]
  /** What it gives. */
  readonly outputs: readonly ModelTensor[]
  /**
   * Runs the model on one batch, without gradients. Nested arrays become tensors of the input's dtype, checked value by value; tensors are taken as they are and may be changed or disposed once the call has begun: a call that
   * has to wait copies them, and while it reads them they cannot be changed (`ERR_BUSY`). The outputs belong to the caller.
   *
   * @throws TorchkeepError `ERR_DATA` naming the input that has another shape or dtype than the model takes; `ERR_DISPOSED`; `ERR_ABORTED`.
   */
  predict(inputs: readonly (Tensor | NestedNumbers)[], options?: PredictOptions): Promise<Tensor[]>
  /**
   * Ends the model now: calls that wait, and the one that runs at its next operator, reject with `ERR_DISPOSED`; then the weights are freed. Await the calls first whose results are wanted. Idempotent.
   */
  dispose(): void
  [Symbol.dispose](): void
}
