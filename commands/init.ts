import { Args, Flags } from '@oclif/core'
import { BaseCommand } from '../src/command-line/base-command.js'
import type { InitResult } from '../src/train-config/init.js'

export default class Init extends BaseCommand {
  static override summary = 'Write a commented configuration for torchkeep train.'

  static override description =
    'Writes train.yaml into DIR, or the file that is named, and never over a file that is there. With --example also example.csv, a small table that is made up, on which the configuration trains as it is; ' +
    'without, the columns of your own table are to be filled in. Editors that know YAML find the schema of the file by its first line.'

  static override examples = [
    { description: 'A configuration to fill in', command: '<%= config.bin %> init' },
    { description: 'Something that trains at once', command: '<%= config.bin %> init flowers --example' },
    '<%= config.bin %> init second.yaml --json',
  ]

  static override args = {
    target: Args.string({ description: 'A folder, made when missing, or a .yaml file.', default: '.' }),
  }

  static override flags = {
    example: Flags.boolean({ summary: 'Also write a small table that it trains on.' }),
  }

  async run(): Promise<InitResult> {
    const { args, flags } = await this.parse(Init)
    const { initConfig } = await import('../src/train-config/init.js')
    const result = await initConfig(args.target, { example: flags.example })
    for (const path of [result.config, result.data]) if (path !== null) this.log(`wrote ${path}`)
    this.log(`next: torchkeep train ${result.config}`)
    return result
  }
}
