/** Finds LibTorch where the user or `setup` put it. Nothing is loaded or changed. */
import { TorchkeepError } from '../format/errors.js'
import { cacheFolder, currentEntry } from './cache.js'
import { describeFolder, type LibTorchFolder } from './folder.js'
import { namedPython, torchOfPython } from './python.js'

/** LibTorch and what led to it. */
export interface FoundLibTorch extends LibTorchFolder {
  /** `LIBTORCH`, `TORCHKEEP_PYTHON`, `VIRTUAL_ENV` or `cache`. */
  by: string
}

/**
 * Looks in order at `LIBTORCH`, the torch of the Python that `TORCHKEEP_PYTHON` or `VIRTUAL_ENV` names, and our cache. Without any,
 * `libtorch` is undefined and `tried` names every place.
 *
 * A place that was named on purpose and is wrong (`LIBTORCH`, an interpreter that does not run, a damaged cache) throws `ERR_LIBTORCH_MISSING` and is
 * never passed over; a Python without torch is passed over.
 */
export async function findLibTorch(
  env: NodeJS.ProcessEnv = process.env,
): Promise<{ libtorch: FoundLibTorch | undefined; tried: string[] }> {
  const tried: string[] = []
  const named = env['LIBTORCH']
  if (named) {
    try {
      return { libtorch: { ...describeFolder(named), by: 'LIBTORCH' }, tried }
    } catch (cause) {
      if (!(cause instanceof TorchkeepError)) throw cause
      throw new TorchkeepError('ERR_LIBTORCH_MISSING', `LIBTORCH is wrong: ${cause.message}`, {
        cause,
        suggestions: cause.suggestions,
      })
    }
  }
  tried.push('LIBTORCH (not set)')
  const python = namedPython(env)
  if (python === undefined) {
    tried.push('TORCHKEEP_PYTHON, VIRTUAL_ENV (not set)')
  } else {
    const path = await torchOfPython(python.executable, python.by)
    if (path !== null) return { libtorch: { ...describeFolder(path), by: python.by }, tried }
    tried.push(`${python.by} (${python.executable} has no torch)`)
  }
  const cache = cacheFolder(env)
  const entry = readCurrent(cache)
  if (entry !== undefined) return { libtorch: { ...describeFolder(entry.path), by: 'cache' }, tried }
  tried.push(`the cache (${cache} holds none)`)
  return { libtorch: undefined, tried }
}

/** Like {@link findLibTorch}, but without any LibTorch it throws `ERR_LIBTORCH_MISSING` with every place that was tried. */
export async function locateLibTorch(env: NodeJS.ProcessEnv = process.env): Promise<FoundLibTorch> {
  const { libtorch, tried } = await findLibTorch(env)
  if (libtorch !== undefined) return libtorch
  throw new TorchkeepError('ERR_LIBTORCH_MISSING', `LibTorch is not installed. Tried in order: ${tried.join('; ')}`, {
    suggestions: [
      'npx torchkeep setup',
      'Or set LIBTORCH to a LibTorch folder, or TORCHKEEP_PYTHON to a Python that has torch',
    ],
  })
}

function readCurrent(cache: string): ReturnType<typeof currentEntry> {
  try {
    return currentEntry(cache)
  } catch (cause) {
    throw new TorchkeepError(
      'ERR_LIBTORCH_MISSING',
      `The LibTorch in the cache cannot be used: ${(cause as Error).message}`,
      {
        cause,
        suggestions: [`Delete its folder in ${cache} and run: npx torchkeep setup`],
      },
    )
  }
}
