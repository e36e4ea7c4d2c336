/** The best weights of a phase and of a run: where their file is, that it is theirs and whole, and putting those of a phase back. */
import { readdir } from 'node:fs/promises'
import { basename, dirname, join, resolve } from 'node:path'
import type { Module, Tensor } from '../../lib/index.js'
import { latestBestPath, phasePath } from '../checkpoint/layout.js'
import { metricsOf } from '../checkpoint/metrics.js'
import { isBroken } from '../checkpoint/newest-whole.js'
import type { Best } from '../checkpoint/schema.js'
import { exists, publishLink } from '../checkpoint/store.js'
import { TorchkeepError } from '../format/errors.js'
import { readTorchFile } from '../format/read.js'
import { verifyStorages } from '../format/read-bytes.js'
import { load } from '../serialization.js'
import { namedState, type NamedState } from './phase-optimizer.js'
import { disposeTensors } from './dispose-tensors.js'

/**
 * Puts the best weights of a phase back into the model.
 *
 * @param folder the run's.
 * @param wantsState whether the optimizer's state of that moment is wanted too.
 * @returns that state by parameter name, the caller's to dispose; null where it was not wanted.
 * @throws TorchkeepError `ERR_CHECKPOINT_MISSING` where the file is gone, `ERR_CHECKPOINT_INCOMPATIBLE` where it is not the phase's best any more, and what reading it throws.
 */
export async function restoreBest(
  model: Module,
  folder: string,
  best: Best,
  wantsState: boolean,
): Promise<NamedState | null> {
  const path = phasePath(folder, best.phase, 'best')
  const value = await loadBest(path, folder, best)
  if (!(value instanceof Map) || !isThatEpoch(value, best, 'phase_best')) {
    disposeTensors(value)
    throw new TorchkeepError(
      'ERR_CHECKPOINT_INCOMPATIBLE',
      `${path} should be epoch ${best.epoch} (${best.monitor} ${best.score}), the best of phase ${best.phase}, but is another checkpoint: something else has written it`,
    )
  }
  const checkpoint = value as Map<string, Map<string, unknown>>
  model.loadStateDict(checkpoint.get('model_state_dict') as unknown as Map<string, Tensor>)
  const state = wantsState ? stateOf(checkpoint) : null
  const taken = new Set<unknown>([...(state?.values() ?? [])].flatMap((own) => [...own.values()]))
  disposeTensors(value, (tensor) => !taken.has(tensor))
  return state
}

/** Loads the file; where it is missing or broken, another one of that epoch in the folder takes its place. */
async function loadBest(path: string, folder: string, best: Best): Promise<unknown> {
  try {
    return await load(path)
  } catch (error) {
    if (!isBroken(error) || !(await adoptBest(folder, path, best))) throw error
    return load(path)
  }
}

/** The optimizer's state in a checkpoint by parameter name, with what its phase kept of parameters that stood still. */
function stateOf(checkpoint: ReadonlyMap<string, ReadonlyMap<string, unknown>>): NamedState {
  const phaseState = checkpoint.get('phase_state') as ReadonlyMap<string, unknown>
  const kept = (phaseState.get('kept_optimizer_state') ?? new Map()) as NamedState
  const optimizer = checkpoint.get('optimizer_state_dict') ?? new Map()
  return new Map([...kept, ...namedState(optimizer, phaseState.get('groups') as string[][])])
}

/**
 * Gives a resumed run the file of its phase's best: the one beside the checkpoint, wherever that folder is now, or any other file of that epoch in it.
 *
 * @returns false where there is none.
 */
export async function adoptBest(folder: string, checkpointPath: string, best: Best): Promise<boolean> {
  const own = phasePath(folder, best.phase, 'best')
  return adopt(own, phasePath(runFolderOf(checkpointPath), best.phase, 'best'), checkpointPath, best, 'phase_best')
}

/**
 * Gives a resumed run `latest_best.pth` likewise, where that does not hold as good weights of this run already: in another folder than before, or where it came to harm.
 *
 * @returns false where no file holds the best weights of the run.
 */
