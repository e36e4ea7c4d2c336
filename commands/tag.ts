import { Args, Flags } from '@oclif/core'
import type { CheckpointMetadata } from '../src/checkpoint/index.js'
import { BaseCommand } from '../src/command-line/base-command.js'
import { checkpointDirFlag } from '../src/command-line/flags.js'

/** What `tag` says. */
interface Tagged {
  path: string
  changed: boolean
  metadata: CheckpointMetadata
}

export default class Tag extends BaseCommand {
  static override summary = 'Give a checkpoint a title, a description and tags, or show them.'

  static override description =
    "They lie in the file itself. It is written anew beside itself and then takes its own place whole, so it needs as much free space as it has bytes; everything else in it stays to the byte. Works on torch.save's zip files " +
    'that hold a dict, and on safetensors. Copies are other files: best/latest_best.pth does not get the tags of the checkpoint that it was copied from. Without options it shows what the checkpoint says about itself.'

  static override examples = [
    '<%= config.bin %> tag best',
    {
      description: 'Title and tags',
      command: "<%= config.bin %> tag checkpoints/latest.pth --title 'Wider head' --tag wide --tag candidate",
    },
    { description: 'Take a tag away', command: '<%= config.bin %> tag latest --remove-tag candidate' },
  ]

  static override args = {
    path: Args.string({ description: 'A checkpoint, latest or best.', required: true }),
  }

  static override flags = {
    ...checkpointDirFlag,
    title: Flags.string({ summary: 'Its title; an empty one takes it away.', helpValue: 'TEXT' }),
    description: Flags.string({ summary: 'What it is; an empty one takes it away.', helpValue: 'TEXT' }),
    tag: Flags.string({ summary: 'A tag to add. May be given several times.', helpValue: 'TAG', multiple: true }),
    'remove-tag': Flags.string({
      summary: 'A tag to take away. May be given several times.',
      helpValue: 'TAG',
      multiple: true,
    }),
  }

  async run(): Promise<Tagged> {
    const { args, flags } = await this.parse(Tag)
    const path = await this.resolvePath(args.path, flags['checkpoint-dir'])
    const { title, description, tag: addTags, 'remove-tag': removeTags } = flags
    const [{ readMetadata }, { tagCheckpoint }, { metadataLines }] = await Promise.all([
      import('../src/checkpoint/metadata.js'),
      import('../src/checkpoint/tag.js'),
      import('../src/command-line/print-metadata.js'),
    ])
    if ([title, description, addTags, removeTags].every((option) => option === undefined)) {
      const metadata = await readMetadata(path)
      for (const line of metadataLines(metadata)) this.log(line)
      return { path, changed: false, metadata }
    }
    const changes = {
      ...(title !== undefined && { title }),
      ...(description !== undefined && { description }),
      ...(addTags !== undefined && { addTags }),
      ...(removeTags !== undefined && { removeTags }),
    }
    const result = await tagCheckpoint(path, changes, { signal: this.signal })
    for (const line of metadataLines(result.metadata)) this.log(line)
    if (!result.changed) this.progress('nothing was written: the file says all that already')
    if (result.changed && result.otherNames > 0)
      this.progress(`${result.otherNames} other names of the file (hard links) keep it as it was`)
    return { path: result.path, changed: result.changed, metadata: result.metadata }
  }
}
