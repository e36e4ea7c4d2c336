/** Decides what a set-up takes, from where and how much, before anything is downloaded. */
import { readdirSync, statSync } from 'node:fs'
import { basename, join, resolve } from 'node:path'
import { TorchkeepError } from '../format/errors.js'
import { availableBytes, type Variant } from './cache.js'
import { describeFolder, libraryFile } from './folder.js'
import { knownWheels } from './known-wheels.js'
import { planWheel, type Pip, type PlannedWheel } from './pip.js'

/** Where the torch files come from. */
export type Source =
  { kind: 'pip'; wheel: PlannedWheel } | { kind: 'wheel'; path: string } | { kind: 'folder'; path: string }

/** What a set-up will do. */
export interface SetupPlan {
  /** As asked for; a wheel or folder of `--from` decides itself. */
  version: string
  variant: Variant
  source: Source
  /** Null where pip's index does not say it beforehand. */
  downloadBytes: number | null
  /** Null where it is not known before the download; checked again then. */
  unpackedBytes: number | null
  cache: string
  freeBytes: number
}

/** Unpacked sizes of the public CUDA wheels, measured with 2.13.0: LibTorch's CPU part, or all of it with NVIDIA's packages. */
const unpackedBytesOfPublicWheel: Record<Variant, number> = { cpu: 560_000_000, cuda: 4_000_000_000 }
/** NVIDIA's packages for the public CUDA wheels, compressed, measured with 2.13.0. */
const nvidiaDownloadBytes: Record<Variant, number> = { cpu: 13_000_000, cuda: 2_000_000_000 }

/** What `--from` names: a wheel, a LibTorch folder, or a folder of wheels for pip. Throws `ERR_LIBTORCH_MISSING` for anything else. */
export function readFrom(from: string): { kind: 'wheel' | 'folder' | 'wheels'; path: string } {
  const path = resolve(from)
  const stat = statSync(path, { throwIfNoEntry: false })
  if (stat === undefined)
    throw new TorchkeepError('ERR_LIBTORCH_MISSING', `--from: ${path} does not exist; expected a wheel or a folder`)
  if (stat.isFile()) {
    if (path.endsWith('.whl')) return { kind: 'wheel', path }
    throw new TorchkeepError(
      'ERR_LIBTORCH_MISSING',
      `--from: expected a wheel (.whl) or a folder, found the file ${basename(path)}`,
    )
  }
  if (readdirSync(path).some((name) => /^torch-.*\.whl$/.test(name))) return { kind: 'wheels', path }
  const nested = ['torch', 'libtorch'].map((name) => join(path, name))
  const folder = [path, ...nested].find((candidate) =>
    statSync(join(candidate, 'lib', libraryFile('torch_cpu')), { throwIfNoEntry: false }),
  )
  if (folder !== undefined) return { kind: 'folder', path: folder }
  describeFolder(path) // throws, saying what is missing
  return { kind: 'folder', path }
}

/** Asks pip which wheel it would take: a CPU wheel where there is one and CPU is wanted, else the plain wheel. */
export async function planFromPip(pip: Pip, version: string, variant: Variant): Promise<Source> {
  const requirements =
    variant === 'cpu' && process.platform === 'linux'
      ? [`torch==${version}+cpu`, `torch==${version}`]
      : [`torch==${version}`]
  for (const requirement of requirements) {
    const wheel = await planWheel(pip, requirement)
    if (wheel !== null) return { kind: 'pip', wheel }
  }
  throw new TorchkeepError(
    'ERR_LIBTORCH_MISSING',
    `pip finds no wheel of torch ${version} for ${process.platform} ${process.arch} and ${pip.python}`,
    {
      suggestions: [
        'Name a Python that torch has wheels for (3.10 to 3.14): TORCHKEEP_PYTHON=/path/to/python',
        'Name an index that has them: npx torchkeep setup --index-url URL',
        'Or use files that you have: npx torchkeep setup --from WHEEL|FOLDER',
      ],
    },
  )
}

/** Sizes of a plan, as far as they are known before the download. */
export function sizesOf(source: Source, variant: Variant): Pick<SetupPlan, 'downloadBytes' | 'unpackedBytes'> {
  if (source.kind === 'folder') return { downloadBytes: 0, unpackedBytes: null }
  const file = source.kind === 'wheel' ? basename(source.path) : source.wheel.file
  const known = knownWheels[file]
  // pip copies a local wheel; one that --from names is read where it is.
  const localPath = source.kind === 'pip' ? source.wheel.localPath : null
  const wheelBytes =
    source.kind === 'wheel' ? 0 : localPath !== null ? statSync(localPath).size : (known?.sizeBytes ?? null)
  if (known === undefined) return { downloadBytes: wheelBytes, unpackedBytes: null }
  return {
    downloadBytes: (wheelBytes ?? 0) + nvidiaDownloadBytes[variant],
    unpackedBytes: unpackedBytesOfPublicWheel[variant],
  }
}

/** Throws `ERR_LIBTORCH_MISSING` when `neededBytes` do not fit where the cache is. */
export async function ensureSpace(
  cache: string,
  neededBytes: number,
  free: (folder: string) => Promise<number> = availableBytes,
): Promise<void> {
  const freeBytes = await free(cache)
  if (neededBytes <= freeBytes) return
  throw new TorchkeepError(
    'ERR_LIBTORCH_MISSING',
    `No space for LibTorch in ${cache}: expected ${formatBytes(neededBytes)} free, found ${formatBytes(freeBytes)}`,
    {
      suggestions: ['Put the cache on another disk: --cache DIR (and set TORCHKEEP_CACHE to it from then on)'],
    },
  )
}

/** The plan in words, for people. */
export function describePlan(plan: SetupPlan): string[] {
  const { source } = plan
  const from =
    source.kind === 'pip'
      ? `${source.wheel.file}${source.wheel.localPath === null ? ' through pip' : ' from a local folder'}`
      : source.path
  const size = (bytes: number | null) => (bytes === null ? 'not known beforehand' : `about ${formatBytes(bytes)}`)
  return [
    `LibTorch ${plan.version}, ${plan.variant}: ${from}`,
    `  download  ${size(plan.downloadBytes)}`,
    `  unpacked  ${size(plan.unpackedBytes)}`,
    `  cache     ${plan.cache} (${formatBytes(plan.freeBytes)} free)`,
  ]
}

/** Decimal units, as disks and pip count: `526.6 MB`. */
export function formatBytes(bytes: number): string {
  const units = ['bytes', 'kB', 'MB', 'GB', 'TB']
  let [value, unit] = [bytes, 0]
  while (value >= 1000 && unit < units.length - 1) [value, unit] = [value / 1000, unit + 1]
  return `${unit === 0 ? value : value.toFixed(1)} ${units[unit]}`
}
