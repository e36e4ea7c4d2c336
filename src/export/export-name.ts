/** Names of exports. */
import { join } from 'node:path'
import { TorchkeepError } from '../format/errors.js'

/** @throws TorchkeepError `ERR_INVALID_ARGUMENT` for a name that is no portable name of a file. */
export function checkExportName(name: string): void {
  if (/^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$/.test(name) && !name.endsWith('.')) return
  throw new TorchkeepError(
    'ERR_INVALID_ARGUMENT',
    `the name of an export should have up to 100 letters, digits, '.', '_' and '-' and begin with a letter or digit, found ${JSON.stringify(name)}`,
  )
}

/** `{exportDir}/{name}_{seconds}`, of a sharing export `{name}_shared_{seconds}`. */
export function exportPath(exportDir: string, name: string, kind: 'inference' | 'sharing', createdAt: Date): string {
  return join(exportDir, `${name}${kind === 'sharing' ? '_shared' : ''}_${Math.floor(createdAt.getTime() / 1000)}`)
}
