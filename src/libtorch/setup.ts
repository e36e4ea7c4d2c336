/** `torchkeep setup`: LibTorch and an addon that fits it. */
import { buildAddon, requireBuildTools, type BuildResult } from './build.js'
import { describeFolder } from './folder.js'
import { installLibTorch, type InstallOptions } from './install.js'
import { findLibTorch, locateLibTorch, type FoundLibTorch } from './locate.js'
import { versionWarning } from './versions.js'

/** Options of {@link setup}. */
export interface SetupOptions extends InstallOptions {
  /** Build the addon afterwards; default true. */
  build?: boolean
}

/** What {@link setup} did. */
export interface SetupResult {
  libtorch: FoundLibTorch
  /** False where nothing had to be fetched. */
  installed: boolean
  /** Null with `build: false`. */
  addon: BuildResult | null
}

/**
 * Finds LibTorch or fetches it, then builds the addon for it. Asked for something particular (variant, version, source) it goes to the cache;
 * asked for nothing it takes what {@link findLibTorch} finds. The tools of the build are checked before anything is fetched.
 */
export async function setup(options: SetupOptions = {}): Promise<SetupResult> {
  const build = options.build ?? true
  if (build) await requireBuildTools()
  const { libtorch, installed } = await obtain(options)
  const warning = versionWarning(libtorch.version)
  if (warning !== null) options.log?.(`warning: ${warning}`)
  return { libtorch, installed, addon: build ? await buildAddon(libtorch, 'Release', options.log) : null }
}

async function obtain(options: SetupOptions): Promise<{ libtorch: FoundLibTorch; installed: boolean }> {
  const particular =
    options.variant !== undefined ||
    options.version !== undefined ||
    options.from !== undefined ||
    options.indexUrl !== undefined
  if (!particular) {
    const { libtorch } = await findLibTorch(options.env)
    if (libtorch !== undefined) {
      options.log?.(`LibTorch ${libtorch.version} is there (${libtorch.by}): ${libtorch.path}`)
      return { libtorch, installed: false }
    }
  }
  const { entry, installed } = await installLibTorch(options)
  const libtorch: FoundLibTorch = { ...describeFolder(entry.path), by: 'cache' }
  const winner = await locateLibTorch(options.env)
  if (winner.path !== libtorch.path) {
    options.log?.(
      `warning: ${winner.by} names ${winner.path} and comes before the cache; unset it to use what setup has put there`,
    )
  }
  return { libtorch, installed }
}
