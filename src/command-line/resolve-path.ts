/** What a PATH of the command line means: `latest`, `best`, a path, or a name in the checkpoint folder. */
import { readdir } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { checkpointFolders, findCheckpoint } from '../checkpoint/layout.js'
import { TorchkeepError } from '../format/errors.js'
import { nearNames } from '../format/near-names.js'

/**
 * The file that somebody means (see `findCheckpoint`); folders count as well, since some checkpoints are folders. `./latest` means a file of that name. In a folder that no Torchkeep wrote, which has no
 * `latest.pth` or `best/latest_best.pth`, `latest` is the newest sound checkpoint and `best` the one with the lowest validation loss.
 *
 * @throws TorchkeepError `ERR_CHECKPOINT_MISSING` with the paths tried and names that are near; `ERR_CHECKPOINT_UNREADABLE` where the system refuses to look.
 */
export async function resolvePath(wanted: string, checkpointDir: string): Promise<string> {
  try {
    return await findCheckpoint(checkpointDir, wanted)
  } catch (error) {
    if (error instanceof TorchkeepError) {
      const found = wanted === 'latest' || wanted === 'best' ? await chooseFrom(checkpointDir, wanted) : undefined
      if (found !== undefined) return found
      const suggestions = await pathsNear(wanted, checkpointDir)
      throw new TorchkeepError(error.code, error.message, { suggestions, cause: error.cause })
    }
    const { code, message } = error as NodeJS.ErrnoException
    if (code === undefined) throw error
    const missing = code === 'ENOTDIR'
    throw new TorchkeepError(
      missing ? 'ERR_CHECKPOINT_MISSING' : 'ERR_CHECKPOINT_UNREADABLE',
      missing ? `no checkpoint '${wanted}': a part of the path is no folder` : `cannot look at ${wanted}: ${message}`,
      { cause: error },
    )
  }
}

/** The newest or the best sound checkpoint of a folder; undefined where there is none. */
async function chooseFrom(checkpointDir: string, wanted: 'latest' | 'best'): Promise<string | undefined> {
  if ((await filesOf(checkpointDir)).length === 0) return undefined
  const { listCheckpoints } = await import('../checkpoint/listing.js')
  const sound = (await listCheckpoints(checkpointDir)).filter(
    ({ structure, role }) => structure === 'ok' && role === 'checkpoint',
  )
  const madeMs = ({ timestamp, modifiedMs }: (typeof sound)[number]): number =>
    timestamp === null ? modifiedMs : timestamp * 1000
  const candidates = wanted === 'best' ? sound.filter(({ best }) => best) : sound
  return candidates.sort((a, b) => madeMs(b) - madeMs(a) || (a.path < b.path ? -1 : 1))[0]?.path
}

/** `latest` and `best`, where they are near, and files whose names are, in the folder that the path names and in the checkpoint folder. */
async function pathsNear(wanted: string, checkpointDir: string): Promise<string[]> {
  const folders = new Set([dirname(wanted), ...checkpointFolders(checkpointDir)])
  const candidates = (await Promise.all([...folders].map(filesOf))).flat()
  const near = new Set(
    nearNames(
      basename(wanted),
      candidates.map((path) => basename(path)),
    ),
  )
  return [
    ...nearNames(
      wanted,
      ['latest', 'best'].filter((word) => word !== wanted),
    ),
    ...candidates.filter((path) => near.has(basename(path))),
  ]
}

async function filesOf(folder: string): Promise<string[]> {
  try {
    return (await readdir(folder)).map((name) => join(folder, name))
  } catch {
    return [] // Only for hints and second choices: the failure itself is reported by the caller.
  }
}
