import { Args, Flags } from '@oclif/core'
import { BaseCommand } from '../src/command-line/base-command.js'
import type { SummaryLine } from '../src/training/show-run.js'

export default class Train extends BaseCommand {
  static override summary = 'Train a model on your own data as a configuration file says.'

  static override description =
    'CONFIG is YAML or JSON; torchkeep init writes one, docs/training.md explains every key. All of it is checked before any work, and every mistake is told at once. The first Ctrl-C (or SIGTERM) ends the run after its ' +
    'present step with a durable checkpoint, from which --resume latest goes on with the same bits. Ends with 0 when finished or stopped early, 2 for a mistake in the configuration, 3 where it failed, ' +
    '130 or 143 when interrupted.'

  static override examples = [
    '<%= config.bin %> train train.yaml',
    {
      description: 'Go on where the run was interrupted',
      command: '<%= config.bin %> train train.yaml --resume latest',
    },
    {
      description: 'Other values than in the file',
      command: '<%= config.bin %> train train.yaml --set phases[0].lr=1e-4 --set model.hidden=[64,64] --seed 1',
    },
    { description: 'One line of JSON an event', command: '<%= config.bin %> train train.yaml --json' },
  ]

  static override args = {
    config: Args.string({ description: 'The configuration, .yaml or .json.', required: true }),
  }

  static override flags = {
    set: Flags.string({
      summary: 'Another value for a key, such as phases[0].lr=1e-4; may be given several times.',
      helpValue: 'KEY=VALUE',
      multiple: true,
      multipleNonGreedy: true,
    }),
    resume: Flags.string({
      summary: 'Go on from a checkpoint: latest (the newest that is whole), best or a path.',
      helpValue: 'latest|best|PATH',
    }),
    accept: Flags.string({
      summary:
        'A key that may differ from the checkpoint to go on from, such as phases[1].epochs; may be given several times.',
      helpValue: 'KEY',
      multiple: true,
      multipleNonGreedy: true,
      dependsOn: ['resume'],
    }),
    'accept-recovered': Flags.boolean({
      summary: 'Go on from a checkpoint that was recovered from a damaged file.',
      dependsOn: ['resume'],
    }),
    'checkpoint-dir': Flags.string({
      summary: "Folder of the checkpoints, in place of the configuration's.",
      helpValue: 'DIR',
    }),
    device: Flags.string({ summary: 'cpu, cuda or cuda:N.', helpValue: 'NAME' }),
    seed: Flags.integer({ summary: "In place of the configuration's.", min: 0 }),
    threads: Flags.integer({ summary: 'Threads of an operator.', min: 1 }),
    tensorboard: Flags.boolean({ summary: "Also write TensorBoard's event files." }),
    quiet: Flags.boolean({
      char: 'q',
      summary: 'Say nothing but errors, as --log-level error.',
      exclusive: ['log-level'],
    }),
    'log-level': Flags.option({
      summary: 'How much is said: info shows progress, debug every checkpoint too.',
      options: ['error', 'warn', 'info', 'debug'] as const,
      default: 'info',
    })(),
  }

  /** With `--json` every event goes out as it comes, one line each; so does the result, and an error. */
  override logJson(json: unknown): void {
    process.stdout.write(`${this.#jsonLine(json)}\n`)
  }

  #jsonLine: (json: unknown) => string = JSON.stringify

  async run(): Promise<SummaryLine> {
    const { args, flags } = await this.parse(Train)
    const { strictJson } = await import('../src/command-line/strict-json.js')
    this.#jsonLine = (json) => strictJson(json, 0)
    const { readTrainConfig } = await import('../src/train-config/read-config.js')
    const changes = [...(flags.set ?? []), ...(flags.seed === undefined ? [] : [`seed=${flags.seed}`])]
    const config = await readTrainConfig(args.config, changes)
    const [{ requireLibTorch }, { prepareRun }, { interruptSignal }, show] = await Promise.all([
      import('../src/train-config/require-libtorch.js'),
      import('../src/train-config/train.js'),
      import('../src/training/interrupt.js'),
      import('../src/training/show-run.js'),
    ])
    requireLibTorch()
    const checkpointDir = flags['checkpoint-dir'] ?? config.checkpointDir
    const level = flags.quiet ? 'error' : flags['log-level']
    const speaks = level === 'info' || level === 'debug'
    const interrupt = interruptSignal()
    try {
      const run = await prepareRun(config, {
        ...(flags.resume !== undefined && {
          // What latest means where latest.pth is broken the run itself finds out.
          resume: flags.resume === 'latest' ? 'latest' : await this.resolvePath(flags.resume, checkpointDir),
        }),
        ...(flags.accept !== undefined && { accept: flags.accept }),
        acceptRecovered: flags['accept-recovered'],
        checkpointDir,
        ...(flags.device !== undefined && { device: flags.device }),
        ...(flags.threads !== undefined && { threads: flags.threads }),
        tensorboard: flags.tensorboard,
      })
      if (speaks) for (const line of run.report) this.progress(line)
      const shown = this.jsonEnabled()
        ? show.asLines(run.trainer, (line) => this.logJson(line))
        : show.onTerminal(run.trainer, level, process.stderr)
      try {
        const summary = show.summaryLine(await run.train(interrupt.signal))
        if (speaks) for (const line of show.summaryText(summary)) this.log(line)
        return summary
      } finally {
        shown.stop()
      }
    } catch (error) {
      const { asInterruption } = show
      throw interrupt.exitCode === null ? error : asInterruption(error, interrupt.exitCode, this.argv)
    } finally {
      interrupt.release()
    }
  }
}
