/** Loads a model for predictions. */
import { openModel } from './open-model.js'
import { startModel } from './model.js'
import type { InferenceModel, InferenceOptions } from './types.js'

/**
 * Loads a model for predictions off the JavaScript thread: a `.pt2` of `torchkeep export` or of Python's `torch.export.save`, an export folder, or a checkpoint of Torchkeep (its recorded evaluation graph). No code of the file
 * runs, and the CRC-32 of all that is read is checked. Outputs have the bits of Python's for the same number of threads.
 *
 * ```js
 * using model = await loadForInference('exports/mymodel_1760000000')
 * const [prediction] = await model.predict([[[0.5, 1, -2]]])
 * ```
 *
 * @throws TorchkeepError `ERR_CHECKPOINT_MISSING`, `_CORRUPT`, `_UNSAFE`; `_UNSUPPORTED` for a file without a graph, a graph of training mode (naming the node), an operator or a condition that is not run here (naming it);
 *   `ERR_INVALID_ARGUMENT` for a device or number of threads that is none.
 */
export async function loadForInference(path: string, options: InferenceOptions = {}): Promise<InferenceModel> {
  const opened = await openModel(path)
  return startModel(opened.path, opened.model, options)
}
