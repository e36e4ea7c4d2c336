import { Args, Flags } from '@oclif/core'
import type { CheckpointSummary, ListedCheckpoint } from '../src/checkpoint/index.js'
import { BaseCommand } from '../src/command-line/base-command.js'

export default class List extends BaseCommand {
  static override summary =
    'List the checkpoints of a folder: what they are, how good, how old, whether they are whole.'

  static override description =
    'Reads only the head and the tail of each file. The verdict is on the structure; validate also checks the bytes. A star marks the lowest validation loss. Looked into are the folder itself and ' +
    'its regular/, best/ and phases/; with --recursive all folders, where backups, exports and foreign files are told apart. Nothing is created or changed.'

  static override examples = [
    '<%= config.bin %> list',
    { description: 'The best first', command: '<%= config.bin %> list checkpoints --sort loss' },
    {
      description: 'What is damaged, in all folders',
      command: '<%= config.bin %> list checkpoints --recursive --invalid',
    },
    { description: 'Totals, best, newest and oldest', command: '<%= config.bin %> list checkpoints --summary' },
    { description: 'For a program', command: '<%= config.bin %> list checkpoints --json' },
  ]

  static override args = {
    dir: Args.string({ description: 'Folder of checkpoints.', default: 'checkpoints' }),
  }

  static override flags = {
    sort: Flags.string({
      summary: 'epoch, loss, size, age, name, or a metric such as val_accuracy.',
      helpValue: 'WORD',
      default: 'epoch',
    }),
    reverse: Flags.boolean({ char: 'r', summary: 'From large to small.' }),
    recursive: Flags.boolean({ char: 'R', summary: 'Look into all folders.' }),
    kind: Flags.string({ summary: 'Only this kind, such as training_checkpoint or state_dict.' }),
    phase: Flags.integer({ summary: 'Only this phase.' }),
    tag: Flags.string({
      summary: 'Only what has this tag; several tags must all be there.',
      multiple: true,
      multipleNonGreedy: true,
    }),
    valid: Flags.boolean({ summary: 'Only what is whole.', exclusive: ['invalid'] }),
    invalid: Flags.boolean({ summary: 'Only what is not.' }),
    metric: Flags.string({
      summary: 'Column for this metric; may be given several times.',
      multiple: true,
      multipleNonGreedy: true,
    }),
    summary: Flags.boolean({ summary: 'Only totals, best, newest and oldest.' }),
  }

  async run(): Promise<{ folder: string; summary: CheckpointSummary; checkpoints?: ListedCheckpoint[] }> {
    const { args, flags } = await this.parse(List)
    const [{ listCheckpoints }, { summarizeCheckpoints }, { sortCheckpoints, selectCheckpoints }, print] =
      await Promise.all([
        import('../src/checkpoint/listing.js'),
        import('../src/checkpoint/summary.js'),
        import('../src/command-line/select-list.js'),
        import('../src/command-line/print-list.js'),
      ])
    const all = await this.withProgress('reading', (report) =>
      listCheckpoints(args.dir, {
        recursive: flags.recursive,
        // Loaded only where something is damaged.
        assess: async (path) => (await import('../src/checkpoint/recovery-assess.js')).assessRecovery(path),
        signal: this.signal,
        onProgress: (done, total) => report({ done, total }),
      }),
    )
    const { kind, phase, tag: tags } = flags
    const valid = flags.valid ? true : flags.invalid ? false : undefined
    const selected = selectCheckpoints(all, { kind, phase, tags, valid })
    const summary = summarizeCheckpoints(selected)
    if (flags.summary) {
      for (const line of print.summaryLines(summary)) this.log(line)
      return { folder: args.dir, summary }
    }
    const checkpoints = sortCheckpoints(selected, flags.sort, flags.reverse)
    for (const line of print.listLines(checkpoints, flags.metric)) this.log(line)
    this.log(checkpoints.length === 0 ? `no checkpoints in ${args.dir}` : print.countLine(summary))
    return { folder: args.dir, summary, checkpoints }
  }
}
