/** The best weights of a phase: where their file is, that it is theirs, and putting them back. */
import { readdir } from 'node:fs/promises'
import { basename, dirname, join, resolve } from 'node:path'
import type { Module, Tensor } from '../../lib/index.js'
import { phasePath } from '../checkpoint/layout.js'
import type { Best } from '../checkpoint/schema.js'
import { exists, publishCopy } from '../checkpoint/store.js'
import { TorchkeepError } from '../format/errors.js'
import { readTorchFile } from '../format/read.js'
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
  const value = await load(path)
  if (!(value instanceof Map) || !isThatEpoch(value, best)) {
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
  const runFolder = runFolderOf(checkpointPath)
  const wanted = [own, phasePath(runFolder, best.phase, 'best'), checkpointPath, ...(await filesOf(runFolder, best))]
  for (const path of wanted) {
    if (!(await isBestFile(path, best))) continue
    if (resolve(path) !== resolve(own)) await publishCopy(path, own)
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

async function isBestFile(path: string, best: Best): Promise<boolean> {
  if (!(await exists(path))) return false
  try {
    const { value } = await readTorchFile(path)
    return value instanceof Map && isThatEpoch(value, best)
  } catch (error) {
    // A file that cannot be read is not the one; where it was the only one, the caller says that there is none.
    if (error instanceof TorchkeepError) return false
    throw error
  }
}

/** Whether a checkpoint is the end of the epoch that was the best of its phase, and says so itself. */
function isThatEpoch(value: ReadonlyMap<unknown, unknown>, best: Best): boolean {
  const state = value.get('training_state')
  const found = state instanceof Map ? (state.get('phase_best') as unknown) : null
  return (
    value.get('data_position') === null &&
    value.get('epoch') === best.epoch &&
    found instanceof Map &&
    (['monitor', 'mode', 'score', 'epoch', 'phase'] as const).every((key) => found.get(key) === best[key])
  )
}
