/** Reading the checkpoint to resume from, also where `latest.pth` came to harm. */
import { findCheckpoint } from '../checkpoint/layout.js'
import { findNewestWhole, isBroken } from '../checkpoint/newest-whole.js'
import { load } from '../serialization.js'

/** A file that was read whole. */
export interface LoadedFile {
  path: string
  value: unknown
  /** For people: the newer files that are missing or broken and were passed over; empty where the one asked for was taken. */
  passedOver: readonly string[]
}

/**
 * Loads the checkpoint that `wanted` means. Where that is `latest` and `latest.pth` is missing or broken, the newest other checkpoint of the folder that is whole is taken, which may be a copy of it.
 *
 * @throws TorchkeepError as `findCheckpoint` and `load` do; for `latest` what `findNewestWhole` throws.
 */
export async function loadWanted(folder: string, wanted: string): Promise<LoadedFile> {
  try {
    const path = await findCheckpoint(folder, wanted)
    return { path, value: await load(path), passedOver: [] }
  } catch (error) {
    if (wanted !== 'latest' || !isBroken(error)) throw error
    const { path, passedOver } = await findNewestWhole(folder)
    return { path, value: await load(path), passedOver: passedOver.map(({ reason }) => reason) }
  }
}
