import { Flags } from '@oclif/core'
import { BaseCommand, exitCodes } from '../src/command-line/base-command.js'
import type { Finding } from '../src/doctor/index.js'

export default class Doctor extends BaseCommand {
  static override summary = 'Say what is there, what is missing and how to mend it.'

  static override description =
    'Looks at Node, Python and pip, LibTorch, the cache, the tools of the build, the addon (loaded in a child process) and CUDA, with the reason where it is ' +
    'off. Changes nothing. The exit code is 1 when something is bad.'

  static override examples = [
    '<%= config.bin %> doctor',
    {
      description: 'Also train, save, resume and validate in a temporary folder',
      command: '<%= config.bin %> doctor --self-test',
    },
    { description: 'For a program', command: '<%= config.bin %> doctor --json' },
  ]

  static override flags = {
    'self-test': Flags.boolean({ summary: 'Also train, save, resume and validate in a temporary folder.' }),
  }

  async run(): Promise<{ ok: boolean; findings: Finding[] }> {
    const { flags } = await this.parse(Doctor)
    const { examine } = await import('../src/doctor/index.js')
    const findings = await examine({ selfTest: flags['self-test'] })
    for (const { check, status, message, mend } of findings) {
      this.log(`${status.padEnd(5)} ${check.padEnd(15)} ${message}`)
      for (const step of mend) this.log(`${' '.repeat(22)}-> ${step}`)
    }
    const allIsWell = findings.every(({ status }) => status !== 'bad')
    if (!allIsWell) process.exitCode = exitCodes.bad
    return { ok: allIsWell, findings }
  }
}
