/** Reading the checkpoint to resume from, also where `latest.pth` came to harm. */
import { findCheckpoint } from '../checkpoint/layout.js'
import { listCheckpoints } from '../checkpoint/listing.js'
import { TorchkeepError } from '../format/errors.js'
import { load } from '../serialization.js'

/** A file that was read whole. */
export interface LoadedFile {
  path: string
  value: unknown
  /** For people, where another file than the one asked for was taken; else null. */
  note: string | null
}

/**
 * Loads the checkpoint that `wanted` means. Where that is `latest` and `latest.pth` is damaged, the newest checkpoint of the folder that is whole is taken, which may be a copy of it, and `note` says so.
 *
 * @throws TorchkeepError as `findCheckpoint` and `load` do; for a damaged `latest.pth` only where no other is whole.
 */
export async function loadWanted(folder: string, wanted: string): Promise<LoadedFile> {
  const path = await findCheckpoint(folder, wanted)
  try {
    return { path, value: await load(path), note: null }
  } catch (error) {
    if (wanted !== 'latest' || !isDamage(error)) throw error
    const next = await newestWhole(folder, path)
    if (next === null) throw error
    return {
      ...next,
      note: `${path} is damaged (${error.message}); the run goes on from ${next.path}, the newest checkpoint that is whole`,
    }
  }
}

async function newestWhole(folder: string, damaged: string): Promise<{ path: string; value: unknown } | null> {
  const newestFirst = await listCheckpoints(folder, 'all')
  for (const { path, structure, recovery } of newestFirst) {
    if (path === damaged || structure !== 'ok' || recovery !== null) continue
    try {
      return { path, value: await load(path) }
    } catch (error) {
      if (!isDamage(error)) throw error
    }
  }
  return null
}

const isDamage = (error: unknown): error is TorchkeepError =>
  error instanceof TorchkeepError && error.code === 'ERR_CHECKPOINT_CORRUPT'
