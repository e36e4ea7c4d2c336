/** Names and folders of a run's checkpoints. */
import { isAbsolute, join } from 'node:path'
import { TorchkeepError } from '../format/errors.js'
import { exists } from './store.js'

/** What the names of a checkpoint tell. */
export interface CheckpointName {
  /** Of the whole run, from 1. */
  epoch: number
  /** From 1. */
  phase: number
  /** Seconds since 1970. */
  timestamp: number
  /** Optimizer steps of the whole run, for a checkpoint inside an epoch. */
  step?: number
}

/** The folders of a checkpoint folder in which the trainer writes checkpoints. */
export const checkpointFolders = (folder: string): string[] => [
  folder,
  ...['regular', 'best', 'phases'].map((name) => join(folder, name)),
]

/** The folder of the sidecars. */
export const metricsFolder = (folder: string): string => join(folder, 'metrics')

/** `regular/checkpoint_epoch_{E}_phase_{P}_{T}[_step_{S}].pth`; the store adds `-2` where that is taken. */
export function regularPath(folder: string, name: CheckpointName): string {
  const step = name.step === undefined ? '' : `_step_${name.step}`
  return join(folder, 'regular', `checkpoint_epoch_${name.epoch}_phase_${name.phase}_${name.timestamp}${step}.pth`)
}

/** `best/best_model_epoch_{E}_phase_{P}.pth`; the store adds `-2` where that is taken. */
export function bestPath(folder: string, { epoch, phase }: Pick<CheckpointName, 'epoch' | 'phase'>): string {
  return join(folder, 'best', `best_model_epoch_${epoch}_phase_${phase}.pth`)
}

/** `phases/phase_{P}_end.pth`: how a phase ended; `phases/phase_{P}_best.pth`: its best epoch. The newest one takes the name. */
export function phasePath(folder: string, phase: number, which: 'end' | 'best'): string {
  return join(folder, 'phases', `phase_${phase}_${which}.pth`)
}

/** Always the best checkpoint: a further name of its file. */
export const latestBestPath = (folder: string): string => join(folder, 'best', 'latest_best.pth')

/** Always the newest checkpoint: a further name of its file. */
export const latestPath = (folder: string): string => join(folder, 'latest.pth')

/** Whether a file has one of the names that move on from checkpoint to checkpoint (`latest.pth`, `latest_best.pth`, `phase_1_end.pth`...), which scripts and resumes rely on. */
export const isLastingName = (filename: string): boolean =>
  /^(latest|latest_best|phase_\d+_(end|best))\.pth$/.test(filename)

/**
 * The file that a caller means: `latest`, `best`, or a path, which is also looked for in the checkpoint folder and its `best/`, `regular/` and `phases/`.
 *
 * @throws TorchkeepError `ERR_CHECKPOINT_MISSING` with the paths tried.
 */
export async function findCheckpoint(folder: string, wanted: string): Promise<string> {
  const tried =
    wanted === 'latest'
      ? [latestPath(folder)]
      : wanted === 'best'
        ? [latestBestPath(folder)]
        : [
            wanted,
            ...(isAbsolute(wanted)
              ? []
              : ['', 'best', 'regular', 'phases'].map((place) => join(folder, place, wanted))),
          ]
  for (const path of tried) if (await exists(path)) return path
  throw new TorchkeepError('ERR_CHECKPOINT_MISSING', `no checkpoint '${wanted}': looked for ${tried.join(', ')}`)
}
