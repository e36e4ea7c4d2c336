import { Args, Flags } from '@oclif/core'
import type { Inspection } from '../src/checkpoint/index.js'
import { BaseCommand } from '../src/command-line/base-command.js'
import { checkpointDirFlag } from '../src/command-line/flags.js'

export default class Inspect extends BaseCommand {
  static override summary = 'Show what is in a checkpoint: types, tensors, optimizer, config, history.'

  static override description =
    'Takes files of every format that is read: torch.save of all versions, TorchScript and C++ archives, .pt2, safetensors (also sharded), torch.distributed.checkpoint folders. Nothing of the file is ' +
    'run; what the pickle would call is listed by name.'

  static override examples = [
    '<%= config.bin %> inspect checkpoints/latest.pth',
    {
      description: 'The best checkpoint, all levels of its contents',
      command: '<%= config.bin %> inspect best --depth 9',
    },
    {
      description: 'The weights with figures of their values and a histogram',
      command: "<%= config.bin %> inspect latest --tensors --stats --filter '*.weight'",
    },
    { description: 'For a program', command: '<%= config.bin %> inspect latest --tensors --json' },
  ]

  static override args = {
    path: Args.string({ description: 'A checkpoint, latest or best.', required: true }),
  }

  static override flags = {
    ...checkpointDirFlag,
    depth: Flags.integer({ summary: 'Levels of the contents that are shown.', default: 2, min: 0 }),
    tensors: Flags.boolean({ summary: 'List the tensors instead: name, dtype, shape, size, what they share.' }),
    stats: Flags.boolean({ summary: 'With figures of their values: min, max, mean, zeros, NaN, infinite, histogram.' }),
    filter: Flags.string({
      summary:
        'Only tensors with such names: * stands for any characters, ? for one; a text without them may be anywhere in the name.',
      helpValue: 'PATTERN',
    }),
  }

  async run(): Promise<Inspection> {
    const { args, flags } = await this.parse(Inspect)
    const path = await this.resolvePath(args.path, flags['checkpoint-dir'])
    const [{ inspectCheckpoint }, print] = await Promise.all([
      import('../src/checkpoint/inspect.js'),
      import('../src/command-line/print-inspect.js'),
    ])
    const tensors = flags.tensors || flags.stats || flags.filter !== undefined
    const inspection = await this.withProgress('reading', (report) =>
      inspectCheckpoint(path, {
        depth: flags.depth,
        tensors,
        statistics: flags.stats,
        ...(flags.filter !== undefined && { filter: flags.filter }),
        signal: this.signal,
        onProgress: (done, total, label) => report({ done, total, label }),
      }),
    )
    const lines =
      inspection.tensors === null ? print.inspectionLines(inspection) : print.tensorLines(inspection.tensors)
    for (const line of lines) this.log(line)
    return inspection
  }
}
