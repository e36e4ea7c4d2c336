/** Writes a first configuration. Never over a file. */
import { access, mkdir, stat, writeFile } from 'node:fs/promises'
import { dirname, extname, join, relative, resolve } from 'node:path'
import { existsSync } from 'node:fs'
import { TorchkeepError } from '../format/errors.js'
import { packageRoot } from '../libtorch/build.js'
import { exampleTable } from './example.js'
import { configTemplate } from './template.js'

/** What was written. */
export interface InitResult {
  config: string
  /** The table of `--example`; null without. */
  data: string | null
}

/**
 * Writes a commented configuration into a folder (as `train.yaml`) or under a name of its own (.yaml or .yml); with `example` also `example.csv`, with which it runs as it is.
 *
 * @throws TorchkeepError `ERR_INVALID_ARGUMENT` where one of the files is there already.
 */
export async function initConfig(target: string, { example }: { example: boolean }): Promise<InitResult> {
  const isFile = ['.yaml', '.yml'].includes(extname(target)) && !(await isFolder(target))
  const config = isFile ? target : join(target, 'train.yaml')
  const data = example ? join(dirname(config), 'example.csv') : null
  for (const path of data === null ? [config] : [config, data]) await refuseExisting(path)
  await mkdir(dirname(resolve(config)), { recursive: true })
  // The flag wx refuses a file that came in between.
  if (data !== null) await writeFile(data, exampleTable(), { flag: 'wx' })
  await writeFile(config, configTemplate({ schema: schemaPathFrom(dirname(resolve(config))), example }), { flag: 'wx' })
  return { config, data }
}

async function isFolder(path: string): Promise<boolean> {
  return stat(path).then(
    (found) => found.isDirectory(),
    () => false,
  )
}

async function refuseExisting(path: string): Promise<void> {
  const exists = await access(path).then(
    () => true,
    () => false,
  )
  if (exists)
    throw new TorchkeepError('ERR_INVALID_ARGUMENT', `${path} is there already; nothing was written`, {
      suggestions: ['give another folder, or a name: torchkeep init other.yaml'],
    })
}

/** The schema as an editor finds it from the file: in the node_modules above, where this package is installed there, else in this package wherever it lies. */
function schemaPathFrom(folder: string): string {
  const inPackage = join('schemas', 'train-config.json')
  for (let above = folder; above !== dirname(above); above = dirname(above)) {
    const installed = join(above, 'node_modules', 'torchkeep', inPackage)
    if (existsSync(installed)) return asPosix(relative(folder, installed))
  }
  return asPosix(relative(folder, join(packageRoot, inPackage)))
}

const asPosix = (path: string): string => (path.startsWith('.') ? path : `./${path}`).replaceAll('\\', '/')
