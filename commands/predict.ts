import { Args, Flags } from '@oclif/core'
import { BaseCommand } from '../src/command-line/base-command.js'
import { checkpointDirFlag } from '../src/command-line/flags.js'
import type { PredictResult } from '../src/train-config/predict.js'

export default class Predict extends BaseCommand {
  static override summary = "Write a checkpoint's predictions for the rows of a CSV file."

  static override description =
    'Needs the checkpoint only: the model is the one recorded in it, and columns become numbers as in its training. The output has the rows of the table in their order: the columns that the model does not use (such as an id), then ' +
    'the predictions; of classes the name and the probability of each. Numbers are the shortest that are read back as the same float32. The file is written whole or not at all, and never over another without --force.'

  static override examples = [
    '<%= config.bin %> predict best --data new.csv -o predictions.csv',
    {
      description: "Only the ids, and the model's outputs as they are",
      command: '<%= config.bin %> predict best --data new.csv -o outputs.csv --keep id --raw --json',
    },
  ]

  static override args = {
    checkpoint: Args.string({ description: 'The checkpoint; latest and best stand for those.', required: true }),
  }

  static override flags = {
    ...checkpointDirFlag,
    data: Flags.string({ summary: 'The table; target columns are not needed.', helpValue: 'FILE', required: true }),
    output: Flags.string({ char: 'o', summary: 'The new CSV file.', helpValue: 'FILE', required: true }),
    force: Flags.boolean({ char: 'f', summary: 'Replace a file that is there.' }),
    keep: Flags.string({
      summary: 'A column of the table that goes along, in place of the default; may be given several times.',
      helpValue: 'COLUMN',
      multiple: true,
      multipleNonGreedy: true,
    }),
    raw: Flags.boolean({ summary: "The model's outputs as they are (logits, not probabilities)." }),
    'batch-size': Flags.integer({ summary: "Rows of a batch; default the training's.", min: 1 }),
    device: Flags.string({ summary: 'cpu, cuda or cuda:N.', helpValue: 'NAME' }),
    threads: Flags.integer({ summary: 'Threads of an operator.', min: 1 }),
  }

  async run(): Promise<PredictResult> {
    const { args, flags } = await this.parse(Predict)
    const { requireLibTorch } = await import('../src/train-config/require-libtorch.js')
    requireLibTorch()
    const checkpoint = await this.resolvePath(args.checkpoint, flags['checkpoint-dir'])
    const { requireRecorded } = await import('../src/train-config/recorded-config.js')
    const { recorded, trainingConfig } = await requireRecorded(checkpoint)
    const { predictFile } = await import('../src/train-config/predict.js')
    const { spec } = recorded.data
    const result = await this.withProgress('predicting', (report) =>
      predictFile({
        checkpoint,
        recorded,
        loss: trainingConfig.loss,
        data: flags.data,
        output: flags.output,
        force: flags.force,
        raw: flags.raw,
        batchSize: flags['batch-size'] ?? spec.eval_batch_size ?? spec.batch_size ?? 32,
        signal: this.signal,
        onProgress: (done, total) => report({ done, total }),
        ...(flags.keep !== undefined && { keep: flags.keep }),
        ...(flags.device !== undefined && { device: flags.device }),
        ...(flags.threads !== undefined && { threads: flags.threads }),
      }),
    )
    for (const line of result.report) this.progress(line)
    const without =
      result.withoutPrediction === 0 ? '' : ` (${result.withoutPrediction} without a prediction: fields are empty)`
    this.log(`wrote ${result.output}: ${result.rows} rows${without}, columns ${result.columns.join(', ')}`)
    return result
  }
}
