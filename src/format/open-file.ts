/** Two ways to read a file: off the thread, and at once. */
import { type BigIntStats, closeSync, constants, fstatSync, openSync, readSync } from 'node:fs'
import { open } from 'node:fs/promises'

/** A file that is open for reading. Failures are those of the system. */
export interface OpenFile {
  stat(): Promise<BigIntStats> | BigIntStats
  /** Reads at most `length` bytes from `position` into `target` from `at` on; 0 at the end of the file. */
  read(target: Uint8Array, at: number, length: number, position: number): Promise<number> | number
  close(): Promise<void> | void
}

/** A named pipe would keep a plain open waiting for a writer for ever. Windows knows neither. */
const openFlags = constants.O_RDONLY | ((constants as { O_NONBLOCK?: number }).O_NONBLOCK ?? 0)

/** Opens a file whose accesses happen off the thread. */
export async function openSoon(path: string): Promise<OpenFile> {
  const file = await open(path, openFlags)
  return {
    stat: () => file.stat({ bigint: true }),
    read: async (target, at, length, position) => (await file.read(target, at, length, position)).bytesRead,
    close: () => file.close(),
  }
}

/**
 * Opens a file whose accesses block the thread: for a few small reads of a file in the page cache that takes a quarter of the time, since no other thread has to be woken. The turn of the event loop ends
 * first, so that going through a thousand files keeps it turning.
 */
export async function openNow(path: string): Promise<OpenFile> {
  await new Promise((resolve) => setImmediate(resolve))
  const descriptor = openSync(path, openFlags)
  return {
    stat: () => fstatSync(descriptor, { bigint: true }),
    read: (target, at, length, position) => readSync(descriptor, target, at, length, position),
    close: () => closeSync(descriptor),
  }
}
