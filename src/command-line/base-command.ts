/** What all commands share: `--json`, errors with their code and suggestions, exit codes, Ctrl-C, progress, and what a PATH means. */
import { Command, Errors } from '@oclif/core'
import { TorchkeepError } from '../format/errors.js'
import { exitCodeOf, exitCodes } from './exit-codes.js'
import { withProgress, type ReportProgress } from './progress.js'
import { strictJson } from './strict-json.js'
import { printable, printableLines } from './text.js'

export { exitCodes } from './exit-codes.js'

/** Lines that hold no colour of ours, only what may come out of files: not even the codes for colours pass, since they can hide text. */
const withoutControls = (text: string): string => text.split('\n').map(printable).join('\n')

/**
 * Base of every command. Text goes out through {@link log}, the result of `run` is what `--json` prints under the command's schema (`schemas/<command>.json`). A failure ends with the code
 * that `exit-codes.ts` gives it; an answer that is "bad" sets `process.exitCode = exitCodes.bad`.
 */
export abstract class BaseCommand extends Command {
  static override enableJsonFlag = true
  #interruption: AbortController | null = null
  readonly #interrupt = () => this.#interruption?.abort()

  /** Prints a line of the result. Control characters, which may come out of files, are escaped. */
  override log(message = ''): void {
    super.log(printableLines(message))
  }

  /** Shows a line of progress: on standard error, so that standard output holds only the result. */
  protected progress(line: string): void {
    if (!this.jsonEnabled()) this.logToStderr(printableLines(line))
  }

  /** Runs work with a progress bar on standard error: on a terminal, after half a second, and never with `--json`. See `withProgress`. */
  protected withProgress<Result>(title: string, work: (report: ReportProgress) => Promise<Result>): Promise<Result> {
    return withProgress(title, this.jsonEnabled() ? null : process.stderr, work)
  }

  /** Aborted by the first Ctrl-C, for the library functions that take a signal; they then reject with ERR_ABORTED, which ends with 130. A second Ctrl-C ends the process at once. */
  protected get signal(): AbortSignal {
    if (this.#interruption === null) {
      this.#interruption = new AbortController()
      process.once('SIGINT', this.#interrupt)
    }
    return this.#interruption.signal
  }

  /** The file that a PATH means: `latest`, `best`, a path, or a name in the checkpoint folder. Errors name the paths tried and near names. */
  protected async resolvePath(wanted: string, checkpointDir: string): Promise<string> {
    const { resolvePath } = await import('./resolve-path.js')
    return resolvePath(wanted, checkpointDir)
  }

  override logJson(json: unknown): void {
    process.stdout.write(`${strictJson(json)}\n`)
  }

  protected override async finally(error: Error | undefined): Promise<void> {
    process.off('SIGINT', this.#interrupt)
    return super.finally(error)
  }

  protected override async catch(error: Error & { exitCode?: number; oclif?: { exit?: number } }): Promise<unknown> {
    if (error instanceof Errors.ExitError) throw error
    const exit = exitCodeOf(error)
    process.exitCode = exit
    Object.assign(error, { oclif: { ...error.oclif, exit } })
    await this.#suggestFlags(error)
    if (!this.jsonEnabled()) {
      error.message = withoutControls(error.message)
      if (error instanceof TorchkeepError) error.name = 'Error' // oclif prints the name; the code follows anyway
      const { suggestions } = error as { suggestions?: readonly string[] } // of files that are there: names as they may be
      if (suggestions !== undefined) Object.assign(error, { suggestions: suggestions.map(withoutControls) })
    }
    return super.catch(error)
  }

  /** For flags that do not exist: those that may have been meant. */
  async #suggestFlags(error: Error & { flags?: unknown }): Promise<void> {
    if (error instanceof TorchkeepError || !Array.isArray(error.flags)) return
    const { nearNames } = await import('../format/near-names.js')
    const names = [...Object.keys(this.ctor.flags ?? {}), ...Object.keys(this.ctor.baseFlags ?? {}), 'json', 'help']
    const near = error.flags
      .filter((flag) => typeof flag === 'string')
      .flatMap((flag) => nearNames(flag.replace(/^-+/, ''), names))
    if (near.length > 0) Object.assign(error, { suggestions: [...new Set(near)].map((name) => `--${name}`) })
  }

  protected override toErrorJson(error: unknown): unknown {
    const { message, code, suggestions, oclif } = error as TorchkeepError & { oclif?: { exit?: number } }
    const usage = oclif?.exit === exitCodes.usage
    const ours = error instanceof TorchkeepError
    return {
      error: {
        code: ours ? code : usage ? 'ERR_USAGE' : 'ERR_UNEXPECTED',
        message,
        suggestions: suggestions ?? [],
      },
    }
  }
}
