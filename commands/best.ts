import { Args, Flags } from '@oclif/core'
import type { BestCheckpoint } from '../src/checkpoint/index.js'
import { BaseCommand, exitCodes } from '../src/command-line/base-command.js'

export default class Best extends BaseCommand {
  static override summary = "Print the path of a folder's best checkpoint, for scripts."

  static override description =
    'Looks at heads and tails of the files, in all folders inside. Only whole training checkpoints count; NaN is never best, of equal values the earlier checkpoint is. Of copies of one checkpoint the ' +
    'name that will always mean it is printed (best/best_model_epoch_3_phase_1.pth before best/latest_best.pth). Exit code 1 where there is no training checkpoint or all values are NaN, 2 for a metric that none has (those that exist are listed).'

  static override examples = [
    '<%= config.bin %> best checkpoints',
    { description: 'By another metric', command: '<%= config.bin %> best checkpoints --metric val_accuracy' },
    {
      description: 'In a script',
      command: 'cp "$(<%= config.bin %> best checkpoints --metric val_loss)" model.pth',
    },
  ]

  static override args = {
    dir: Args.string({ description: 'Folder of checkpoints.', default: 'checkpoints' }),
  }

  static override flags = {
    metric: Flags.string({ summary: 'Name of the metric.', helpValue: 'NAME', default: 'val_loss' }),
    mode: Flags.option({ options: ['min', 'max'] as const })({
      summary: 'Whether small or large values are good; unless told, max for accuracy, f1, auc, r2, ci..., else min.',
    }),
  }

  async run(): Promise<{ folder: string; best: BestCheckpoint | null }> {
    const { args, flags } = await this.parse(Best)
    const { findBestCheckpoint } = await import('../src/checkpoint/best.js')
    const { metric, mode } = flags
    const best = await findBestCheckpoint(args.dir, { metric, ...(mode !== undefined && { mode }) })
    if (best === null) {
      this.progress(`no training checkpoint in ${args.dir} has a ${metric}`)
      process.exitCode = exitCodes.bad
    } else {
      this.log(best.path)
    }
    return { folder: args.dir, best }
  }
}
