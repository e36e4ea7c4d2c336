import { readFileSync } from 'node:fs'
import { Args, Flags } from '@oclif/core'
import type { CompatibilityTarget, ValidationRun } from '../src/checkpoint/index.js'
import { BaseCommand, exitCodes } from '../src/command-line/base-command.js'
import { checkpointDirFlag } from '../src/command-line/flags.js'
import { TorchkeepError } from '../src/format/errors.js'

export default class Validate extends BaseCommand {
  static override summary = 'Judge checkpoints: structure, every byte, every value, labels, optimizer against model.'

  static override description =
    'Ends with 0 where all are valid, 1 where one is not (or does not fit --config or --with), 3 where one cannot be read for reasons outside it. Folders are walked, but for their trash/ and ' +
    'quarantine/. Every finding has an id; docs/validate.md says what each means and what to do.'

  static override examples = [
    '<%= config.bin %> validate checkpoints/latest.pth',
    { description: 'A whole folder, structure only', command: '<%= config.bin %> validate checkpoints --fast' },
    {
      description: 'In continuous integration: warnings count, with a report for its page',
      command: '<%= config.bin %> validate checkpoints --strict --junit report.xml',
    },
    {
      description: 'Whether the best checkpoint fits a configuration, or the model of another file',
      command: '<%= config.bin %> validate best --config config.json',
    },
    '<%= config.bin %> validate latest --with other.pth --json',
  ]

  static override strict = false

  static override args = {
    path: Args.string({ description: 'Checkpoints or folders; latest and best stand for those.', required: true }),
  }

  static override flags = {
    ...checkpointDirFlag,
    fast: Flags.boolean({ summary: 'Structure only: no byte of a tensor is read.' }),
    strict: Flags.boolean({ summary: 'Warnings make a file invalid too.' }),
    config: Flags.string({
      summary: 'A model configuration (JSON) that the checkpoints should fit.',
      helpValue: 'FILE',
      exclusive: ['with'],
    }),
    with: Flags.string({ summary: 'A checkpoint whose model the weights should fit.', helpValue: 'PATH' }),
    junit: Flags.string({ summary: 'Write a JUnit XML report to this file.', helpValue: 'FILE' }),
  }

  async run(): Promise<ValidationRun> {
    const { argv, flags } = await this.parse(Validate)
    const [{ validateAll }, print] = await Promise.all([
      import('../src/checkpoint/validate-all.js'),
      import('../src/command-line/print-validate.js'),
    ])
    const wanted = argv as string[]
    const paths = await Promise.all(wanted.map((path) => this.#pathOf(path, flags['checkpoint-dir'], wanted.length)))
    const target = await this.#targetOf(flags)
    const result = await this.withProgress('validating', (report) =>
      validateAll(paths, {
        level: flags.fast ? 'structure' : 'full',
        strict: flags.strict,
        ...(target !== undefined && { target }),
        signal: this.signal,
        onProgress: (done, total, label) => report({ done, total, label }),
      }),
    )
    if (flags.junit !== undefined) await writeReport(flags.junit, result)
    const [only] = result.files
    if (result.files.length === 1 && result.summary.total === 1 && only !== undefined) {
      for (const line of print.reportLines(only)) this.log(line)
    } else {
      for (const report of result.files) for (const line of print.shortReportLines(report)) this.log(line)
      for (const line of print.runLines(result)) this.log(line)
    }
    if (!result.valid) process.exitCode = exitCodes.bad
    else if (result.unreadable.length > 0) process.exitCode = exitCodes.failed
    return result
  }

  /** Of several paths, one that is missing is reported beside the others' verdicts instead of ending the command. */
  async #pathOf(path: string, checkpointDir: string, count: number): Promise<string> {
    return this.resolvePath(path, checkpointDir).catch((error: unknown) => {
      if (count === 1 || !(error instanceof TorchkeepError)) throw error
      return path
    })
  }

  async #targetOf(flags: {
    config: string | undefined
    with: string | undefined
    'checkpoint-dir': string
  }): Promise<CompatibilityTarget | undefined> {
    if (flags.config !== undefined) return { config: readJson(flags.config) }
    if (flags.with === undefined) return undefined
    const [{ readTorchFile }, { normalizeCheckpoint }] = await Promise.all([
      import('../src/format/read.js'),
      import('../src/checkpoint/normalize.js'),
    ])
    const file = await readTorchFile(await this.resolvePath(flags.with, flags['checkpoint-dir']), {
      unsafe: 'describe',
    })
    return { checkpoint: normalizeCheckpoint(file) }
  }
}

function readJson(path: string): unknown {
  try {
    return JSON.parse(readFileSync(path, 'utf8'))
  } catch (cause) {
    throw new TorchkeepError(
      'ERR_INVALID_ARGUMENT',
      `--config: cannot take ${path} for a JSON file: ${String(cause)}`,
      { cause },
    )
  }
}

async function writeReport(path: string, result: ValidationRun): Promise<void> {
  const [{ writeFile }, { publish }, { junitXml }] = await Promise.all([
    import('node:fs/promises'),
    import('../src/checkpoint/store.js'),
    import('../src/command-line/junit.js'),
  ])
  await publish(path, (temporary) => writeFile(temporary, junitXml(result), { flag: 'wx' }))
}
