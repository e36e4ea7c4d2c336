import { Flags } from '@oclif/core'
import { BaseCommand } from '../src/command-line/base-command.js'
import type { SetupResult } from '../src/libtorch/index.js'

export default class Setup extends BaseCommand {
  static override summary = 'Get LibTorch and build the addon for it.'

  static override description =
    'Takes the LibTorch that LIBTORCH, the Python of TORCHKEEP_PYTHON or VIRTUAL_ENV, or the cache holds. Where there is none, or with a flag that ' +
    'asks for a particular one, it is fetched through pip (so the index, mirror, proxy and offline folders that pip is set up with count) and unpacked into ' +
    'the cache. What will be taken, its size and the free space are said first.'

  static override examples = [
    { description: 'Everything by default', command: '<%= config.bin %> setup' },
    {
      description: "The CPU build, from PyTorch's own index or a mirror of it",
      command: '<%= config.bin %> setup --variant cpu --index-url URL',
    },
    {
      description: 'Without a network: a wheel, a LibTorch folder, or a folder of wheels',
      command: '<%= config.bin %> setup --from ./torch-2.13.0-cp311-cp311-manylinux_2_28_x86_64.whl',
    },
  ]

  static override flags = {
    variant: Flags.option({
      options: ['auto', 'cpu', 'cuda'] as const,
      summary: 'CPU only or with CUDA; auto is cpu unless an NVIDIA driver answers.',
    })(),
    version: Flags.string({ summary: 'Version of LibTorch, such as 2.13.0.', helpValue: 'X.Y.Z' }),
    from: Flags.string({
      summary: 'A torch wheel, a LibTorch folder, or a folder of wheels, instead of the index of pip.',
      helpValue: 'WHEEL|FOLDER',
    }),
    cache: Flags.directory({
      summary: 'Where to keep LibTorch, instead of TORCHKEEP_CACHE or the folder for caches of this user.',
    }),
    'index-url': Flags.string({ summary: 'Passed to pip: the index to take wheels from.', exclusive: ['from'] }),
    build: Flags.boolean({ summary: 'Build the addon afterwards.', default: true, allowNo: true }),
  }

  async run(): Promise<SetupResult> {
    const { flags } = await this.parse(Setup)
    if (flags.cache !== undefined) process.env['TORCHKEEP_CACHE'] = flags.cache
    const variant = flags.variant ?? (flags.cache === undefined ? undefined : 'auto')
    const { setup } = await import('../src/libtorch/index.js')
    const result = await setup({
      ...(variant !== undefined && { variant }),
      ...(flags.version !== undefined && { version: flags.version }),
      ...(flags.from !== undefined && { from: flags.from }),
      ...(flags['index-url'] !== undefined && { indexUrl: flags['index-url'] }),
      build: flags.build,
      signal: this.signal,
      log: (line) => this.progress(line),
    })
    this.log(`LibTorch ${result.libtorch.version}${result.installed ? ' set up' : ''}: ${result.libtorch.path}`)
    if (result.addon !== null) this.log(`addon ${result.addon.built ? 'built' : 'up to date'}: ${result.addon.addon}`)
    return result
  }
}
