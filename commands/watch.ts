import { Args, Flags } from '@oclif/core'
import type { RunState } from '../src/checkpoint/index.js'
import { BaseCommand, exitCodes } from '../src/command-line/base-command.js'
import type * as Views from '../src/command-line/watch-views.js'

export default class Watch extends BaseCommand {
  static override summary = 'Show a run while it trains: phase, epoch, step, losses, best, last checkpoint, time left.'

  static override description =
    'DIR is the folder of the run. What is shown comes from its events.jsonl, so this works from a second terminal, on a run that is over, and without LibTorch. On a terminal the picture is drawn anew ' +
    'as the run goes on; elsewhere each epoch, checkpoint and warning is a line. It ends with the run: with 0 where that finished, with 1 where it failed, was interrupted or its process is gone; ' +
    'Ctrl-C ends it with 130 and leaves the run alone.'

  static override examples = [
    '<%= config.bin %> watch checkpoints',
    { description: 'How it stands now', command: '<%= config.bin %> watch checkpoints --once' },
    { description: 'The same for a program', command: '<%= config.bin %> watch checkpoints --once --json' },
    {
      description: 'The events, one a line, as they come; here the last',
      command: '<%= config.bin %> watch checkpoints --json | tail -n 1',
    },
  ]

  static override args = {
    dir: Args.string({ name: 'DIR', description: 'Folder of the run.', default: 'checkpoints' }),
  }

  static override flags = {
    once: Flags.boolean({ summary: 'Show how the run stands and end.' }),
  }

  /** Whether events go out as they come, one a line: then there is no result at the end. */
  #passesEvents = false

  async run(): Promise<RunState> {
    const { args, flags } = await this.parse(Watch)
    const [{ followRun, readRun }, views] = await Promise.all([
      import('../src/checkpoint/follow-run.js'),
      import('../src/command-line/watch-views.js'),
    ])
    if (flags.once) {
      const state = await readRun(args.dir)
      new views.LineView((line) => this.log(line), args.dir).state(state)
      return this.#judged(state)
    }
    this.#passesEvents = this.jsonEnabled()
    const view = this.#view(views, args.dir)
    const { signal } = this
    const state = await followRun(args.dir, {
      onEvent: (event) => view.event(event),
      onState: (state) => view.state(state),
      signal,
    })
    if (!signal.aborted) return this.#judged(state)
    process.exitCode = exitCodes.interrupted
    return state
  }

  override logJson(json: unknown): void {
    if (!this.#passesEvents) super.logJson(json)
  }

  protected override toErrorJson(error: unknown): unknown {
    this.#passesEvents = false
    return super.toErrorJson(error)
  }

  #view({ JsonView, LineView, ScreenView }: typeof Views, folder: string): Views.WatchView {
    if (this.jsonEnabled()) return new JsonView(process.stdout)
    return process.stdout.isTTY
      ? new ScreenView(process.stdout, folder)
      : new LineView((line) => this.log(line), folder)
  }

  #judged(state: RunState): RunState {
    if (state.status === 'failed' || state.status === 'interrupted' || state.status === 'lost')
      process.exitCode = exitCodes.bad
    return state
  }
}
