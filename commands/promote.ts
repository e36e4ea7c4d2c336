import { Args, Flags } from '@oclif/core'
import type { PromoteResult } from '../src/checkpoint/index.js'
import { BaseCommand } from '../src/command-line/base-command.js'
import { checkpointDirFlag } from '../src/command-line/flags.js'

export default class Promote extends BaseCommand {
  static override summary =
    'Give a checkpoint a name for deployment: a copy that nothing touches, with where it is from.'

  static override description =
    'Validates every byte, copies the checkpoint to promoted/NAME_SECONDS.pth, and then switches promoted/NAME.json, which names the copy, its SHA-256, source, metric and date, in one step: a deployment script that reads it always finds ' +
    'a whole checkpoint. A name that is given again moves on; what had it before stays and is listed in the file. Clean-up and rotation leave the copies and the checkpoint that was promoted alone.'

  static override examples = [
    '<%= config.bin %> promote best production',
    '<%= config.bin %> promote best staging --metric val_loss --note "after the new data" --json',
  ]

  static override args = {
    checkpoint: Args.string({ description: 'The checkpoint; latest and best stand for those.', required: true }),
    name: Args.string({ description: 'The name.', required: true }),
  }

  static override flags = {
    ...checkpointDirFlag,
    to: Flags.string({ summary: 'Another folder than promoted/ of the checkpoint folder.', helpValue: 'DIR' }),
    metric: Flags.string({ summary: 'The metric to note.', helpValue: 'NAME', default: 'val_loss' }),
    note: Flags.string({ summary: 'Anything worth remembering.', helpValue: 'TEXT' }),
  }

  async run(): Promise<PromoteResult> {
    const { args, flags, metadata } = await this.parse(Promote)
    const { promoteCheckpoint } = await import('../src/checkpoint/promote.js')
    const checkpoint = await this.resolvePath(args.checkpoint, flags['checkpoint-dir'])
    const isNamed = metadata.flags['metric']?.setFromDefault !== true
    const result = await this.withProgress('promoting', (report) =>
      promoteCheckpoint(checkpoint, args.name, {
        ...(flags.to !== undefined && { to: flags.to }),
        ...(isNamed && { metric: flags.metric }),
        ...(flags.note !== undefined && { note: flags.note }),
        signal: this.signal,
        onProgress: (done, total) => report({ done, total }),
      }),
    )
    const { promotion } = result
    const former = promotion.previous[0]
    const score = promotion.score === null ? '' : `, ${promotion.metric} ${promotion.score}`
    this.log(`${promotion.name} is now ${result.path}`)
    this.log(`from ${checkpoint}: epoch ${promotion.epoch ?? 'unknown'}${score}`)
    this.log(`SHA-256 ${promotion.sha256}`)
    if (former !== undefined) this.log(`before it was ${former.file}, which stays`)
    return result
  }
}