export async function adoptRunBest(
  folder: string,
  checkpointPath: string,
  best: Best,
  runId: string,
): Promise<boolean> {
  const own = latestBestPath(folder)
  if (await isFile(own, (value) => isAsGood(value, best, runId), { everyByte: true })) return true
  return adopt(own, latestBestPath(runFolderOf(checkpointPath)), checkpointPath, best, 'best')
}

/** Whether `latest_best.pth` is what its name says for the run. */
export async function hasRunBest(folder: string, best: Best, runId: string): Promise<boolean> {
  return isFile(latestBestPath(folder), (value) => isAsGood(value, best, runId) || isThatEpoch(value, best, 'best'), {
    everyByte: false,
  })
}

/** Makes `own` a copy of the first file that is the best one, whole. */
async function adopt(
  own: string,
  before: string,
  checkpointPath: string,
  best: Best,
  key: 'best' | 'phase_best',
): Promise<boolean> {
  for (const path of [own, before, checkpointPath, ...(await filesOf(runFolderOf(checkpointPath), best))]) {
    if (!(await isFile(path, (value) => isThatEpoch(value, best, key), { everyByte: true }))) continue
    if (resolve(path) !== resolve(own)) await publishLink(path, own)
    return true
  }
  return false
}

/** The folder of the run that a checkpoint belongs to. */
function runFolderOf(path: string): string {
  const folder = dirname(resolve(path))
  return ['regular', 'best', 'phases'].includes(basename(folder)) ? dirname(folder) : folder
}

/** Files of a run whose names say this epoch, and that were saved at its end. */
async function filesOf(runFolder: string, { epoch, phase }: Best): Promise<string[]> {
  const found: string[] = []
  for (const place of ['best', 'regular']) {
    const folder = join(runFolder, place)
    if (!(await exists(folder))) continue
    const names = await readdir(folder)
    found.push(
      ...names
        .filter((name) => name.includes(`_epoch_${epoch}_phase_${phase}`) && name.endsWith('.pth'))
        .map((name) => join(folder, name)),
    )
  }
  return found
}

/** Whether a file is one of those looked for and can be read; with `everyByte`, also whether no byte of its tensors is damaged. */
async function isFile(
  path: string,
  isWanted: (value: ReadonlyMap<unknown, unknown>) => boolean,
  { everyByte }: { everyByte: boolean },
): Promise<boolean> {
  if (!(await exists(path))) return false
  try {
    const file = await readTorchFile(path)
    if (!(file.value instanceof Map) || !isWanted(file.value)) return false
    if (everyByte) await verifyStorages(file)
    return true
  } catch (error) {
    // A file that cannot be read is not the one; where it was the only one, the caller says that there is none.
    if (error instanceof TorchkeepError) return false
    throw error
  }
}

/** Whether a checkpoint holds weights of this run that are at least as good as its best, which those of a later epoch may be that a run resumed from an older one has not seen. */
function isAsGood(value: ReadonlyMap<unknown, unknown>, { monitor, mode, score }: Best, runId: string): boolean {
  const metadata = value.get('metadata')
  const found = metricsOf(value)[monitor] ?? NaN
  return (
    metadata instanceof Map && metadata.get('run_id') === runId && (mode === 'min' ? found <= score : found >= score)
  )
}

/** Whether a checkpoint is the end of the epoch that was the best of its phase, or of the run, and says so itself. */
function isThatEpoch(value: ReadonlyMap<unknown, unknown>, best: Best, key: 'best' | 'phase_best'): boolean {
  const state = value.get('training_state')
  const found = state instanceof Map ? (state.get(key) as unknown) : null
  return (
    value.get('data_position') === null &&
    value.get('epoch') === best.epoch &&
    found instanceof Map &&
    (['monitor', 'mode', 'score', 'epoch', 'phase'] as const).every((key) => found.get(key) === best[key])
  )
}
