import { Args, Flags } from '@oclif/core'
import type { RecoverableCheckpoint, RecoveryResult } from '../src/checkpoint/index.js'
import { BaseCommand, exitCodes } from '../src/command-line/base-command.js'
import { checkpointDirFlag } from '../src/command-line/flags.js'
import { TorchkeepError } from '../src/format/errors.js'

/** What `--scan` gives. */
interface Scan {
  folder: string
  checkpoints: RecoverableCheckpoint[]
}

export default class Recover extends BaseCommand {
  static override summary = 'Save what can be saved of a damaged checkpoint into a new file.'

  static override description =
    'Never writes over a file. Cut files are rebuilt from what is left of their headers; NaN and infinite values are replaced; missing labels are filled from the name, the sidecar and the other checkpoints ' +
    'of the run. Every act stands in metadata.recovery of the new file, and a resume refuses it unless told otherwise. Ends with 0 where a file that validates was written, or nothing had to be done, 1 where not.'

  static override examples = [
    '<%= config.bin %> recover checkpoints/latest.pth',
    {
      description: 'What is damaged in a folder, and what a recovery would give',
      command: '<%= config.bin %> recover --scan checkpoints',
    },
    {
      description:
        'Names for data whose pickle is lost, and values for what is damaged, from a sound checkpoint of the same model',
      command:
        '<%= config.bin %> recover latest.pth --like checkpoints/best/latest_best.pth --damaged donor -o mended.pth',
    },
    '<%= config.bin %> recover latest.pth --nonfinite mean --no-backup --json',
  ]

  static override args = {
    path: Args.string({ description: 'The damaged checkpoint; latest and best stand for those.' }),
  }

  static override flags = {
    ...checkpointDirFlag,
    output: Flags.string({
      char: 'o',
      summary: 'The new file; recovered_NAME beside the damaged one unless given.',
      helpValue: 'FILE',
    }),
    backup: Flags.boolean({
      summary: 'Copy the damaged file to backups/ first.',
      default: true,
      allowNo: true,
    }),
    like: Flags.string({ summary: 'A sound checkpoint of the same model, the donor.', helpValue: 'DONOR' }),
    nonfinite: Flags.option({
      summary: 'What takes the place of NaN and infinite values.',
      options: ['zero', 'mean', 'donor'] as const,
      default: 'zero',
    })(),
    damaged: Flags.option({
      summary: 'What becomes of tensors whose CRC-32 does not match.',
      options: ['keep', 'drop', 'zero', 'donor'] as const,
      default: 'keep',
    })(),
    scan: Flags.string({
      summary: 'List what is damaged in a folder and how well it could be recovered; writes nothing.',
      helpValue: 'DIR',
      exclusive: ['output', 'like'],
    }),
  }

  async run(): Promise<RecoveryResult | Scan> {
    const { args, flags } = await this.parse(Recover)
    if (flags.scan !== undefined) {
      if (args.path !== undefined) throw new TorchkeepError('ERR_INVALID_ARGUMENT', 'give either a PATH or --scan DIR')
      return this.#scan(flags.scan)
    }
    if (args.path === undefined) throw new TorchkeepError('ERR_INVALID_ARGUMENT', 'give a PATH, or --scan DIR')
    const [{ CheckpointRecovery }, print] = await Promise.all([
      import('../src/checkpoint/recovery.js'),
      import('../src/command-line/print-recover.js'),
    ])
    const folder = flags['checkpoint-dir']
    const path = await this.resolvePath(args.path, folder)
    const like = flags.like === undefined ? undefined : await this.resolvePath(flags.like, folder)
    const { backup, nonfinite, damaged } = flags
    const result = await this.withProgress('recovering', (report) =>
      new CheckpointRecovery(folder).attemptRecovery(path, flags.output, {
        ...(like !== undefined && { like }),
        backup,
        nonfinite,
        damaged,
        signal: this.signal,
        progress: (done, total) => report({ done, total }),
      }),
    )
    for (const line of print.recoveryLines(result)) this.log(line)
    if (!result.success) process.exitCode = exitCodes.bad
    return result
  }

  async #scan(folder: string): Promise<Scan> {
    const [{ CheckpointRecovery }, print] = await Promise.all([
      import('../src/checkpoint/recovery.js'),
      import('../src/command-line/print-recover.js'),
    ])
    const checkpoints = await this.withProgress('looking', (report) =>
      new CheckpointRecovery(folder).findRecoverableCheckpoints({
        signal: this.signal,
        progress: (done, total) => report({ done, total }),
      }),
    )
    for (const line of print.scanLines(folder, checkpoints)) this.log(line)
    return { folder, checkpoints }
  }
}
