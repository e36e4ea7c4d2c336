/** Which files make a LibTorch, and how they get into a cache entry. */
import { readdirSync, statSync } from 'node:fs'
import { cp, mkdir } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import type { Variant } from './cache.js'

/**
 * What a build and a run need of torch: libraries, headers, CMake's files (they tell the ABI), the version. Without CUDA its libraries stay behind
 * too, which halves the size.
 */
export function selectTorchFiles<File extends { name: string }>(files: readonly File[], variant: Variant): File[] {
  return files.filter(({ name }) => {
    if (!/^torch\/(lib|include|share\/cmake)\/|^torch\/(version\.py|build-version)$|^torch\.libs\//.test(name))
      return false
    if (/^torch\/lib\/(lib)?torch_python\./.test(name)) return false
    return variant === 'cuda' || !/^torch\/lib\/(lib)?(torch_cuda|c10_cuda|torch_nvshmem|caffe2_nvrtc)/.test(name)
  })
}

/** All files below a folder, with forward slashes. */
export function filesBelow(folder: string): { name: string; sizeBytes: number }[] {
  return readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .map((name) => ({
      name: name.replaceAll('\\', '/'),
      stat: statSync(join(folder, name), { throwIfNoEntry: false }),
    }))
    .filter(({ stat }) => stat?.isFile())
    .map(({ name, stat }) => ({ name, sizeBytes: stat?.size ?? 0 }))
}

/** Copies a file and makes its folder; links are followed. */
export async function copyFile(from: string, to: string): Promise<void> {
  await mkdir(dirname(to), { recursive: true })
  await cp(from, to, { dereference: true })
}

/** Sizes of all libraries of a cache entry, by path. */
export function librarySizes(entry: string): Record<string, number> {
  const libraries = filesBelow(entry).filter(({ name }) => /\.(so|dylib|dll)(\.[\d.]+)?$/.test(name))
  return Object.fromEntries(libraries.map(({ name, sizeBytes }) => [name, sizeBytes]))
}

/** Of the unpacked files, in bytes. */
export function sumOfSizes(files: readonly { sizeBytes: number }[]): number {
  return files.reduce((total, { sizeBytes }) => total + sizeBytes, 0)
}
