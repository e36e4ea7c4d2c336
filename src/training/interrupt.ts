/** Ctrl-C for programs that train. */
import { TorchkeepError } from '../format/errors.js'

/** An AbortSignal that fires on SIGINT or SIGTERM, and what the process should exit with then. */
export interface Interrupt {
  readonly signal: AbortSignal
  /** 130 after SIGINT, 143 after SIGTERM, null before. */
  readonly exitCode: number | null
  /** For `catch`: prints where the run goes on and exits with {@link exitCode} if this interrupt ended it; throws any other error again. */
  readonly exitIfAborted: (error: unknown) => never
  /** Takes the listeners away; the signals then end the process as usual. */
  readonly release: () => void
}

/**
 * Listens for SIGINT (Ctrl-C) and SIGTERM. The first one aborts `signal`: a trainer that got it finishes its step, saves durably and rejects with `ERR_ABORTED`.
 * A second one ends the process at once, as it would have without us; files under their final names are whole even then.
 *
 * ```js
 * const interrupt = interruptSignal()
 * await trainer.train(train, val, { signal: interrupt.signal }).catch(interrupt.exitIfAborted)
 * ```
 */
export function interruptSignal(): Interrupt {
  const controller = new AbortController()
  let exitCode: number | null = null
  const release = (): void => {
    process.removeListener('SIGINT', onSignal)
    process.removeListener('SIGTERM', onSignal)
  }
  const onSignal = (name: NodeJS.Signals): void => {
    exitCode = name === 'SIGINT' ? 130 : 143
    release()
    controller.abort(new Error(`received ${name}`))
  }
  process.on('SIGINT', onSignal)
  process.on('SIGTERM', onSignal)
  return {
    signal: controller.signal,
    get exitCode() {
      return exitCode
    },
    release,
    exitIfAborted(error) {
      if (exitCode === null || !(error instanceof TorchkeepError) || error.code !== 'ERR_ABORTED') throw error
      console.error(error.message)
      process.exit(exitCode)
    },
  }
}
