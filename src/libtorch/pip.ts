/** Fetches wheels with the user's own pip, so that its index, mirror, proxy, certificates and offline folders count. */
import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { TorchkeepError } from '../format/errors.js'
import { runProcess, tailOf, type RunResult } from './run-process.js'

/** A pip that can report what it would take (22.2 or newer). */
export interface Pip {
  python: string
  /** Arguments before pip's own: `-m pip`, or a newer pip's wheel where the installed one is too old. */
  prefix: readonly string[]
  /** pip's options for where to look, such as `--index-url URL`. */
  sources: readonly string[]
  /** Show its progress on standard error. */
  show: boolean
  signal: AbortSignal | undefined
}

/** A wheel that pip would take. */
export interface PlannedWheel {
  file: string
  version: string
  /** As the index tells it; null where it does not. */
  sha256: string | null
  /** A local wheel's path, or null for one from the network. */
  localPath: string | null
}

/**
 * Finds the pip of `python`; where it is older than 22.2 a newer one is fetched with it into `folder` and run from its wheel. Nothing is installed,
 * so no virtual environment is needed and a Python that the system manages is left alone.
 */
export async function findPip(python: string, folder: string, options: Omit<Pip, 'python' | 'prefix'>): Promise<Pip> {
  const asked = await runProcess(python, ['-m', 'pip', '--version'])
  const version = /^pip (\d+)\.(\d+)/.exec(asked.stdout)
  if (asked.status !== 0 || version === null) {
    throw new TorchkeepError(
      'ERR_LIBTORCH_MISSING',
      `${python} has no pip, which fetches LibTorch: ${tailOf(asked.stderr, 1)}`,
      {
        suggestions: [
          'On Debian or Ubuntu: sudo apt-get install python3-pip python3-venv',
          'Or name a Python that has pip: TORCHKEEP_PYTHON=/path/to/python',
          'Or use a LibTorch that you have: npx torchkeep setup --from FOLDER',
        ],
      },
    )
  }
  const pip: Pip = { python, prefix: ['-m', 'pip'], ...options }
  if (Number(version[1]) > 22 || (Number(version[1]) === 22 && Number(version[2]) >= 2)) return pip
  await download(pip, ['pip'], folder, { dependencies: false })
  const wheel = readdirSync(folder).find((name) => /^pip-.*\.whl$/.test(name))
  if (wheel === undefined)
    throw new TorchkeepError(
      'ERR_LIBTORCH_MISSING',
      `pip ${version[0]} is too old (22.2 is needed) and fetched no newer one`,
    )
  return { python, prefix: [join(folder, wheel, 'pip')], ...options }
}

/** The wheel that pip would take for a requirement, or null when there is none in the places where it looks. */
export async function planWheel(pip: Pip, requirement: string): Promise<PlannedWheel | null> {
  const options = ['--dry-run', '--ignore-installed', '--no-deps', '--only-binary=:all:', '--quiet', '--report', '-']
  const result = await runPip(pip, ['install', ...options, ...pip.sources, requirement], 'capture')
  if (result.status !== 0) {
    if (/No matching distribution found|Could not find a version/.test(result.stderr)) return null
    throw pipError(`find ${requirement}`, result)
  }
  const report = JSON.parse(result.stdout) as {
    install: {
      download_info: { url: string; archive_info?: { hashes?: Record<string, string>; hash?: string } }
      metadata: { version: string }
    }[]
  }
  const item = report.install[0]
  if (item === undefined) return null
  const { url, archive_info: archive } = item.download_info
  return {
    file: decodeURIComponent(new URL(url).pathname.split('/').at(-1) ?? ''),
    version: item.metadata.version,
    sha256:
      archive?.hashes?.['sha256'] ??
      (archive?.hash?.startsWith('sha256=') ? archive.hash.slice('sha256='.length) : null),
    localPath: url.startsWith('file:') ? fileURLToPath(url) : null,
  }
}

/** Downloads wheels into a folder; pip checks the hashes that its index gives. */
export async function download(
  pip: Pip,
  requirements: readonly string[],
  folder: string,
  { dependencies }: { dependencies: boolean },
): Promise<void> {
  const options = ['--only-binary=:all:', '--dest', folder, ...(dependencies ? [] : ['--no-deps'])]
  const result = await runPip(
    pip,
    ['download', ...options, ...pip.sources, ...requirements],
    pip.show ? 'show' : 'capture',
  )
  if (result.status !== 0) throw pipError(`download ${requirements.join(', ')}`, result)
}

function runPip(pip: Pip, args: readonly string[], stdout: 'capture' | 'show'): Promise<RunResult> {
  return runProcess(pip.python, [...pip.prefix, ...args, '--no-input', '--disable-pip-version-check'], {
    stdout,
    signal: pip.signal,
  })
}

function pipError(task: string, result: RunResult): TorchkeepError {
  if (result.signal !== null)
    return new TorchkeepError('ERR_ABORTED', `pip was ended by ${result.signal} while it should ${task}`)
  return new TorchkeepError(
    'ERR_LIBTORCH_MISSING',
    `pip could not ${task}: ${result.startError?.message ?? tailOf(result.stderr)}`,
    {
      suggestions: [
        "Check pip's index and proxy: python3 -m pip config list",
        'Behind a mirror: npx torchkeep setup --index-url URL',
        'Without a network: npx torchkeep setup --from WHEEL or a folder of wheels',
      ],
    },
  )
}
