import { Args, Flags } from '@oclif/core'
import type { RunHistory } from '../src/checkpoint/index.js'
import { BaseCommand } from '../src/command-line/base-command.js'
import { checkpointDirFlag } from '../src/command-line/flags.js'

export default class History extends BaseCommand {
  static override summary = 'Draw the metrics of one or several runs, epoch by epoch, or write them as CSV.'

  static override description =
    'A RUN is a checkpoint, a metrics file (.json), or the folder of a run: there the newest checkpoint with a history is joined with the files in metrics/. Unless told, the losses are drawn; several runs ' +
    'lie over each other in a chart for each metric. A vertical line stands where a phase begins.'

  static override examples = [
    '<%= config.bin %> history checkpoints',
    { description: 'Two runs over each other', command: '<%= config.bin %> history runs/a runs/b --metric val_loss' },
    { description: 'For a spreadsheet', command: '<%= config.bin %> history checkpoints --csv > history.csv' },
    { description: 'For a program', command: '<%= config.bin %> history latest --json' },
  ]

  static override strict = false

  static override args = {
    run: Args.string({ name: 'RUN', description: 'Checkpoints, metrics files or folders of runs.', required: true }),
  }

  static override flags = {
    metric: Flags.string({
      summary: 'Draw or write this metric; may be given several times.',
      helpValue: 'NAME',
      multiple: true,
      multipleNonGreedy: true,
    }),
    csv: Flags.boolean({ summary: 'Write CSV (RFC 4180) with all metrics or those of --metric.' }),
    ...checkpointDirFlag,
  }

  async run(): Promise<{ runs: RunHistory[] }> {
    const { argv, flags } = await this.parse(History)
    const [{ readHistory, requireHistoryMetrics }, print] = await Promise.all([
      import('../src/checkpoint/history.js'),
      import('../src/command-line/print-history.js'),
    ])
    const runs: RunHistory[] = []
    for (const wanted of argv as string[]) {
      const path = await this.resolvePath(wanted, flags['checkpoint-dir'])
      runs.push(await readHistory(path))
    }
    for (const warning of runs.flatMap(({ warnings }) => warnings)) this.progress(`warning: ${warning}`)
    requireHistoryMetrics(runs, flags.metric ?? [])
    const all = [...new Set(runs.flatMap(({ metrics }) => metrics))]
    if (flags.csv && !this.jsonEnabled()) process.stdout.write(print.historyCsv(runs, flags.metric ?? all))
    else {
      const together = runs.length === 1 && flags.metric === undefined
      for (const line of print.historyLines(runs, flags.metric ?? print.usualMetrics(runs), together)) this.log(line)
    }
    return { runs }
  }
}
