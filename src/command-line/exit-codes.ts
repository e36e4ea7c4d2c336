/** The exit codes of every command, in one place. */
import { TorchkeepError } from '../format/errors.js'

/** 0 is fine. A signal that nobody handles ends a process with 128 and its number; `interrupted` is the same for Ctrl-C. */
export const exitCodes = {
  /** The answer is "bad": something is invalid, different, broken. */
  bad: 1,
  usage: 2,
  /** The command could not do it: a missing file, a full disk, a failure of no known kind. */
  failed: 3,
  interrupted: 130,
} as const

/** The code that a failure ends a command with. Errors of oclif bring their own, and so does an interruption by another signal than Ctrl-C. */
export function exitCodeOf(error: Error & { oclif?: { exit?: number } }): number {
  if (error instanceof TorchkeepError) {
    if (error.code === 'ERR_ABORTED') return (error as { exitCode?: number }).exitCode ?? exitCodes.interrupted
    // Something was found that should not leave: an answer, not a failure.
    if (error.code === 'ERR_EXPORT_SECRET') return exitCodes.bad
    return error.code === 'ERR_INVALID_ARGUMENT' ? exitCodes.usage : exitCodes.failed
  }
  return error.oclif?.exit ?? exitCodes.failed
}
