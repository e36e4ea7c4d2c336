/** Asks on a terminal under which licence a model is given away. */
import { createInterface } from 'node:readline/promises'
import { checkLicense } from '../export/hub-licenses.js'
import { TorchkeepError } from '../format/errors.js'

/**
 * Asks until the answer is a licence of the Hugging Face Hub, or empty: then undefined, and the model card says that there is none.
 *
 * @throws TorchkeepError `ERR_ABORTED` for Ctrl-C and where the terminal closes.
 */
export async function askLicense(
  input: NodeJS.ReadableStream,
  output: NodeJS.WritableStream,
  signal?: AbortSignal,
): Promise<string | undefined> {
  const stop = new AbortController()
  const lines = createInterface({ input, output })
  const abort = (): void => stop.abort()
  lines.on('SIGINT', abort).on('close', abort)
  signal?.addEventListener('abort', abort)
  if (signal?.aborted === true) abort()
  try {
    for (;;) {
      const answer = (
        await lines.question('Licence of the model (mit, apache-2.0, cc-by-4.0...; empty: none yet): ', {
          signal: stop.signal,
        })
      ).trim()
      if (answer === '') return undefined
      try {
        return checkLicense(answer)
      } catch (error) {
        if (!(error instanceof TorchkeepError)) throw error
        output.write(`${error.message}; ${error.suggestions.join(', ')}\n`)
      }
    }
  } catch (cause) {
    if (cause instanceof TorchkeepError || !stop.signal.aborted) throw cause
    throw new TorchkeepError('ERR_ABORTED', 'the export was stopped', { cause })
  } finally {
    signal?.removeEventListener('abort', abort)
    lines.off('close', abort)
    lines.close()
  }
}
