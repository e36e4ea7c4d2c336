/** One line of the doctor's report. */
export interface Finding {
  /** What was looked at: `node`, `python`, `pip`, `libtorch`, `cache`, `cmake`, `addon`, `cuda`, `self-test`... */
  check: string
  /** `warn` does not keep Torchkeep from working now. */
  status: 'ok' | 'warn' | 'bad'
  message: string
  /** How to mend it, one step each; empty when all is well. */
  mend: string[]
}

/** All is well. */
export function ok(check: string, message: string): Finding {
  return { check, status: 'ok', message, mend: [] }
}

/** Works, but should be known. */
export function warn(check: string, message: string, ...mend: string[]): Finding {
  return { check, status: 'warn', message, mend }
}

/** Does not work. */
export function bad(check: string, message: string, ...mend: string[]): Finding {
  return { check, status: 'bad', message, mend }
}

/** The finding of a failure that carries its own suggestions. */
export function failure(check: string, status: 'warn' | 'bad', error: unknown): Finding {
  const { message, suggestions } = error as Error & { suggestions?: string[] }
  return { check, status, message, mend: suggestions ?? [] }
}
