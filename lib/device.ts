/** Devices, threads and memory. */
import type { NativeAddon } from './contract.js'
import { addon } from './native.js'

/** All devices that can be used, and why CUDA cannot be (null when it can). */
export function devices(): ReturnType<NativeAddon['devices']> {
  return addon().devices()
}

/** `torch.cuda.is_available()`. */
export function cudaIsAvailable(): boolean {
  return devices().cudaUnavailable === null
}

/**
 * Bytes that the allocator of a device holds and has given out, and the tensors that this environment's handles hold.
 */
export function memoryStats(device = 'cpu'): ReturnType<NativeAddon['memoryStats']> {
  return addon().memoryStats({ device })
}

/** Gives blocks that are cached for reuse back to the system. */
export function emptyCache(device = 'cpu'): void {
  addon().emptyCache({ device })
}

/** Threads that operators called here use. A session has its own count. */
export function getNumThreads(): number {
  return addon().getNumThreads()
}

/** `torch.set_num_threads`; bits of some operators depend on the count. */
export function setNumThreads(threads: number): void {
  addon().setNumThreads({ threads })
}

/** LibTorch at build and at run time, its folder at build time, and how the addon was built. */
export function versions(): ReturnType<NativeAddon['versions']> {
  return addon().versions()
}
