/** The absence of LibTorch, told before anything else is done. */
import { versions } from '../../lib/index.js'
import { TorchkeepError } from '../format/errors.js'

/**
 * Loads the addon.
 *
 * @throws TorchkeepError `ERR_LIBTORCH_MISSING` or `ERR_ADDON_MISMATCH`, with what to do.
 */
export function requireLibTorch(): void {
  try {
    versions()
  } catch (error) {
    if (!(error instanceof TorchkeepError)) throw error
    throw new TorchkeepError(error.code, `this needs LibTorch: ${error.message}`, {
      cause: error.cause,
      suggestions: [...error.suggestions, 'torchkeep doctor says what is missing'],
    })
  }
}
