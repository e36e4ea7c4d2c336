import { Args, Flags } from '@oclif/core'
import type { CleanupResult, RetentionPolicy } from '../src/checkpoint/index.js'
import { BaseCommand, exitCodes } from '../src/command-line/base-command.js'

export default class Cleanup extends BaseCommand {
  static override summary = 'Remove damaged or surplus checkpoints: first shown with reasons, then moved to trash/.'

  static override description =
    'Says for each file why it stays or goes, and changes nothing without --confirm. Without a rule it means --invalid: what is proven to be damaged. With --keep-best or --keep-last the valid training ' +
    'checkpoints of each run go, but for those that a rule keeps. What could not be read or is not understood, backups, exports, foreign and recovered files, links, latest.pth, ' +
    'best/latest_best.pth and the last valid checkpoint of a run always stay. Exit code 1 when something that should go could not be removed.'

  static override examples = [
    { description: 'What is damaged', command: '<%= config.bin %> cleanup' },
    { description: 'Move it to trash/', command: '<%= config.bin %> cleanup checkpoints --confirm' },
    {
      description: 'All but the three best and the two newest',
      command: '<%= config.bin %> cleanup checkpoints --keep-best 3 --metric val_loss --keep-last 2',
    },
    { description: 'For a program', command: '<%= config.bin %> cleanup checkpoints --keep-last 5 --json' },
  ]

  static override args = {
    dir: Args.string({ description: 'Folder of checkpoints.', default: 'checkpoints' }),
  }

  static override flags = {
    invalid: Flags.boolean({ summary: 'Remove what is provably invalid. The default where no other rule is given.' }),
    'keep-best': Flags.integer({ summary: 'Of each run keep the K best by --metric.', helpValue: 'K', min: 1 }),
    metric: Flags.string({
      summary: 'Metric of --keep-best; val_loss unless told.',
      helpValue: 'NAME',
      dependsOn: ['keep-best'],
    }),
    mode: Flags.option({
      options: ['min', 'max'] as const,
      dependsOn: ['keep-best'],
    })({
      summary: 'Whether small or large values are good; unless told, max for accuracy, f1, auc, r2, ci..., else min.',
    }),
    'keep-last': Flags.integer({ summary: 'Of each run keep the N newest.', helpValue: 'N', min: 1 }),
    recovered: Flags.boolean({ summary: 'Treat recovered files like other checkpoints; otherwise they stay.' }),
    fast: Flags.boolean({
      summary:
        'Judge by the structure only; unless told, every byte is read, so that nothing damaged is kept instead of something whole.',
    }),
    confirm: Flags.boolean({ summary: 'Do it.' }),
    delete: Flags.boolean({ summary: 'Delete instead of moving to trash/.' }),
  }

  async run(): Promise<CleanupResult> {
    const { args, flags } = await this.parse(Cleanup)
    const [{ cleanCheckpoints }, { defaultMode }, print] = await Promise.all([
      import('../src/checkpoint/cleanup.js'),
      import('../src/checkpoint/best.js'),
      import('../src/command-line/print-cleanup.js'),
    ])
    const { 'keep-best': best, 'keep-last': last, metric = 'val_loss', mode } = flags
    const policy: RetentionPolicy = {
      invalid: flags.invalid || (best === undefined && last === undefined),
      recovered: flags.recovered,
      ...(best !== undefined && { keepBest: { count: best, metric, mode: mode ?? defaultMode(metric) } }),
      ...(last !== undefined && { keepLast: last }),
    }
    const result = await this.withProgress('checking', (report) =>
      cleanCheckpoints(args.dir, policy, {
        confirm: flags.confirm,
        delete: flags.delete,
        level: flags.fast ? 'structure' : 'full',
        progress: (done, total, label) => report({ done, total, label }),
        signal: this.signal,
      }),
    )
    for (const line of print.cleanupLines(result)) this.log(line)
    const command = print.shellLine([this.config.bin, 'cleanup', ...this.argv])
    for (const line of print.cleanupOutcome(result, { deletes: flags.delete, command })) this.log(line)
    if (result.failedToRemove.length > 0) process.exitCode = exitCodes.bad
    return result
  }
}
