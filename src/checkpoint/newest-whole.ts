/** The newest checkpoint of a run's folder that is whole: what a run goes on from where `latest.pth` came to harm. */
import { TorchkeepError } from '../format/errors.js'
import { readTorchFile } from '../format/read.js'
import { verifyStorages } from '../format/read-bytes.js'
import { chronological } from './chronology.js'
import { findCheckpoint, latestPath } from './layout.js'
import { listCheckpoints, type ListedCheckpoint } from './listing.js'
import { exists } from './store.js'

/** A file that is missing or broken. */
export interface PassedOver {
  path: string
  /** Names the file itself. */
  reason: string
}

/** What {@link findNewestWhole} found. */
export interface NewestWhole {
  path: string
  /** What is newer but cannot be read, `latest.pth` first; empty where that is whole. */
  passedOver: PassedOver[]
}

/**
 * Whether a failure to read a checkpoint lies in the file, or in the disk below it: it is missing, cut, damaged or unreadable. One that is whole but of another model, unsafe or from a later version is none of that: nobody should go on
 * from an older one without being asked.
 */
export function isBroken(error: unknown): error is TorchkeepError {
  if (!(error instanceof TorchkeepError)) return false
  const { code, finding } = error
  const isBad =
    code === 'ERR_CHECKPOINT_CORRUPT' || code === 'ERR_CHECKPOINT_UNREADABLE' || code === 'ERR_CHECKPOINT_MISSING'
  return isBad || finding === 'file.unrecognized'
}

/**
 * Finds `latest.pth`, or where that is missing or broken the newest other checkpoint in the folder, `regular/`, `best/` and `phases/` that is whole: every byte is read and every CRC-32 compared. What was recovered from a damaged file does not
 * count: its weights or labels may not be those of the run.
 *
 * @throws TorchkeepError `ERR_CHECKPOINT_MISSING` where the folder holds no checkpoint; else, where none is whole, the code of what is wrong with `latest.pth`, with all that was tried; what is wrong with a file that is not broken.
 */
export async function findNewestWhole(folder: string): Promise<NewestWhole> {
  const latest = latestPath(folder)
  const failure = await whyBroken(latest)
  if (failure === null) return { path: latest, passedOver: [] }
  const others = (await exists(folder)) ? await otherCheckpoints(folder, latest) : []
  // Says where it was looked for.
  if (others.length === 0 && failure.code === 'ERR_CHECKPOINT_MISSING') await findCheckpoint(folder, 'latest')
  const passedOver = [{ path: latest, reason: failure.message }]
  const newestFirst = chronological(others.filter(({ structure }) => structure === 'ok')).reverse()
  const broken = others.filter(({ structure }) => structure !== 'ok')
  for (const { path, modifiedMs } of newestFirst) {
    const reason = await whyBroken(path)
    // When what cannot be read was made only the file system tells.
    if (reason === null)
      return {
        path,
        passedOver: [...passedOver, ...broken.filter((file) => file.modifiedMs >= modifiedMs).map(asPassedOver)],
      }
    passedOver.push({ path, reason: reason.message })
  }
  passedOver.push(...broken.map(asPassedOver))
  throw new TorchkeepError(
    failure.code,
    `no checkpoint in ${folder} is whole; tried ${passedOver.map(({ reason }) => reason).join('; ')}`,
    { cause: failure, suggestions: [`torchkeep recover --scan ${folder} lists what can be saved of them`] },
  )
}

/** Null for a file that is whole. */
async function whyBroken(path: string): Promise<TorchkeepError | null> {
  try {
    await verifyStorages(await readTorchFile(path))
    return null
  } catch (error) {
    if (isBroken(error)) return error
    throw error
  }
}

async function otherCheckpoints(folder: string, latest: string): Promise<ListedCheckpoint[]> {
  // How well the damaged ones could be recovered is not asked here.
  const listed = await listCheckpoints(folder, { assess: () => Promise.resolve({ potential: 'none' }) })
  return listed.filter(({ path, role }) => role === 'checkpoint' && path !== latest)
}

const asPassedOver = ({ path, findings: [first] }: ListedCheckpoint): PassedOver => ({
  path,
  reason: first?.message ?? `${path}: cannot be read`,
})
