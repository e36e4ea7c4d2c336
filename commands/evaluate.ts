import { Args, Flags } from '@oclif/core'
import { BaseCommand } from '../src/command-line/base-command.js'
import { checkpointDirFlag } from '../src/command-line/flags.js'
import type { EvaluatedData } from '../src/train-config/evaluate.js'

export default class Evaluate extends BaseCommand {
  static override summary = "Compute a checkpoint's loss and metrics on data."

  static override description =
    'Needs the checkpoint only: the model is the one recorded in it, and columns become numbers as in its training. --data is a file like the one of the training, all of whose rows count unless --split is given, or a configuration ' +
    'of torchkeep train, of whose data the test split counts (without one the validation split). A split is made with the seed of the training, so it holds the same rows as then.'

  static override examples = [
    '<%= config.bin %> evaluate best --data new.csv',
    {
      description: 'The rows that were kept for a test',
      command: '<%= config.bin %> evaluate best --data train.yaml --split test',
    },
    {
      description: 'Other metrics, for a program',
      command: '<%= config.bin %> evaluate best --data new.csv --metric accuracy --metric macro_f1 --json',
    },
  ]

  static override args = {
    checkpoint: Args.string({ description: 'The checkpoint; latest and best stand for those.', required: true }),
  }

  static override flags = {
    ...checkpointDirFlag,
    data: Flags.string({
      summary: 'A data file, or a configuration; may be given several times.',
      helpValue: 'FILE',
      required: true,
      multiple: true,
      multipleNonGreedy: true,
    }),
    split: Flags.option({
      summary: 'Which rows.',
      options: ['train', 'val', 'test', 'all'] as const,
    })(),
    metric: Flags.string({
      summary: "A metric in place of the training's; may be given several times.",
      multiple: true,
      multipleNonGreedy: true,
    }),
    'batch-size': Flags.integer({ summary: "Rows of a batch; default the training's.", min: 1 }),
    device: Flags.string({ summary: 'cpu, cuda or cuda:N.', helpValue: 'NAME' }),
    threads: Flags.integer({ summary: 'Threads of an operator.', min: 1 }),
  }

  async run(): Promise<{ checkpoint: string; evaluations: EvaluatedData[] }> {
    const { args, flags } = await this.parse(Evaluate)
    const { requireLibTorch } = await import('../src/train-config/require-libtorch.js')
    requireLibTorch()
    const checkpoint = await this.resolvePath(args.checkpoint, flags['checkpoint-dir'])
    const { requireRecorded } = await import('../src/train-config/recorded-config.js')
    const { recorded, trainingConfig } = await requireRecorded(checkpoint)
    const { evaluateOn } = await import('../src/train-config/evaluate.js')
    const evaluations: EvaluatedData[] = []
    for (const data of flags.data) {
      const found = await evaluateOn(data, {
        checkpoint,
        recorded,
        trainedMetrics: trainingConfig.metrics ?? [],
        signal: this.signal,
        ...(flags.metric !== undefined && { metrics: flags.metric }),
        ...(flags.split !== undefined && { split: flags.split }),
        ...(flags['batch-size'] !== undefined && { batchSize: flags['batch-size'] }),
        ...(flags.device !== undefined && { device: flags.device }),
        ...(flags.threads !== undefined && { threads: flags.threads }),
      })
      for (const line of found.report) this.progress(line)
      if (found.withoutMetrics.length > 0)
        this.progress(
          `${found.withoutMetrics.join(', ')}: in a module of your own; --data with the configuration computes it`,
        )
      const figures = [
        ...(found.loss === null ? [] : [['loss', found.loss] as const]),
        ...Object.entries(found.metrics),
      ]
      this.log(
        `${data} (${found.split}, ${found.samples} rows): ${figures.map(([name, value]) => `${name} ${value.toPrecision(5)}`).join('  ')}`,
      )
      evaluations.push(found)
    }
    return { checkpoint, evaluations }
  }
}
