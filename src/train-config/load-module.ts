/** Loads what a module of the user's own exports: a model, a loss, a metric, a data set. */
import { createJiti } from 'jiti'
import { pathToFileURL } from 'node:url'
import { nearNames } from '../format/near-names.js'
import { TorchkeepError } from '../format/errors.js'
import type { Exported } from './schema.js'

/**
 * What a module exports, by name. JavaScript and TypeScript, ES modules and CommonJS are loaded alike; types are taken away, not checked. `torchkeep` means this very package in it,
 * wherever the module lies, so that its `nn.Module` is ours. Nothing is written (no cache).
 *
 * @throws TorchkeepError `ERR_INVALID_ARGUMENT` with what the module says when it cannot be loaded.
 */
export async function loadModule(path: string): Promise<Readonly<Record<string, unknown>>> {
  const torchkeep = await import('../index.js')
  const [checkpoint, format] = await Promise.all([import('../checkpoint/index.js'), import('../format/index.js')])
  const jiti = createJiti(pathToFileURL(path).href, {
    fsCache: false,
    interopDefault: false,
    virtualModules: { torchkeep, 'torchkeep/checkpoint': checkpoint, 'torchkeep/format': format },
  })
  try {
    return await jiti.import<Readonly<Record<string, unknown>>>(path)
  } catch (error) {
    const reason = error instanceof Error ? error.message.trim() : String(error)
    throw new TorchkeepError('ERR_INVALID_ARGUMENT', `${path} cannot be loaded: ${reason}`, { cause: error })
  }
}

/**
 * One export of a module, by name.
 *
 * @throws TorchkeepError `ERR_INVALID_ARGUMENT` with the names that exist.
 */
export async function loadExport(
  path: string,
  { export: name = 'default' }: Pick<Exported, 'export'>,
): Promise<unknown> {
  return exportOf(path, await loadModule(path), name)
}

/** {@link loadExport} of a module that was loaded. */
export function exportOf(path: string, exports: Readonly<Record<string, unknown>>, name: string): unknown {
  if (Object.hasOwn(exports, name)) return exports[name]
  const names = Object.keys(exports)
  throw new TorchkeepError(
    'ERR_INVALID_ARGUMENT',
    `${path} has no export '${name}'; it has ${names.length === 0 ? 'none' : names.join(', ')}`,
    { suggestions: nearNames(name, names).map((near) => `export: ${near}`) },
  )
}
