/** Our folder of unpacked LibTorch versions: where it is, what is in it, which one is in use. */
import { readFileSync, readdirSync, statSync } from 'node:fs'
import { mkdir, rename, rm, statfs, writeFile } from 'node:fs/promises'
import { homedir } from 'node:os'
import { dirname, join, resolve } from 'node:path'

/** CPU only, or with CUDA. */
export type Variant = 'cpu' | 'cuda'

/** One wheel that went into a cache entry. */
export interface UsedWheel {
  file: string
  sha256: string
  sizeBytes: number
  /** Whether file name and hash are in our table of public wheels. */
  known: boolean
}

/** `manifest.json` of a cache entry: written last, so an entry without it is not finished. */
export interface Manifest {
  /** Full version, such as `2.13.0+cu130`. */
  version: string
  variant: Variant
  /** Empty for an entry copied from a folder. */
  wheels: UsedWheel[]
  /** The folder or wheel that `--from` named, or null for pip. */
  from: string | null
  /** Tag of the Python whose wheel it is, such as `cp311`, or null. */
  pythonTag: string | null
  /** Sizes of the libraries, by path inside the entry: a cut file shows without loading it. */
  librarySizesBytes: Record<string, number>
  createdAt: string
}

/** A finished entry of the cache. */
export interface CacheEntry {
  name: string
  /** The LibTorch folder itself (holds lib/ and include/). */
  path: string
  manifest: Manifest
}

/** `TORCHKEEP_CACHE`, or the place that the system gives programs for such files. */
export function cacheFolder(
  env: NodeJS.ProcessEnv = process.env,
  platform: NodeJS.Platform = process.platform,
): string {
  if (env['TORCHKEEP_CACHE']) return resolve(env['TORCHKEEP_CACHE'])
  const home = env['HOME'] || homedir()
  if (platform === 'win32') return join(env['LOCALAPPDATA'] || join(home, 'AppData', 'Local'), 'torchkeep', 'Cache')
  if (platform === 'darwin') return join(home, 'Library', 'Caches', 'torchkeep')
  return join(env['XDG_CACHE_HOME'] || join(home, '.cache'), 'torchkeep')
}

/** Name of the entry for a version and variant: `libtorch-2.13.0-cpu`. */
export function entryName(version: string, variant: Variant): string {
  return `libtorch-${version}-${variant}`
}

/** Reads an entry; undefined when it is not there or not finished. A damaged one throws an Error that says what is wrong with it. */
export function readEntry(cache: string, name: string): CacheEntry | undefined {
  const folder = join(cache, name)
  const text = readIfThere(join(folder, 'manifest.json'))
  if (text === undefined) return undefined
  const manifest = JSON.parse(text) as Manifest
  for (const [file, expectedBytes] of Object.entries(manifest.librarySizesBytes)) {
    const foundBytes = statSync(join(folder, file), { throwIfNoEntry: false })?.size
    if (foundBytes !== expectedBytes) {
      throw new Error(
        `${join(folder, file)} is damaged: expected ${expectedBytes} bytes, found ${foundBytes ?? 'no file'}`,
      )
    }
  }
  return { name, path: join(folder, 'torch'), manifest }
}

/** The entry that the last `setup` chose, or undefined. */
export function currentEntry(cache: string): CacheEntry | undefined {
  const name = readIfThere(join(cache, 'current'))?.trim()
  return name === undefined ? undefined : readEntry(cache, name)
}

/** Makes `name` the entry in use; readers see the old one or the new one, never half. */
export async function chooseEntry(cache: string, name: string): Promise<void> {
  const temporary = join(cache, `.current-${process.pid}`)
  await writeFile(temporary, `${name}\n`)
  await rename(temporary, join(cache, 'current'))
}

/**
 * Publishes a finished temporary folder (inside the cache) under its name. Of several set-ups at once the first rename wins and the others drop
 * their own copy, which is equal.
 */
export async function publishEntry(cache: string, temporary: string, name: string): Promise<CacheEntry> {
  try {
    await rename(temporary, join(cache, name))
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code
    if (code !== 'ENOTEMPTY' && code !== 'EEXIST' && code !== 'EPERM') throw error
    await rm(temporary, { recursive: true, force: true })
  }
  const entry = readEntry(cache, name)
  if (entry === undefined)
    throw new Error(`${join(cache, name)} has no manifest.json, so it is no entry of ours; move it away`)
  return entry
}

/** Temporary folders of set-ups that were killed (or are running). */
export function leftovers(cache: string): string[] {
  try {
    return readdirSync(cache).filter((name) => name.startsWith('.setup-'))
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return []
    throw error
  }
}

/** Free bytes for this user where `folder` is or will be. */
export async function availableBytes(folder: string): Promise<number> {
  await mkdir(folder, { recursive: true })
  const { bavail, bsize } = await statfs(folder)
  return bavail * bsize
}

function readIfThere(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8')
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code
    if (code === 'ENOENT' || code === 'ENOTDIR') return undefined
    throw error
  }
}

/** Where the cache's parent exists, for messages about a cache that is not there yet. */
export function nearestExisting(folder: string): string {
  let path = folder
  while (statSync(path, { throwIfNoEntry: false }) === undefined && dirname(path) !== path) path = dirname(path)
  return path
}
