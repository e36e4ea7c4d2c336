/** What a LibTorch folder holds, read from its files; nothing of it is loaded. */
import { readFileSync, readdirSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { TorchkeepError } from '../format/errors.js'

/** A LibTorch folder: `torch/` of a Python package or an unpacked LibTorch archive. */
export interface LibTorchFolder {
  path: string
  /** `2.13.0+cu130`. */
  version: string
  /** CUDA version of the build (`13.0`), or null for a CPU build. */
  cuda: string | null
  /** Whether it was built with libstdc++'s new strings; null where that does not apply or is not said. */
  cxx11Abi: boolean | null
}

/** File name of a LibTorch library on this platform: `libtorch_cpu.so` for `torch_cpu`. */
export function libraryFile(name: string, platform: NodeJS.Platform = process.platform): string {
  if (platform === 'win32') return `${name}.dll`
  return platform === 'darwin' ? `lib${name}.dylib` : `lib${name}.so`
}

/** Reads version and build of a LibTorch folder. Throws `ERR_LIBTORCH_MISSING` when the folder is not one, saying what it lacks. */
export function describeFolder(path: string): LibTorchFolder {
  const required = [
    join('lib', libraryFile('torch_cpu')),
    join('lib', libraryFile('c10')),
    join('include', 'ATen', 'core', 'Tensor.h'),
  ]
  const missing = required.filter((file) => !isFile(join(path, file)))
  if (missing.length > 0) {
    throw new TorchkeepError(
      'ERR_LIBTORCH_MISSING',
      `${path} is not a LibTorch folder: expected ${missing.join(', ')} in it, found ${contents(path)}`,
      {
        suggestions: nestedFolder(path),
      },
    )
  }
  const build = readBuild(path)
  return { path, ...build, cxx11Abi: readAbi(path) }
}

/** A wheel says its version in `version.py`, a LibTorch archive in `build-version`. */
function readBuild(path: string): { version: string; cuda: string | null } {
  const versionPy = join(path, 'version.py')
  if (isFile(versionPy)) {
    const text = readFileSync(versionPy, 'utf8')
    const version = /^__version__ = ['"]([\w.+-]+)['"]/m.exec(text)?.[1]
    if (version !== undefined) return { version, cuda: /^cuda\b.*= ['"](.+)['"]/m.exec(text)?.[1] ?? null }
  }
  const buildVersion = join(path, 'build-version')
  if (isFile(buildVersion)) {
    const version = readFileSync(buildVersion, 'utf8').trim()
    return {
      version,
      cuda: isFile(join(path, 'lib', libraryFile('torch_cuda'))) ? (/\+cu(.+)/.exec(version)?.[1] ?? 'unknown') : null,
    }
  }
  throw new TorchkeepError(
    'ERR_LIBTORCH_MISSING',
    `${path} does not say its version: expected version.py (Python package) or build-version (LibTorch archive)`,
  )
}

function readAbi(path: string): boolean | null {
  const config = join(path, 'share', 'cmake', 'Torch', 'TorchConfig.cmake')
  const digit = isFile(config) ? /_GLIBCXX_USE_CXX11_ABI=([01])/.exec(readFileSync(config, 'utf8'))?.[1] : undefined
  return digit === undefined ? null : digit === '1'
}

function nestedFolder(path: string): string[] {
  const nested = ['torch', 'libtorch']
    .map((name) => join(path, name))
    .find((folder) => isFile(join(folder, 'lib', libraryFile('torch_cpu'))))
  return nested === undefined ? [] : [`LibTorch is one folder further down: ${nested}`]
}

function contents(path: string): string {
  try {
    const names = readdirSync(path)
    return names.length === 0 ? 'an empty folder' : names.slice(0, 8).join(', ') + (names.length > 8 ? ', ...' : '')
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'ENOENT' ? 'no such folder' : 'no folder'
  }
}

function isFile(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isFile() ?? false
}
