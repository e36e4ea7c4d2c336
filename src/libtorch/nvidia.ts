/** NVIDIA's part: whether a driver is here, and which NVIDIA packages a LibTorch needs beside it. */
import { existsSync } from 'node:fs'
import type { Variant } from './cache.js'
import { runProcess } from './run-process.js'

/** How the driver answers, or why it does not. */
export type Driver = { version: string } | { absent: string }

/** Asks for NVIDIA's driver: nvidia-smi, else the kernel module's own file. */
export async function findDriver(): Promise<Driver> {
  const asked = await runProcess('nvidia-smi', ['--query-gpu=driver_version', '--format=csv,noheader'])
  if (asked.status === 0 && asked.stdout.trim() !== '') return { version: asked.stdout.trim().split('\n')[0] ?? '' }
  if (existsSync('/proc/driver/nvidia/version')) return { version: 'of the kernel module' }
  return {
    absent:
      asked.startError === null
        ? `nvidia-smi finds no GPU: ${(asked.stdout + asked.stderr).trim()}`
        : 'no NVIDIA driver on this machine',
  }
}

/** `auto` is CUDA where a driver answers and CPU elsewhere, since the CUDA build is several gigabytes larger. */
export async function resolveVariant(variant: Variant | 'auto'): Promise<Variant> {
  if (variant !== 'auto') return variant
  return 'version' in (await findDriver()) ? 'cuda' : 'cpu'
}

/** What pip is to fetch besides the torch wheel. */
export interface NvidiaRequirements {
  /** To be fetched with what they depend on. */
  withDependencies: string[]
  /** To be fetched alone. */
  alone: string[]
}

/** Packages by the library that `libtorch_cpu` may need, and the extra of `cuda-toolkit` (CUDA 13 and later) that stands for each. */
const packages: readonly { library: string; extra: string; distribution: string }[] = [
  { library: 'libcudart', extra: 'cudart', distribution: 'nvidia-cuda-runtime' },
  { library: 'libcupti', extra: 'cupti', distribution: 'nvidia-cuda-cupti' },
  { library: 'libcublas', extra: 'cublas', distribution: 'nvidia-cublas' },
  { library: 'libcufft', extra: 'cufft', distribution: 'nvidia-cufft' },
  { library: 'libcufile', extra: 'cufile', distribution: 'nvidia-cufile' },
  { library: 'libcurand', extra: 'curand', distribution: 'nvidia-curand' },
]

/** For CUDA: every NVIDIA package that the torch wheel asks for, as it asks. */
export function cudaRequirements(requirements: readonly string[]): NvidiaRequirements {
  return { withDependencies: requirements.filter((line) => /^(nvidia-|cuda-toolkit)/.test(line)), alone: [] }
}

/**
 * For CPU on a CUDA wheel: only the packages of the libraries that `libtorch_cpu` itself lacks, at the versions that the wheel pins.
 * Throws an Error that names a library that no requirement provides.
 */
export function cpuRequirements(
  requirements: readonly string[],
  missingLibraries: readonly string[],
): NvidiaRequirements {
  const toolkit = requirements
    .map((line) => /^cuda-toolkit\[([^\]]*)\]\s*(.*)$/.exec(line))
    .find((match) => match !== null)
  const toolkitExtras = (toolkit?.[1] ?? '').split(',').map((extra) => extra.trim())
  const extras: string[] = []
  const alone: string[] = []
  for (const library of missingLibraries) {
    const known = packages.find((entry) => library.startsWith(`${entry.library}.so`))
    const own = known && requirements.find((line) => new RegExp(`^${known.distribution}(-cu\\d+)?[^-\\w]`).test(line))
    if (known !== undefined && toolkitExtras.includes(known.extra)) extras.push(known.extra)
    else if (own !== undefined) alone.push(own)
    else
      throw new Error(`libtorch_cpu needs ${library}, and no package that the torch wheel asks for is known to hold it`)
  }
  return {
    withDependencies: extras.length === 0 ? [] : [`cuda-toolkit[${extras.join(',')}]${toolkit?.[2] ?? ''}`],
    alone,
  }
}
