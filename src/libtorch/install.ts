/** Gets LibTorch into the cache: plan, fetch, unpack into a temporary folder, check, publish under its name. */
import { createHash, randomUUID } from 'node:crypto'
import { existsSync, mkdirSync, readdirSync } from 'node:fs'
import { mkdir, rm, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { TorchkeepError } from '../format/errors.js'
import {
  availableBytes,
  cacheFolder,
  chooseEntry,
  entryName,
  publishEntry,
  readEntry,
  type CacheEntry,
  type Manifest,
  type UsedWheel,
  type Variant,
} from './cache.js'
import { missingNvidiaLibraries } from './elf.js'
import { copyFile, filesBelow, librarySizes, selectTorchFiles, sumOfSizes } from './files.js'
import { describeFolder, libraryFile } from './folder.js'
import { cpuRequirements, cudaRequirements, resolveVariant } from './nvidia.js'
import { download, findPip, type Pip } from './pip.js'
import { describePlan, ensureSpace, planFromPip, readFrom, sizesOf, type SetupPlan } from './plan.js'
import { findPython } from './python.js'
import { defaultVersion, publicVersion } from './versions.js'
import { identifyWheel, readWheel, unpackWheel, type WheelInfo } from './wheel.js'

/** Options of {@link installLibTorch}. */
export interface InstallOptions {
  /** `auto` (default) is `cpu` unless an NVIDIA driver answers. */
  variant?: Variant | 'auto'
  /** A version such as `2.13.0`; default {@link defaultVersion}. Of no effect with `from`. */
  version?: string
  /** A torch wheel, a LibTorch folder, or a folder of wheels that pip takes in place of its index. */
  from?: string
  /** pip's `--index-url`. */
  indexUrl?: string
  env?: NodeJS.ProcessEnv
  /** Takes one line of progress for people. */
  log?: (line: string) => void
  /** Ends it early with `ERR_ABORTED`; the cache stays as it was. */
  signal?: AbortSignal
  /** Free bytes where a folder is; a test stands in for a full disk. */
  free?: (folder: string) => Promise<number>
}

/** A finished {@link installLibTorch}. */
export interface InstallResult {
  entry: CacheEntry
  /** False where the cache already held it. */
  installed: boolean
}

/**
 * Puts LibTorch into the cache and makes it the one in use. An entry that is already there is taken as it is. Safe to run several times at
 * once: each works in a temporary folder of its own and the first to finish gives the entry its name.
 *
 * Throws `ERR_LIBTORCH_MISSING` with the reason and what to do about it.
 */
export async function installLibTorch(options: InstallOptions = {}): Promise<InstallResult> {
  const env = options.env ?? process.env
  const cache = cacheFolder(env)
  const variant = await resolveVariant(options.variant ?? 'auto')
  const version = options.version ?? defaultVersion
  if (options.from === undefined) {
    const present = presentEntry(cache, entryName(version, variant))
    if (present !== undefined) {
      await chooseEntry(cache, present.name)
      return { entry: present, installed: false }
    }
  }
  await mkdir(cache, { recursive: true })
  const temporary = join(cache, `.setup-${randomUUID()}`)
  await mkdir(temporary)
  try {
    const entry = await new Setup(cache, temporary, version, variant, options).run()
    await chooseEntry(cache, entry.name)
    return { entry, installed: true }
  } catch (cause) {
    if (options.signal?.aborted)
      throw new TorchkeepError('ERR_ABORTED', `The set-up was interrupted; ${cache} is as it was`, { cause })
    throw cause
  } finally {
    await rm(temporary, { recursive: true, force: true })
  }
}

function presentEntry(cache: string, name: string): CacheEntry | undefined {
  try {
    return readEntry(cache, name)
  } catch (cause) {
    throw new TorchkeepError('ERR_LIBTORCH_MISSING', `The cache holds a damaged entry: ${(cause as Error).message}`, {
      cause,
      suggestions: [`Delete ${join(cache, name)} and run setup again`],
    })
  }
}

/** One run of a set-up; `entry/` of the temporary folder becomes the cache entry. */
class Setup {
  readonly #wheels: UsedWheel[] = []
  readonly #entry: string
  readonly #downloads: string
  /** pip's options for where to look. */
  #sources: readonly string[] = []
  #pip: Pip | undefined

  constructor(
    readonly cache: string,
    temporary: string,
    readonly version: string,
    readonly variant: Variant,
    readonly options: InstallOptions,
  ) {
    this.#entry = join(temporary, 'entry')
    this.#downloads = join(temporary, 'wheels')
    mkdirSync(this.#entry)
    mkdirSync(this.#downloads)
  }

  async run(): Promise<CacheEntry> {
    const from = this.options.from === undefined ? undefined : readFrom(this.options.from)
    this.#sources = pipSources(from, this.options.indexUrl)
    if (from?.kind === 'folder') await this.#takeFolder(from.path)
    else if (from?.kind === 'wheel') await this.#takeWheel(from.path)
    else await this.#takeFromPip()
    const folder = describeFolder(join(this.#entry, 'torch'))
    this.#checkNeeded(folder.path)
    const manifest: Manifest = {
      version: folder.version,
      variant: this.variant,
      wheels: this.#wheels,
      from: from?.path ?? null,
      pythonTag: /^torch-[^-]+-(\w+)-/.exec(this.#wheels[0]?.file ?? '')?.[1] ?? null,
      librarySizesBytes: librarySizes(this.#entry),
      createdAt: new Date().toISOString(),
    }
    await writeFile(join(this.#entry, 'manifest.json'), JSON.stringify(manifest, null, 2) + '\n')
    const name = entryName(publicVersion(folder.version), this.variant)
    return publishEntry(this.cache, this.#entry, from === undefined ? name : `${name}-${digestOf(manifest)}`)
  }

  async #takeFromPip(): Promise<void> {
    const pip = await this.#findPip()
    const source = await planFromPip(pip, this.version, this.variant)
    const wheel = source.kind === 'pip' ? source.wheel : undefined
    await this.#announce({ version: wheel?.version ?? this.version, source })
    await download(pip, [`torch==${wheel?.version ?? this.version}`], this.#downloads, { dependencies: false })
    const file = readdirSync(this.#downloads).find((name) => /^torch-.*\.whl$/.test(name))
    if (file === undefined)
      throw new TorchkeepError('ERR_LIBTORCH_MISSING', `pip left no torch wheel in ${this.#downloads}`)
    await this.#unpackTorch(join(this.#downloads, file), true)
  }

  async #takeWheel(path: string): Promise<void> {
    const pip = await this.#findPip()
    const { name, version } = await readWheel(pip.python, path)
    if (name !== 'torch')
      throw new TorchkeepError(
        'ERR_LIBTORCH_MISSING',
        `--from: expected a wheel of torch, found one of ${name} ${version} (${path})`,
      )
    await this.#announce({ version, source: { kind: 'wheel', path } })
    await this.#unpackTorch(path, false)
  }

  /** Copies what a build and a run need; NVIDIA's packages come along from beside the folder, where pip puts them. */
  async #takeFolder(path: string): Promise<void> {
    const { version, cuda } = describeFolder(path)
    if (this.variant === 'cuda' && cuda === null) throw notCuda(version)
    await this.#announce({ version, source: { kind: 'folder', path } })
    const files = filesBelow(path).map((file) => ({ ...file, name: `torch/${file.name}` }))
    await this.#ensureSpace(sumOfSizes(selectTorchFiles(files, this.variant)))
    const kept = new Set(selectTorchFiles(files, this.variant).map((file) => file.name))
    for (const name of kept) await copyFile(join(path, name.slice('torch/'.length)), join(this.#entry, name))
    const nvidia = join(dirname(path), 'nvidia')
    if (cuda === null || !existsSync(nvidia)) return
    const missing = this.#missing(join(this.#entry, 'torch'))
    for (const { name } of filesBelow(nvidia)) {
      const wanted = this.variant === 'cuda' ? true : missing.some((library) => name.endsWith(`/${library}`))
      if (wanted) await copyFile(join(nvidia, name), join(this.#entry, 'nvidia', name))
    }
  }

  async #unpackTorch(path: string, fetched: boolean): Promise<void> {
    const pip = await this.#findPip()
    const used = await identifyWheel(path, fetched)
    this.#log(
      used.known
        ? `sha256 of ${used.file} is the public wheel's`
        : `${used.file} is not one of the public wheels we know (sha256 ${used.sha256})`,
    )
    this.#wheels.push(used)
    const wheel = await readWheel(pip.python, path)
    const files = selectTorchFiles(wheel.files, this.variant)
    await this.#ensureSpace(sumOfSizes(files))
    this.#log(`unpacking ${files.length} files`)
    await unpackWheel(pip.python, wheel, files, this.#entry)
    if (fetched) await rm(path)
    const { version, cuda } = describeFolder(join(this.#entry, 'torch'))
    if (this.variant === 'cuda' && cuda === null) throw notCuda(version)
    if (cuda !== null && process.platform === 'linux') await this.#takeNvidia(wheel)
  }

  /** Fetches NVIDIA's packages: all for CUDA; for CPU only those of the libraries that libtorch_cpu itself names. */
  async #takeNvidia(torch: WheelInfo): Promise<void> {
    const pip = await this.#findPip()
    const missing = this.#missing(join(this.#entry, 'torch'))
    const wanted =
      this.variant === 'cuda' ? cudaRequirements(torch.requirements) : cpuRequirements(torch.requirements, missing)
    if (wanted.withDependencies.length > 0)
      await download(pip, wanted.withDependencies, this.#downloads, { dependencies: true })
    if (wanted.alone.length > 0) await download(pip, wanted.alone, this.#downloads, { dependencies: false })
    for (const file of readdirSync(this.#downloads).filter(
      (name) => name.startsWith('nvidia_') && name.endsWith('.whl'),
    )) {
      const wheel = await readWheel(pip.python, join(this.#downloads, file))
      const files = wheel.files.filter(
        ({ name }) => name.startsWith('nvidia/') && (this.variant === 'cuda' || name.includes('/lib/')),
      )
      await this.#ensureSpace(sumOfSizes(files))
      this.#wheels.push(await identifyWheel(wheel.path, true))
      await unpackWheel(pip.python, wheel, files, this.#entry)
      await rm(wheel.path)
    }
  }

  #checkNeeded(torch: string): void {
    const missing = this.#missing(torch)
    if (missing.length === 0) return
    throw new TorchkeepError(
      'ERR_LIBTORCH_MISSING',
      `libtorch_cpu needs ${missing.join(', ')}, which came neither with it nor from pip`,
      {
        suggestions: ['Use a CPU build of torch, or let setup fetch through pip (without --from)'],
      },
    )
  }

  #missing(torch: string): string[] {
    return process.platform === 'linux' ? missingNvidiaLibraries(join(torch, 'lib', libraryFile('torch_cpu'))) : []
  }

  async #announce({ version, source }: Pick<SetupPlan, 'version' | 'source'>): Promise<void> {
    const free = this.options.free ?? availableBytes
    const plan: SetupPlan = {
      version,
      source,
      variant: this.variant,
      ...sizesOf(source, this.variant),
      cache: this.cache,
      freeBytes: await free(this.cache),
    }
    for (const line of describePlan(plan)) this.#log(line)
    await this.#ensureSpace((plan.downloadBytes ?? 0) + (plan.unpackedBytes ?? 0))
  }

  async #findPip(): Promise<Pip> {
    if (this.#pip !== undefined) return this.#pip
    const { executable } = await findPython(this.options.env ?? process.env)
    return (this.#pip = await findPip(executable, this.#downloads, {
      sources: this.#sources,
      show: this.options.log !== undefined,
      signal: this.options.signal,
    }))
  }

  /** Comes before every larger step, so that an interruption is seen here too. */
  #ensureSpace(neededBytes: number): Promise<void> {
    this.options.signal?.throwIfAborted()
    return ensureSpace(this.cache, neededBytes, this.options.free)
  }

  #log(line: string): void {
    this.options.log?.(line)
  }
}

/** A folder of wheels replaces pip's index; a wheel's folder may hold NVIDIA's packages besides. */
function pipSources(from: ReturnType<typeof readFrom> | undefined, indexUrl: string | undefined): string[] {
  const index = indexUrl === undefined ? [] : ['--index-url', indexUrl]
  if (from?.kind === 'wheels') return ['--no-index', '--find-links', from.path]
  return from?.kind === 'wheel' ? [...index, '--find-links', dirname(from.path)] : index
}

/** Tells what `--from` brought from what pip's index has under the same version. */
function digestOf({ from, wheels, librarySizesBytes, createdAt }: Manifest): string {
  // A folder may be built anew with equal sizes, so each copy of one is an entry of its own.
  const source = wheels.length > 0 ? wheels.map(({ sha256 }) => sha256) : [from, librarySizesBytes, createdAt]
  return createHash('sha256').update(JSON.stringify(source)).digest('hex').slice(0, 8)
}

function notCuda(version: string): TorchkeepError {
  return new TorchkeepError(
    'ERR_LIBTORCH_MISSING',
    `Expected a CUDA build of torch, found ${version}, which is a CPU build`,
    {
      suggestions: [
        'Point pip at an index with CUDA builds: npx torchkeep setup --variant cuda --index-url URL',
        'Or take the CPU: --variant cpu',
      ],
    },
  )
}
