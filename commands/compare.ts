import { Args, Flags } from '@oclif/core'
import type { Comparison } from '../src/checkpoint/index.js'
import { BaseCommand, exitCodes } from '../src/command-line/base-command.js'
import { checkpointDirFlag } from '../src/command-line/flags.js'

export default class Compare extends BaseCommand {
  static override summary = 'Say where two checkpoints differ: tensors, optimizer, config, history.'

  static override description =
    'Works between all formats and layouts, in constant memory; of two layouts (a training checkpoint and a safetensors file) it compares what both have. Without a tolerance every bit counts. With ' +
    '--rtol or --atol values are the same where |a - b| <= atol + rtol * |b| (numpy.allclose), whatever their dtype. NaN equals NaN. Titles, tags, versions, moments and durations never count; which ' +
    'tensors share memory, strides and devices do not either. The exit code is 0 for the same, 1 for different, 3 where a file is damaged or cannot be read.'

  static override examples = [
    '<%= config.bin %> compare best latest',
    {
      description: 'With room for rounding',
      command: '<%= config.bin %> compare latest other.pth --rtol 1e-5 --atol 1e-8',
    },
    { description: 'For a program', command: '<%= config.bin %> compare best latest --json' },
  ]

  static override args = {
    a: Args.string({ description: 'A checkpoint, latest or best.', required: true }),
    b: Args.string({ description: 'Another one.', required: true }),
  }

  static override flags = {
    ...checkpointDirFlag,
    rtol: Flags.string({ summary: 'Relative tolerance, such as 1e-5.', helpValue: 'NUMBER' }),
    atol: Flags.string({ summary: 'Absolute tolerance, such as 1e-8.', helpValue: 'NUMBER' }),
    top: Flags.integer({ summary: 'Layers, tensors and values to list of each part.', default: 10, min: 0 }),
  }

  async run(): Promise<Comparison> {
    const { args, flags } = await this.parse(Compare)
    const [a, b] = [
      await this.resolvePath(args.a, flags['checkpoint-dir']),
      await this.resolvePath(args.b, flags['checkpoint-dir']),
    ]
    const [{ compareCheckpoints }, { comparisonLines }] = await Promise.all([
      import('../src/checkpoint/compare.js'),
      import('../src/command-line/print-compare.js'),
    ])
    const comparison = await this.withProgress('comparing', (progress) =>
      compareCheckpoints(a, b, {
        ...(flags.rtol !== undefined && { rtol: numberOf(flags.rtol) }),
        ...(flags.atol !== undefined && { atol: numberOf(flags.atol) }),
        progress,
        signal: this.signal,
      }),
    )
    for (const line of comparisonLines(comparison, flags.top)) this.log(line)
    if (!comparison.same) process.exitCode = exitCodes.bad
    return comparison
  }
}

/** NaN, which no tolerance may be, for what is no number. */
const numberOf = (text: string): number => (text.trim() === '' ? NaN : Number(text))
