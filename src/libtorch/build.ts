/** Builds the addon for one LibTorch, when what is built is not up to date. */
import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, readFileSync, readdirSync, statSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { TorchkeepError } from '../format/errors.js'
import { findBuildTools } from './build-tools.js'
import { cacheFolder } from './cache.js'
import { libraryFile, type LibTorchFolder } from './folder.js'
import { runProcess, tailOf } from './run-process.js'

/** The folder of package.json: three levels above `dist/src/libtorch`. */
export const packageRoot = fileURLToPath(new URL('../../../', import.meta.url))

/** Each kind is built in a folder of its own, `build/<kind>`. */
export type BuildKind = 'Release' | 'Debug' | 'Asan'

/** A finished {@link buildAddon}. */
export interface BuildResult {
  /** The addon's file. */
  addon: string
  /** False where it was up to date. */
  built: boolean
}

const flagsOf: Record<BuildKind, string[]> = { Release: [], Debug: ['--debug'], Asan: ['--asan'] }

/** Throws `ERR_LIBTORCH_MISSING` naming each tool that is missing and its Debian package. */
export async function requireBuildTools(): Promise<void> {
  const missing = (await findBuildTools()).filter((tool) => tool.problem !== null)
  if (missing.length === 0) return
  const problems = missing.map(({ tool, problem }) => `${tool}: ${problem}`)
  throw new TorchkeepError('ERR_LIBTORCH_MISSING', `The addon cannot be built here. ${problems.join('; ')}`, {
    suggestions: missing.flatMap(({ mend }) => mend ?? []),
  })
}

/**
 * Builds `build/<kind>/torchkeep.node` against `libtorch` unless it was built from the same sources and the same LibTorch already. A failing
 * build throws `ERR_LIBTORCH_MISSING` with the end of its output and the file that holds all of it.
 */
export async function buildAddon(
  libtorch: LibTorchFolder,
  kind: BuildKind = 'Release',
  log: (line: string) => void = () => undefined,
): Promise<BuildResult> {
  const folder = join(packageRoot, 'build', kind)
  const addon = join(folder, 'torchkeep.node')
  const stampFile = join(folder, 'torchkeep.stamp')
  const stamp = stampOf(libtorch)
  if (existsSync(addon) && existsSync(stampFile) && readFileSync(stampFile, 'utf8') === stamp)
    return { addon, built: false }
  await requireBuildTools()
  log(`building the addon (${kind}) for LibTorch ${libtorch.version} in ${libtorch.path}; this takes some minutes`)
  const env = { ...process.env, LIBTORCH: libtorch.path }
  const result = await runProcess(
    process.execPath,
    [join(packageRoot, 'scripts', 'build-addon.mjs'), ...flagsOf[kind]],
    { cwd: packageRoot, env },
  )
  if (result.status !== 0 || !existsSync(addon)) {
    const logFile = join(cacheFolder(), 'build.log')
    mkdirSync(cacheFolder(), { recursive: true })
    writeFileSync(logFile, result.stdout + result.stderr)
    const end = result.signal === null ? `status ${result.status}` : `signal ${result.signal}`
    throw new TorchkeepError(
      'ERR_LIBTORCH_MISSING',
      `Building the addon failed (${end}):\n${tailOf(result.stdout + result.stderr, 40)}`,
      {
        suggestions: [`The whole output is in ${logFile}`, 'npx torchkeep doctor checks compiler, CMake and LibTorch'],
      },
    )
  }
  writeFileSync(stampFile, stamp)
  return { addon, built: true }
}

/** A digest of everything that goes into the addon: our sources, LibTorch, the packages whose headers are included. */
function stampOf(libtorch: LibTorchFolder): string {
  const hash = createHash('sha256')
  const native = readdirSync(join(packageRoot, 'native'), { recursive: true, encoding: 'utf8' }).map((name) =>
    join('native', name),
  )
  for (const file of [...native, 'CMakeLists.txt', join('scripts', 'build-addon.mjs')].sort()) {
    const path = join(packageRoot, file)
    if (statSync(path).isFile()) hash.update(file).update('\0').update(readFileSync(path)).update('\0')
  }
  const { size, mtimeMs } = statSync(join(libtorch.path, 'lib', libraryFile('torch_cpu')))
  const { resolve } = createRequire(import.meta.url)
  const packages = ['node-addon-api', 'node-api-headers', 'cmake-js'].map((name) =>
    readFileSync(resolve(`${name}/package.json`), 'utf8'),
  )
  hash.update(JSON.stringify([libtorch.path, libtorch.version, size, mtimeMs, packages]))
  return hash.digest('hex') + '\n'
}
