import { Args, Flags } from '@oclif/core'
import { BaseCommand } from '../src/command-line/base-command.js'
import { checkpointDirFlag } from '../src/command-line/flags.js'
import type { Plain } from '../src/checkpoint/index.js'
import type { ArchiveFormat, ExportDType, ExportFormat, ExportProgress, ExportResult } from '../src/export/types.js'
import { TorchkeepError } from '../src/format/errors.js'

/** Flags that only one kind of export has. */
const flagsOfKind = {
  inference: ['model', 'model-export', 'model-options', 'sample'],
  sharing: ['include-training-state', 'anonymize', 'allow', 'license'],
} as const

export default class Export extends BaseCommand {
  static override summary = 'Give a model away: as a folder that runs as it is, or scrubbed for sharing.'

  static override description =
    'inference: weights, the model as a .pt2, a sample with its outputs, and programs that run in Python and Node; the exported model is run and compared with the checkpoint. sharing: weights with a model card, without optimizer ' +
    'and training state, and without what names people, machines or secrets. Either is a folder NAME_SECONDS with SHA256SUMS and an archive beside it, and appears whole or not at all. For a checkpoint without a recorded model, such as one that Python made, --model names a module that exports it or a .pt2 of it; without, the weights are exported. What needs only weights runs without LibTorch. ' +
    'Ends with 1 where a sharing export is refused since something that looks like a secret would go along.'

  static override examples = [
    '<%= config.bin %> export best inference affinity',
    {
      description: 'Only the weights, rounded, as a zip',
      command: '<%= config.bin %> export best inference affinity --format pth,safetensors --dtype bf16 --compress zip',
    },
    '<%= config.bin %> export best sharing affinity --license mit --json',
  ]

  static override args = {
    checkpoint: Args.string({ description: 'The checkpoint; latest and best stand for those.', required: true }),
    kind: Args.string({ description: 'What for.', options: ['inference', 'sharing'], required: true }),
    name: Args.string({ description: 'Name of the export.', required: true }),
  }

  static override flags = {
    ...checkpointDirFlag,
    'export-dir': Flags.string({ summary: 'Where exports go.', helpValue: 'DIR', default: 'exports' }),
    format: Flags.string({
      summary:
        'Files of weights: pth, safetensors, pt2 (inference: these three unless given; sharing: safetensors), archive (for C++, on top of the usual ones).',
      helpValue: 'NAME,...',
      multiple: true,
      multipleNonGreedy: true,
      delimiter: ',',
    }),
    dtype: Flags.option({
      summary: 'Round floating weights and buffers.',
      options: ['bf16', 'fp16'] as const,
    })(),
    compress: Flags.option({
      summary: 'The archive beside the folder.',
      options: ['tar.gz', 'zip', 'none'] as const,
      default: 'tar.gz' as const,
    })(),
    model: Flags.string({
      summary: 'inference: the model of a checkpoint without one: a module that exports it, or a .pt2.',
      helpValue: 'FILE',
    }),
    'model-export': Flags.string({
      summary: 'inference: name of the export of that module; default unless given.',
      helpValue: 'NAME',
      dependsOn: ['model'],
    }),
    'model-options': Flags.string({
      summary: 'inference: the first argument of its class or function, as JSON.',
      helpValue: 'JSON',
      dependsOn: ['model'],
    }),
    sample: Flags.string({
      summary: 'inference: inputs to store and check with, as .safetensors or .pth; drawn unless given.',
      helpValue: 'FILE',
    }),
    'include-training-state': Flags.boolean({
      summary: 'sharing: optimizer and training state go along in model.pth.',
    }),
    anonymize: Flags.boolean({
      summary: 'sharing: take out what names people, machines or secrets, and summarise the metrics.',
      default: true,
      allowNo: true,
    }),
    allow: Flags.string({
      summary: 'sharing: a key whose value stays although it looks like a secret; may be given several times.',
      helpValue: 'KEY',
      multiple: true,
      multipleNonGreedy: true,
    }),
    license: Flags.string({ summary: "sharing: the model card's license, such as mit.", helpValue: 'ID' }),
  }

  async run(): Promise<ExportResult> {
    const { args, flags, metadata } = await this.parse(Export)
    const kind = args.kind as 'inference' | 'sharing'
    const isGiven = (flag: string): boolean =>
      flag in flags && (metadata.flags as Record<string, { setFromDefault?: boolean }>)[flag]?.setFromDefault !== true
    const other = kind === 'inference' ? 'sharing' : 'inference'
    const foreign = flagsOfKind[other]
      .filter(isGiven)
      .map((flag) => (flag === 'anonymize' && !flags.anonymize ? '--no-anonymize' : `--${flag}`))
    if (foreign.length > 0)
      throw new TorchkeepError(
        'ERR_INVALID_ARGUMENT',
        `${foreign.join(' and ')} ${foreign.length === 1 ? 'is' : 'are'} for an export of the kind ${other}`,
      )
    const [{ ModelExporter }, { exportLines }] = await Promise.all([
      import('../src/export/exporter.js'),
      import('../src/command-line/print-export.js'),
    ])
    const checkpoint = await this.resolvePath(args.checkpoint, flags['checkpoint-dir'])
    const exporter = new ModelExporter({ exportDir: flags['export-dir'] })
    const signal = this.signal
    const license = kind === 'sharing' ? (flags.license ?? (await this.#askLicense())) : undefined
    const result = await this.withProgress('exporting', (report) => {
      const shared = {
        compress: flags.compress === 'none' ? null : (flags.compress as ArchiveFormat),
        dtype: flags.dtype === undefined ? null : dtypes[flags.dtype],
        signal,
        onProgress: ({ what, doneBytes, totalBytes }: ExportProgress) =>
          report({ done: doneBytes, total: totalBytes, label: what }),
        ...(flags.format !== undefined && { formats: flags.format as ExportFormat[] }),
      }
      if (kind === 'sharing')
        return exporter.exportForSharing(checkpoint, args.name, {
          ...shared,
          includeTrainingState: flags['include-training-state'],
          anonymize: flags.anonymize,
          ...(flags.allow !== undefined && { allow: flags.allow }),
          ...(license !== undefined && { license }),
        })
      return exporter.exportForInference(checkpoint, args.name, {
        ...shared,
        ...(flags.model !== undefined && { model: flags.model }),
        ...(flags['model-export'] !== undefined && { modelExport: flags['model-export'] }),
        ...(flags['model-options'] !== undefined && { modelOptions: optionsOf(flags['model-options']) }),
        ...(flags.sample !== undefined && { sample: flags.sample }),
      })
    })
    for (const line of exportLines(result)) this.log(line)
    return result
  }

  /** Asks on a terminal; undefined where there is none, with `--json`, and for an empty answer. */
  async #askLicense(): Promise<string | undefined> {
    if (this.jsonEnabled() || !process.stdin.isTTY || !process.stderr.isTTY) return undefined
    const { askLicense } = await import('../src/command-line/ask-license.js')
    return askLicense(process.stdin, process.stderr, this.signal)
  }
}

const dtypes: Readonly<Record<'bf16' | 'fp16', ExportDType>> = { bf16: 'bfloat16', fp16: 'float16' }

function optionsOf(text: string): Plain {
  try {
    return JSON.parse(text) as Plain
  } catch (cause) {
    throw new TorchkeepError('ERR_INVALID_ARGUMENT', `--model-options is no JSON: ${(cause as Error).message}`, {
      cause,
    })
  }
}
