/** Whether code of the user's draws from the default generator, from which the model draws too. */
import { getRngState, scope } from '../../lib/index.js'
import { TorchkeepError } from '../format/errors.js'

/** The default generator's state; null while a session runs, which then has it to itself: draws of others are refused. */
export function defaultGeneratorState(): Buffer | null {
  try {
    return scope(() => Buffer.from(getRngState().data() as Uint8Array))
  } catch (error) {
    if (error instanceof TorchkeepError && error.code === 'ERR_BUSY') return null
    throw error
  }
}

/** Whether the generator has moved since it had this state. A state that could not be told has not moved. */
export function hasDrawn(before: Buffer | null): boolean {
  const now = before === null ? null : defaultGeneratorState()
  return before !== null && now !== null && !before.equals(now)
}
