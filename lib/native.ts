/** Loads the addon, once and on first use, and turns its failures into {@link TorchkeepError}s. Nothing else touches the addon itself. */
import loadBinding from 'bindings'
import { existsSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { TorchkeepError, type ErrorCode } from '../src/format/errors.js'
import { contractVersion, type NativeAddon } from './contract.js'

const rebuild = 'npx torchkeep setup'

let loaded: NativeAddon | undefined

/**
 * The addon. Throws `ERR_LIBTORCH_MISSING` where it is not built or LibTorch is not where it was, naming every path tried, and
 * `ERR_ADDON_MISMATCH` where it was built for another LibTorch or another release of Torchkeep.
 */
export function addon(): NativeAddon {
  loaded ??= load()
  return loaded
}

function load(): NativeAddon {
  const root = packageRoot()
  const found = open(root)
  checkContract(found)
  checkLibTorch(found)
  // Cleanup hooks of the environment do not run at process.exit(), and a training thread would then crash the process.
  process.on('exit', () => found.shutdown())
  return wrap(found)
}

/** The nearest folder above this file with a package.json: this file runs from `dist/lib`, or from `lib` under a loader. */
function packageRoot(): string {
  let folder = dirname(fileURLToPath(import.meta.url))
  while (!existsSync(join(folder, 'package.json'))) {
    const parent = dirname(folder)
    if (parent === folder) throw new TorchkeepError('ERR_LIBTORCH_MISSING', `no package.json above ${import.meta.url}`)
    folder = parent
  }
  return folder
}

/** Release before Debug, unlike the order that `bindings` has by itself: a debug build left behind must not win silently. */
function open(root: string): NativeAddon {
  const build = process.env['TORCHKEEP_BUILD']
  const kinds = build === undefined || build === '' ? ['Release', 'Debug'] : [build]
  const paths = kinds.map((kind) => join(root, 'build', kind, 'torchkeep.node'))
  try {
    return loadBinding({
      bindings: 'torchkeep',
      module_root: root,
      try: kinds.map((kind) => ['module_root', 'build', kind, 'bindings']),
    })
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause)
    if (isObject(cause) && 'tries' in cause) {
      const message = `the native addon is not built; tried ${paths.join(', ')}`
      throw new TorchkeepError('ERR_LIBTORCH_MISSING', message, { cause, suggestions: [rebuild] })
    }
    // The loader's own words: a symbol is missing where the libraries are of another version, else a whole library is.
    const code = /undefined symbol|symbol not found|procedure could not be found/i.test(reason)
      ? 'ERR_ADDON_MISMATCH'
      : 'ERR_LIBTORCH_MISSING'
    const present = paths.filter((path) => existsSync(path)).join(', ')
    const message = `the native addon ${present} does not load (is the LibTorch that it was built for still there?): ${reason}`
    throw new TorchkeepError(code, message, { cause, suggestions: [rebuild] })
  }
}

function checkContract(found: NativeAddon): void {
  if (found.contractVersion === contractVersion) return
  mismatch(
    `the native addon was built for another release of Torchkeep: expected contract ${contractVersion}, found ${found.contractVersion}`,
  )
}

function checkLibTorch(found: NativeAddon): void {
  const { libtorchBuild, libtorchRuntime, libtorchPath } = found.versions()
  if (publicVersion(libtorchBuild) !== publicVersion(libtorchRuntime)) {
    mismatch(
      `the native addon was built for LibTorch ${libtorchBuild} in ${libtorchPath}, but the one loaded is ${libtorchRuntime}`,
    )
  }
  const wanted = process.env['LIBTORCH']
  if (wanted === undefined || wanted === '') return
  if (!existsSync(join(wanted, 'lib')))
    throw new TorchkeepError(
      'ERR_LIBTORCH_MISSING',
      `LIBTORCH names ${wanted}, expected a folder with LibTorch's lib folder, found none; the native addon was built for the one in ${libtorchPath}`,
      { suggestions: ['unset LIBTORCH, or set it to that folder', rebuild] },
    )
  const version = versionOf(wanted)
  if (version === null || version === libtorchBuild) return
  mismatch(
    `LIBTORCH names LibTorch ${version} in ${wanted}, but the native addon was built for LibTorch ${libtorchBuild} in ${libtorchPath}`,
  )
}

function mismatch(message: string): never {
  throw new TorchkeepError('ERR_ADDON_MISMATCH', message, { suggestions: [rebuild] })
}

/** `2.13.0` for `2.13.0+cpu`: a loaded LibTorch does not tell its variant. */
function publicVersion(version: string): string {
  return version.split('+', 1)[0] ?? version
}

/** The version that a LibTorch folder names in a wheel's `version.py` or an archive's `build-version`; null where it has neither. */
function versionOf(folder: string): string | null {
  const wheel = join(folder, 'version.py')
  if (existsSync(wheel)) return /^__version__ = ['"](.*)['"]/m.exec(readFileSync(wheel, 'utf8'))?.[1] ?? null
  const archive = join(folder, 'build-version')
  return existsSync(archive) ? readFileSync(archive, 'utf8').trim() : null
}

/**
 * The same object with every function's failures translated: what it throws, what its promises reject with, and likewise for a session that a
 * promise resolves to. Tensor and generator handles pass as they are.
 */
function wrap<T extends object>(target: T): T {
  const wrapped: Record<string, unknown> = {}
  for (const name of propertyNames(target)) {
    const value = (target as Record<string, unknown>)[name]
    wrapped[name] = typeof value === 'function' ? guard(value.bind(target) as (...args: unknown[]) => unknown) : value
  }
  return wrapped as T
}

function guard(native: (...args: unknown[]) => unknown): (...args: unknown[]) => unknown {
  return (...args) => {
    let result: unknown
    try {
      result = native(...args)
    } catch (error) {
      throw translate(error)
    }
    return result instanceof Promise ? settle(result) : result
  }
}

/** Awaiting here puts the caller's frames on the stack of the error made here. */
async function settle(promise: Promise<unknown>): Promise<unknown> {
  let result: unknown
  try {
    result = await promise
  } catch (error) {
    throw translate(error)
  }
  return isSession(result) ? wrap(result) : result
}

/** What the addon fails with, as the one error of the project. */
export function translate(error: unknown): unknown {
  if (!(error instanceof Error) || !('code' in error)) return error
  const translated = new TorchkeepError(error.code as ErrorCode, error.message, { cause: error })
  return 'storage' in error ? Object.assign(translated, { storage: error.storage }) : translated
}

function isSession(value: unknown): value is object {
  return isObject(value) && 'optimizerState' in value
}

/** Own names, and those of a native class. */
function propertyNames(target: object): string[] {
  const prototype = Object.getPrototypeOf(target) as object
  const inherited = prototype === Object.prototype ? [] : Object.getOwnPropertyNames(prototype)
  return [...Object.getOwnPropertyNames(target), ...inherited].filter((name) => name !== 'constructor')
}

function isObject(value: unknown): value is object {
  return typeof value === 'object' && value !== null
}
