/** `torchkeep doctor`: says what is there, what is missing and how to mend it. Nothing is changed, and the addon is loaded in a child process only. */
import { accessSync, constants, existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { checkAddon, type AddonReport } from './addon-check.js'
import { findBuildTools } from '../libtorch/build-tools.js'
import { packageRoot } from '../libtorch/build.js'
import { availableBytes, cacheFolder, leftovers, nearestExisting } from '../libtorch/cache.js'
import { missingNvidiaLibraries } from '../libtorch/elf.js'
import { bad, failure, ok, warn, type Finding } from './finding.js'
import { libraryFile } from '../libtorch/folder.js'
import { findLibTorch, type FoundLibTorch } from '../libtorch/locate.js'
import { findDriver } from '../libtorch/nvidia.js'
import { formatBytes } from '../libtorch/plan.js'
import { findPython } from '../libtorch/python.js'
import { runProcess, tailOf } from '../libtorch/run-process.js'
import { versionWarning } from '../libtorch/versions.js'

export type { Finding } from './finding.js'

/** Options of {@link examine}. */
export interface DoctorOptions {
  /** Also train, save, resume and validate in a temporary folder. */
  selfTest?: boolean
  env?: NodeJS.ProcessEnv
}

/** Looks at everything, in the order in which one thing needs the other. */
export async function examine(options: DoctorOptions = {}): Promise<Finding[]> {
  const env = options.env ?? process.env
  const { finding: libtorchFinding, libtorch } = await checkLibTorch(env)
  const addon = await checkAddon(libtorch, env)
  const findings = [
    checkNode(process.versions.node),
    ...(await checkPython(env)),
    libtorchFinding,
    await checkCache(cacheFolder(env)),
    ...(await checkTools(addon.built, env)),
    addon.finding,
    await checkCuda(libtorch, addon),
  ]
  if (options.selfTest) findings.push(await checkSelfTest(addon, env))
  return findings
}

/** Compares with the version that package.json asks for. */
export function checkNode(found: string): Finding {
  const { engines } = JSON.parse(readFileSync(join(packageRoot, 'package.json'), 'utf8')) as {
    engines: { node: string }
  }
  const parts = (version: string) =>
    version
      .replace(/^[^\d]*/, '')
      .split('.')
      .map(Number)
  const [[major = 0, minor = 0], [wantedMajor = 0, wantedMinor = 0]] = [parts(found), parts(engines.node)]
  if (major > wantedMajor || (major === wantedMajor && minor >= wantedMinor)) return ok('node', `Node ${found}`)
  return bad('node', `Node ${found} is too old; expected ${engines.node}`, 'Install a newer Node')
}

/** Only setup needs Python, so that its absence is a warning. */
async function checkPython(env: NodeJS.ProcessEnv): Promise<Finding[]> {
  try {
    const { executable, version } = await findPython(env)
    const pip = await runProcess(executable, ['-m', 'pip', '--version'], { env })
    const pipVersion = /^pip (\S+)/.exec(pip.stdout)?.[1]
    return [
      ok('python', `Python ${version} (${executable})`),
      pipVersion === undefined
        ? warn(
            'pip',
            `${executable} has no pip, which setup fetches LibTorch with`,
            'On Debian or Ubuntu: sudo apt-get install python3-pip python3-venv',
          )
        : ok('pip', `pip ${pipVersion}`),
    ]
  } catch (error) {
    return [failure('python', 'warn', error)]
  }
}

async function checkLibTorch(
  env: NodeJS.ProcessEnv,
): Promise<{ finding: Finding; libtorch: FoundLibTorch | undefined }> {
  try {
    const { libtorch, tried } = await findLibTorch(env)
    if (libtorch === undefined)
      return {
        finding: bad(
          'libtorch',
          `LibTorch is not installed. Tried in order: ${tried.join('; ')}`,
          'npx torchkeep setup',
        ),
        libtorch,
      }
    return { finding: judgeLibTorch(libtorch, env), libtorch }
  } catch (error) {
    return { finding: failure('libtorch', 'bad', error), libtorch: undefined }
  }
}

function judgeLibTorch(libtorch: FoundLibTorch, env: NodeJS.ProcessEnv): Finding {
  const { version, cuda, path, by } = libtorch
  const library = join(path, 'lib', libraryFile('torch_cpu'))
  const folders = (env['LD_LIBRARY_PATH'] ?? '').split(':').filter((folder) => folder !== '')
  const missing = process.platform === 'linux' ? missingNvidiaLibraries(library, folders) : []
  if (missing.length > 0)
    return bad(
      'libtorch',
      `${library} needs ${missing.join(', ')}, which its search path does not hold`,
      'npx torchkeep setup --variant cpu',
    )
  const warning = versionWarning(version)
  const held = existsSync(join(path, 'lib', libraryFile('torch_cuda')))
    ? `CUDA ${cuda} build`
    : `CPU part of a CUDA ${cuda} build`
  const text = `LibTorch ${version} (${cuda === null ? 'CPU build' : held}), found by ${by}: ${path}`
  return warning === null ? ok('libtorch', text) : warn('libtorch', `${text}. ${warning}`)
}

async function checkCache(cache: string): Promise<Finding> {
  const existing = nearestExisting(cache)
  try {
    accessSync(existing, constants.W_OK)
  } catch {
    return warn('cache', `${cache} cannot be written`, 'Set TORCHKEEP_CACHE to a folder of your own')
  }
  const text = `${cache}, ${formatBytes(await availableBytes(existing))} free`
  const unfinished = leftovers(cache)
  if (unfinished.length === 0) return ok('cache', text)
  return warn(
    'cache',
    `${text}, with unfinished set-ups: ${unfinished.join(', ')}`,
    'Delete those folders unless a setup is running',
  )
}

/** The tools are needed to build: without an addon their absence is bad. */
async function checkTools(built: boolean, env: NodeJS.ProcessEnv): Promise<Finding[]> {
  return (await findBuildTools(env)).map(({ tool, version, problem, mend }) => {
    if (problem === null) return ok(tool, version ?? '')
    return (built ? warn : bad)(tool, problem, mend ?? '')
  })
}

/** CUDA that is off is worth a warning only where there is a driver for it. */
async function checkCuda(libtorch: FoundLibTorch | undefined, addon: AddonReport): Promise<Finding> {
  const driver = await findDriver()
  const devices = addon.loaded?.devices.map(({ device, name }) => `${device} (${name})`).join(', ')
  if (addon.loaded !== null && addon.loaded.cudaUnavailable === null) return ok('cuda', `CUDA is on: ${devices}`)
  if ('absent' in driver) return ok('cuda', `CUDA is off: ${driver.absent}`)
  if (libtorch !== undefined && libtorch.cuda === null) {
    return warn(
      'cuda',
      `CUDA is off: LibTorch ${libtorch.version} is a CPU build, and an NVIDIA driver (${driver.version}) is here`,
      'npx torchkeep setup --variant cuda',
    )
  }
  const reason = addon.loaded?.cudaUnavailable ?? 'the addon does not load'
  return warn(
    'cuda',
    `CUDA is off although an NVIDIA driver (${driver.version}) is here: ${reason}`,
    'npx torchkeep setup --variant cuda',
  )
}

async function checkSelfTest(addon: AddonReport, env: NodeJS.ProcessEnv): Promise<Finding> {
  if (addon.loaded === null) return bad('self-test', 'not run, since the addon does not load')
  const result = await runProcess(process.execPath, [fileURLToPath(new URL('self-test.js', import.meta.url))], { env })
  return result.status === 0
    ? ok('self-test', result.stdout.trim())
    : bad('self-test', `failed: ${tailOf(result.stderr)}`)
}
