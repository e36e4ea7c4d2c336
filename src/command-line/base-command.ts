/** What all commands share: `--json`, errors with their code and suggestions, and the exit codes of the design. */
import { Command } from '@oclif/core'
import { TorchkeepError } from '../format/errors.js'

/** Exit codes: 0 is fine; oclif itself uses 2 for wrong usage. */
export const exitCodes = {
  /** The answer is "bad": something is invalid, different, broken. */
  bad: 1,
  usage: 2,
  /** The command could not do it. */
  failed: 3,
  interrupted: 130,
} as const

/** Base of every command. A {@link TorchkeepError} ends it with 3, an interruption with 130; usage errors are oclif's and end with 2. */
export abstract class BaseCommand extends Command {
  static override enableJsonFlag = true

  /** Shows a line of progress: on standard error, so that standard output holds only the result. */
  protected progress(line: string): void {
    if (!this.jsonEnabled()) this.logToStderr(line)
  }

  protected override async catch(error: Error & { exitCode?: number; oclif?: { exit?: number } }): Promise<unknown> {
    if (error instanceof TorchkeepError) {
      const exit = error.code === 'ERR_ABORTED' ? exitCodes.interrupted : exitCodes.failed
      process.exitCode = exit
      Object.assign(error, { oclif: { exit } })
    }
    return super.catch(error)
  }

  protected override toErrorJson(error: unknown): unknown {
    const { message, code, suggestions, oclif } = error as TorchkeepError & { oclif?: { exit?: number } }
    return {
      error: {
        code: code ?? (oclif?.exit === 2 ? 'ERR_USAGE' : 'ERR_UNEXPECTED'),
        message,
        suggestions: suggestions ?? [],
      },
    }
  }
}
